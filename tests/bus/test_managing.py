# SPDX-License-Identifier: LGPL-2.1-or-later
"""What polkit's `manage` lets somebody do who is not root: set limits, on the bus and by ptracectl."""

import pwd
import time

import client
import harness
import polkit
import wire
from policy import ACCESS_DENIED, ASK_ME, GAMES, NEWS, Policy, Service

MANAGE = "org.ptraced.Tracer1.manage"
INVALID_ARGS = "org.freedesktop.DBus.Error.InvalidArgs"
NOT_COUNTED = 2**64 - 1


class ManagingService(Service):
    rules = Service.rules + f"""
    if (action.id == "{MANAGE}" && subject.user == "{NEWS}" && action.lookup("value") != "13")
        return polkit.Result.YES;
    """


def set_limit(who, name, value):
    who.manager.call("SetLimit", "st", name, value)


class Managing(Policy):
    service_class = ManagingService

    def setUp(self):
        super().setUp()
        self.manager = self.service.connect_as(NEWS)
        self.user = self.service.connect_as(GAMES)

    def limits(self, who):
        """{name: (value, used)}"""
        return {name: (value, used) for name, value, used, _ in who.manager.call("ListLimits")}

    def agent_of(self, user):
        agent = polkit.Agent(polkit.Listener.open(self.service.bus_socket), wire.Connection.open(self.service.bus_socket),
                             polkit.ourselves(user))
        self.addCleanup(agent.close)
        return agent


class Limits(Managing):
    def test_limit_holds_from_when_it_is_set(self):
        first = self.user.create_session()
        set_limit(self.manager, "SessionsMax", 1)
        error = self.assert_error("LimitExceeded", self.user.create_session)
        self.assertIn("SessionsMax is reached: no more than 1 ", error.message)
        self.assertEqual(self.user.manager.get("SessionsMax"), 1)
        set_limit(self.manager, "SessionsMax", 2)
        self.user.create_session().close()
        first.close()

    def test_limit_below_what_is_there_takes_nothing_away(self):
        tracees = [self.tracee_of(GAMES, name) for name in ("a", "b")]
        session = self.user.create_session()
        for tracee in tracees:
            session.attach(tracee.pid)
        set_limit(self.manager, "TraceesMax", 1)
        for tracee in tracees:
            session.process(tracee.pid).interrupt()
        self.assert_error("LimitExceeded", session.attach, self.tracee_of(GAMES, "c").pid)

    def test_everybody_sees_limits_and_how_far_his_own_are_used(self):
        sessions = [self.user.create_session() for _ in range(3)]
        sessions[0].attach(self.tracee_of(GAMES).pid)
        for who, used in ((self.user, (3, 1)), (self.manager, (0, 0)), (self.connect(), (3, 1))):
            limits = self.limits(who)
            self.assertEqual((limits["SessionsMax"], limits["TraceesMax"]), ((64, used[0]), (1024, used[1])))
            self.assertEqual(limits["WaitersMax"], (32, NOT_COUNTED))
            self.assertNotIn("UnreadMax", limits) # which cannot be set

    def test_users_are_told(self):
        self.user.connection.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "AddMatch",
                                  "s", f"type='signal',path='{client.ROOT}',member='PropertiesChanged'")
        set_limit(self.manager, "SessionsMax", 5)
        deadline = time.monotonic() + 10
        told = []
        while not told and self.user.connection.pump(deadline - time.monotonic()):
            self.user.sort()
            told = [(path, body) for path, member, body in self.user.signals if member == "PropertiesChanged"]
        (path, (interface, values, _)), = told
        self.assertEqual((path, interface, values["SessionsMax"].value), (client.ROOT, client.MANAGER, 5))

    def test_nobody_else_sets_one(self):
        error = self.assert_error(ASK_ME, set_limit, self.user, "SessionsMax", 1)
        self.assertIn(f"SetLimit of the limit SessionsMax takes the polkit action {MANAGE}", error.message)
        self.assert_error(ASK_ME, set_limit, self.manager, "SessionsMax", 13)
        self.assertEqual(self.limits(self.user)["SessionsMax"][0], 64)

    def test_dialog_says_which_limit_and_what_it_will_be(self):
        agent = self.agent_of(GAMES)
        self.user.flags |= wire.ALLOW_INTERACTION
        serial = self.user.manager.send("SetLimit", "st", "SessionsMax", 7)
        question = agent.next_question()
        self.assertEqual((question.action, question.message),
                         (MANAGE, "Authentication is required to set the limit SessionsMax of the tracing service to 7"))
        self.assertEqual(self.limits(self.connect())["SessionsMax"][0], 64)
        agent.agree(question)
        self.user.reply(serial)
        self.assertEqual(self.limits(self.user)["SessionsMax"][0], 7)
        serial = self.user.manager.send("SetLimit", "st", "SessionsMax", 8)
        agent.dismiss(agent.next_question()) # the answer was for one call
        self.assert_error(ACCESS_DENIED, self.user.reply, serial)
        self.assertEqual(self.limits(self.user)["SessionsMax"][0], 7)

    def test_nobody_is_asked_about_what_cannot_be(self):
        for name, value in (("Sessions", 1), ("", 1), ("UnreadMax", 5), ("SessionsMax", 0), ("SessionsMax", 100001),
                            ("SessionsMax", 2**32 + 1), ("SessionsMax", 2**64 - 1), ("x\n" * 100, 1)):
            for who in (self.user, self.connect()):
                with self.subTest(name=name, value=value):
                    error = self.assert_error("InvalidOption", set_limit, who, name, value)
                    self.assertTrue(error.message.isprintable(), error.message)
        self.assert_error(INVALID_ARGS, self.user.manager.call, "SetLimit", "su", "SessionsMax", 1)
        self.assertEqual(self.limits(self.user)["SessionsMax"][0], 64)

    def test_journal_has_who_set_it_and_what_it_was(self):
        set_limit(self.manager, "SessionsMax", 5)
        set_limit(self.connect(), "SessionsMax", 6)
        def log():
            return self.service.daemons.logs().get("broker.log", "")
        uid = pwd.getpwnam(NEWS).pw_uid
        for who, words in ((uid, "SessionsMax to 5 (it was 64)"), (0, "SessionsMax to 6 (it was 5)")):
            self.assert_wait(lambda who=who, words=words: any(f"User {who} (" in line and words in line
                                                              for line in log().splitlines()), f"{words}: {log()}")


class LeavingService(ManagingService):
    broker_options = ("--idle-exit=1",)


class IdleExit(Managing):
    service_class = LeavingService

    def test_service_stays_for_a_limit_that_is_not_the_configured_one(self):
        set_limit(self.manager, "SessionsMax", 5)
        self.service.close_clients()
        time.sleep(3) # a second is its time
        self.assertIsNone(self.service.broker.poll())
        again = self.service.connect_as(NEWS)
        self.assertEqual(again.manager.get("SessionsMax"), 5)
        set_limit(again, "SessionsMax", 64)
        self.service.close_clients()
        self.assert_wait(lambda: self.service.broker.poll() is not None, "it ends")
        self.assertEqual(self.service.broker.returncode, 0)
        self.service.start_broker() # which the end of the test looks at


if __name__ == "__main__":
    harness.main()
