# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who is not root traces what polkit says, and nothing that gains privilege."""

import os
import pwd
import signal

import client
import harness
import polkit
import procfs
import wire
from client import options
from policy import ACCESS_DENIED, ASK_ME, GAMES, NEWS, Dialog, Policy, Service


class Asked(Policy):
    def test_own_process_is_traced_where_a_rule_says_yes(self):
        tracee = self.tracee_of(GAMES)
        session = self.session_of(GAMES)
        process = session.attach(tracee.pid)
        process.interrupt()
        session.events_until(lambda e: e.kind == "stop")
        self.assertTrue(process.thread(tracee.pid).registers())
        session.close()
        self.assert_advances(lambda: tracee.ask()["progress"])

    def test_own_process_is_attached_again_whose_leader_has_ended(self):
        """It has no memory any more, by which /proc could tell that it is dumpable."""
        tracee = self.tracee_of(GAMES, "first", "executes")
        session = self.session_of(GAMES)
        session.attach(tracee.pid, access="observe")
        tracee.say(self.program("second", "zombie-leader"))
        self.assertEqual(tracee.listen(), "ready")
        session.attach(tracee.pid).interrupt()
        session.close()
        tracee.say("go")
        self.assertEqual(tracee.wait(), 0)

    def test_refusal_names_process_and_action(self):
        tracee = self.tracee_of(NEWS, "forbidden")
        message = self.assert_refused(self.session_of(NEWS), tracee)
        for part in (str(tracee.pid), "forbidden", "org.ptraced.Tracer1.control"):
            self.assertIn(part, message)

    def test_nobody_is_asked_where_the_call_does_not_allow_it(self):
        self.assert_refused(self.session_of(NEWS), self.tracee_of(NEWS), ASK_ME)

    def test_process_of_another_user_is_an_action_of_its_own(self):
        session = self.session_of(GAMES)
        self.assert_refused(session, self.tracee_of(NEWS), ASK_ME)
        session.attach(self.tracee_of(NEWS, "allowed").pid)

    def test_one_answer_is_not_good_for_another_process(self):
        session = self.session_of(GAMES)
        session.attach(self.tracee_of(NEWS, "allowed").pid)
        self.assert_refused(session, self.tracee_of(NEWS, "other"), ASK_ME)

    def test_privileged_process_is_nobodys_own(self):
        """The user's own, as far as the real user goes."""
        self.assert_refused(self.session_of(GAMES), self.tracee_of(GAMES, mode=0o4755), ASK_ME)
        self.assert_refused(self.session_of(GAMES), self.tracee_of(GAMES, "set-group", mode=0o2755), ASK_ME)

    def test_process_that_may_not_be_read_is_nobodys_own(self):
        self.assert_refused(self.session_of(GAMES), self.tracee_of(GAMES, "unreadable", mode=0o711), ASK_ME)

    def test_root_is_not_asked(self):
        os.kill(self.service.polkit.pid, signal.SIGSTOP)
        try:
            self.new_session().attach(self.tracee_of(NEWS).pid)
        finally:
            os.kill(self.service.polkit.pid, signal.SIGCONT)

    def test_observing_is_an_action_of_its_own(self):
        tracee = self.tracee_of(NEWS)
        session = self.session_of(NEWS)
        process = session.attach(tracee.pid, access="observe")
        self.assertTrue(process.list_threads())
        self.assert_error("NotPermitted", process.kill)
        self.assert_error(ASK_ME, session.attach, tracee.pid, access="control")
        self.assert_error("NotPermitted", process.kill)
        message = self.assert_refused(session, self.tracee_of(GAMES, "b"), ASK_ME, access="observe")
        self.assertIn("org.ptraced.Tracer1.observe-other", message)

    def test_refusal_does_not_tell_where_a_program_of_another_user_lies(self):
        tracee = self.tracee_of(GAMES)
        message = self.assert_refused(self.session_of(NEWS), tracee, ASK_ME)
        self.assertIn(f"process {tracee.pid} (not your own)", message)
        self.assertNotIn("/program", message)

    def test_refusal_does_not_tell_what_a_process_of_another_user_does(self):
        """Of one's own: that it has ended."""
        tracee = self.tracee_of(GAMES)
        os.kill(tracee.pid, signal.SIGKILL)
        self.assert_wait(lambda: procfs.state(tracee.pid) == "Z", "it has ended")
        self.assert_refused(self.session_of(NEWS), tracee, ASK_ME)
        self.assert_refused(self.session_of(GAMES), tracee, "NoSuchProcess")

    def test_thread_of_ones_own_is_asked_for_like_a_process(self):
        tracee = self.tracee_of(GAMES)
        session = self.session_of(GAMES)
        path, added = session.call("AttachThread", "ua{sv}", tracee.threads()[-1], options())
        self.assertTrue(added and path)
        self.assert_error(ASK_ME, session.call, "AttachThread", "ua{sv}", self.tracee_of(NEWS, "b").pid, options())


