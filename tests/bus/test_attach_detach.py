# SPDX-License-Identifier: LGPL-2.1-or-later
"""Attaching and letting go, again and again, while threads come and go."""

import errno
import os
import random
import signal
import socket
import subprocess
import sys
import time

import harness
import procfs
import wire
from client import ENDS, ERROR
from service import wait_until


class ThreadBook:
    """Who lives, according to the events alone."""

    def __init__(self, test, living):
        self.test = test
        self.living = set(living)

    def take(self, events):
        for event in events:
            self.test.assertIn(event.tid, self.living, f"an event of an unknown thread: {event}")
            if event.kind == "clone":
                self.test.assertNotIn(event.details["child"], self.living, f"born twice: {event}")
                self.living.add(event.details["child"])
            elif event.kind in ENDS:
                self.living.remove(event.tid)


class AttachDetach:
    def stand(self, process):
        """Waits until all threads stand, and returns them."""
        self.assert_wait(lambda: set(process.list_threads().values()) == {"stopped"}, "all threads stand")
        return set(process.list_threads())

    def events_to_stop_of(self, session, tids):
        """Events up to the last one before all stand: one stop for each thread, and then what is told
        of threads that ended meanwhile."""
        waiting = set(tids)
        events = []
        while waiting:
            events += session.events_until(lambda e: e.kind == "stop")
            waiting.discard(events[-1].tid)
        return events + session.events_for(0.1)

    def one_round_from_a_stop(self, session, tracee, run_for):
        """Everything that happens between two stops of the whole process is told, exactly."""
        process = session.attach(tracee.pid, stop=True)
        listed = self.stand(process)
        self.assertEqual(sorted(listed), tracee.threads())
        self.assert_all_stopped(tracee)
        events = self.events_to_stop_of(session, listed)
        book = ThreadBook(self, listed)

        process.continue_()
        seen = session.events_for(run_for)
        process.interrupt()
        listed = self.stand(process)
        seen += self.events_to_stop_of(session, listed)
        book.take(seen)
        self.assert_contiguous(events + seen)
        self.assertEqual(book.living, listed)
        self.assertEqual(sorted(listed), tracee.threads())
        self.let_go(session, process, tracee, events + seen)

    def one_round_without_a_stop(self, session, tracee, run_for):
        process = session.attach(tracee.pid)
        tracer = self.service.tracer_of(tracee.pid)
        for tid in tracee.threads():
            # A thread that has gone since counts as traced by 0.
            if procfs.tracer_pid(tracee.pid, tid) != tracer:
                self.assertNotIn(tid, tracee.threads())
        seen = session.events_for(run_for)
        self.assertEqual([e for e in seen if e.stopped], [])
        self.assert_contiguous(seen)
        self.let_go(session, process, tracee, seen)

    def let_go(self, session, process, tracee, seen):
        process.detach()
        # One that has told of its exit cannot be let go any more, and goes at once.
        left = [tid for tid in tracee.threads() if procfs.tracer_pid(tracee.pid, tid)]
        self.assert_wait(lambda: not any(procfs.tracer_pid(tracee.pid, tid) for tid in left),
                         f"threads {left} are let go")
        rest = session.events_until(lambda e: e.kind == "lost")
        self.assert_contiguous(seen[-1:] + rest[:-1])
        self.assertEqual(rest[-1].details, {"reason": "detached", "process": True})
        self.assertGreater(rest[-1].serial, (seen + rest[:-1])[-1].serial if seen + rest[:-1] else 0)

    def test_rounds_on_threads_that_come_and_go(self):
        tracee = self.tracee("threads-come-and-go", 3, 2000)
        session = self.new_session()
        for i in range(harness.rounds()):
            with self.round(i):
                run_for = random.Random(i).random() * 0.02
                if i % 2:
                    self.one_round_from_a_stop(session, tracee, run_for)
                else:
                    self.one_round_without_a_stop(session, tracee, run_for)
        self.assertEqual(session.get("LostEvents"), 0)
        self.assert_runs_free(tracee)
        tracee.quit()
        ended = tracee.read_pairs()
        self.assertEqual(ended["created"], ended["ended"])
        self.assertEqual(tracee.wait(), 0)

    def test_each_clone_event_is_a_thread_that_was_created(self):
        tracee = self.tracee("threads-come-and-go", 3, 2000)
        session = self.new_session()
        process = session.attach(tracee.pid, stop=True)
        listed = self.stand(process)
        self.events_to_stop_of(session, listed)
        book = ThreadBook(self, listed)
        self.assertEqual(len(listed), len(tracee.threads()))
        process.continue_()
        before = tracee.ask()["created"]
        tracee.quit()
        seen = session.events_until(lambda e: e.kind in ENDS and e.tid == tracee.pid, timeout=30)
        total = tracee.read_pairs()["created"]
        clones = [e.details["child"] for e in seen if e.kind == "clone"]
        self.assertGreaterEqual(len(clones), total - before)
        self.assert_contiguous(seen)
        book.take(seen)
        self.assertEqual(book.living, set())
        self.assertEqual(tracee.wait(), 0)
        self.assertEqual(seen[-1].details, {"status": 0})

    def test_process_that_dies_while_it_is_attached(self):
        session = self.new_session()
        for i in range(harness.rounds(0.5)):
            with self.round(i):
                tracee = self.tracee("dies-while-attached", 7, random.Random(i).randrange(1, 6000), i)
                try:
                    session.attach(tracee.pid, stop=i % 4 == 0)
                    if i % 4 == 0:
                        session.process(tracee.pid).continue_()
                    seen = session.events_until(lambda e, t=tracee: e.pid == t.pid and e.tid == t.pid
                                                and e.kind in ENDS)
                    self.assertEqual(seen[-1].details, {"status": 7})
                    self.assert_contiguous([e for e in seen if e.pid == tracee.pid])
                except wire.Error as e:
                    self.assertIn(e.name, (ERROR + "NoSuchProcess", ERROR + "NotAttached"))
                self.assertEqual(tracee.wait(), 7)

    def test_process_that_is_killed_at_any_moment(self):
        session = self.new_session()
        chance = random.Random(1)
        for i in range(harness.rounds(0.25)):
            with self.round(i):
                tracee = self.tracee("threads-come-and-go", 8, 100)
                serial = session.send("AttachProcess", "ua{sv}", tracee.pid, {})
                time.sleep(chance.random() * 0.005)
                stop = session.process(tracee.pid).send("Interrupt") if i % 2 else None
                time.sleep(chance.random() * 0.002)
                tracee.signal(signal.SIGKILL)
                self.assertEqual(tracee.wait(), -signal.SIGKILL)
                attached = self.succeeds(session, serial)
                if stop is not None:
                    self.succeeds(session, stop)
                if attached:
                    end = session.events_until(lambda e, t=tracee: e.pid == t.pid and e.tid == t.pid
                                               and e.kind in ENDS)[-1]
                    self.assertEqual((end.kind, end.details["signal"]), ("killed", signal.SIGKILL))
        self.assert_wait(lambda: session.client.manager.call("ListTracees") == [], "no tracee is left")

    def succeeds(self, session, serial):
        """Whether a call succeeded; it may only have failed because the process went."""
        try:
            session.client.reply(serial)
            return True
        except wire.Error as e:
            self.assertIn(e.name, (ERROR + "NoSuchProcess", ERROR + "NotAttached"))
            return False

    def test_one_thread(self):
        tracee = self.tracee("many-threads", 4)
        tid, other = tracee.threads()[1:3]
        session = self.new_session()
        thread, added = session.attach_thread(tid)
        self.assertEqual(thread.path, f"{session.path}/process/{tracee.pid}/thread/{tid}")
        self.assertTrue(added)
        self.assertFalse(session.attach_thread(tid)[1], "it was attached already")
        self.assertTrue(procfs.tracer_pid(tracee.pid, tid))
        self.assertEqual([procfs.tracer_pid(tracee.pid, t) for t in tracee.threads() if t != tid], [0, 0, 0])
        self.assertEqual(list(session.process(tracee.pid).list_threads()), [tid])

        self.assertTrue(thread.interrupt())
        event = session.events_until(lambda e: e.kind == "stop")[-1]
        self.assertEqual((event.pid, event.tid, event.stopped), (tracee.pid, tid, True))
        self.assertEqual(tracee.state(other), "S")
        self.assertTrue(thread.continue_())
        self.assertTrue(thread.detach())
        self.assert_runs_free(tracee)

        self.assertTrue(session.attach_thread(other)[1])
        process = session.attach(tracee.pid)
        self.assertEqual(sorted(process.list_threads()), tracee.threads())

    def test_thread_detach_leaves_the_others(self):
        tracee = self.tracee("many-threads", 4)
        session = self.new_session()
        process = session.attach(tracee.pid, stop=True)
        tid = tracee.threads()[2]
        self.assertTrue(process.thread(tid).detach())
        self.assert_wait(lambda: tracee.state(tid) == "S", "the thread runs on")
        self.assertEqual(procfs.tracer_pid(tracee.pid, tid), 0)
        self.assertEqual(len(process.list_threads()), 3)
        self.assertEqual({tracee.state(t) for t in process.list_threads()}, {"t"})

    def test_threads_none_leaves_new_threads_alone(self):
        tracee = self.tracee("threads-come-and-go", 2, 1000)
        session = self.new_session()
        process = session.attach(tracee.pid, threads="none")
        known = set(process.list_threads())
        for _ in range(20):
            # The kernel tells of a new thread by attaching to it, for a moment.
            new = set(tracee.threads()) - known
            self.assert_wait(lambda tids=new: not any(procfs.tracer_pid(tracee.pid, tid) for tid in tids),
                             "new threads are let go")
            time.sleep(0.005)
        session.events_until(lambda e: e.kind == "clone") # they are told of, all the same
        self.assertLessEqual(set(process.list_threads()), known)

    def test_attaching_again_changes_nothing(self):
        tracee = self.tracee("many-threads", 3)
        session = self.new_session()
        process = session.attach(tracee.pid)
        self.assertEqual(session.attach(tracee.pid).path, process.path)
        self.assertEqual(len(session.client.manager.call("ListTracees")), 1)
        self.assertEqual(len(process.list_threads()), 3)
        process.detach()
        self.assert_runs_free(tracee)

    def test_pidfd_of_a_living_process(self):
        tracee = self.tracee("many-threads", 3)
        session = self.new_session()
        pidfd = os.pidfd_open(tracee.pid)
        try:
            process = session.attach_fd(pidfd, stop=True)
        finally:
            os.close(pidfd)
        self.assertEqual(process.path, f"{session.path}/process/{tracee.pid}")
        self.assert_all_stopped(tracee)

    def test_pid_reuse_is_not_taken_for_the_process(self):
        session = self.new_session()
        tracee = self.tracee("exits-with", 0, "wait")
        pidfd = os.pidfd_open(tracee.pid)
        try:
            tracee.quit()
            self.assertEqual(tracee.wait(), 0)
            self.assert_error("NoSuchProcess", session.attach_fd, pidfd)
            heir = self.tracee("takes-a-pid", tracee.pid)
            if heir.words == ["cannot"]:
                heir.ending = True
                self.skipTest("the kernel grants no choice of pids")
            self.assertIn(procfs.state(tracee.pid), "RS")
            self.assert_error("NoSuchProcess", session.attach_fd, pidfd)
            self.assertEqual(procfs.tracer_pid(tracee.pid), 0)
        finally:
            os.close(pidfd)

    def test_a_thousand_threads(self):
        tracee = self.tracee("many-threads", 1000, 2)
        session = self.new_session()
        process = session.attach(tracee.pid, stop=True)
        self.assertEqual(len(process.list_threads()), 1000)
        self.assert_all_stopped(tracee)
        events = self.events_to_stop_of(session, tracee.threads())
        self.assert_contiguous(events)
        self.assertEqual(len(events), 1000)
        process.detach()
        self.assert_runs_free(tracee)

    def test_busy_threads(self):
        tracee = self.tracee("busy-loop", 3)
        session = self.new_session()
        process = session.attach(tracee.pid)
        for _ in range(harness.rounds(0.1)):
            process.interrupt()
            self.stand(process)
            ticks = procfs.cpu_ticks(tracee.pid)
            time.sleep(0.02)
            self.assertEqual(procfs.cpu_ticks(tracee.pid), ticks)
            process.continue_()
            self.assert_wait(lambda before=ticks: procfs.cpu_ticks(tracee.pid) > before, "it runs")

    def test_every_thread_of_a_flood_of_stops_has_its_turn(self):
        """Which would be the last ones in the kernel's order is not known here: so, all."""
        tracee = self.tracee("signals-itself", 32)
        session = self.new_session()
        process = session.attach(tracee.pid, events=["exited", "killed"])
        tracee.ask()
        time.sleep(1)
        counts = tracee.ask()
        # Who gets no processor makes no stop.
        self.assertGreater(counts["least"] * 1000, counts["most"], counts)
        for tid in tracee.threads():
            began = time.monotonic()
            process.thread(tid).interrupt()
            self.assertEqual(session.events_until(lambda e: e.kind == "stop")[-1].tid, tid)
            self.assertLess(time.monotonic() - began, 10)
            process.thread(tid).continue_()
        process.detach()

    def test_names_that_are_no_text(self):
        tracee = self.tracee("comm-with-parentheses")
        second = int(tracee.words[1])
        process = self.new_session().attach(tracee.pid, stop=True)
        self.assertEqual(process.thread(tracee.pid).get("Name"), "a) R 1 (b\u00e9\\xfe")
        self.assertEqual(process.thread(second).get("Name"), "\\xff) Z 1\\x0a\\x5cx41 (")
        self.assertEqual(sorted(process.list_threads()), tracee.threads())

    def test_name_that_changes_all_the_time(self):
        tracee = self.tracee("set-its-own-comm")
        session = self.new_session()
        for _ in range(harness.rounds(0.1)):
            process = session.attach(tracee.pid, stop=True)
            for tid in process.list_threads():
                self.assertTrue(process.thread(tid).get("Name"))
            process.detach()
            self.assert_runs_free(tracee)


