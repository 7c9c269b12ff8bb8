# SPDX-License-Identifier: LGPL-2.1-or-later
"""The main job, end to end."""

import os
import subprocess

import harness
import procfs
import service


class MainJob:
    """In both modes: attach, see events, interrupt, look, continue, detach, close."""

    def test_main_job_with_event_signals(self):
        tracee = self.tracee("threads-come-and-go", 2, 4000)
        session = self.new_session(name="main-job")
        process = session.attach(tracee.pid)
        tracer = self.service.tracer_of(tracee.pid)
        self.assertTrue(tracer, "not traced by a tracer of ours")
        self.assertNotIn("t", tracee.state())

        seen = session.events_until(lambda e: e.kind == "clone")
        seen += session.events_until(lambda e: e.kind == "exited")
        self.assertTrue(all(e.process == process.path and not e.stopped for e in seen))

        process.interrupt()
        self.assert_wait(lambda: set(process.list_threads().values()) == {"stopped"}, "all threads stand")
        self.assert_all_stopped(tracee)
        for tid in tracee.threads():
            self.assertEqual(procfs.tracer_pid(tracee.pid, tid), tracer)
        held = session.list_stopped()
        self.assertEqual(sorted(e.tid for e in held), tracee.threads())
        self.assertTrue(all(e.stopped for e in held))
        waiting = {e.tid for e in held}
        while waiting:
            seen += session.events_until(lambda e: e.kind == "stop")
            waiting.remove(seen[-1].tid)
        self.assert_contiguous(seen)
        self.assertEqual(seen[0].serial, 1)

        process.continue_()
        self.assertEqual(session.list_stopped(), [])
        self.assert_advances(lambda: tracee.ask()["created"])

        process.detach()
        last = session.events_until(lambda e: e.kind == "lost")[-1]
        self.assertEqual((last.tid, last.stopped), (tracee.pid, False))
        self.assertEqual(last.details, {"reason": "detached", "process": True})
        self.assert_runs_free(tracee)
        session.close()
        self.assert_error("NoSuchSession", session.close)

    def test_session_wide_control(self):
        tracees = [self.tracee("many-threads", 5) for _ in range(3)]
        session = self.new_session()
        for tracee in tracees:
            session.attach(tracee.pid)
        session.interrupt()
        for tracee in tracees:
            self.assert_wait(lambda one=tracee: {one.state(t) for t in one.threads()} == {"t"}, "all stand")
        self.assert_wait(lambda: len(session.list_stopped()) == 15, "15 threads are held")
        session.continue_()
        for tracee in tracees:
            self.assert_wait(lambda one=tracee: "t" not in {one.state(t) for t in one.threads()}, "all run")
        session.call("DetachAll")
        self.assert_runs_free(*tracees)
        self.assertEqual(session.client.manager.call("ListTracees"), [])

    def test_lists_and_properties(self):
        tracee = self.tracee("many-threads", 3)
        session = self.new_session(name="seen in lists")
        process = session.attach(tracee.pid)
        manager = session.client.manager

        self.assertEqual(manager.call("GetSession", "s", session.id), session.path)
        self.assertEqual(session.client.list_sessions()[session.id],
                         [os.geteuid(), "seen in lists", session.path])
        self.assertEqual(manager.call("ListTracees"),
                         [(tracee.pid, os.geteuid(), 3, session.id, process.path)])
        self.assertEqual((manager.get("NSessions"), manager.get("NTracees")), (1, 1))
        self.assertEqual((session.get("Id"), session.get("Name"), session.get("Uid")),
                         (session.id, "seen in lists", os.geteuid()))
        self.assertEqual((session.get("Lifetime"), session.get("LostEvents")), ("client", 0))
        self.assertEqual((process.get("Pid"), process.get("NThreads"), process.get("Uid")),
                         (tracee.pid, 3, os.geteuid()))
        self.assertEqual(process.get("Executable"), procfs.executable(tracee.pid))

        for tid, state in process.list_threads().items():
            thread = process.thread(tid)
            self.assertEqual((thread.get("Tid"), thread.get("Name")), (tid, "many-threads"))
            self.assertEqual((state, thread.get("State"), thread.get("StopReason")), ("running", "running", ""))
            self.assertTrue(thread.interrupt())
            self.assert_wait(lambda one=thread: one.get("State") == "stopped", "it is stopped")
            self.assertEqual(thread.get("StopReason"), "stop")
            self.assertFalse(thread.interrupt(), "it was stopped already")
            self.assertTrue(thread.continue_())
            self.assertFalse(thread.continue_(), "there was no stop to give up")


class MainJobOnTheBus(MainJob, harness.OnTheBus):
    def test_plain_busctl_calls(self):
        tracee = self.tracee("many-threads", 8)
        script = os.path.join(service.SOURCE, "tests", "bus", "busctl-main-job.sh")
        done = subprocess.run([script, str(tracee.pid), "--address=" + self.service.address],
                              capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assert_runs_free(tracee)
        self.assertEqual(self.connect().list_sessions(), {})


class MainJobEmbedded(MainJob, harness.Embedded):
    pass


if __name__ == "__main__":
    harness.main()