class InADialog(Dialog):
    def begin(self, tracee):
        session = self.session_of(NEWS)
        session.client.flags |= wire.ALLOW_INTERACTION
        serial = session.send("AttachProcess", "ua{sv}", tracee.pid, options())
        return session, serial, self.agent.next_question()

    def test_dialog_says_who_wants_to_control_what(self):
        tracee = self.tracee_of(NEWS)
        session, serial, question = self.begin(tracee)
        self.assertEqual(question.action, "org.ptraced.Tracer1.control")
        comm = procfs.comm(os.getpid())
        self.assertEqual(question.message,
                         f"Authentication is required to let {comm} control {tracee.program} (process {tracee.pid} of "
                         f"user {pwd.getpwnam(NEWS).pw_uid})")
        self.agent.agree(question)
        session.client.reply(serial)
        session.process(tracee.pid).interrupt()
        session.events_until(lambda e: e.kind == "stop")

    def test_dialog_that_is_dismissed_is_a_refusal(self):
        tracee = self.tracee_of(NEWS)
        session, serial, question = self.begin(tracee)
        self.agent.dismiss(question)
        self.assert_error("NotPermitted", session.client.reply, serial)
        self.assert_runs_free(tracee)

    def test_dialog_of_a_caller_that_leaves_is_taken_down(self):
        session, _, _ = self.begin(self.tracee_of(NEWS))
        session.client.close()
        self.agent.wait_for_cancel()

    def test_dialog_of_a_session_that_is_closed_is_taken_down(self):
        session, serial, _ = self.begin(self.tracee_of(NEWS))
        session.close()
        self.agent.wait_for_cancel()
        self.assert_error("NoSuchSession", session.client.reply, serial)

    def test_program_that_polkit_was_not_told_of_is_not_attached(self):
        tracee = self.tracee_of(GAMES, "executes", "executes")
        session, serial, question = self.begin(tracee)
        tracee.say(self.program("another"))
        self.assertEqual(tracee.listen(), "ready")
        self.agent.agree(question)
        self.assert_error("NotPermitted", session.client.reply, serial)
        self.assert_runs_free(tracee)

    def test_second_process_is_asked_for_again(self):
        session, serial, question = self.begin(self.tracee_of(NEWS))
        self.agent.agree(question)
        session.client.reply(serial)
        second = self.tracee_of(NEWS, "second")
        serial = session.send("AttachProcess", "ua{sv}", second.pid, options())
        self.agent.dismiss(self.agent.next_question())
        self.assert_error("NotPermitted", session.client.reply, serial)

    def test_name_that_would_deceive_is_shown_escaped(self):
        name = "a\n$(pid)\x1b[2J\u202eb"
        _, _, question = self.begin(self.tracee_of(NEWS, name))
        self.assertIn("a\\x0a$(pid)\\x1b[2J\\xe2\\x80\\xaeb", question.message)

    def test_name_by_which_the_asker_would_deceive_is_shown_escaped(self):
        """A program names itself as it likes."""
        self.addCleanup(procfs.set_comm, procfs.comm(os.getpid()))
        procfs.set_comm("a\n$(pid)\x1b[2J")
        tracee = self.tracee_of(NEWS, "b\nc\x1b[2J")
        session, serial, question = self.begin(tracee)
        self.assertIn(" to let a\\x0a$(pid)\\x1b[2J control ", question.message)
        self.agent.dismiss(question)
        self.assert_error("NotPermitted", session.client.reply, serial)
        logged = self.service.daemons.logs()["broker.log"]
        (line,) = [line for line in logged.splitlines() if f"may not control process {tracee.pid} " in line]
        self.assertIn("b\\x0ac\\x1b[2J", line)
        self.assertNotIn("\x1b", logged)


