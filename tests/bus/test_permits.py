# SPDX-License-Identifier: LGPL-2.1-or-later
"""Permissions of their own: descriptors of a process, and what other users trace."""

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


class ManagingService(Service):
    rules = Service.rules + f"""
    if (subject.user == "{NEWS}" && (action.id == "org.ptraced.Tracer1.manage" ||
                                     action.id == "org.ptraced.Tracer1.list-other"))
        return polkit.Result.YES;
    if (subject.user == "{GAMES}" && action.id == "org.ptraced.Tracer1.list")
        return polkit.Result.NO;
    """


class OpeningService(Service):
    rules = Service.rules + """
    if (action.id == "org.ptraced.Tracer1.open-memory" && action.lookup("executable").indexOf("/program") >= 0)
        return polkit.Result.YES;
    if (action.id == "org.ptraced.Tracer1.open-memory" && action.lookup("executable").indexOf("/child") >= 0)
        return polkit.Result.YES;
    """


class Opening(Policy):
    """Descriptors that nobody can take back."""

    service_class = OpeningService

    def open(self, process, member, *args):
        os.close(process.call(member, *args))

    def execute(self, session, tracee, name, source="busy-loop"):
        path = self.program(name, source)
        tracee.say(path)
        return session.events_until(lambda e: e.kind == "exec" and e.details["path"] == path)[-1].pid

    def test_rule_that_says_yes_is_enough_for_a_holder_with_control(self):
        tracee = self.tracee_of(GAMES)
        session = self.session_of(GAMES)
        process = session.attach(tracee.pid)
        self.open(process, "OpenMemory", "s", "read-write")
        self.open(process, "OpenMaps")
        again = self.service.connect_as(GAMES).session(session.id).process(tracee.pid)
        self.assert_error(ACCESS_DENIED, again.call, "OpenMemory", "s", "read")
        other = self.service.connect_as(NEWS).session(session.id).process(tracee.pid)
        self.assert_error(ACCESS_DENIED, other.call, "OpenMemory", "s", "read")

    def test_observer_does_not_write(self):
        tracee = self.tracee_of(NEWS)
        process = self.session_of(NEWS).attach(tracee.pid, access="observe")
        self.assert_error("NotPermitted", process.call, "OpenMemory", "s", "read-write")

    def test_process_of_another_user_is_an_action_of_its_own(self):
        process = self.session_of(GAMES).attach(self.tracee_of(NEWS, "allowed").pid)
        error = self.assert_error(ASK_ME, process.call, "OpenMemory", "s", "read")
        self.assertIn("open-memory-other", error.message)

    def test_answer_is_for_what_was_asked_about(self):
        """Which the session has let go of meanwhile, and has attached again since."""
        tracee = self.tracee_of(GAMES)
        session = self.session_of(GAMES)
        process = session.attach(tracee.pid)
        with polkit.acting_as(GAMES):
            fd = os.open(f"/proc/{tracee.pid}/mem", os.O_RDWR)
        self.addCleanup(os.close, fd)
        os.kill(self.service.polkit.pid, signal.SIGSTOP)
        try:
            serial = process.send("OpenMemory", "s", "read")
            process.detach()
            session.attach(tracee.pid, proof=wire.Variant("h", fd))
        finally:
            os.kill(self.service.polkit.pid, signal.SIGCONT)
        error = self.assert_error("NotAttached", session.client.reply, serial)
        self.assertIn(str(tracee.pid), error.message)

    def test_question_names_what_the_process_executes_now(self):
        tracee = self.tracee_of(GAMES, source="executes")
        session = self.session_of(GAMES)
        process = session.attach(tracee.pid)
        self.open(process, "OpenMemory", "s", "read")
        self.execute(session, tracee, "another", "executes")
        self.assert_error(ASK_ME, process.call, "OpenMemory", "s", "read")
        self.assert_error(ASK_ME, process.call, "OpenMaps")
        self.assertEqual(tracee.listen(), "ready")
        self.execute(session, tracee, "program-too")
        self.open(process, "OpenMemory", "s", "read")

    def test_question_names_what_a_followed_child_executes(self):
        """Of a shell that executes what it reads, and of which no rule says yes."""
        tracee = self.tracee_of(GAMES, source="executes")
        session = self.session_of(GAMES)
        process = session.attach(tracee.pid, children="follow")
        self.execute(session, tracee, "shell", "/bin/sh")
        child = self.execute(session, tracee, "child")
        self.assertNotEqual(child, tracee.pid)
        self.open(session.process(child), "OpenMemory", "s", "read")
        self.assert_error(ASK_ME, process.call, "OpenMemory", "s", "read")

    def test_child_executes_what_its_parent_has_executed(self):
        tracee = self.tracee_of(GAMES, source="executes")
        session = self.session_of(GAMES)
        session.attach(tracee.pid, children="follow")
        self.execute(session, tracee, "child-shell", "/bin/sh")
        tracee.say("(echo born; read line)")
        fork = session.events_until(lambda e: e.kind in ("fork", "vfork", "clone"))[-1]
        self.assertEqual(tracee.listen(), "born")
        self.open(session.process(fork.details["child"]), "OpenMemory", "s", "read")

    def test_child_of_what_was_proved_is_ones_own(self):
        """Nobody has proved its memory, and no administrator has to be asked."""
        tracee = self.tracee_of(NEWS, source="executes")
        session = self.session_of(NEWS)
        with polkit.acting_as(NEWS):
            fd = os.open(f"/proc/{tracee.pid}/mem", os.O_RDWR)
        self.addCleanup(os.close, fd)
        session.attach(tracee.pid, proof=wire.Variant("h", fd), children="follow")
        self.execute(session, tracee, "shell", "/bin/sh")
        child = session.process(self.execute(session, tracee, "child"))
        self.open(child, "OpenMemory", "s", "read")

    def test_child_of_another_users_is_not(self):
        tracee = self.tracee_of(NEWS, "allowed", source="executes")
        session = self.session_of(GAMES)
        session.attach(tracee.pid, children="follow")
        self.execute(session, tracee, "allowed-shell", "/bin/sh")
        child = session.process(self.execute(session, tracee, "allowed-child"))
        error = self.assert_error(ASK_ME, child.call, "OpenMemory", "s", "read")
        self.assertIn("open-memory-other", error.message)

    def test_permission_ends_with_an_exec(self):
        """It is for the program that was named; the other one is not asked about by itself."""
        tracee = self.tracee_of(GAMES, source="executes")
        session = self.session_of(GAMES)
        process = session.attach(tracee.pid)
        os.kill(self.service.polkit.pid, signal.SIGSTOP)
        try:
            serial = process.send("OpenMemory", "s", "read")
            session.get("Lifetime") # it has come along
            self.execute(session, tracee, "another")
        finally:
            os.kill(self.service.polkit.pid, signal.SIGCONT)
        error = self.assert_error("NotPermitted", session.client.reply, serial)
        self.assertIn("executed another program", error.message)

    def test_permission_ends_with_an_exec_before_the_tracer_comes_to_it(self):
        """Be the call the first thing that it sees, or the exec."""
        tracee = self.tracee_of(GAMES, source="executes")
        session = self.session_of(GAMES)
        process = session.attach(tracee.pid)
        tracer = self.service.tracer_of(tracee.pid)
        current = tracee.program
        for i in range(min(harness.rounds(), 10)):
            path = self.program(f"program-{i}", "executes")
            permitted = f"may use process {tracee.pid} ({current}): polkit allows"
            os.kill(tracer, signal.SIGSTOP)
            try:
                serial = process.send("OpenMemory", "s", "read")
                self.assert_wait(lambda text=permitted: text in self.service.daemons.logs().get("broker.log", ""),
                                 "the call is on its way")
                tracee.say(path)
                self.assert_wait(lambda path=path: os.readlink(f"/proc/{tracee.pid}/exe") == path, "it executes")
            finally:
                os.kill(tracer, signal.SIGCONT)
            with self.round(i):
                self.assert_error("NotPermitted", session.client.reply, serial)
                self.assertEqual(tracee.listen(), "ready")
                self.open(process, "OpenMemory", "s", "read")
            current = path

    def test_who_has_proved_it_is_not_asked(self):
        tracee = self.tracee_of(NEWS, "other")
        with polkit.acting_as(NEWS):
            fd = os.open(f"/proc/{tracee.pid}/mem", os.O_RDWR)
        self.addCleanup(os.close, fd)
        process = self.session_of(NEWS).attach(tracee.pid, proof=wire.Variant("h", fd))
        self.open(process, "OpenMemory", "s", "read-write")
        self.open(process, "OpenMaps")
        self.assert_error("NotAttached", process.client.session(process.path.split("/")[5]).process(1).call,
                          "OpenMemory", "s", "read")


