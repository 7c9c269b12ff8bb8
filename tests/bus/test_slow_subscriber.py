# SPDX-License-Identifier: LGPL-2.1-or-later
"""A subscriber that does not read for a while, under a flood of events: what was sent to it is bounded,
the rest waits, nobody else suffers, and when it reads on it has missed what LostEvents counts and no more."""

import os
import platform
import signal
import time

import harness
import procfs
from circles import Circles
from client import options
from service import InstalledService, sanitized, wait_until

SECONDS = 3
MANY = 20000  # more than there is room for anywhere
GROWTH_KIB = 8 * 1024


class Flood:
    def flood(self):
        """A session that is told of each round of a tracee's circle, and the client that reads its events."""
        self.circles = Circles(self.tracee("runs-in-circles", 1))
        session = self.new_session()
        self.process = session.attach(self.circles.pid)
        self.process.add_breakpoint(self.circles.start, report_only=True)
        first = session.next_event()
        self.assertEqual(first.kind, "breakpoint")
        return session, first

    def seen_by_another(self, session):
        return self.connect().session(session.id)

    def wait_held_up(self, session):
        """Until the queue has overflowed for so long that all on the way to the subscriber is full."""
        self.assert_wait(lambda: session.get("LostEvents") > MANY, "the queue overflows",
                         timeout=180 if sanitized() else 60)

    def memory(self):
        return {name: procfs.resident_kib(process.pid)
                for name in ("bus", "broker") if (process := getattr(self.service, name, None))}

    def assert_memory(self, before):
        for name, kib in self.memory().items():
            if not sanitized():
                self.assertLess(kib - before[name], GROWTH_KIB, f"the {name} has grown from {before[name]} KiB")

    def read_to_stops(self, session):
        """What the session was sent by the time that both threads stand."""
        stops = set()

        def is_last(event):
            if event.kind == "stop" and event.pid == self.circles.pid:
                stops.add(event.tid)
            return len(stops) == 2

        return session.events_until(is_last, timeout=60)

    def assert_in_order(self, events):
        serials = [event.serial for event in events]
        self.assertEqual(serials, sorted(set(serials)))

    def assert_complete(self, session, events):
        """They come in their order, and those that do not come are counted, ten times a second."""
        self.assert_in_order(events)
        missing = events[-1].serial - events[0].serial + 1 - len(events)
        wait_until(lambda: session.get("LostEvents") == missing, 2)
        self.assertEqual(session.get("LostEvents"), missing)