class Sessions(Policy):
    def test_session_of_another_user_is_out_of_reach(self):
        tracee = self.tracee_of(GAMES)
        session = self.session_of(GAMES, lifetime="persistent")
        process = session.attach(tracee.pid)
        other = self.service.connect_as(NEWS)
        self.assertEqual(other.list_sessions(), {})
        self.assertEqual(other.manager.call("ListTracees"), [])
        theirs = other.session(session.id)
        for call in (("Interrupt",), ("Subscribe",), ("GetEvent", "t", 0), ("ListStopped",), ("Unsubscribe",),
                     ("AttachProcess", "ua{sv}", tracee.pid, options())):
            with self.subTest(call=call[0]):
                self.assert_error(ACCESS_DENIED, theirs.call, *call)
        for call in (("Close",), ("DetachAll",)):
            with self.subTest(call=call[0]):
                error = self.assert_error(ASK_ME, theirs.call, *call)
                self.assertIn("org.ptraced.Tracer1.manage", error.message)
        self.assert_error(ACCESS_DENIED, theirs.process(tracee.pid).interrupt)
        self.assert_error(ACCESS_DENIED, other.manager.call, "GetSession", "s", session.id)
        process.detach()
        session.close()

    def test_another_connection_of_the_same_user_was_not_authorised(self):
        """Of a persistent session polkit is asked; of one that is its creator's alone, nobody."""
        tracee = self.tracee_of(NEWS)
        with polkit.acting_as(NEWS):
            fd = os.open(f"/proc/{tracee.pid}/mem", os.O_RDWR)
        self.addCleanup(os.close, fd)
        for lifetime, refusal in (("client", ACCESS_DENIED), ("persistent", ASK_ME)):
            session = self.session_of(NEWS, lifetime=lifetime, queue=True)
            session.attach(tracee.pid, proof=wire.Variant("h", fd))
            again = self.service.connect_as(NEWS).session(session.id)
            self.assertIn(session.id, again.client.list_sessions())
            for call in (("Interrupt",), ("Subscribe",), ("GetEvent", "t", 0), ("ListStopped",)):
                with self.subTest(call=call[0]):
                    self.assert_error(refusal, again.call, *call)
            self.assert_error(refusal, again.process(tracee.pid).interrupt)
            for interface, path in ((client.PROCESS, again.process(tracee.pid).path),
                                    (client.THREAD, again.process(tracee.pid).thread(tracee.pid).path)):
                self.assert_error(refusal, again.client.call, path, client.PROPERTIES, "GetAll", "s", interface)
                self.assert_error(ACCESS_DENIED, again.client.call, path, client.INTROSPECTABLE, "Introspect")
            if lifetime == "client":
                session.close()
        # But what one traces, by whatever program, one may know.
        (objects,) = again.client.call(client.ROOT, client.OBJECT_MANAGER, "GetManagedObjects")
        self.assertEqual(set(objects), {session.path, session.process(tracee.pid).path})
        self.assertEqual([entry[0] for entry in again.client.manager.call("ListTracees")], [tracee.pid])
        again.close()
        self.assert_runs_free(tracee)

    def test_one_user_does_not_crowd_out_the_others(self):
        sessions = [self.session_of(NEWS) for _ in range(64)]
        one_more = self.service.connect_as(NEWS)
        error = self.assert_error("LimitExceeded", one_more.create_session)
        self.assertIn("UserCallersMax", error.message)
        self.session_of(GAMES).close()
        self.new_session().close()
        one_more.session(sessions.pop().id).close()
        one_more.create_session()

    def test_root_attaches_nothing_for_somebody_else(self):
        session = self.session_of(GAMES)
        roots = self.connect().session(session.id)
        self.assert_error(ACCESS_DENIED, roots.attach, self.tracee_of(NEWS).pid)

    def test_descriptors_of_a_process_are_not_handed_out(self):
        tracee = self.tracee_of(GAMES)
        process = self.session_of(GAMES).attach(tracee.pid)
        for call in (("OpenMappedFile", "t", 0), ("ReadMappedFile", "ttt", 0, 0, 1)):
            with self.subTest(call=call[0]):
                self.assert_error(ACCESS_DENIED, process.call, *call)
        for call in (("OpenMemory", "s", "read"), ("OpenMaps",)):
            with self.subTest(call=call[0]):
                error = self.assert_error(ASK_ME, process.call, *call)
                self.assertIn("org.ptraced.Tracer1.open-memory,", error.message)
                self.assertIn(f"process {tracee.pid}", error.message)