class DetailsService(Service):
    """Whose rules say yes where the details are what they should be."""

    rules = f"""
    var id = action.id.substring("org.ptraced.Tracer1.".length);
    var told = function(key) {{ return "" + action.lookup(key); }};
    if (id == "open-memory" && told("access") == "read" && told("user") == "{pwd.getpwnam(GAMES).pw_uid}" &&
        told("executable").indexOf("/program") >= 0 && /^[0-9]+$/.test(told("pid")) &&
        told("method").indexOf("Open") == 0 && told("requester").length > 0)
        return polkit.Result.YES;
    if (id == "manage" && told("access") == "list" && told("user") == "{pwd.getpwnam(GAMES).pw_uid}" &&
        /^[0-9]+ [0-9]+$/.test(told("pid")) && told("session").length > 0 && told("executable") == "undefined")
        return polkit.Result.YES;
    if (id == "manage" && told("access") == "manage" && told("executable").indexOf("/program") >= 0 &&
        /^[0-9]+$/.test(told("pid")))
        return polkit.Result.YES;
    if (id == "list-other" && subject.user == "{NEWS}" && told("access") == "list" && told("method") == "ListSessions")
        return polkit.Result.YES;
    if (id == "observe" && told("access") == "observe" && told("method") == "GetEvent" && told("requester").length > 0 &&
        told("executable").indexOf("/ends") >= 0 && told("user") == "{pwd.getpwnam(GAMES).pw_uid}")
        return polkit.Result.NO;
    """ + Service.rules


