# SPDX-License-Identifier: LGPL-2.1-or-later
"""What one connection has attached in a persistent session, another uses when it was authorised too."""

import contextlib
import os
import pwd
import signal
import subprocess

import harness
import polkit
import procfs
import wire
from client import options
from policy import ACCESS_DENIED, ASK_ME, GAMES, NEWS, Policy
from programs import CTL
from service import BUILD


class Anew(Policy):
    """A persistent session is for other connections of its user too, each of which is authorised anew."""

    def persistent(self):
        tracee = self.tracee_of(GAMES)
        session = self.session_of(GAMES, lifetime="persistent")
        return tracee, session, session.attach(tracee.pid)

    def again(self, session, user=GAMES):
        return self.service.connect_as(user).session(session.id)

    def authorize(self, session, pid, **values):
        return session.call("AuthorizeProcess", "ua{sv}", pid, options(**values))

    def proof(self, pid, user=GAMES):
        with polkit.acting_as(user):
            fd = os.open(f"/proc/{pid}/mem", os.O_RDWR)
        self.addCleanup(os.close, fd)
        return wire.Variant("h", fd)

    @staticmethod
    def is_asked(call):
        try:
            call()
        except wire.Error as e:
            if e.name != ASK_ME:
                raise
            return True
        return False

    def test_connection_that_was_authorised_does_what_the_first_one_could(self):
        tracee, session, _ = self.persistent()
        session.client.close()
        again = self.again(session)
        self.authorize(again, tracee.pid)
        again.call("Subscribe")
        again.process(tracee.pid).interrupt()
        self.assertEqual(again.events_until(lambda e: e.kind == "stop")[-1].pid, tracee.pid)
        self.assertTrue(again.process(tracee.pid).thread(tracee.pid).registers())
        again.call("Continue", "a{sv}", options())
        again.close()
        self.assert_runs_free(tracee)

    def test_call_of_another_connection_asks_for_itself(self):
        """As those of busctl do, each of which is another connection."""
        tracee, session, _ = self.persistent()
        second = self.tracee_of(GAMES, "second")
        session.attach(second.pid)
        session.client.close()
        self.again(session).call("Interrupt") # of both
        self.assertEqual({event.pid for event in self.again(session).list_stopped()}, {tracee.pid, second.pid})
        self.assertTrue(self.again(session).process(tracee.pid).thread(tracee.pid).registers())
        self.again(session).process(tracee.pid).continue_()
        kinds = [self.again(session).call("GetEvent", "t", 0)[4] for _ in range(2)]
        self.assertEqual(kinds, ["stop"] * 2)
        error = self.assert_error("LimitExceeded", self.again(session).process(tracee.pid).call, "WriteMemory", "tay", 0,
                                  bytes(100000))
        self.assertIn("WriteMemory", error.message)
        self.again(session).close()
        self.assert_runs_free(tracee)

    def test_caller_that_leaves_while_polkit_is_asked_leaves_nothing(self):
        tracee, session, _ = self.persistent()
        before = procfs.descriptors(self.service.broker.pid)
        os.kill(self.service.polkit.pid, signal.SIGSTOP)
        try:
            for _ in range(10):
                again = self.again(session)
                again.process(tracee.pid).send("Interrupt")
                again.client.manager.call("GetSession", "s", session.id)
                again.client.close()
            self.assert_wait(lambda: procfs.descriptors(self.service.broker.pid) <= before + 1, "all is closed")
        finally:
            os.kill(self.service.polkit.pid, signal.SIGCONT)
        self.again(session).process(tracee.pid).interrupt()

    def test_polkit_decides_for_each_connection(self):
        tracee = self.tracee_of(NEWS)
        with polkit.acting_as(NEWS):
            fd = os.open(f"/proc/{tracee.pid}/mem", os.O_RDWR)
        self.addCleanup(os.close, fd)
        session = self.session_of(NEWS, lifetime="persistent")
        session.attach(tracee.pid, proof=wire.Variant("h", fd))
        again = self.again(session, NEWS)
        self.assert_error(ASK_ME, self.authorize, again, tracee.pid)
        self.assert_error(ASK_ME, again.process(tracee.pid).interrupt)
        self.authorize(again, tracee.pid, proof=wire.Variant("h", fd))
        again.process(tracee.pid).interrupt()
        again.process(tracee.pid).continue_()
        other = self.again(session, GAMES)
        self.assert_error(ACCESS_DENIED, self.authorize, other, tracee.pid)

    def test_proof_is_not_enough_for_what_was_more_than_its_users(self):
        """Such a process may come to that again, and the session keep it."""
        tracee = self.tracee_of(GAMES, "gains", mode=0o4755)
        session = self.session_of(GAMES, lifetime="persistent")
        fd = os.open(f"/proc/{tracee.pid}/mem", os.O_RDWR)
        self.addCleanup(os.close, fd)
        session.attach(tracee.pid, proof=wire.Variant("h", fd))
        for way in (self.authorize, lambda again, *args, **kwargs: again.attach(*args, **kwargs)):
            error = self.assert_error("NotPermitted", way, self.again(session), tracee.pid, proof=wire.Variant("h", fd))
            self.assertIn("A proof is not enough", error.message)
        session.attach(tracee.pid, proof=wire.Variant("h", fd)) # who has proved it may do so again

    def hidden(self, source, *args, **values):
        """A process that is not its user's alone, as long as it executes what he may not read; proved, for who could."""
        tracee = self.tracee_of(GAMES, "hidden", source, mode=0o711, args=args)
        self.assertRaises(PermissionError, self.proof, tracee.pid)
        session = self.session_of(GAMES, lifetime="persistent")
        session.attach(tracee.pid, access="observe", proof=self.proof(tracee.pid, "root"), **values)
        return tracee, session

    def test_child_of_what_was_proved_is_proved_by_the_same(self):
        tracee, session = self.hidden("keeps-children", "1", children="follow")
        tracee.say("go")
        self.assertEqual(tracee.listen(), "children=1")
        def find():
            return [pid for pid, *_ in session.client.manager.call("ListTracees") if pid != tracee.pid]
        self.assert_wait(find, "the child is followed")
        (child,) = find()
        proof = self.proof(child, "root")
        session.attach(child, proof=proof).interrupt()
        self.assert_error("NotPermitted", self.again(session).attach, child, proof=proof)
        session.close()

    def test_what_was_more_than_its_users_takes_as_much_when_it_is_his_again(self):
        tracee, session = self.hidden("executes")
        tracee.say(self.program("plain"))
        self.assertEqual(tracee.listen(), "ready")
        session.attach(tracee.pid, proof=self.proof(tracee.pid))
        for call in (lambda: self.authorize(self.again(session), tracee.pid),
                     lambda: self.again(session).attach(tracee.pid)):
            self.assertIn("control-other", self.assert_error(ASK_ME, call).message)
        for way in (self.authorize, lambda again, *args, **kwargs: again.attach(*args, **kwargs)):
            self.assertIn("A proof is not enough", self.assert_error(
                "NotPermitted", way, self.again(session), tracee.pid, proof=self.proof(tracee.pid)).message)

    def test_next_program_of_what_was_proved_is_asked_about_for_who_did_not(self):
        """The session keeps it, and so does who proved that he may trace it, whatever it executes."""
        tracee = self.tracee_of(NEWS, "allowed", "executes")
        session = self.session_of(GAMES, lifetime="persistent")
        process = session.attach(tracee.pid, proof=self.proof(tracee.pid, "root"))
        again = self.again(session)
        again.process(tracee.pid).interrupt()
        again.process(tracee.pid).continue_()
        tracee.say(self.program("not-so"))
        self.assertEqual(tracee.listen(), "ready")
        self.assert_wait(lambda: self.is_asked(again.process(tracee.pid).interrupt), "it has to be authorised anew")
        process.interrupt()
        process.continue_()

    def test_children_that_are_followed_go_with_it(self):
        tracee = self.tracee_of(GAMES, source="forks", args=("fork",))
        session = self.session_of(GAMES, lifetime="persistent")
        session.attach(tracee.pid, children="follow", stops=["exit"])
        again = self.again(session)
        self.authorize(again, tracee.pid)
        again.call("Subscribe")
        tracee.say("go")
        child = again.events_until(lambda e: e.kind == "exit" and e.pid != tracee.pid)[-1].pid
        self.assertTrue(again.process(child).thread(child).registers())
        again.process(child).continue_()
        self.assertIn(f"child={child}", tracee.listen())

    def test_nothing_new_comes_to_who_gets_the_events(self):
        _, session, _ = self.persistent()
        second = self.tracee_of(GAMES, "second")
        again = self.again(session)
        session.call("Subscribe")
        error = self.assert_error(ACCESS_DENIED, again.attach, second.pid)
        self.assertIn("events", error.message)
        session.call("Unsubscribe")
        again.attach(second.pid)
        session.call("Subscribe") # polkit has been asked, and said yes

    def test_what_is_not_traced_is_not_authorised(self):
        tracee, session, process = self.persistent()
        again = self.again(session)
        for pid in (0, os.getpid(), 2**32 - 1):
            self.assert_error("NotAttached", self.authorize, again, pid)
        self.assert_error("InvalidOption", self.authorize, again, tracee.pid, access="control")
        process.detach()
        self.assert_error("NotAttached", self.authorize, again, tracee.pid)
        client_session = self.session_of(GAMES)
        client_session.attach(tracee.pid)
        self.assert_error(ACCESS_DENIED, self.authorize, self.again(client_session), tracee.pid)

    def ptracectl_of(self, name, *arguments, code=0):
        """With no more rights than its user has."""
        user = pwd.getpwnam(name)
        ctl = os.path.join(self.scratch, "ptracectl")
        if not os.path.exists(ctl):
            polkit.copy_program(CTL, self.scratch, "ptracectl")
        library = os.path.dirname(os.path.join(BUILD, "client/lib/libptraced.so.0"))
        done = subprocess.run([ctl, "--system", *arguments], capture_output=True, text=True, timeout=20, check=False,
                              user=user.pw_uid, group=user.pw_gid, extra_groups=[],
                              env={"DBUS_SYSTEM_BUS_ADDRESS": self.service.address, "PATH": "/usr/bin",
                                   "LD_LIBRARY_PATH": library})
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def test_ptracectl_sends_it_by_itself(self):
        """With each call: every one is another connection."""
        tracee = self.tracee_of(NEWS)
        session = self.ptracectl_of(NEWS, "attach", str(tracee.pid)).stdout.strip()
        self.assertNotEqual(procfs.tracer_pid(tracee.pid), 0)
        self.ptracectl_of(NEWS, "interrupt", str(tracee.pid))
        self.assertIn(f"{tracee.pid} stopped by ", self.ptracectl_of(NEWS, "status").stdout)
        self.assertIn(f" {tracee.pid} ", self.ptracectl_of(NEWS, "threads", str(tracee.pid)).stdout)
        self.ptracectl_of(NEWS, "continue", "--all", "-s", session)
        self.assert_advances(lambda: tracee.ask()["progress"])
        self.ptracectl_of(NEWS, "interrupt", "-s", session, str(tracee.pid))
        self.ptracectl_of(NEWS, "detach", str(tracee.pid))
        self.ptracectl_of(NEWS, "close", session)
        self.assert_runs_free(tracee)

    def test_ptracectl_says_what_it_may_not_do(self):
        mine = self.tracee_of(GAMES)
        theirs = self.session_of(GAMES) # it lives as long as its connection, which alone uses it
        theirs.attach(mine.pid)
        done = self.ptracectl_of(GAMES, "interrupt", str(mine.pid), code=4)
        self.assertIn(f"Failed to use session {theirs.id} for process {mine.pid}", done.stderr)
        done = self.ptracectl_of(GAMES, "status")
        self.assertIn(f"What session {theirs.id} holds stopped is for those connections alone", done.stderr)

    def test_proof_from_before_an_exec_is_none(self):
        """Which only the tracer can tell: the file is the same."""
        tracee = self.tracee_of(NEWS, "executes", "executes")
        old, new = [], []
        for fds in (old, new):
            with polkit.acting_as(NEWS):
                fds.append(os.open(f"/proc/{tracee.pid}/mem", os.O_RDWR))
            self.addCleanup(os.close, fds[0])
            if fds is old:
                tracee.say(self.program("next", "executes"))
                self.assertEqual(tracee.listen(), "ready")
        session = self.session_of(NEWS, lifetime="persistent")
        session.attach(tracee.pid, proof=wire.Variant("h", new[0]))
        again = self.again(session, NEWS)
        self.assert_error("NotPermitted", self.authorize, again, tracee.pid, proof=wire.Variant("h", old[0]))
        self.assert_error(ASK_ME, again.process(tracee.pid).interrupt)
        self.authorize(again, tracee.pid, proof=wire.Variant("h", new[0]))

    def test_last_events_are_for_who_was_authorised(self):
        """Here of processes of another user, which a rule gives to each connection; but not what has ended."""
        first, second = self.tracee_of(GAMES, "allowed"), self.tracee_of(GAMES, "allowed-too")
        session = self.session_of(NEWS, lifetime="persistent")
        session.attach(first.pid)
        authorised, another = self.again(session, NEWS), self.again(session, NEWS)
        self.authorize(authorised, first.pid)
        authorised.attach(second.pid)
        self.authorize(another, second.pid)
        first.quit()
        first.wait()
        self.assert_wait(lambda: first.pid not in [entry[0] for entry in another.client.manager.call("ListTracees")], "it is gone")
        for taken in ((another, "GetEvent", "t", 0), (another, "Subscribe"),
                      (another.process(first.pid).thread(first.pid), "GetEvent", "t", 0)):
            error = self.assert_error(ASK_ME, taken[0].call, *taken[1:])
            self.assertIn("org.ptraced.Tracer1.observe-other", error.message)
        another.call("Continue", "a{sv}", options()) # of what lives
        kinds = []
        with contextlib.suppress(wire.Error):
            while True:
                kinds.append(authorised.call("GetEvent", "t", 0)[4])
        self.assertIn("exited", kinds)
        # What comes from now on is of the second one alone.
        self.assert_error("NoEvent", another.call, "GetEvent", "t", 0)

    def test_events_of_what_has_ended_meanwhile_wait_for_who_may_observe_it(self):
        tracees = [self.tracee_of(GAMES, name) for name in ("first", "second", "third")]
        session = self.session_of(GAMES, lifetime="persistent")
        for tracee in tracees:
            session.attach(tracee.pid)
        session.client.close()
        for tracee in tracees:
            tracee.quit()
            tracee.wait()
        ended = set()
        while not ended >= {tracee.pid for tracee in tracees}:
            event = self.again(session).call("GetEvent", "t", 10000000)
            if event[4] == "exited":
                ended.add(event[3])
        self.assert_error("NoEvent", self.again(session).call, "GetEvent", "t", 0)
        self.assert_error("NoEvent", self.again(session).call, "GetEvent", "t", 0)
        self.again(session).call("Interrupt") # of nothing

    def test_root_needs_none(self):
        tracee, session, _ = self.persistent()
        ours = self.connect().session(session.id)
        self.authorize(ours, tracee.pid)
        ours.process(tracee.pid).interrupt()


del Policy

if __name__ == "__main__":
    harness.main()
