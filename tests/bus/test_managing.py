# SPDX-License-Identifier: LGPL-2.1-or-later
"""What polkit's `manage` lets somebody do who is not root: set limits, on the bus and by ptracectl."""

import json
import os
import pwd
import shutil
import subprocess
import time

import client
import harness
import polkit
import procfs
import wire
from policy import ACCESS_DENIED, ASK_ME, GAMES, NEWS, Policy, Service
from programs import CTL, SEARCH_PATH, ctl_environment
from service import BUILD
from terminal import Terminal

FAILURE, USAGE, NOT_FOUND, NOT_PERMITTED = range(1, 5) # ptracectl's exit codes
AGENT = shutil.which("pkttyagent", path=SEARCH_PATH)
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
        agent = polkit.Agent(polkit.Listener.open(self.service.bus_socket),
                             wire.Connection.open(self.service.bus_socket), polkit.ourselves(user))
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

    def test_limit_holds_for_what_tracers_have_already(self):
        process = self.user.create_session().attach(self.tracee_of(GAMES).pid, stop=True)
        at = process.thread(process.pid).registers()["rip"]
        first = process.add_breakpoint(at)
        set_limit(self.manager, "BreakpointsMax", 1)
        self.assertIn("no more than 1 ", self.assert_error("LimitExceeded", process.add_breakpoint, at).message)
        set_limit(self.manager, "BreakpointsMax", 2)
        process.remove_breakpoint(process.add_breakpoint(at))
        process.remove_breakpoint(first)

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

    def test_root_is_never_kept_out(self):
        """By what is set itself; nor by those who ask over and over, and find no place."""
        session = self.user.create_session()
        set_limit(self.manager, "CallersMax", 1)
        strangers = [self.service.connect_as(user) for user in (GAMES, NEWS) for _ in range(40)]
        serials = [(one, one.manager.send("ListLimits")) for one in strangers for _ in range(3)]
        done = subprocess.run([CTL, "--system", "limits"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=30, check=False, env=ctl_environment(self.service.address))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"(?m)^CallersMax +1 ")
        refused = 0
        for one, serial in serials:
            try:
                one.reply(serial)
            except wire.Error as e:
                self.assertEqual(e.name, client.ERROR + "LimitExceeded")
                self.assertIn("The limit CallersMax is reached: no more than 1 ", e.message)
                refused += 1
        self.assertGreater(refused, 0)
        for _ in range(2000): # most of them are not answered
            strangers[0].manager.send("ListLimits")
        set_limit(self.connect(), "CallersMax", 400)
        self.assertEqual(self.limits(strangers[-1])["CallersMax"][0], 400)
        session.close()

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
        self.assertEqual(question.action, MANAGE)
        self.assertEqual(question.message,
                         f"Authentication is required to let {procfs.comm(os.getpid())} set the limit SessionsMax of the "
                         "tracing service to 7")
        self.assertEqual(self.limits(self.connect())["SessionsMax"][0], 64)
        agent.agree(question)
        self.user.reply(serial)
        self.assertEqual(self.limits(self.user)["SessionsMax"][0], 7)
        serial = self.user.manager.send("SetLimit", "st", "SessionsMax", 8)
        agent.dismiss(agent.next_question()) # the answer was for one call
        self.assert_error(ACCESS_DENIED, self.user.reply, serial)
        self.assertEqual(self.limits(self.user)["SessionsMax"][0], 7)

    def test_nobody_is_asked_about_what_cannot_be(self):
        for name, value in (("Sessions", 1), ("", 1), ("UnreadMax", 5), ("SessionsMax", 0), ("SessionsMax", 100001), ("CallersMax", 471),
                            ("SessionsMax", 2**32 + 1), ("SessionsMax", 2**64 - 1), ("x\n" * 100, 1)):
            for who in (self.user, self.connect()):
                with self.subTest(name=name, value=value):
                    error = self.assert_error("InvalidOption", set_limit, who, name, value)
                    self.assertTrue(error.message.isprintable(), error.message)
        self.assert_error(INVALID_ARGS, self.user.manager.call, "SetLimit", "su", "SessionsMax", 1)
        self.assertEqual(self.limits(self.user)["SessionsMax"][0], 64)

    def test_nobody_is_asked_at_another_object(self):
        """NEWS may manage; GAMES would be asked."""
        for who in (self.user, self.manager):
            session = who.create_session()
            self.assert_error(ACCESS_DENIED, who.call, session.path, client.MANAGER, "SetLimit", "st", "SessionsMax", 5)
            session.close()
        self.assertEqual(self.limits(self.user)["SessionsMax"][0], 64)

    def test_breakpoints_of_followed_children_are_counted(self):
        tracee = self.tracee_of(GAMES, source="forks", args=("fork",))
        session = self.user.create_session()
        process = session.attach(tracee.pid, children="follow", stops=["exit"], stop=True)
        at = process.thread(tracee.pid).registers()["rip"]
        for _ in range(3):
            process.add_breakpoint(at, report_only=True)
        set_limit(self.manager, "BreakpointsMax", 4)
        process.continue_()
        tracee.say("go")
        child = session.events_until(lambda e: e.kind == "exit" and e.pid != tracee.pid)[-1].pid
        self.assertEqual(len(session.process(child).list_breakpoints()), 1)
        self.assert_error("LimitExceeded", process.add_breakpoint, at)
        session.process(child).continue_()
        self.assertIn(f"child={child}", tracee.listen())

    def test_journal_has_who_set_it_and_what_it_was(self):
        set_limit(self.manager, "SessionsMax", 5)
        set_limit(self.connect(), "SessionsMax", 6)
        def log():
            return self.service.daemons.logs().get("broker.log", "")
        uid = pwd.getpwnam(NEWS).pw_uid
        for who, words in ((uid, "SessionsMax to 5 (it was 64)"), (0, "SessionsMax to 6 (it was 5)")):
            self.assert_wait(lambda who=who, words=words: any(f"User {who} (" in line and words in line
                                                              for line in log().splitlines()), f"{words}: {log()}")