class Details(Policy):
    """What a rule is told."""

    service_class = DetailsService

    def test_memory_is_opened_for_reading_and_not_for_writing(self):
        process = self.session_of(GAMES).attach(self.tracee_of(GAMES).pid)
        os.close(process.call("OpenMemory", "s", "read"))
        os.close(process.call("OpenMaps"))
        for mode in ("read-write", "read ", "append"):
            self.assert_error(ASK_ME, process.call, "OpenMemory", "s", mode)

    def test_session_is_looked_at_and_not_ended_but_for_one_program(self):
        session = self.session_of(GAMES, lifetime="persistent")
        one = session.attach(self.tracee_of(GAMES).pid)
        another = session.attach(self.tracee_of(GAMES, "another").pid)
        theirs = self.service.connect_as(NEWS).session(session.id)
        self.assertEqual(theirs.get("Id"), session.id)
        self.assert_error(ASK_ME, theirs.close)
        one.detach()
        self.assert_error(ASK_ME, theirs.get, "Id")
        self.assert_error(ASK_ME, theirs.close)
        session.attach(one.pid)
        another.detach()
        theirs.close()

    def execute(self, session, tracee, name):
        path = self.program(name)
        tracee.say(path)
        session.events_until(lambda e: e.kind == "exec" and e.details["path"] == path)
        self.assertEqual(tracee.listen(), "ready")

    def test_session_is_ended_for_what_its_process_executes_now(self):
        tracee = self.tracee_of(GAMES, "before", "executes")
        session = self.session_of(GAMES, lifetime="persistent")
        session.call("Subscribe")
        session.attach(tracee.pid)
        theirs = self.service.connect_as(NEWS).session(session.id)
        self.assert_error(ASK_ME, theirs.close)
        self.execute(session, tracee, "program")
        theirs.close()

    def test_one_list_and_not_another(self):
        session = self.session_of(GAMES, lifetime="persistent")
        session.attach(self.tracee_of(GAMES).pid)
        manager = self.service.connect_as(NEWS)
        self.assertIn(session.id, manager.list_sessions())
        self.assertEqual(manager.manager.call("ListTracees"), [])

    def test_events_of_what_has_ended(self):
        tracee = self.tracee_of(GAMES, "ends")
        session = self.session_of(GAMES, lifetime="persistent")
        session.attach(tracee.pid)
        tracee.quit()
        tracee.wait()
        self.assert_wait(lambda: not self.connect().manager.call("ListTracees"), "it is gone")
        again = self.service.connect_as(GAMES).session(session.id)
        self.assert_error(ACCESS_DENIED, again.call, "GetEvent", "t", 0)
        again.call("Subscribe") # which the rule does not speak of, and another says yes


    def test_events_of_what_has_executed_another_program_and_ended(self):
        tracee = self.tracee_of(GAMES, "before", "executes")
        session = self.session_of(GAMES, lifetime="persistent")
        session.call("Subscribe")
        session.attach(tracee.pid)
        self.execute(session, tracee, "ends")
        tracee.quit()
        tracee.wait()
        self.assert_wait(lambda: not self.connect().manager.call("ListTracees"), "it is gone")
        again = self.service.connect_as(GAMES).session(session.id)
        self.assert_error(ACCESS_DENIED, again.call, "GetEvent", "t", 0)


