# SPDX-License-Identifier: LGPL-2.1-or-later
"""The answer is yes, and is for what was asked about: whatever the target, its number or the caller does
meanwhile."""

import contextlib
import os
import signal

import harness
import procfs
from client import options
from policy import GAMES, NEWS, Policy


class WhilePolkitThinks(Policy):
    def setUp(self):
        super().setUp()
        self.target = self.tracee_of(GAMES, "target", "executes")
        self.session = self.session_of(GAMES)

    @contextlib.contextmanager
    def asked(self):
        """In here it is under way; the serial of the call."""
        os.kill(self.service.polkit.pid, signal.SIGSTOP)
        try:
            serial = self.session.send("AttachProcess", "ua{sv}", self.target.pid, options())
            self.session.client.manager.get("Version") # it has come along,
            self.new_session().attach(self.tracee_of(NEWS, "another").pid) # and what the keeper is asked first, too
            self.assertFalse(self.session.client.connection.has_reply(serial))
            yield serial
        finally:
            os.kill(self.service.polkit.pid, signal.SIGCONT)

    def end_target(self):
        self.target.quit()
        self.target.wait()

    def test_target_that_does_nothing_is_traced(self):
        with self.asked() as serial:
            pass
        self.session.client.reply(serial)
        self.assertGreater(procfs.tracer_pid(self.target.pid), 0)

    def test_target_that_ends_is_not_there_any_more(self):
        with self.asked() as serial:
            self.end_target()
        self.assert_error("NoSuchProcess", self.session.client.reply, serial)

    def test_process_that_takes_the_targets_number_is_not_it(self):
        """It is root's, and the user's own was asked about."""
        with self.asked() as serial:
            self.end_target()
            heir = self.tracee("takes-a-pid", self.target.pid)
            if heir.words == ["cannot"]:
                heir.ending = True
                self.skipTest("the kernel grants no choice of pids")
        self.assert_error("NoSuchProcess", self.session.client.reply, serial)
        self.assertIn(procfs.state(self.target.pid), "RS")
        self.assertEqual(procfs.tracer_pid(self.target.pid), 0)

    def test_target_that_executes_what_has_its_users_rights_is_traced(self):
        with self.asked() as serial:
            self.target.say(self.program("next"))
            self.assertEqual(self.target.listen(), "ready")
        self.session.client.reply(serial)
        process = self.session.process(self.target.pid)
        process.interrupt()
        self.session.events_until(lambda event: event.kind == "stop")

    def test_target_that_hides_is_let_go(self):
        """It executes what its user may not read."""
        with self.asked() as serial:
            self.target.say(self.program("unreadable", mode=0o711))
            self.assertEqual(self.target.listen(), "ready")
        error = self.assert_error("NotPermitted", self.session.client.reply, serial)
        self.assertIn("by now", error.message)
        self.assert_runs_free(self.target)

    def test_caller_that_leaves_traces_nothing(self):
        with self.asked():
            self.session.client.close()
            self.assert_wait(lambda: len(self.connect().list_sessions()) == 1, "its session has ended")
        # What was asked after it is answered after it.
        self.session_of(GAMES).attach(self.tracee_of(GAMES, "later").pid)
        self.assertEqual(procfs.tracer_pid(self.target.pid), 0)
        self.assert_runs_free(self.target)


del Policy

if __name__ == "__main__":
    harness.main()