class Privilege(Policy):
    def gains(self, mode):
        tracee = self.tracee_of(GAMES, "executes", "executes")
        session = self.session_of(GAMES)
        session.attach(tracee.pid, stops=["exec"])
        tracee.say(self.program("gains", mode=mode))
        lost = session.events_until(lambda e: e.kind == "lost")
        self.assertEqual(lost[-1].details, {"reason": "privilege", "process": True})
        self.assertNotIn("exec", [e.kind for e in lost])
        self.assertEqual(tracee.listen(), "ready")
        self.assert_advances(lambda: tracee.ask()["progress"])
        self.assert_error("NotAttached", session.process(tracee.pid).interrupt)
        self.assert_runs_free(tracee)
        return tracee

    def test_set_user_id_program_runs_on_with_its_privileges_and_without_us(self):
        tracee = self.gains(0o4755)
        self.assertEqual(procfs.status(tracee.pid, "Uid").split()[1], "0")

    def test_unreadable_program_runs_on_without_us(self):
        self.gains(0o711)

    def test_followed_child_that_gains_privilege_is_lost_and_its_parent_is_kept(self):
        """A shell runs the program, and waits for it."""
        tracee = self.tracee_of(GAMES, "executes", "executes")
        session = self.session_of(GAMES)
        parent = session.attach(tracee.pid, children="follow")
        tracee.say(self.program("shell", "/bin/sh"))
        tracee.say(self.program("gains", mode=0o4755) + "; echo back")
        seen = session.events_until(lambda e: e.kind == "lost")
        (child,) = [e.details["child"] for e in seen if e.kind in ("fork", "vfork", "clone")]
        self.assertEqual((seen[-1].pid, seen[-1].details), (child, {"reason": "privilege", "process": True}))
        self.assertEqual([e.kind for e in seen if e.pid == child and e.kind == "exec"], [])
        self.assertEqual(tracee.listen(), "ready")
        self.assertEqual(procfs.status(child, "Uid").split()[1], "0")
        self.assert_advances(lambda: tracee.ask()["progress"])
        self.assertEqual(procfs.tracer_pid(child), 0)
        self.assert_error("NotAttached", session.process(child).interrupt)
        parent.interrupt()
        self.assertEqual(procfs.state(tracee.pid), "t")
        parent.continue_()
        tracee.say("quit")
        self.assertEqual(tracee.listen(), "back")
        self.assertEqual([entry[0] for entry in session.client.manager.call("ListTracees")], [tracee.pid])
        session.close()
        self.assert_runs_free(tracee)

    def test_process_that_is_replaced_while_polkit_thinks_is_not_traced(self):
        tracee = self.tracee_of(GAMES, "executes", "executes")
        session = self.session_of(GAMES)
        os.kill(self.service.polkit.pid, signal.SIGSTOP)
        try:
            serial = session.send("AttachProcess", "ua{sv}", tracee.pid, options())
            session.client.list_sessions()  # it has come along,
            self.new_session().attach(self.tracee_of(NEWS, "b").pid) # and what the keeper is asked first, too
            tracee.say(self.program("gains", mode=0o4755))
            self.assertEqual(tracee.listen(), "ready")
        finally:
            os.kill(self.service.polkit.pid, signal.SIGCONT)
        error = self.assert_error("NotPermitted", session.client.reply, serial)
        self.assertIn("by now", error.message)
        self.assert_wait(lambda: procfs.tracer_pid(tracee.pid) == 0, "it is let go")
        self.assert_advances(lambda: tracee.ask()["progress"])

    def test_program_of_another_user_that_gains_privilege_is_lost_too(self):
        tracee = self.tracee_of(NEWS, "allowed", "executes")
        session = self.session_of(GAMES)
        session.attach(tracee.pid)
        tracee.say(self.program("gains", mode=0o4755))
        self.assertEqual(session.events_until(lambda e: e.kind == "lost")[-1].details["reason"], "privilege")

    def test_next_program_of_another_user_is_lost(self):
        """polkit was asked about this one."""
        tracee = self.tracee_of(NEWS, "allowed", "executes")
        session = self.session_of(GAMES)
        session.attach(tracee.pid)
        tracee.say(self.program("another"))
        self.assertEqual(session.events_until(lambda e: e.kind == "lost")[-1].details["reason"], "privilege")
        self.assertEqual(tracee.listen(), "ready")