class Asking(Dialog):
    def interactive(self, user=NEWS):
        one = self.service.connect_as(user)
        one.flags |= wire.ALLOW_INTERACTION
        return one

    def test_dialog_says_who_wants_to_open_the_memory_of_what(self):
        tracee = self.tracee_of(NEWS)
        one = self.interactive()
        session = one.create_session()
        serial = session.send("AttachProcess", "ua{sv}", tracee.pid, options())
        self.agent.agree(self.agent.next_question())
        one.reply(serial)
        serial = session.process(tracee.pid).send("OpenMemory", "s", "read-write")
        question = self.agent.next_question()
        self.assertEqual(question.action, "org.ptraced.Tracer1.open-memory")
        self.assertEqual(question.message,
                         f"Authentication is required to let {procfs.comm(os.getpid())} open the memory of "
                         f"{tracee.program} (process {tracee.pid} of user {pwd.getpwnam(NEWS).pw_uid}, access read-write)")
        self.agent.agree(question)
        os.close(one.reply(serial)[0])

    def test_dialog_says_what_the_process_has_executed_since(self):
        tracee = self.tracee_of(NEWS, source="executes")
        one = self.interactive()
        session = one.create_session()
        serial = session.send("AttachProcess", "ua{sv}", tracee.pid, options())
        self.agent.agree(self.agent.next_question())
        one.reply(serial)
        path = self.program("since")
        tracee.say(path)
        session.events_until(lambda e: e.kind == "exec")
        serial = session.process(tracee.pid).send("OpenMemory", "s", "read")
        question = self.agent.next_question()
        self.assertIn(f"open the memory of {path} (process {tracee.pid} ", question.message)
        self.agent.dismiss(question)
        self.assert_error(ACCESS_DENIED, one.reply, serial)

    def test_dialog_says_whose_session_is_ended(self):
        session = self.session_of(GAMES, lifetime="persistent")
        one = self.interactive()
        serial = one.session(session.id).send("Close")
        question = self.agent.next_question()
        self.assertEqual(question.action, "org.ptraced.Tracer1.manage")
        self.assertEqual(question.message,
                         f"Authentication is required to let {procfs.comm(os.getpid())} end the tracing of user "
                         f"{pwd.getpwnam(GAMES).pw_uid} in session {session.id}")
        self.agent.agree(question)
        one.reply(serial)

    def test_dialog_says_whose_last_events_are_taken(self):
        tracee = self.tracee_of(GAMES, "allowed")
        session = self.session_of(NEWS, lifetime="persistent")
        session.attach(tracee.pid)
        tracee.quit()
        tracee.wait()
        self.assert_wait(lambda: not self.connect().manager.call("ListTracees"), "it is gone")
        one = self.interactive()
        serial = one.session(session.id).send("GetEvent", "t", 0)
        question = self.agent.next_question()
        self.assertEqual(question.message,
                         f"Authentication is required to let {procfs.comm(os.getpid())} take events of {tracee.program} "
                         f"(process {tracee.pid} of user {pwd.getpwnam(GAMES).pw_uid}, which has ended)")
        self.agent.agree(question)
        self.assertEqual(one.reply(serial)[0][2], session.process(tracee.pid).path)

    def test_caller_that_leaves_while_the_keeper_is_asked_who_it_is_leaves_nothing(self):
        session = self.session_of(GAMES, lifetime="persistent")
        os.kill(self.service.keeper.pid, signal.SIGSTOP)
        try:
            for _ in range(10):
                one = self.interactive()
                one.session(session.id).send("Close")
                self.assert_error("NoSuchSession", one.manager.call, "GetSession", "s", "none") # it has come along
                one.close()
        finally:
            os.kill(self.service.keeper.pid, signal.SIGCONT)
        self.assertEqual(session.get("Id"), session.id)


