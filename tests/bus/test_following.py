# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a program can become: more threads, other programs, children, and the end."""

import os
import signal
import time

import harness
import procfs
from client import ENDS


class Following:
    def end_of(self, session, pid, timeout=20):
        """Events up to the process's end."""
        return session.events_until(lambda e: e.kind in ENDS and e.tid == pid, timeout)

    def of_kind(self, events, *kinds):
        return [e for e in events if e.kind in kinds]

    def assert_order_of_births(self, events, known):
        """No process is heard of before the fork, vfork or clone event that announces it."""
        known = set(known)
        for event in events:
            self.assertIn(event.tid, known, f"heard of before its birth: {event}")
            if event.kind in ("fork", "vfork", "clone"):
                known.add(event.details["child"])

    @staticmethod
    def living(tracee):
        return [tid for tid in tracee.threads() if tracee.state(tid) not in ("Z", "X", None)]

    def test_zombie_leader(self):
        for how in ("group", "last"):
            with self.subTest(ends_by=how):
                tracee = self.tracee("zombie-leader", 6, how)
                self.assertEqual(tracee.state(tracee.pid), "Z")
                if how == "last":
                    self.assert_wait(lambda one=tracee: len(self.living(one)) == 1, "one lives")
                session = self.new_session()
                process = session.attach(tracee.pid)
                living = self.living(tracee)
                self.assertEqual([procfs.tracer_pid(tracee.pid, t) != 0 for t in living], [True] * len(living))

                process.interrupt()
                self.assertEqual({tracee.state(t) for t in living}, {"t"})
                self.assertEqual(sorted(e.tid for e in session.list_stopped()), living)
                process.continue_()
                tracee.say("go")
                self.assertEqual(tracee.changes(1), [(os.CLD_EXITED, 6)])
                self.assert_wait(lambda: session.client.manager.call("ListTracees") == [], "it has left")
                session.close()

    def test_zombie_leader_whose_end_is_traced(self):
        """The leader ends while it is traced, and its end is told when the process ends."""
        tracee = self.tracee("zombie-leader", 6, ready=False)
        session = self.new_session()
        session.attach(tracee.pid)
        self.assertEqual(tracee.listen(), "ready")
        tracee.say("go")
        seen = self.end_of(session, tracee.pid)
        self.assertEqual((seen[-1].kind, seen[-1].details), ("exited", {"status": 6}))
        self.assertEqual(tracee.changes(1), [(os.CLD_EXITED, 6)])
        self.assert_contiguous(seen)

    def test_detach_of_a_zombie_leader(self):
        tracee = self.tracee("zombie-leader", 6)
        session = self.new_session()
        for _ in range(harness.rounds(0.1)):
            session.attach(tracee.pid, stop=True).detach()
            self.assert_runs_free(tracee)
        tracee.say("go")
        self.assertEqual(tracee.changes(1), [(os.CLD_EXITED, 6)])

    def test_exec_from_a_thread_that_is_not_the_leader(self):
        tracee = self.tracee("exec-from-other-thread")
        session = self.new_session()
        process = session.attach(tracee.pid)
        for _ in range(harness.rounds(0.1)):
            tracee.say("go")
            old = tracee.read_pairs()["old-tid"]
            self.assertEqual(tracee.listen(), "ready")
            event = session.events_until(lambda e: e.kind == "exec")[-1]
            self.assertEqual((event.tid, event.details), (tracee.pid, {"old-tid": old, "path": tracee.program}))
            self.assertNotEqual(old, tracee.pid)
            self.assert_wait(lambda: sorted(process.list_threads()) == tracee.threads(), "the threads agree")
        process.interrupt()
        self.assert_all_stopped(tracee)

    def test_exec_from_the_leader(self):
        tracee = self.tracee("exec-from-other-thread", "leader")
        session = self.new_session()
        session.attach(tracee.pid)
        tracee.say("go")
        self.assertEqual(tracee.read_pairs()["old-tid"], tracee.pid)
        event = session.events_until(lambda e: e.kind == "exec")[-1]
        self.assertEqual((event.tid, event.details), (tracee.pid, {"old-tid": tracee.pid, "path": tracee.program}))
        self.assertEqual(tracee.listen(), "ready")

    def test_exec_that_stops(self):
        tracee = self.tracee("exec-from-other-thread")
        session = self.new_session()
        process = session.attach(tracee.pid, stops=["exec"])
        for _ in range(harness.rounds(0.05)):
            tracee.say("go")
            tracee.read_pairs()
            event = session.events_until(lambda e: e.kind == "exec")[-1]
            self.assertTrue(event.stopped)
            self.assertEqual(tracee.threads(), [tracee.pid])
            self.assert_all_stopped(tracee)
            self.assertEqual(session.list_stopped(), [event])
            self.assertTrue(process.thread(tracee.pid).continue_())
            self.assertEqual(tracee.listen(), "ready")

    def follow_forks(self, kind, event_kind):
        tracee = self.tracee("forks", kind)
        session = self.new_session()
        session.attach(tracee.pid, children="follow")
        for i in range(harness.rounds(0.05)):
            answer = tracee.ask("go")
            self.assertEqual(answer["status"], 5)
            self.assertEqual(answer["signals"], 0 if kind == "silent" else i + 1)
            seen = self.end_of(session, answer["child"])
            self.assertEqual(seen[-1].details, {"status": 5})
            births = [e for e in seen if e.details.get("child") == answer["child"] and e.kind == event_kind]
            self.assertEqual([e.tid for e in births], [tracee.pid])
            self.assertEqual(births[0].details, {"child": answer["child"], "thread": False})
            self.assert_order_of_births(seen, {tracee.pid})
            child = [e for e in seen if e.pid == answer["child"]]
            self.assertEqual(child[0].serial, 1, "serials count per process")
            self.assert_contiguous(child)
        return session, tracee

    def test_fork(self):
        self.follow_forks("fork", "fork")

    def test_vfork(self):
        session, tracee = self.follow_forks("vfork", "vfork")
        answer = tracee.ask("go")
        done = session.events_until(lambda e: e.kind == "vfork-done" and e.details["child"] == answer["child"])
        self.assertEqual(done[-1].tid, tracee.pid)

    def test_clone_with_an_odd_exit_signal(self):
        self.follow_forks("clone", "clone")

    def test_clone_without_an_exit_signal(self):
        self.follow_forks("silent", "clone")

    def test_children_are_not_followed_unless_asked(self):
        for kind in ("fork", "vfork", "clone", "silent"):
            with self.subTest(kind=kind):
                tracee = self.tracee("forks", kind)
                session = self.new_session()
                session.attach(tracee.pid)
                for _ in range(harness.rounds(0.05)):
                    self.assertEqual(tracee.ask("go")["status"], 5)
                self.assertEqual({e.pid for e in session.events_for(0.1)}, {tracee.pid})
                session.close()

    def test_detach_of_the_parent_leaves_a_followed_child_attached(self):
        tracee = self.tracee("vfork-parent-waits", "later")
        session = self.new_session()
        parent = session.attach(tracee.pid, children="follow")
        tracee.say("go")
        self.assertEqual(tracee.listen(), "ready")
        (child_pid,) = procfs.descendants(tracee.pid)
        child = session.process(child_pid)
        parent.detach()
        child.interrupt()
        self.assertEqual(procfs.state(child_pid), "t")
        child.continue_()
        child.detach()
        tracee.say("end")
        self.assertEqual(tracee.read_pairs()["status"], 3)

    def test_tree_of_grandchildren(self):
        tracee = self.tracee("spawns-grandchildren", 3, 2)
        session = self.new_session()
        session.attach(tracee.pid, children="follow")
        for _ in range(harness.rounds(0.02)):
            answer = tracee.ask("go")
            self.assertEqual(answer, {"processes": 14, "wrong": 0})
            seen = []
            while len({e.pid for e in self.of_kind(seen, *ENDS) if e.pid == e.tid}) < 14:
                seen += session.events_until(lambda e: e.kind in ENDS and e.pid == e.tid)
            self.assert_order_of_births(seen, {tracee.pid})
            self.assertEqual(len(self.of_kind(seen, "fork")), 14)
            for pid in {e.pid for e in seen} - {tracee.pid}:
                self.assert_contiguous([e for e in seen if e.pid == pid])
        self.assert_wait(lambda: len(session.client.manager.call("ListTracees")) == 1, "the children have left")

    def test_children_that_are_killed_all_the_time(self):
        tracee = self.tracee("sigkill-storm")
        session = self.new_session()
        process = session.attach(tracee.pid, children="follow")
        seen = []
        for _ in range(harness.rounds(0.05)):
            seen += session.events_for(0.05)
            process.interrupt()
            process.continue_()
        self.assert_wait(lambda: seen.extend(session.events_for(0.05)) or tracee.ask()["killed"] > 0,
                         "a child is killed")
        self.assertEqual(tracee.ask()["wrong"], 0)
        for pid in {e.pid for e in seen}:
            serials = [e.serial for e in seen if e.pid == pid]
            self.assertEqual(serials, sorted(set(serials)), "none is seen twice, and all in order")
        ends = [(e.kind, e.details) for e in self.of_kind(seen, *ENDS) if e.pid == e.tid]
        self.assertEqual({kind for kind, _ in ends}, {"killed"})
        self.assertEqual({details["signal"] for _, details in ends}, {signal.SIGKILL})

    def test_signal_events(self):
        tracee = self.tracee("job-control-stopped")
        session = self.new_session()
        process = session.attach(tracee.pid)
        process.call("Signal", "i", signal.SIGCONT)
        event = session.events_until(lambda e: e.kind == "signal")[-1]
        self.assertEqual((event.details["signal"], event.stopped), (signal.SIGCONT, False))
        self.assert_wait(lambda: tracee.ask()["continued"] == 1, "its handler has run")
        tracee.signal(signal.SIGCONT)
        event = session.events_until(lambda e: e.kind == "signal")[-1]
        self.assertEqual((event.details["sender-pid"], event.details["sender-uid"]), (os.getpid(), os.getuid()))
        self.assertEqual((event.details["signal"], event.details["code"]), (signal.SIGCONT, 0))
        self.assert_wait(lambda: tracee.ask()["continued"] == 2, "its handler has run")

    def test_signal_that_stops(self):
        tracee = self.tracee("job-control-stopped")
        session = self.new_session()
        process = session.attach(tracee.pid, stops=["signal"])
        tracee.signal(signal.SIGCONT)
        event = session.events_until(lambda e: e.kind == "signal")[-1]
        self.assertTrue(event.stopped)
        self.assertEqual(session.list_stopped(), [event])
        self.assertTrue(process.thread(event.tid).continue_())
        self.assert_wait(lambda: tracee.ask()["continued"] == 1, "its handler has run")

    def test_exit_that_stops(self):
        tracee = self.tracee("exits-with", 9, "wait")
        session = self.new_session()
        process = session.attach(tracee.pid, stops=["exit"])
        tracee.quit()
        event = session.events_until(lambda e: e.kind == "exit")[-1]
        self.assertEqual((event.stopped, event.details), (True, {"status": 9}))
        self.assertIsNone(tracee.pending_change(), "it is still there")
        self.assertEqual(tracee.state(), "t")
        process.continue_()
        self.assertEqual(tracee.changes(1), [(os.CLD_EXITED, 9)])

    def test_kill(self):
        tracee = self.tracee("many-threads", 10)
        session = self.new_session()
        process = session.attach(tracee.pid, stop=True)
        process.call("Kill")
        self.assertEqual(tracee.changes(1), [(os.CLD_KILLED, signal.SIGKILL)])
        self.assertEqual(self.end_of(session, tracee.pid)[-1].kind, "killed")

    def test_event_filter(self):
        tracee = self.tracee("threads-come-and-go", 2, 1000)
        session = self.new_session()
        process = session.attach(tracee.pid, events=["clone"])
        seen = session.events_until(lambda e: True) + session.events_for(0.1)
        self.assertEqual({e.kind for e in seen}, {"clone"})
        process.set_event_filter(events=["exited"])
        session.events_until(lambda e: e.kind == "exited")
        seen = session.events_until(lambda e: True) + session.events_for(0.1)
        self.assertEqual({e.kind for e in seen}, {"exited"})
        self.assert_contiguous(seen)
        process.set_event_filter(events=[])
        deadline = time.monotonic() + 20
        while session.events_for(0.2):
            self.assertLess(time.monotonic(), deadline, "there are still some")
        process.interrupt()
        seen = session.events_until(lambda e: True) + session.events_for(0.1)
        self.assertEqual({e.kind for e in seen}, {"stop"}, "it is always reported")
        process.continue_()
        process.set_event_filter(stops=["clone"])
        self.assertTrue(session.events_until(lambda e: e.kind == "clone")[-1].stopped)


class FollowingOnTheBus(Following, harness.OnTheBus):
    pass


class FollowingEmbedded(Following, harness.Embedded):
    pass


if __name__ == "__main__":
    harness.main()
