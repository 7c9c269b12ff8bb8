# SPDX-License-Identifier: LGPL-2.1-or-later
"""Job control stays true, and the parent sees what it would have seen without us."""

import os
import signal

import harness
from client import ENDS
from service import wait_until

STOPPED, CONTINUED = os.CLD_STOPPED, os.CLD_CONTINUED


class JobControl:
    def stopped_tracee(self, signo=signal.SIGSTOP):
        tracee = self.tracee("job-control-stopped")
        tracee.signal(signo)
        self.assertEqual(tracee.changes(1), [(STOPPED, signo)])
        self.assert_wait(lambda: {tracee.state(t) for t in tracee.threads()} == {"T"}, "it is stopped")
        return tracee

    def assert_job_control_stopped(self, tracee):
        """No thread runs; while traced, the kernel shows a group-stopped thread as t or T."""
        self.assertLessEqual({tracee.state(t) for t in tracee.threads()}, {"T", "t"})

    def continue_it(self, tracee):
        tracee.job_control_stopped = False
        tracee.signal(signal.SIGCONT)
        self.assertEqual(tracee.changes(1), [(CONTINUED, signal.SIGCONT)])

    def assert_continued(self, tracee, times):
        """Its handler has run so often, in whichever thread took the signal."""
        self.assert_wait(lambda: tracee.ask()["continued"] == times, f"it sees {times} SIGCONTs")

    def test_stays_stopped_when_attached_and_detached(self):
        tracee = self.stopped_tracee()
        tracee.job_control_stopped = True
        session = self.new_session()
        for _ in range(harness.rounds(0.1)):
            process = session.attach(tracee.pid)
            self.assert_job_control_stopped(tracee)
            process.detach()
            self.assert_runs_free(tracee)
        self.assertIsNone(tracee.pending_change(), "its parent was told of something")
        self.continue_it(tracee)
        self.assert_continued(tracee, 1)

    def test_stays_stopped_through_interrupt_and_continue(self):
        tracee = self.stopped_tracee(signal.SIGTSTP)
        session = self.new_session()
        process = session.attach(tracee.pid)
        self.assert_wait(lambda: set(process.list_threads().values()) == {"group-stop"}, "it is seen as stopped")
        for _ in range(harness.rounds(0.1)):
            process.interrupt()
            self.assert_wait(lambda: len(session.list_stopped()) == 3, "the session holds it")
            process.continue_()
            self.assertEqual(session.list_stopped(), [])
        self.assert_wait(lambda: set(process.list_threads().values()) == {"group-stop"}, "it is stopped again")
        self.assert_job_control_stopped(tracee)
        self.assertIsNone(tracee.pending_change(), "its parent was told of something")
        self.continue_it(tracee)
        self.assert_continued(tracee, 1)

    def test_sigcont_works_during_tracing(self):
        tracee = self.stopped_tracee()
        session = self.new_session()
        process = session.attach(tracee.pid)
        self.continue_it(tracee)
        self.assert_continued(tracee, 1)
        self.assert_wait(lambda: set(process.list_threads().values()) == {"running"}, "all threads run")
        self.assertEqual(session.list_stopped(), [])

    def test_sigstop_during_tracing(self):
        tracee = self.tracee("job-control-stopped")
        session = self.new_session()
        process = session.attach(tracee.pid)
        for i in range(harness.rounds(0.1)):
            tracee.signal(signal.SIGSTOP)
            self.assertEqual(tracee.changes(1), [(STOPPED, signal.SIGSTOP)])
            seen = []
            while [e.kind for e in seen].count("group-stop") < 3:
                seen += session.events_until(lambda e: e.kind == "group-stop")
            self.assertEqual({e.details["signal"] for e in seen if e.kind == "group-stop"}, {signal.SIGSTOP})
            self.assertEqual(set(process.list_threads().values()), {"group-stop"})
            self.continue_it(tracee)
            self.assert_continued(tracee, i + 1)
            # One that is stopped anew before it ran has not left its stop.
            self.assert_wait(lambda: set(process.list_threads().values()) == {"running"}, "all threads run")

    def test_sigcont_does_not_move_a_thread_that_is_held(self):
        tracee = self.stopped_tracee()
        session = self.new_session()
        process = session.attach(tracee.pid, stop=True)
        self.continue_it(tracee)
        self.assert_wait(lambda: len(session.list_stopped()) == 3, "the session holds it")
        self.assertEqual({tracee.state(t) for t in tracee.threads()}, {"t"})
        process.continue_()
        self.assert_continued(tracee, 1)

    def test_stopped_while_attached_and_left_so(self):
        tracee = self.tracee("job-control-stopped")
        process = self.new_session().attach(tracee.pid)
        tracee.signal(signal.SIGSTOP)
        self.assertEqual(tracee.changes(1), [(STOPPED, signal.SIGSTOP)])
        tracee.job_control_stopped = True
        process.detach()
        self.assert_runs_free(tracee)
        self.assertIsNone(tracee.pending_change())
        self.continue_it(tracee)
        self.assert_continued(tracee, 1)

    def test_stopped_while_it_is_held(self):
        tracee = self.tracee("job-control-stopped")
        process = self.new_session().attach(tracee.pid, stop=True)
        tracee.signal(signal.SIGSTOP)
        process.continue_()
        self.assertEqual(tracee.changes(1), [(STOPPED, signal.SIGSTOP)])
        self.assert_job_control_stopped(tracee)
        self.continue_it(tracee)
        self.assert_continued(tracee, 1)

    def test_sigstop_of_its_own(self):
        tracee = self.tracee("sigstop-itself")
        session = self.new_session()
        session.attach(tracee.pid)
        tracee.say("go")
        self.assertEqual(tracee.changes(1), [(STOPPED, signal.SIGSTOP)])
        self.continue_it(tracee)
        self.assertEqual(tracee.listen(), "continued")

    def test_group_stop_with_one_thread_traced_and_the_others_not(self):
        """The kernel counts traced and untraced threads alike: the stop is complete, and over, for all."""
        for signo in (signal.SIGSTOP, signal.SIGTSTP):
            with self.subTest(signal=int(signo)):
                tracee = self.tracee("job-control-stopped")
                session = self.new_session()
                traced = tracee.threads()[1]
                thread, added = session.attach_thread(traced, threads="none")
                self.assertTrue(added)
                for i in range(harness.rounds(0.1)):
                    tracee.signal(signo)
                    self.assertEqual(tracee.changes(1), [(STOPPED, signo)])
                    seen = session.events_until(lambda e: e.kind == "group-stop")
                    self.assertEqual((seen[-1].tid, seen[-1].details), (traced, {"signal": signo}))
                    self.assert_wait(lambda t=tracee: {t.state(o) for o in t.threads() if o != traced} == {"T"},
                                     "the others are stopped")
                    self.assertEqual(thread.get("State"), "group-stop")
                    self.continue_it(tracee)
                    self.assert_continued(tracee, i + 1)
                    self.assert_wait(lambda: thread.get("State") == "running", "it runs again")
                    self.assertEqual([e for e in session.events_for(0.002) if e.kind == "group-stop"], [],
                                     "it is told once")
                self.assertEqual(session.list_stopped(), [])
                session.close()

    def test_group_stop_while_the_one_traced_thread_is_held(self):
        """A thread that a tracer holds does not keep the others from stopping; the parent learns of the
        stop when it has joined them."""
        tracee = self.tracee("job-control-stopped")
        session = self.new_session()
        traced = tracee.threads()[1]
        thread, _ = session.attach_thread(traced, threads="none", stop=True)
        session.events_until(lambda e: e.kind == "stop" and e.stopped)
        tracee.signal(signal.SIGSTOP)
        self.assert_wait(lambda: {tracee.state(t) for t in tracee.threads() if t != traced} == {"T"},
                         "the others are stopped")
        self.assertTrue(thread.continue_())
        self.assertEqual(tracee.changes(1), [(STOPPED, signal.SIGSTOP)])
        self.assert_wait(lambda: thread.get("State") == "group-stop", "it has joined them")
        # Taken out of its group-stop and let go into it again.
        self.assertTrue(thread.interrupt())
        session.events_until(lambda e: e.kind == "stop" and e.stopped)
        self.assertTrue(thread.continue_())
        self.assert_wait(lambda: thread.get("State") == "group-stop", "it has joined them again")
        self.assertIsNone(tracee.pending_change(), "its parent was told of something")
        self.continue_it(tracee)
        self.assert_continued(tracee, 1)
        self.assert_wait(lambda: thread.get("State") == "running", "it runs again")

    def test_group_stop_stays_when_the_one_traced_thread_is_detached(self):
        tracee = self.tracee("job-control-stopped")
        session = self.new_session()
        thread, _ = session.attach_thread(tracee.threads()[1], threads="none")
        tracee.signal(signal.SIGTSTP)
        self.assertEqual(tracee.changes(1), [(STOPPED, signal.SIGTSTP)])
        tracee.job_control_stopped = True
        session.events_until(lambda e: e.kind == "group-stop")
        self.assertTrue(thread.detach())
        self.assert_runs_free(tracee)
        self.assertIsNone(tracee.pending_change(), "its parent was told of something")
        self.continue_it(tracee)
        self.assert_continued(tracee, 1)

    def test_killed_while_it_is_stopped(self):
        tracee = self.stopped_tracee()
        session = self.new_session()
        session.attach(tracee.pid)
        tracee.signal(signal.SIGKILL)
        self.assertEqual(tracee.changes(1), [(os.CLD_KILLED, signal.SIGKILL)])
        end = session.events_until(lambda e: e.kind in ENDS and e.tid == tracee.pid)[-1]
        self.assertEqual((end.kind, end.details["signal"]), ("killed", signal.SIGKILL))

    def what_the_parent_sees(self, meanwhile):
        """A life with everything in it, and the parent's view of it."""
        tracee = self.tracee("job-control-stopped")
        seen = []
        for signo in (signal.SIGSTOP, signal.SIGCONT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGCONT):
            meanwhile(tracee)
            tracee.signal(signo)
            # SIGTTIN while it is stopped changes nothing.
            if signo != signal.SIGTTIN:
                seen += tracee.changes(1)
        meanwhile(tracee)
        tracee.signal(signal.SIGUSR1)
        seen += tracee.changes(1)
        self.assertRaises(ChildProcessError, tracee.pending_change)
        return seen

    def test_parent_sees_the_same_as_without_us(self):
        plain = self.what_the_parent_sees(lambda tracee: None)
        self.assertEqual([code for code, _ in plain],
                         [STOPPED, CONTINUED, STOPPED, CONTINUED, os.CLD_KILLED])
        session = self.new_session()

        def attach_once(tracee):
            session.attach(tracee.pid)

        def interrupt(tracee):
            process = session.attach(tracee.pid)
            process.interrupt()
            process.continue_()

        def attach_and_detach(tracee):
            session.attach(tracee.pid).detach()

        for meanwhile in (attach_once, interrupt, attach_and_detach):
            with self.subTest(meanwhile=meanwhile.__name__):
                self.assertEqual(self.what_the_parent_sees(meanwhile), plain)

    def test_parent_sees_nothing_of_stops_and_events(self):
        tracee = self.tracee("threads-come-and-go", 2, 2000)
        session = self.new_session()
        for _ in range(harness.rounds(0.1)):
            process = session.attach(tracee.pid, stop=True)
            self.assertIsNone(tracee.pending_change())
            process.continue_()
            self.assertIsNone(tracee.pending_change())
            process.detach()
        self.assertIsNone(tracee.pending_change())

    def test_ends_with_status_or_signal(self):
        session = self.new_session()
        for name, argument, wanted, details in (
                ("exits-with", 0, (os.CLD_EXITED, 0), {"status": 0}),
                ("exits-with", 255, (os.CLD_EXITED, 255), {"status": 255}),
                ("killed-by", signal.SIGTERM, (os.CLD_KILLED, 15), {"signal": 15, "core": False}),
                ("killed-by", signal.SIGSEGV, (os.CLD_KILLED, 11), {"signal": 11, "core": False}),
                ("killed-by", signal.SIGKILL, (os.CLD_KILLED, 9), {"signal": 9, "core": False})):
            with self.subTest(name=name, argument=int(argument)):
                tracee = self.tracee(name, int(argument), "wait")
                session.attach(tracee.pid)
                tracee.quit()
                self.assertEqual(tracee.changes(1), [wanted])
                end = session.events_until(lambda e, t=tracee: e.kind in ENDS and e.tid == t.pid)[-1]
                self.assertEqual(end.kind, "exited" if "status" in details else "killed")
                self.assertEqual(end.details, details)
        self.assertTrue(wait_until(lambda: session.client.manager.call("ListTracees") == []))


class JobControlOnTheBus(JobControl, harness.OnTheBus):
    pass


class JobControlEmbedded(JobControl, harness.Embedded):
    pass


if __name__ == "__main__":
    harness.main()