class WhileTheKeeperIsAsked(Policy):
    def test_calls_that_wait_for_it_are_bounded(self):
        """Of each the keeper is asked who calls before polkit is."""
        theirs = self.session_of(GAMES, lifetime="persistent")
        one = self.service.connect_as(NEWS)
        os.kill(self.service.keeper.pid, signal.SIGSTOP)
        try:
            serials = [one.session(theirs.id).send("Close") for _ in range(40)]
            for serial in serials[16:]:
                self.assertIn("QuestionsMax", self.assert_error("LimitExceeded", one.reply, serial).message)
        finally:
            os.kill(self.service.keeper.pid, signal.SIGCONT)
        for serial in serials[:16]:
            self.assert_error(ASK_ME, one.reply, serial)

    def test_calls_that_wait_for_it_are_small(self):
        theirs = self.session_of(GAMES, lifetime="persistent")
        one = self.service.connect_as(NEWS)
        error = self.assert_error("LimitExceeded", one.session(theirs.id).call, "Close", "ay", bytes(5000))
        self.assertIn("Close", error.message)


class Managing(Policy):
    """Who may see and end what others trace."""

    service_class = ManagingService

    def setUp(self):
        super().setUp()
        self.traced = self.tracee_of(GAMES)
        self.session = self.session_of(GAMES, lifetime="persistent")
        self.session.attach(self.traced.pid)
        self.manager = self.service.connect_as(NEWS)

    def test_sessions_of_others_are_listed(self):
        self.assertEqual(list(self.manager.list_sessions()), [self.session.id])
        self.assertEqual([entry[0] for entry in self.manager.manager.call("ListTracees")], [self.traced.pid])
        (objects,) = self.manager.call(client.ROOT, client.OBJECT_MANAGER, "GetManagedObjects")
        self.assertEqual(set(objects), {self.session.path, self.session.process(self.traced.pid).path})
        other = self.service.connect_as(GAMES)
        self.assertEqual(list(other.list_sessions()), [self.session.id])
        self.assertEqual(other.manager.call("ListTracees"), [], "a rule says no")

    def test_permission_is_for_one_call(self):
        self.manager.list_sessions()
        self.assert_error(ACCESS_DENIED, self.manager.session(self.session.id).interrupt)
        theirs = self.manager.session(self.session.id)
        serials = [theirs.send("Interrupt"), self.manager.manager.send("ListTracees"), theirs.send("Interrupt"),
                   theirs.send("Subscribe")]
        for serial in (serials[0], *serials[2:]):
            self.assert_error(ACCESS_DENIED, self.manager.reply, serial)
        self.assertEqual(len(self.manager.reply(serials[1])[0]), 1)

    def test_session_of_another_user_is_looked_at_and_ended(self):
        theirs = self.manager.session(self.session.id)
        self.assertEqual(theirs.get("Id"), self.session.id)
        theirs.call("DetachAll")
        self.assert_runs_free(self.traced)
        theirs.close()
        self.assertEqual(self.manager.list_sessions(), {})

    def test_nobody_else_does(self):
        mine = self.session_of(NEWS, lifetime="persistent")
        other = self.service.connect_as(GAMES).session(mine.id)
        self.assertEqual(list(other.client.list_sessions()), [self.session.id])
        self.assert_error(ASK_ME, other.close)
        mine.close()

    def test_caller_that_leaves_meanwhile_leaves_nothing(self):
        os.kill(self.service.polkit.pid, signal.SIGSTOP)
        try:
            for _ in range(20):
                one = self.service.connect_as(NEWS)
                one.call(client.ROOT, client.INTROSPECTABLE, "Introspect") # it is known
                for _ in range(3):
                    one.session(self.session.id).send("Close")
                one.call(client.ROOT, client.INTROSPECTABLE, "Introspect") # polkit is asked
                one.close()
            self.assertEqual(list(self.connect().list_sessions()), [self.session.id])
        finally:
            os.kill(self.service.polkit.pid, signal.SIGCONT)
        self.manager.list_sessions()
        self.session.get("Id")


del Policy, Dialog

if __name__ == "__main__":
    harness.main()