class SlowSubscriber(Flood, harness.OnTheBus):
    def test_memory_is_bounded_and_what_is_lost_is_counted(self):
        session, first = self.flood()
        other = self.seen_by_another(session)
        before = self.memory()
        self.wait_held_up(other)
        time.sleep(SECONDS)
        self.assert_memory(before)
        # It stops a thread: it finds a way.
        other.interrupt()
        events = [first, *self.read_to_stops(session)]
        self.assertGreater(len(events), 1000)
        self.assert_complete(session, events)

    def test_large_events_count_for_more(self):
        call = {"x86_64": 14, "aarch64": 135}[platform.machine()]  # rt_sigprocmask, of a thread's start
        tracee = self.tracee("threads-come-and-go", 4, 100000)
        session = self.new_session()
        before = self.memory()
        session.attach(tracee.pid, events=["syscall-enter"], syscalls=[call],
                       captures=[(call, 1, "enter", "fixed", 0, 16384)])
        # What lies above a thread's own stack may be less, of the one that starts it not.
        session.events_until(lambda e: len(e.details["captures"][0][1]) > 16000)
        other = self.seen_by_another(session)
        self.assert_wait(lambda: other.get("LostEvents") > 500, "the queue overflows", timeout=60)
        self.assert_memory(before)
        tracee.quit()
        for _ in range(900):
            self.assertIsNotNone(session.next_event())

    def test_others_are_served_meanwhile(self):
        session, _ = self.flood()
        other = self.seen_by_another(session)
        self.wait_held_up(other)
        second, slowest = self.new_session(), 0
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            tracee = self.tracee("many-threads", 2)
            started = time.monotonic()
            process = second.attach(tracee.pid, stop=True)
            self.assertEqual([e.kind for e in (second.next_event(), second.next_event())], ["stop"] * 2)
            process.detach()
            second.events_until(lambda e: e.kind == "lost")
            self.assertEqual(other.process(self.circles.pid).read_memory(self.circles.counts, 8).__class__, bytes)
            slowest = max(slowest, time.monotonic() - started)
            tracee.quit()
            tracee.wait()
        self.assertLess(slowest, 30 if sanitized() else 10)

    def test_its_other_session_is_held_up_alone(self):
        """What the bus holds for a connection is one queue, whichever session it is of."""
        session, first = self.flood()
        other = self.seen_by_another(session)
        self.wait_held_up(other)
        second = session.client.create_session()
        tracee = self.tracee("many-threads", 2)
        attach = second.send("AttachProcess", "ua{sv}", tracee.pid, {})
        self.assertTrue(wait_until(lambda: procfs.tracer_pid(tracee.pid)))
        self.connect().session(second.id).interrupt()
        other.interrupt()
        second.client.reply(attach)
        self.assertEqual([e.kind for e in (second.next_event(), second.next_event())], ["stop"] * 2)
        events = [first, *self.read_to_stops(session)]
        self.assert_complete(session, events)

    def test_the_other_subscriber_goes_on_when_it_leaves(self):
        session, first = self.flood()
        slow = self.seen_by_another(session)
        slow.call("Subscribe")
        events = [first]
        while more := session.events_for(1):
            events += more
        self.wait_held_up(session)
        slow.client.close()
        session.client.call(self.process.path, self.process.interface, "Interrupt")
        events += self.read_to_stops(session)
        self.assert_complete(session, events)

    def test_the_other_subscriber_goes_on_when_it_unsubscribes(self):
        session, first = self.flood()
        slow = self.seen_by_another(session)
        slow.call("Subscribe")
        events = [first]
        while more := session.events_for(1):
            events += more
        slow.send("Unsubscribe")
        events += session.events_for(0.5)
        self.process.interrupt()
        events += self.read_to_stops(session)
        self.assert_complete(session, events)

    def test_another_session_of_the_same_process_goes_on(self):
        session, _ = self.flood()
        self.wait_held_up(self.seen_by_another(session))
        second = self.new_session()
        second.attach(self.circles.pid).add_breakpoint(self.circles.start, report_only=True)
        for _ in range(5000):
            self.assertEqual(second.next_event().kind, "breakpoint")

    def test_the_process_ends_meanwhile(self):
        """What has found room is sent; then its tracer goes."""
        session, first = self.flood()
        self.wait_held_up(self.seen_by_another(session))
        tracer = procfs.tracer_pid(self.circles.pid)
        self.circles.tracee.quit()
        self.circles.tracee.kill()
        events = [first]
        while more := session.events_for(1):
            events += more
        self.assert_in_order(events)
        self.assertGreater(len(events), 2000)
        self.assertNotIn(tracer, self.service.daemons.tracers())

    def test_a_short_process_ends_meanwhile(self):
        """Its tracer has nothing left and goes, while its events still wait."""
        session, _ = self.flood()
        other = self.seen_by_another(session)
        self.wait_held_up(other)
        tracee = self.tracee("many-threads", 2)
        process = other.attach(tracee.pid)
        tracer = procfs.tracer_pid(tracee.pid)
        tracee.quit()
        tracee.wait()
        self.assert_wait(lambda: tracer not in self.service.daemons.tracers(), "its tracer has gone")
        other.interrupt()
        events = session.events_until(lambda e: (e.pid, e.tid, e.kind) == (tracee.pid, tracee.pid, "exited"), 60)
        self.assert_contiguous([e for e in events if e.process == process.path])

    def test_the_tracer_dies_meanwhile(self):
        session, first = self.flood()
        other = self.seen_by_another(session)
        self.wait_held_up(other)
        os.kill(procfs.tracer_pid(self.circles.pid), signal.SIGKILL)
        self.assert_wait(lambda: not procfs.tracer_pid(self.circles.pid), "it is free")
        events = [first, *session.events_until(lambda e: e.kind == "lost", timeout=60)]
        self.assert_in_order(events)
        self.assertEqual(events[-1].serial, events[-2].serial + 1)

    def test_it_leaves(self):
        session, _ = self.flood()
        other = self.seen_by_another(session)
        self.wait_held_up(other)
        session.client.close()
        self.assert_runs_free(self.circles.tracee)
        self.assertEqual(other.client.list_sessions(), {})

    def test_slow_ones_of_one_user_do_not_use_up_the_answers_that_the_bus_lets_us_wait_for(self):
        self.circles = Circles(self.tracee("runs-in-circles", 1))
        session = self.new_session()
        process = session.attach(self.circles.pid)
        slow = [self.seen_by_another(session) for _ in range(31)]
        for one in slow:
            one.call("Subscribe")
        process.send("AddBreakpoint", "tsa{sv}", self.circles.start, "software", options(report_only=True))
        self.wait_held_up(self.seen_by_another(session))
        second = self.new_session()
        second.attach(self.circles.pid).add_breakpoint(self.circles.start, report_only=True)
        first = second.next_event()
        events = [first]
        while more := second.events_for(1): # until it waits for one of the others to answer
            events += more
        slow[0].client.close()
        while len(events) < 5000:
            events.append(second.next_event())
        self.assert_in_order(events)