class WhatTheTraceeNotices:
    """Nothing, except what the kernel does at every stop."""

    # signal(7): never restarted after a stop, whatever the tracer does.
    NEVER_RESTARTED = ("epoll_wait", "sigtimedwait")

    def test_blocking_calls_do_not_return(self):
        tracee = self.tracee("blocked-in-every-call")
        session = self.new_session()
        for _ in range(harness.rounds(0.1)):
            process = session.attach(tracee.pid)
            process.interrupt()
            process.continue_()
            process.detach()
            self.assert_runs_free(tracee)
        interrupted = {name: n for name, n in tracee.ask().items() if n and name not in self.NEVER_RESTARTED}
        self.assertEqual(interrupted, {})

    def test_attaching_alone_interrupts_no_call_at_all(self):
        tracee = self.tracee("blocked-in-every-call")
        process = self.new_session().attach(tracee.pid)
        process.list_threads()
        self.assertEqual(set(tracee.ask().values()), {0})

    def test_signalfd_sees_no_signal_of_ours(self):
        tracee = self.tracee("signalfd-reader")
        session = self.new_session()
        for _ in range(harness.rounds(0.1)):
            process = session.attach(tracee.pid)
            process.interrupt()
            process.continue_()
            process.detach()
        self.assertEqual(tracee.ask(), {"signals": 0, "last": 0})
        session.attach(tracee.pid)
        tracee.signal(signal.SIGINT)
        self.assertTrue(wait_until(lambda: tracee.ask() == {"signals": 1, "last": signal.SIGINT}))

    def test_read_goes_on_after_a_stop(self):
        tracee = self.tracee("blocked-in-read")
        process = self.new_session().attach(tracee.pid, stop=True)
        tracee.say("said while it was stopped")
        process.continue_()
        self.assertEqual(tracee.listen(), "said while it was stopped")

    def test_timer_ticks_on(self):
        tracee = self.tracee("alarm-timer")
        session = self.new_session()
        process = session.attach(tracee.pid)
        for _ in range(harness.rounds(0.1)):
            process.interrupt()
            process.continue_()
            self.assert_advances(lambda: tracee.ask()["ticks"])
        self.assertEqual(tracee.ask()["eintr"], 0)

    def test_no_signal_is_lost_or_added(self):
        tracee = self.tracee("signal-counter", 100)
        session = self.new_session()
        for _ in range(harness.rounds(0.25)):
            process = session.attach(tracee.pid)
            process.interrupt()
            process.continue_()
            process.detach()
        self.assert_wait(lambda: tracee.ask()["received"] > 100, "signals come, attached or not")
        counts = tracee.ask()
        self.assertEqual({key: counts[key] for key in ("lost", "doubled", "reordered", "other")},
                         {"lost": 0, "doubled": 0, "reordered": 0, "other": 0}, counts)

    def test_parent_in_vfork(self):
        tracee = self.tracee("vfork-parent-waits")
        session = self.new_session()
        started = time.monotonic()
        process = session.attach(tracee.pid, stop=True)
        self.assertLess(time.monotonic() - started, 5, "it waited for what the kernel cannot stop now")
        self.assertEqual(sorted(process.list_threads()), tracee.threads())
        self.assertEqual(process.list_threads()[tracee.pid], "stopping")
        tracee.say("end")
        event = session.events_until(lambda e: e.kind == "stop" and e.tid == tracee.pid)[-1]
        self.assertTrue(event.stopped)
        process.continue_()
        self.assertEqual(tracee.read_pairs()["status"], 3)

    def test_detach_of_a_parent_in_vfork(self):
        tracee = self.tracee("vfork-parent-waits")
        session = self.new_session()
        process = session.attach(tracee.pid)
        process.detach()
        tracee.say("end")
        self.assertEqual(tracee.read_pairs()["status"], 3)
        self.assert_runs_free(tracee)


