# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is written about who traces what."""

import os
import pwd
import re
import signal
import time

import harness
import polkit
import wire
from client import options
from policy import ASK_ME, GAMES, NEWS, Policy


class Journal(Policy):
    """What is written; tests/system looks at the journal itself."""

    def log(self):
        return self.service.daemons.logs().get("broker.log", "")

    def assert_logged(self, *parts):
        self.assert_wait(lambda: any(all(part in line for part in parts) for line in self.log().splitlines()),
                         f"one line has all of {parts}; there is:\n{self.log()}")

    def test_grant_attach_and_release_name_who_and_what(self):
        tracee = self.tracee_of(GAMES)
        session = self.session_of(GAMES)
        uid = pwd.getpwnam(GAMES).pw_uid
        session.attach(tracee.pid).detach()
        self.assert_logged(f"User {uid} ", f"process {tracee.pid} ({tracee.program})", "polkit allows")
        self.assert_logged(f"Session {session.id} of user {uid}", f"traces process {tracee.pid} ({tracee.program})")
        self.assert_logged(f"Session {session.id}", f"has released process {tracee.pid}", "detached")

    def test_control_that_comes_later_is_told_of(self):
        tracee = self.tracee_of(GAMES)
        session = self.session_of(GAMES)
        session.attach(tracee.pid, access="observe")
        session.attach(tracee.pid)
        self.assert_wait(lambda: self.log().count(f"Session {session.id} of user") == 2, "both are told of")

    def test_refusal_by_the_tracer_is_told_of(self):
        tracee = self.tracee_of(GAMES, source="executes")
        with polkit.acting_as(GAMES):
            fd = os.open(f"/proc/{tracee.pid}/mem", os.O_RDWR)
        self.addCleanup(os.close, fd)
        tracee.say(self.program("another"))
        self.assertEqual(tracee.listen(), "ready")
        self.assert_error("NotPermitted", self.session_of(GAMES).attach, tracee.pid, proof=wire.Variant("h", fd))
        self.assert_logged(f"process {tracee.pid} ", "refused Attach")

    def test_each_way_to_let_go_has_its_reason(self):
        ended, closed, gaining = (self.tracee_of(GAMES, name, "executes") for name in ("a", "b", "c"))
        session = self.session_of(GAMES)
        for tracee in (ended, closed, gaining):
            session.attach(tracee.pid)
        ended.quit()
        self.assert_logged(f"has released process {ended.pid}", "ended")
        gaining.say(self.program("gains", mode=0o4755))
        self.assert_logged(f"has lost process {gaining.pid}", "privilege")
        session.close()
        self.assert_logged(f"has released process {closed.pid}", "closed")

    def test_death_of_a_tracer_is_a_loss(self):
        tracee = self.tracee_of(GAMES)
        session = self.session_of(GAMES)
        session.attach(tracee.pid)
        os.kill(self.service.tracer_of(tracee.pid), signal.SIGKILL)
        self.assert_logged(f"has lost process {tracee.pid}", "tracer")

    def test_many_refusals_are_counted_and_those_of_others_are_not_among_them(self):
        session = self.session_of(NEWS)
        tracee = self.tracee_of(NEWS, "forbidden")
        for _ in range(20):
            self.assert_refused(session, tracee)
        other = self.session_of(GAMES)
        self.assert_refused(other, self.tracee_of(NEWS, "b"), ASK_ME)
        mine, theirs = (pwd.getpwnam(user).pw_uid for user in (NEWS, GAMES))
        lines = [line for line in self.log().splitlines() if "refused" in line]
        self.assertEqual([f"User {mine} " in lines[0], f"User {theirs} " in lines[1]], [True, True], lines)
        self.assertEqual(len(lines), 2)
        self.assert_wait(lambda: f"User {mine} was refused 19 more times" in self.log(), "they are counted", 15)

    def test_followed_children_beyond_some_hundred_in_a_minute_are_counted(self):
        tracee = self.tracee_of(GAMES, source="spawns-grandchildren", args=(1, 700))
        session = self.session_of(GAMES)
        session.attach(tracee.pid, children="follow", events=[])
        started = time.monotonic()
        self.assertEqual(tracee.ask("grow", timeout=60), {"processes": 700, "wrong": 0})
        if time.monotonic() - started >= 50:
            self.skipTest("too slow for one minute")
        session.close()
        uid = pwd.getpwnam(GAMES).pw_uid
        self.assert_wait(lambda: f"User {uid} followed " in self.log(), "they are counted", 15)
        told = self.log().count(" (a child)")
        self.assertEqual(told, 600)
        self.assert_wait(lambda: self.counted_children(uid) == [100, 100], "the others are counted", 15)

    def counted_children(self, uid):
        found = re.findall(rf"User {uid} followed (\d+) more children and released (\d+)", self.log())
        return [sum(map(int, column)) for column in zip(*found)]

    def test_attaches_of_a_user_in_a_minute_are_bounded(self):
        """Each is some entries. Those that fail count as well."""
        session = self.session_of(NEWS)
        gone = self.tracee_of(NEWS)
        gone.quit()
        gone.wait()
        started = time.monotonic()
        for _ in range(6):
            for serial in [session.send("AttachProcess", "ua{sv}", gone.pid, options()) for _ in range(100)]:
                self.assert_error("NoSuchProcess", session.client.reply, serial)
        self.assertLess(time.monotonic() - started, 50)
        error = self.assert_error("LimitExceeded", session.attach, gone.pid)
        self.assertIn("AttachesPerMinuteMax", error.message)
        self.session_of(GAMES).attach(self.tracee_of(GAMES, "b").pid)
        roots = self.new_session()
        for _ in range(601):
            self.assert_error("NoSuchProcess", roots.attach, gone.pid)


del Policy

if __name__ == "__main__":
    harness.main()