class SmallService(InstalledService):
    """What the bus may hold of the service's comes to its limit soon: then it reads nothing more of it."""

    bus_limits = {**InstalledService.bus_limits, "max_incoming_bytes": 8000000}


class SlowSubscriberOfAnInstalledService(Flood, harness.OnTheBus):
    service_class = SmallService

    def test_the_bus_does_not_stop_listening_to_the_service(self):
        self.flood()
        time.sleep(2 * SECONDS)
        self.connect().manager.call("ListSessions", timeout=10)

    def test_memory_is_bounded_and_what_is_lost_is_counted(self):
        session, first = self.flood()
        other = self.seen_by_another(session)
        before = self.memory()
        self.wait_held_up(other)
        time.sleep(SECONDS)
        self.assert_memory(before)
        # It stops a thread: it finds a way.
        other.interrupt()
        events = [first, *self.read_to_stops(session)]
        self.assertGreater(len(events), 1000)
        self.assert_complete(session, events)


class SlowClientOfASocket(Flood, harness.Embedded):
    def test_memory_is_bounded_and_what_is_lost_is_counted(self):
        session, first = self.flood()
        before = self.memory()
        time.sleep(SECONDS)
        self.assert_memory(before)
        self.process.send("Interrupt")
        events = [first, *self.read_to_stops(session)]
        self.assert_complete(session, events)
        self.assertGreater(session.get("LostEvents"), 0)

    def test_a_short_process_ends_meanwhile(self):
        session, _ = self.flood()
        time.sleep(SECONDS)
        tracee = self.tracee("many-threads", 2)
        session.send("AttachProcess", "ua{sv}", tracee.pid, options())
        self.assert_wait(lambda: procfs.tracer_pid(tracee.pid), "it is traced")
        tracer = procfs.tracer_pid(tracee.pid)
        time.sleep(0.2)
        tracee.quit()
        tracee.wait()
        self.assert_wait(lambda: tracer not in self.service.daemons.tracers(), "its tracer has gone")
        self.process.send("Interrupt")
        events = session.events_until(lambda e: (e.pid, e.tid, e.kind) == (tracee.pid, tracee.pid, "exited"), 60)
        self.assert_contiguous([e for e in events if e.pid == tracee.pid])


if __name__ == "__main__":
    harness.main()
