# SPDX-License-Identifier: LGPL-2.1-or-later
"""What takes a permission of its own on a booted system, by rules that say yes, no and ask, and by the
defaults: to see what others trace, to end it, and to have descriptors that nobody can take back."""

import os

import cases
import client
import wire
from cases import NAME
from users import ACCESS_DENIED, ALICE, ASK_ME, BOB, PLACES, PROGRAM, Users

EVERYBODY_CONTROLS = f'if (action.id.indexOf("{NAME}.control") == 0) return polkit.Result.YES;\n'


def answer(action, result):
    return EVERYBODY_CONTROLS + f'if (action.id == "{NAME}.{action}") return polkit.Result.{result};'


class Permits(Users):
    def setUp(self):
        super().setUp()
        self.rules(EVERYBODY_CONTROLS)
        self.tracee_of, self.session_of = {}, {}
        for user in (ALICE, BOB):
            self.tracee_of[user] = self.tracee(PROGRAM, user=user)

    def attach_as(self, user, tracee):
        session = self.client_of(user).create_session(lifetime="persistent")
        session.attach(tracee.inside)
        self.session_of[user] = session

    def assert_refused(self, name, action, function, *args):
        with self.assertRaises(wire.Error) as caught:
            function(*args)
        self.assertEqual(caught.exception.name, name)
        self.assertIn(f"{NAME}.{action}", caught.exception.message)


class Lists(Permits):
    """Of these nobody is ever asked: who may see less is shown less."""

    # By action and result: of whom another program of ALICE's is shown the sessions, and the tracees.
    ROWS = [
        ("list", None, {ALICE}, {ALICE}),
        ("list", "YES", {ALICE}, {ALICE}),
        ("list", "NO", {ALICE}, set()),
        ("list", "AUTH_SELF", {ALICE}, set()),
        ("list-other", "YES", {ALICE, BOB}, {ALICE, BOB}),
        ("list-other", "NO", {ALICE}, {ALICE}),
        ("list-other", "AUTH_SELF", {ALICE}, {ALICE}),
    ]

    def seen(self, who):
        sessions, tracees = who.list_sessions(), {entry[0] for entry in who.manager.call("ListTracees")}
        (objects,) = who.call(client.ROOT, client.OBJECT_MANAGER, "GetManagedObjects")
        found = tuple({user for user in (ALICE, BOB) if seen(user)} for seen in (
            lambda user: self.session_of[user].id in sessions,
            lambda user: self.tracee_of[user].inside in tracees))
        self.assertEqual(set(objects), {self.session_of[user].path for user in found[0]} |
                         {self.session_of[user].process(self.tracee_of[user].inside).path for user in found[1]})
        return found

    def test_each_row(self):
        for user in (ALICE, BOB):
            self.attach_as(user, self.tracee_of[user])
        who = self.at("at the seat")
        who.flags |= wire.ALLOW_INTERACTION
        for action, result, *shown in self.ROWS:
            with self.subTest(action=action, result=result):
                self.rules((answer(action, result) if result else EVERYBODY_CONTROLS).replace("control", "observe"))
                agent = self.agent(who)
                self.assertEqual(list(self.seen(who)), shown)
                # The first dialog is about something else.
                another = who.create_session()
                another.send("AttachProcess", "ua{sv}", self.tracee_of[BOB].inside, client.options())
                agent.dismiss(self.dialog(agent, "control-other", "root"))
                another.close()

    def test_rule_is_for_whom_it_names(self):
        for user in (ALICE, BOB):
            self.attach_as(user, self.tracee_of[user])
        self.rules(f'{EVERYBODY_CONTROLS}if (action.id == "{NAME}.list-other" && subject.user == "{ALICE}") '
                   "return polkit.Result.YES;")
        self.assertEqual(self.seen(self.client_of(ALICE)), ({ALICE, BOB}, {ALICE, BOB}))
        self.assertEqual(self.seen(self.client_of(BOB)), ({BOB}, {BOB}))


