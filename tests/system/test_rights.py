# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who is not root traces what policy lets him, through the real bus of a booted system: users with and
without a session at its seat, rules that say yes, no and ask, and the defaults where there are none."""

import os
import xml.etree.ElementTree as ET
from typing import NamedTuple

import cases
import client
import wire
from cases import NAME
from client import options
from users import ACCESS_DENIED, ALICE, ASK_ME, BOB, NOT_PERMITTED, PLACES, PROGRAM, Users


class Row(NamedTuple):
    target: str
    access: str
    place: str
    action: str
    asked: str  # who authenticates


# What a user gets where no rule says anything, of a process of his own and of others. Whether it is
# kept is another test.
DEFAULTS = [
    *(Row("own", access, place, access, ALICE if place == "at the seat" else "root")
      for access in ("observe", "control") for place in PLACES),
    *(Row(target, access, place, access + "-other", "root")
      for target in ("another user's", "root's", "privileged", "unreadable", "in a user namespace", "of another group",
                     "with a capability")
      for access in ("observe", "control") for place in PLACES),
]


class Table(Users):
    """Every row, by all that a rule, or the absence of one, can say."""

    def setUp(self):
        super().setUp()
        self.targets = {
            "own": self.tracee(PROGRAM, user=ALICE),
            "another user's": self.tracee(PROGRAM, user=BOB),
            "root's": self.tracee(PROGRAM),
            "privileged": self.copy("privileged", 0o4755),
            "unreadable": self.copy("unreadable", 0o711),
            "in a user namespace": self.tracee(PROGRAM, user=ALICE, properties=["PrivateUsers=yes"]),
            "of another group": self.dumpable(f"Group={BOB}"),
            "with a capability": self.dumpable("AmbientCapabilities=CAP_NET_RAW"),
        }

    def dumpable(self, setting):
        """Whose files in /proc are root's where it is not: nothing but the setting makes it another's."""
        tracee = self.tracee(PROGRAM, user=ALICE, properties=[setting])
        self.assertEqual(os.stat(f"/proc/{tracee.pid}/status").st_uid, self.machine.account(ALICE).uid)
        return tracee

    def copy(self, name, mode):
        path = self.machine.copy_tracee(PROGRAM, "/usr/local/bin/" + name, mode)
        return self.tracee(PROGRAM, user=ALICE, program=path)

    def test_defaults_ask_whom_they_should(self):
        for place in PLACES:
            who = self.at(place)
            agent = self.agent(who)
            for row in (row for row in DEFAULTS if row.place == place):
                with self.subTest(row=row):
                    self.assert_asked(who, agent, row)

    def assert_asked(self, who, agent, row):
        tracee = self.targets[row.target]
        self.assertEqual(self.refusal(who, tracee, access=row.access), (ASK_ME, row.action))
        attaching = who.create_session()
        who.flags |= wire.ALLOW_INTERACTION
        serial = attaching.send("AttachProcess", "ua{sv}", tracee.inside, options(access=row.access))
        who.flags &= ~wire.ALLOW_INTERACTION
        question = self.dialog(agent, row.action, row.asked)
        self.assertIn(f" {row.access} {tracee.program} (process {tracee.inside} of user", question.message)
        agent.dismiss(question)
        with self.assertRaises(wire.Error) as caught:
            attaching.client.reply(serial)
        self.assertEqual(caught.exception.name, NOT_PERMITTED)
        attaching.close()
        self.assertEqual(cases.harness.procfs.tracer_pid(tracee.pid), 0)

    def test_rule_that_says_yes_is_enough_for_each_action_and_for_no_other(self):
        who = self.client_of(ALICE)
        for target, action in (("own", "observe"), ("own", "control"), ("another user's", "observe-other"),
                               ("root's", "control-other")):
            access = action.partition("-")[0]
            self.rules(f'if (action.id == "{NAME}.{action}" && subject.user == "{ALICE}") return polkit.Result.YES;')
            for name, tracee in self.targets.items():
                for level in ("observe", "control"):
                    with self.subTest(action=action, target=name, access=level):
                        allowed = level == access and (name == "own") == (target == "own")
                        self.assert_allowed(who, tracee, level) if allowed else self.assertEqual(
                            self.refusal(who, tracee, access=level)[0], ASK_ME)
            self.assertEqual(self.refusal(self.client_of(BOB), self.targets[target], access=access)[0], ASK_ME)

    def assert_allowed(self, who, tracee, access):
        session = self.attach(who, tracee, access=access)
        process = session.process(tracee.inside)
        self.assertEqual(list(process.list_threads()), self.inside_threads(tracee))
        process.interrupt()
        session.events_until(lambda event: event.kind == "stop")
        if access == "observe":
            self.assertTrue(cases.wait_until(lambda: self.read_registers(process, tracee.inside), 10))
            with self.assertRaises(wire.Error) as caught:
                process.kill()
            self.assertEqual(caught.exception.name, NOT_PERMITTED)
        session.close()

    @staticmethod
    def read_registers(process, tid):
        """None where the time in which an observer may hold it was over before."""
        try:
            process.interrupt()
            return process.thread(tid).registers()
        except wire.Error:
            return None

    @staticmethod
    def inside_threads(tracee):
        return [int(cases.harness.procfs.status(tracee.pid, "NSpid", tid).split()[-1]) for tid in tracee.threads()]

    def test_rule_that_says_no_is_the_end_of_it(self):
        self.rules(f'if (action.id.indexOf("{NAME}.") == 0) return polkit.Result.NO;')
        who = self.client_of(ALICE)
        who.flags |= wire.ALLOW_INTERACTION
        for name, tracee in self.targets.items():
            for access in ("observe", "control"):
                with self.subTest(target=name, access=access):
                    action = access if name == "own" else access + "-other"
                    self.assertEqual(self.refusal(who, tracee, access=access), (NOT_PERMITTED, action))

    def test_rule_may_go_by_what_the_question_is_about(self):
        self.rules('if (action.lookup("executable") == "/usr/local/bin/privileged" && action.lookup("access") == '
                   f'"control" && action.lookup("user") == "{self.machine.account(ALICE).uid}" && '
                   'subject.isInGroup("alice")) return polkit.Result.YES;')
        who = self.client_of(ALICE)
        self.assert_allowed(who, self.targets["privileged"], "control")
        self.assertEqual(self.refusal(who, self.targets["unreadable"])[0], ASK_ME)

    def test_root_is_not_asked(self):
        self.rules("return polkit.Result.NO;")
        session = self.new_session()
        for tracee in self.targets.values():
            session.attach(tracee.inside)
        session.close()


class Dialogs(Users):
    def setUp(self):
        super().setUp()
        self.who = self.client_of(ALICE)
        self.log_in(self.who.connection)
        self.there = self.agent(self.who)
        self.who.flags |= wire.ALLOW_INTERACTION

    def ask_for(self, tracee, **values):
        session = self.who.create_session()
        return session, session.send("AttachProcess", "ua{sv}", tracee.inside, options(**values))

    def agree(self, tracee, **values):
        session, serial = self.ask_for(tracee, **values)
        self.there.agree(self.there.next_question())
        self.who.reply(serial)
        return session

    def test_answer_to_observing_is_kept_for_a_while(self):
        first, second = (self.tracee(PROGRAM, user=ALICE) for _ in range(2))
        self.agree(first, access="observe")
        _, serial = self.ask_for(second, access="observe")
        self.who.reply(serial)

    def test_answer_to_controlling_is_for_one_process(self):
        first, second = (self.tracee(PROGRAM, user=ALICE) for _ in range(2))
        self.agree(first)
        self.agree(second)

    def test_answer_about_others_is_never_kept(self):
        for access in ("observe", "control"):
            first, second = (self.tracee(PROGRAM, user=BOB) for _ in range(2))
            self.agree(first, access=access)
            self.agree(second, access=access)


class Yama(Users):
    """What kernel.yama.ptrace_scope says is for the whole machine, and cannot be taken back, so the keeper is
    shown another file in its place."""

    KERNEL = "/etc/ptraced-test-kernel"
    DROP_IN = f"/etc/systemd/system/{cases.KEEPER}.d/yama.conf"

    def setUp(self):
        super().setUp()
        self.rules(f'if (action.id == "{NAME}.control" || action.id == "{NAME}.observe") return polkit.Result.YES;')
        self.mine = self.tracee(PROGRAM, user=ALICE)
        self.who = self.client_of(ALICE)

    def set_scope(self, scope):
        # The first two are what the unit's other settings look for there.
        for name, text in (("hostname", ""), ("domainname", ""), ("yama/ptrace_scope", f"{scope}\n")):
            self.machine.write(f"{self.KERNEL}/{name}", text)
        self.machine.write(self.DROP_IN, f"[Service]\nBindReadOnlyPaths={self.KERNEL}:/proc/sys/kernel\n")
        self.machine.run("systemctl", "daemon-reload")
        self.addCleanup(self.forget_scope)

    def forget_scope(self):
        self.machine.remove(self.DROP_IN)
        self.machine.run("systemctl", "daemon-reload")

    def test_own_processes_are_traced_under_scope_1(self):
        self.set_scope(1)
        self.attach(self.who, self.mine).close()

    def test_own_processes_take_an_administrator_under_scope_2(self):
        self.set_scope(2)
        agent = self.agent(self.who)
        for access in ("observe", "control"):
            self.assertEqual(self.refusal(self.who, self.mine, access=access), (ASK_ME, access + "-other"))
            self.who.flags |= wire.ALLOW_INTERACTION
            session = self.who.create_session()
            serial = session.send("AttachProcess", "ua{sv}", self.mine.inside, options(access=access))
            self.who.flags &= ~wire.ALLOW_INTERACTION
            agent.agree(self.dialog(agent, access + "-other", "root"))
            self.who.reply(serial)
            session.close()
        self.new_session().attach(self.mine.inside)

    def test_nothing_is_traced_under_scope_3(self):
        """Of root's the kernel itself would say so."""
        self.set_scope(3)
        with self.assertRaises(wire.Error) as caught:
            self.who.create_session().attach(self.mine.inside)
        self.assertEqual(caught.exception.name, client.ERROR + "NotSupported")
        self.assertIn("kernel.yama.ptrace_scope is 3", caught.exception.message)