class UsingPtracectl(Managing):
    """NEWS may manage, GAMES would have to ask somebody."""

    def setUp(self):
        if not AGENT:
            self.skipTest("pkttyagent is not installed")
        super().setUp()
        self.ctl_path = polkit.copy_program(CTL, self.scratch, "ptracectl")
        self.environment = {"DBUS_SYSTEM_BUS_ADDRESS": self.service.address, "PATH": SEARCH_PATH, "LANG": "C",
                            "LD_LIBRARY_PATH": os.path.join(BUILD, "client", "lib")}
        self.traced = self.tracee_of(GAMES)
        self.session = self.user.create_session(lifetime="persistent", name="of games")
        self.session.attach(self.traced.pid)

    def run_as(self, user, *arguments):
        account = pwd.getpwnam(user)
        return subprocess.run([self.ctl_path, "--system", *map(str, arguments)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=30, check=False, user=account.pw_uid,
                              group=account.pw_gid, extra_groups=[], env=self.environment)

    def at_terminal(self, user, *arguments):
        account = pwd.getpwnam(user)
        def execute():
            os.setgroups([])
            os.setresgid(*[account.pw_gid] * 3)
            os.setresuid(*[account.pw_uid] * 3)
            os.execve(self.ctl_path, [self.ctl_path, "--system", *map(str, arguments)], self.environment)
        terminal = Terminal(execute)
        self.addCleanup(terminal.close)
        return terminal

    def succeeds(self, user, *arguments):
        done = self.run_as(user, *arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def is_there(self, session):
        return session.id in self.connect().list_sessions()


class ByPtracectl(UsingPtracectl):
    def test_session_of_another_user_is_shown_and_ended_by_who_may_manage(self):
        uid = pwd.getpwnam(GAMES).pw_uid
        self.assertEqual(self.succeeds(NEWS, "--no-legend", "sessions"), "", "that takes list-other")
        self.assertIn(f"\nSession {self.session.id} (uid {uid}) of games\n",
                      self.succeeds(NEWS, "status", self.session.id))
        shown = json.loads(self.succeeds(NEWS, "--json=short", "status", self.session.id))
        self.assertEqual(shown["sessions"], [{"id": self.session.id, "uid": uid, "name": "of games"}])
        self.assertEqual(self.succeeds(NEWS, "close", self.session.id), "")
        self.assertFalse(self.is_there(self.session))
        self.assert_runs_free(self.traced)

    def test_who_may_not_is_told_what_it_takes(self):
        theirs = self.manager.create_session(lifetime="persistent")
        for verb in ("close", "status"):
            for option in ((), ("--no-ask-password",)):
                with self.subTest(verb=verb, option=option):
                    done = self.run_as(GAMES, *option, verb, theirs.id)
                    self.assertEqual(done.returncode, NOT_PERMITTED, done.stderr)
                    uid = pwd.getpwnam(NEWS).pw_uid
                    self.assertIn(f"session {theirs.id}, which is not yours, takes the polkit action {MANAGE}",
                                  done.stderr)
                    self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertTrue(self.is_there(theirs))
        theirs.close()

    def test_session_that_is_not_there(self):
        for user in (NEWS, GAMES):
            for verb in ("close", "status"):
                done = self.run_as(user, verb, "s1")
                self.assertEqual(done.returncode, NOT_FOUND, done.stderr)
                self.assertIn("There is no session s1", done.stderr)
        self.assertEqual(self.run_as(NEWS, "close", "../x").returncode, USAGE)

    def test_one_that_is_refused_keeps_no_other_open(self):
        theirs = self.manager.create_session(lifetime="persistent")
        self.assertEqual(self.run_as(GAMES, "close", theirs.id, self.session.id).returncode, NOT_PERMITTED)
        self.assertFalse(self.is_there(self.session))
        theirs.close()

    def test_question_at_a_terminal_names_session_and_user(self):
        theirs = self.manager.create_session(lifetime="persistent")
        uid = pwd.getpwnam(NEWS).pw_uid
        for verb in ("close", "status"):
            with self.subTest(verb=verb):
                terminal = self.at_terminal(GAMES, verb, theirs.id)
                terminal.read_until("Password: ")
                self.assertIn(f"AUTHENTICATING FOR {MANAGE}", terminal.text)
                self.assertIn(f"end the tracing of user {uid} in session {theirs.id}" if verb == "close" else
                              f"look at session {theirs.id}, in which user {uid} traces", terminal.text)
                terminal.type("no password of anybody\n")
                self.assertEqual(terminal.end(), NOT_PERMITTED, terminal.text)
                self.assertIn("which polkit refuses", terminal.text)
        self.assertTrue(self.is_there(theirs))
        theirs.close()

    def test_nobody_is_asked_about_what_is_ones_own(self):
        """Nor is there an agent, which would say so."""
        agent = self.service.path("pkttyagent")
        with open(agent, "w") as f:
            f.write("#!/bin/sh\necho an agent\n")
        os.chmod(agent, 0o755)
        self.environment["PATH"] = self.scratch + ":" + SEARCH_PATH
        terminal = self.at_terminal(GAMES, "close", self.session.id)
        self.assertEqual(terminal.end(), 0, terminal.text)
        self.assertEqual(terminal.text, "")
        self.assertFalse(self.is_there(self.session))

    def test_nobody_is_asked_at_a_terminal_who_does_not_want_to_be(self):
        theirs = self.manager.create_session(lifetime="persistent")
        for arguments in (("close", theirs.id), ("limits", "SessionsMax=3")):
            terminal = self.at_terminal(GAMES, "--no-ask-password", *arguments)
            self.assertEqual(terminal.end(), NOT_PERMITTED, terminal.text)
            self.assertNotIn("AUTHENTICATING", terminal.text)
        theirs.close()

    def test_limits_are_listed_with_what_is_used(self):
        listed = {one["limit"]: one for one in json.loads(self.succeeds(GAMES, "--json=short", "limits"))}
        self.assertEqual(listed["TraceesMax"], {"limit": "TraceesMax", "value": 1024, "used": 1,
                                                "of": "traced processes of one user"})
        self.assertIsNone(listed["WaitersMax"]["used"])
        self.assertRegex(self.succeeds(GAMES, "limits"), r"(?m)^SessionsMax +64 +1 +sessions of one user$")

    def test_limits_are_set_by_who_may_manage(self):
        self.assertEqual(self.succeeds(NEWS, "limits", "SessionsMax=1", "TraceesMax=2"), "")
        self.assertEqual([self.limits(self.user)[name][0] for name in ("SessionsMax", "TraceesMax")], [1, 2])
        self.assert_error("LimitExceeded", self.user.create_session)

    def test_limits_that_cannot_be_set(self):
        for arguments, code, words in ((("SessionsMax=3",), NOT_PERMITTED, MANAGE),
                                       (("SessionsMax",), USAGE, "LIMIT=VALUE"),
                                       (("=3",), USAGE, "LIMIT=VALUE"), (("SessionsMax=x",), USAGE, "SessionsMax=x"),
                                       (("SessionsMax=0",), USAGE, "SessionsMax=0"),
                                       (("SessionsMax=3", "TraceesMax="), USAGE, "TraceesMax="),
                                       (("Sessions=3",), FAILURE, 'no limit "Sessions"'),
                                       (("SessionsMax=100001",), FAILURE, "1 to 100000")):
            with self.subTest(arguments=arguments):
                done = self.run_as(GAMES, "limits", *arguments)
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertIn(words, done.stderr)
                self.assertEqual(done.stdout, "")
        self.assertEqual(self.run_as(NEWS, "limits", "SessionsMax=3", "TraceesMax=x").returncode, USAGE)
        self.assertEqual(self.limits(self.user)["SessionsMax"][0], 64)

    def test_question_at_a_terminal_names_the_limit(self):
        terminal = self.at_terminal(GAMES, "limits", "SessionsMax=9")
        terminal.read_until("Password: ")
        self.assertIn("let ptracectl set the limit SessionsMax of the tracing service to 9", terminal.text)
        terminal.type("no password of anybody\n")
        self.assertEqual(terminal.end(), NOT_PERMITTED, terminal.text)
        self.assertEqual(self.limits(self.user)["SessionsMax"][0], 64)


class ListlessService(ManagingService):
    """One user may call no list."""

    def bus_policy(self):
        denied = "".join(f'<deny send_interface="org.ptraced.Tracer1.Manager" send_member="{member}"/>'
                         for member in ("ListSessions", "ListTracees"))
        return super().bus_policy() + f'<policy user="{GAMES}">{denied}</policy>'


class WithoutLists(UsingPtracectl):
    service_class = ListlessService

    def test_session_is_closed(self):
        self.assertEqual(self.run_as(GAMES, "status").returncode, NOT_PERMITTED)
        self.assertEqual(self.succeeds(GAMES, "close", self.session.id), "")
        self.assertFalse(self.is_there(self.session))
        self.assert_runs_free(self.traced)


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