class Managing(Permits):
    """Another user's session is looked at and ended."""

    def setUp(self):
        super().setUp()
        self.attach_as(BOB, self.tracee_of[BOB])

    def theirs(self, who):
        return who.session(self.session_of[BOB].path)

    def assert_traced(self, expected):
        self.assert_wait(lambda: (cases.harness.procfs.tracer_pid(self.tracee_of[BOB].pid) > 0) == expected,
                         f"it is traced: {expected}")

    def test_rule_that_says_yes_is_enough(self):
        self.rules(answer("manage", "YES"))
        session = self.theirs(self.client_of(ALICE))
        self.assertEqual(session.get("Id"), session.id)
        session.call("DetachAll")
        self.assert_traced(False)
        session.close()
        self.assertEqual(session.client.list_sessions(), {})
        self.assertEqual(self.session_of[BOB].client.list_sessions(), {})

    def test_rule_that_says_no_is_the_end_of_it(self):
        self.rules(answer("manage", "NO"))
        who = self.client_of(ALICE)
        who.flags |= wire.ALLOW_INTERACTION
        session = self.theirs(who)
        for function, *args in ((session.get, "Id"), (session.call, "DetachAll"), (session.close,)):
            self.assert_refused(ACCESS_DENIED, "manage", function, *args)
        self.assert_traced(True)

    def test_administrator_is_asked_each_time(self):
        """Wherever the one who asks is."""
        for place in PLACES:
            with self.subTest(place=place):
                who = self.at(place)
                agent = self.agent(who)
                session = self.theirs(who)
                self.assert_refused(ASK_ME, "manage", session.call, "DetachAll")
                who.flags |= wire.ALLOW_INTERACTION
                self.assertEqual(self.ask_for_id(session, agent, agent.agree)[0].value, session.id)
                self.assert_refused(ACCESS_DENIED, "manage", self.ask_for_id, session, agent, agent.dismiss)
        self.assert_traced(True)
        serial = session.send("DetachAll")
        agent.agree(self.dialog(agent, "manage", "root"))
        who.reply(serial)
        self.assert_traced(False)
        serial = session.send("Close")
        agent.agree(self.dialog(agent, "manage", "root"))
        who.reply(serial)
        self.assertEqual(self.session_of[BOB].client.list_sessions(), {})

    def ask_for_id(self, session, agent, decide):
        serial = session.client.send(session.path, client.PROPERTIES, "Get", "ss", client.SESSION, "Id")
        decide(self.dialog(agent, "manage", "root"))
        return session.client.reply(serial)


class Memory(Permits):
    """A descriptor of what is controlled."""

    ACTIONS = {ALICE: "open-memory", BOB: "open-memory-other"}

    def processes(self, who):
        """By whose they are; what is ALICE's is her own."""
        session = who.create_session()
        found = {}
        for user, tracee in self.tracee_of.items():
            found[user] = session.attach(tracee.inside)
            found[user].interrupt()
        return found

    def assert_is_memory_of(self, process, fd):
        stack = next(value for name, value in process.thread(process.pid).registers().items() if name in ("rsp", "sp"))
        try:
            self.assertEqual(os.pread(fd, 64, stack), process.read_memory(stack, 64))
        finally:
            os.close(fd)

    def test_rule_that_says_yes_is_for_its_action_alone(self):
        who = self.client_of(ALICE)
        processes = self.processes(who)
        for action in self.ACTIONS.values():
            self.rules(answer(action, "YES"))
            for user, process in processes.items():
                with self.subTest(action=action, of=user):
                    if self.ACTIONS[user] == action:
                        self.assert_is_memory_of(process, process.call("OpenMemory", "s", "read-write"))
                        os.close(process.call("OpenMaps"))
                    else:
                        self.assert_refused(ASK_ME, self.ACTIONS[user], process.call, "OpenMemory", "s", "read")
                        self.assert_refused(ASK_ME, self.ACTIONS[user], process.call, "OpenMaps")

    def test_rule_that_says_no_is_the_end_of_it(self):
        who = self.client_of(ALICE)
        who.flags |= wire.ALLOW_INTERACTION
        processes = self.processes(who)
        for user, action in self.ACTIONS.items():
            self.rules(answer(action, "NO"))
            self.assert_refused(ACCESS_DENIED, action, processes[user].call, "OpenMemory", "s", "read")
            self.assert_refused(ACCESS_DENIED, action, processes[user].call, "OpenMaps")

    def test_defaults_ask_whom_they_should_and_each_time(self):
        for place in PLACES:
            who = self.at(place)
            agent = self.agent(who)
            processes = self.processes(who)
            for user, action in self.ACTIONS.items():
                with self.subTest(place=place, of=user):
                    asked = ALICE if (place, user) == ("at the seat", ALICE) else "root"
                    process = processes[user]
                    self.assert_refused(ASK_ME, action, process.call, "OpenMemory", "s", "read")
                    who.flags |= wire.ALLOW_INTERACTION
                    for agrees in (True, True, False):
                        self.ask_for_memory(process, agent, action, asked, agrees)
                    who.flags &= ~wire.ALLOW_INTERACTION

    def ask_for_memory(self, process, agent, action, asked, agrees):
        serial = process.send("OpenMemory", "s", "read")
        question = self.dialog(agent, action, asked)
        self.assertIn(f"open the memory of /opt/tracees/{PROGRAM} (process {process.pid}", question.message)
        if agrees:
            agent.agree(question)
            self.assert_is_memory_of(process, process.client.reply(serial)[0])
        else:
            agent.dismiss(question)
            self.assert_refused(ACCESS_DENIED, action, process.client.reply, serial)


if __name__ == "__main__":
    cases.main()