class AttachDetachOnTheBus(AttachDetach, harness.OnTheBus):
    pass


class AttachDetachEmbedded(AttachDetach, harness.Embedded):
    pass


class TraceeNoticesOnTheBus(WhatTheTraceeNotices, harness.OnTheBus):
    pass


# Takes a processor for itself, and says so.
HOG = """import os, time
os.sched_setaffinity(0, {0})
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
print("on", flush=True)
end = time.monotonic() + 0.3
while time.monotonic() < end:
    pass
"""


class BusyMachine(harness.OnTheBus):
    def setUp(self):
        super().setUp()
        # Two that run side by side would have the processor for longer than an interrupt waits for it.
        turn = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(turn.close)
        self.assert_wait(lambda: self.is_bound(turn), "no other one takes the processor", timeout=60)

    @staticmethod
    def is_bound(sock):
        try:
            sock.bind("\0ptraced-test-takes-a-processor")
        except OSError as e:
            if e.errno != errno.EADDRINUSE:
                raise
            return False
        return True

    def hog(self):
        """Until it ends by itself, or with the test."""
        process = subprocess.Popen([sys.executable, "-c", HOG], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.communicate, timeout=10)
        if process.stdout.readline() != "on\n":
            self.skipTest(f"no real-time scheduling here: {process.stderr.read().splitlines()[-1:]}")

    def test_interrupt_answers_when_a_thread_stands_that_got_no_processor(self):
        tracee = self.tracee("busy-loop")
        session = self.new_session()
        process = session.attach(tracee.pid)
        for tid in tracee.threads():
            os.sched_setaffinity(tid, {0})
        for interrupt in (process.interrupt, session.interrupt):
            with self.subTest(interface=interrupt.__self__.interface):
                self.hog()
                interrupt()
                self.assertEqual(set(process.list_threads().values()), {"stopped"})
                self.assertTrue(process.thread(tracee.pid).registers())
                process.continue_()


if __name__ == "__main__":
    harness.main()