class Strangers(Users):
    """What one user has is out of reach for another one, and not to be seen."""

    def setUp(self):
        super().setUp()
        self.rules(f'if (action.id == "{NAME}.control") return polkit.Result.YES;')
        self.mine = self.tracee(PROGRAM, user=ALICE)
        self.session = self.attach(self.client_of(ALICE), self.mine)

    def methods(self):
        """All that the introspection of the session, its process and its thread has: (path, interface, method)."""
        process = self.session.process(self.mine.inside)
        for one in (self.session, process, process.thread(self.mine.inside)):
            for interface in ET.fromstring(one.introspect()).iter("interface"):
                for method in interface.iter("method"):
                    arguments = [arg.get("type") for arg in method if arg.get("direction", "in") == "in" and
                                 arg.tag == "arg"]
                    yield one.path, interface.get("name"), method.get("name"), "".join(arguments)

    VALUES = {"a{sv}": {}, "as": [], "ay": b"", "a(tt)": [], "s": "x", "v": wire.Variant("s", "x")}

    def test_no_method_of_a_session_is_for_another_user(self):
        other = self.client_of(BOB)
        methods = list(self.methods())
        self.assertGreater(len(methods), 50)
        for path, interface, method, signature in methods:
            if interface == "org.freedesktop.DBus.Peer":
                continue # which is the connection's
            with self.subTest(method=f"{interface}.{method}"):
                null = os.open("/dev/null", os.O_RDONLY)
                values = [null if one == "h" else self.VALUES.get(one, 0) for one in wire.split_types(signature)]
                try:
                    with self.assertRaises(wire.Error) as caught:
                        other.call(path, interface, method, signature, *values)
                finally:
                    os.close(null)
                asked = path == self.session.path and method in ("Close", "DetachAll", "Get", "GetAll")
                self.assertEqual(caught.exception.name, ASK_ME if asked else ACCESS_DENIED, caught.exception)
        self.session.process(self.mine.inside).interrupt()
        self.session.events_until(lambda event: event.kind == "stop")

    def test_two_users_see_what_is_theirs(self):
        yours = self.tracee(PROGRAM, user=BOB)
        theirs = self.attach(self.client_of(BOB), yours)
        for session, tracee in ((self.session, self.mine), (theirs, yours)):
            self.assertEqual(list(session.client.list_sessions()), [session.id])
            self.assertEqual([entry[0] for entry in session.client.manager.call("ListTracees")], [tracee.inside])
            process = session.process(tracee.inside)
            process.interrupt()
            self.assertEqual(session.events_until(lambda event: event.kind == "stop")[-1].pid, tracee.inside)
            process.continue_()

    def test_signals_of_one_user_are_not_for_another(self):
        other = self.client_of(BOB)
        for rule in ("type='signal',sender='" + NAME + "'", "type='signal',path_namespace='/org/ptraced'"):
            other.connection.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "AddMatch",
                                  "s", rule)
        self.session.process(self.mine.inside).interrupt()
        self.session.events_until(lambda event: event.kind == "stop")
        again = self.session.client.create_session()
        again.close()
        other.list_sessions()
        other.sort()
        seen = {member for path, member, _ in other.signals if path.startswith(client.ROOT)}
        # That there are sessions is no secret, as with those of logind.
        self.assertLessEqual(seen, {"SessionNew", "SessionRemoved", "PropertiesChanged"})
        self.assertEqual(list(other.events), [])

    def test_log_is_roots(self):
        for user in (ALICE, BOB):
            with self.assertRaises(wire.Error) as caught:
                self.client_of(user).call("/org/freedesktop/LogControl1", client.PROPERTIES, "Set", "ssv",
                                          "org.freedesktop.LogControl1", "LogLevel", wire.Variant("s", "debug"))
            self.assertIn("AccessDenied", caught.exception.name)
            self.assertIn("only root may", caught.exception.message)
        self.assertEqual(self.machine.run("systemctl", "service-log-level", cases.BROKER).strip(), "info")


if __name__ == "__main__":
    cases.main()