class WithoutPolkit(Policy):
    class service_class(Service):
        with_polkit = False

    def test_refusal_says_that_polkit_is_missing(self):
        tracee = self.tracee_of(GAMES)
        self.assertIn("polkit does not answer", self.assert_refused(self.session_of(GAMES), tracee))
        self.new_session().attach(tracee.pid)


class Proof(Policy):
    """Nobody is asked where the kernel has judged already: there is no polkit."""

    class service_class(Service):
        with_polkit = False

    def proof_of(self, user, pid, flags=os.O_RDWR):
        with polkit.acting_as(user):
            fd = os.open(f"/proc/{pid}/mem", flags | os.O_CLOEXEC)
        self.addCleanup(os.close, fd)
        return wire.Variant("h", fd)

    def test_own_process_is_traced_by_its_proof(self):
        tracee = self.tracee_of(GAMES)
        session = self.session_of(GAMES)
        process = session.attach(tracee.pid, proof=self.proof_of(GAMES, tracee.pid))
        process.interrupt()
        session.events_until(lambda e: e.kind == "stop")
        process.continue_()
        self.assert_error("NotPermitted", session.attach, tracee.pid)

    def test_who_gets_no_proof_has_none(self):
        tracee = self.tracee_of(NEWS)
        self.assertRaises(PermissionError, self.proof_of, GAMES, tracee.pid)

    def test_what_is_no_proof_of_this_process_is_refused(self):
        tracee, another = self.tracee_of(GAMES), self.tracee_of(GAMES, "another")
        memfd = os.memfd_create("mem", 0)
        self.addCleanup(os.close, memfd)
        for name, fd in (("of another", self.proof_of(GAMES, another.pid)), ("memfd", wire.Variant("h", memfd)),
                         ("for reading", self.proof_of(GAMES, tracee.pid, os.O_RDONLY)),
                         ("path", self.proof_of(GAMES, tracee.pid, os.O_PATH))):
            with self.subTest(name):
                message = self.assert_not_proved(tracee, proof=fd)
                self.assertIn(f"/proc/{tracee.pid}/mem", message)

    def assert_not_proved(self, tracee, **values):
        error = self.assert_error("NotPermitted", self.session_of(GAMES).attach, tracee.pid, **values)
        self.assert_runs_free(tracee)
        return error.message

    def test_reading_proves_observing(self):
        tracee = self.tracee_of(GAMES)
        fd = self.proof_of(GAMES, tracee.pid, os.O_RDONLY)
        process = self.session_of(GAMES).attach(tracee.pid, proof=fd, access="observe")
        self.assert_error("NotPermitted", process.kill)

    def test_proof_from_before_an_exec_is_none(self):
        tracee = self.tracee_of(GAMES, "executes", "executes")
        fd = self.proof_of(GAMES, tracee.pid)
        tracee.say(self.program("next"))
        self.assertEqual(tracee.listen(), "ready")
        self.assert_not_proved(tracee, proof=fd)
        self.session_of(GAMES).attach(tracee.pid, proof=self.proof_of(GAMES, tracee.pid))

    def test_program_that_gains_privilege_is_lost_all_the_same(self):
        tracee = self.tracee_of(GAMES, "executes", "executes")
        session = self.session_of(GAMES)
        session.attach(tracee.pid, proof=self.proof_of(GAMES, tracee.pid))
        tracee.say(self.program("gains", mode=0o4755))
        self.assertEqual(session.events_until(lambda e: e.kind == "lost")[-1].details["reason"], "privilege")

    def test_proof_of_a_program_without_privilege_is_none_of_one_with(self):
        tracee = self.tracee_of(GAMES, "executes", "executes")
        fd = self.proof_of(GAMES, tracee.pid)
        tracee.say(self.program("gains", mode=0o4755))
        self.assertEqual(tracee.listen(), "ready")
        self.assert_not_proved(tracee, proof=fd)


del Policy, Dialog

if __name__ == "__main__":
    harness.main()
