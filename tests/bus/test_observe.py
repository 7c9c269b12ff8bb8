# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sessions that only observe: they read, and stop a thread for short times, and change nothing."""

import errno
import itertools
import signal
import time

import client
import harness
from client import options

HOLD_SECONDS = 1


class Observing:
    def observe(self, tracee, **values):
        session = self.new_session()
        return session, session.attach(tracee.pid, access="observe", **values)

    def test_observer_reads_what_it_stops(self):
        tracee = self.tracee("busy-loop", 1)
        session, process = self.observe(tracee)
        process.interrupt()
        session.events_until(lambda e: e.kind == "stop" and e.tid == tracee.pid)
        registers = process.thread(tracee.pid).registers()
        self.assertTrue(process.read_memory(registers["rsp"], 8))
        self.assertEqual(set(process.list_threads()), set(tracee.threads()))
        process.continue_()
        self.assert_advances(lambda: tracee.ask()["progress"])

    def test_what_takes_control_is_refused(self):
        tracee = self.tracee("busy-loop", 1)
        session, process = self.observe(tracee)
        process.interrupt()
        session.events_until(lambda e: e.kind == "stop" and e.tid == tracee.pid)
        thread = process.thread(tracee.pid)
        pc = thread.registers()["rip"]
        for name, call in (("Kill", (process, "Kill")), ("Signal", (process, "Signal", "i", 9)),
                           ("WriteMemory", (process, "WriteMemory", "tay", pc, b"\x90")),
                           ("OpenMemory", (process, "OpenMemory", "s", "read-write")),
                           ("AddBreakpoint", (process, "AddBreakpoint", "tsa{sv}", pc, "software", {})),
                           ("RemoveBreakpoint", (process, "RemoveBreakpoint", "u", 1)),
                           ("Step", (thread, "Step", "a{sv}", {})),
                           ("SetRegisters", (thread, "SetRegisters", "a{sv}", options(rax=client.Variant("t", 0)))),
                           ("SetRegisterSet", (thread, "SetRegisterSet", "say", "general", b"")),
                           ("SetSignalInfo", (thread, "SetSignalInfo", "a{sv}", {})),
                           ("Continue", (thread, "Continue", "a{sv}", options(mode="step"))),
                           ("Continue", (thread, "Continue", "a{sv}", options(suppress=True))),
                           ("Continue", (process, "Continue", "a{sv}", options(mode="syscall")))):
            with self.subTest(method=name):
                error = self.assert_error("NotPermitted", call[0].call, *call[1:])
                self.assertIn(name, error.message)
        process.continue_()
        self.assert_advances(lambda: tracee.ask()["progress"])

    def test_observer_holds_no_longer_than_a_second(self):
        tracee = self.tracee("busy-loop", 2)
        session, process = self.observe(tracee)
        process.interrupt()
        stop = session.events_until(lambda e: e.kind == "stop" and e.tid == tracee.pid)[-1]
        tracee.say("report")
        tracee.read_pairs()
        self.assertGreater(time.monotonic() - stop.usec / 1e6, 0.95 * HOLD_SECONDS)
        self.assert_wait(lambda: "stopped" not in process.list_threads().values(), "nobody is held")
        self.assertFalse(process.thread(tracee.pid).continue_())

    def test_stops_that_an_observer_asks_for_are_as_short(self):
        tracee = self.tracee("busy-loop", 1)
        session, _ = self.observe(tracee, stops=["signal"])
        for _ in range(2):
            tracee.signal(signal.SIGWINCH)
            session.events_until(lambda e: e.kind == "signal" and e.stopped)
            self.assert_wait(lambda: tracee.state() != "t", "it runs on")
            # Until it has time for another one, some of which comes back meanwhile, it is told and nothing stands.
            self.assertTrue(any(self.is_told_only(tracee, session) for _ in range(20)))
            time.sleep(1)

    def is_told_only(self, tracee, session):
        tracee.signal(signal.SIGWINCH)
        stopped = session.events_until(lambda e: e.kind == "signal")[-1].stopped
        self.assert_wait(lambda: tracee.state() != "t", "it runs on")
        return not stopped

    def test_observer_does_not_stand_on_it_by_stopping_it_again_and_again(self):
        tracee = self.tracee("busy-loop", 1)
        session, process = self.observe(tracee)
        started, seen = time.monotonic(), []

        def look():
            seen.append((time.monotonic(), tracee.state()))

        while time.monotonic() < started + 6:
            look()
            try:
                process.interrupt()
            except client.wire.Error as e:
                self.assertEqual(e.name, client.ERROR + "LimitExceeded")
            for _ in range(10):
                look()
                time.sleep(0.03)
            process.continue_()
        look()
        session.close()
        # A second at first, and a third of the time after that. What lies between a look and the next may have been
        # long: a call takes its time on a machine that has much to do, in which the tracee may run.
        stopped = sum(then - now for (now, state), (then, next_state) in itertools.pairwise(seen)
                      if state == next_state == "t") / (seen[-1][0] - started)
        self.assertLess(stopped, 0.55)
        self.assertGreater(stopped, 0.05)
        self.assert_advances(lambda: tracee.ask()["progress"])

    def test_observer_does_not_change_what_a_seccomp_filter_does(self):
        """What it asks its tracer fails without one, and is executed where one is told of it."""
        tracee = self.tracee("asks-its-tracer")
        session = self.new_session()
        error = self.assert_error("NotPermitted", session.attach, tracee.pid, access="observe", events=["seccomp"])
        self.assertIn("control", error.message)
        process = session.attach(tracee.pid, access="observe")
        self.assert_error("NotPermitted", process.set_event_filter, stops=["seccomp"])
        self.assertEqual(tracee.ask("go"), {"result": -1, "error": errno.ENOSYS})

    def test_session_with_control_holds_on(self):
        tracee = self.tracee("busy-loop", 1)
        _, observed = self.observe(tracee)
        session = self.new_session()
        controlled = session.attach(tracee.pid)
        controlled.interrupt()
        observed.interrupt()
        session.events_until(lambda e: e.kind == "stop" and e.tid == tracee.pid)
        time.sleep(1.5 * HOLD_SECONDS)
        self.assertEqual(set(controlled.list_threads().values()), {"stopped"})
        controlled.continue_()
        self.assert_advances(lambda: tracee.ask()["progress"])

    def test_attaching_again_with_control_gives_it(self):
        tracee = self.tracee("busy-loop", 1)
        session, process = self.observe(tracee)
        session.attach(tracee.pid, access="control")
        session.attach(tracee.pid, access="observe")
        process.interrupt()
        spinner = tracee.threads()[-1]
        session.events_until(lambda e: e.kind == "stop" and e.tid == spinner)
        process.thread(spinner).step()
        session.events_until(lambda e: e.kind == "step")
        process.continue_()

    def test_access_is_one_of_two(self):
        tracee = self.tracee("busy-loop", 1)
        session = self.new_session()
        self.assert_error("InvalidOption", session.attach, tracee.pid, access="everything")
        self.assert_error("InvalidOption", session.attach, tracee.pid, access=True)


class ObservingOnTheBus(Observing, harness.OnTheBus):
    pass


class ObservingEmbedded(Observing, harness.Embedded):
    pass


if __name__ == "__main__":
    harness.main()
