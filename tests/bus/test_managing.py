# SPDX-License-Identifier: LGPL-2.1-or-later
"""Permissions of their own: descriptors of a process, and what other users trace."""

import os
import signal

import client
import harness
import polkit
import wire
from policy import ACCESS_DENIED, ASK_ME, GAMES, NEWS, Policy, Service


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
    """


class Opening(Policy):
    """Descriptors that nobody can take back."""

    service_class = OpeningService

    def open(self, process, member, *args):
        os.close(process.call(member, *args))

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


del Policy

if __name__ == "__main__":
    harness.main()
