# SPDX-License-Identifier: LGPL-2.1-or-later
"""What users do with the installed service who are not root: at a terminal with a real password, without
being asked, at their limits; what they trace, and what the journal has of it."""

import json
import os

import cases
import client
import wire
from cases import NAME
from test_journal import message_ids
from users import ALICE, ASK_ME, BOB, PROGRAM, Users

PASSWORD = "open, sesame"
DROP_IN = "/etc/ptraced/ptraced.conf.d/test.conf"


class AtATerminal(Users):
    def ask(self, password):
        self.set_password(ALICE, PASSWORD)
        self.rules(f'if (action.id == "{NAME}.control-other") return polkit.Result.AUTH_SELF;')
        tracee = self.tracee(PROGRAM, user=BOB)
        terminal = self.at_terminal(ALICE, "ptracectl", "attach", tracee.inside)
        terminal.read_until("Password: ")
        self.assertIn(f"Authentication is required to let ptracectl control {tracee.program} (process "
                      f"{tracee.inside} of user {self.machine.account(BOB).uid})", terminal.text)
        terminal.type(password + "\n")
        return terminal, terminal.end(), tracee

    def test_right_password_is_enough(self):
        terminal, status, tracee = self.ask(PASSWORD)
        self.assertEqual(status, 0, terminal.text)
        self.assertIn("AUTHENTICATION COMPLETE", terminal.text)
        self.assertGreater(cases.harness.procfs.tracer_pid(tracee.pid), 0)

    def test_wrong_password_is_not(self):
        terminal, status, tracee = self.ask("guessed")
        self.assertEqual(status, 4, terminal.text)
        self.assertIn("polkit refuses the action org.ptraced.Tracer1.control-other", terminal.text)
        self.assertEqual(cases.harness.procfs.tracer_pid(tracee.pid), 0)


class Proof(Users):
    def test_own_child_is_traced_without_a_question(self):
        """The bus starts the service for a user, who traces what the kernel lets him."""
        self.assertFalse(self.machine.is_active(cases.BROKER))
        done = self.machine.try_run_as(ALICE, "ptracectl", "--system", "--json=short", "run", "-o", "-", "--",
                                       "/opt/tracees/exits-with", "7")
        self.assertEqual(done.returncode, 7, done.stderr)
        kinds = [json.loads(line)["event"] for line in done.stdout.splitlines() if line.startswith("{")]
        self.assertEqual((kinds[0], kinds[-1]), ("exec", "exited"), done.stdout)
        (attach,) = [entry for entry in self.journal() if entry.get("MESSAGE_ID") == message_ids()["attach"]]
        self.assertEqual(attach["PTRACED_UID"], str(self.machine.account(ALICE).uid))


    def of_alice(self, *arguments):
        done = self.machine.try_run_as(ALICE, "ptracectl", *map(str, arguments))
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_each_call_of_ptracectl_goes_on_with_what_another_has_attached(self):
        """Over a restart of the service too. Nobody is asked anything: the library proves it each time."""
        tracee = self.tracee("computes", 2, user=ALICE)
        session = self.of_alice("attach", tracee.inside).strip()
        for restarts in (False, True):
            if restarts:
                self.machine.run("systemctl", "restart", cases.BROKER)
            self.of_alice("interrupt", tracee.inside)
            self.assertTrue(cases.wait_until(lambda: {cases.harness.procfs.state(tracee.pid, tid)
                                                      for tid in tracee.threads()} == {"t"}, 10))
            status = self.of_alice("status")
            self.assertIn(f"{tracee.inside} stopped by ", status)
            self.assertIn(f"  {tracee.inside} (uid {self.machine.account(ALICE).uid}), 3 threads", status)
            self.of_alice("continue", "--all", "-s", session)
            self.assertIn("running", self.of_alice("threads"))
        done = self.machine.try_run_as(BOB, "ptracectl", "interrupt", tracee.inside)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.of_alice("close", session)
        self.assert_computes(tracee)


class Scripts(Users):
    def busctl(self, path, interface, *words):
        done = self.machine.try_run_as(ALICE, "busctl", "call", NAME, path, f"{NAME}.{interface}", *map(str, words))
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.split()

    def test_script_of_a_user_traces_what_a_rule_lets_him(self):
        self.rules(f'if (action.id == "{NAME}.control" && subject.user == "{ALICE}") return polkit.Result.YES;')
        tracee = self.tracee("computes", 2, user=ALICE)
        session = self.busctl(cases.ROOT, "Manager", "CreateSession", "a{sv}", 1, "lifetime", "s", "persistent")[1].strip('"')
        process = self.busctl(session, "Session", "AttachProcess", "ua{sv}", tracee.inside, 0)[1].strip('"')
        self.busctl(process, "Process", "Interrupt")
        self.assertIn('"stop"', self.busctl(session, "Session", "GetEvent", "t", 10000000))
        self.assertIn('"rip"', self.busctl(f"{process}/thread/{tracee.inside}", "Thread", "GetRegisters"))
        self.busctl(process, "Process", "Continue", "a{sv}", 0)
        self.busctl(session, "Session", "Close")
        self.assert_computes(tracee)


class Limits(Users):
    def setUp(self):
        super().setUp()
        self.machine.write(DROP_IN, "[Limits]\nSessionsMax=2\nTraceesMax=3\nTracersMax=2\nBreakpointsMax=1\n"
                                    "ThreadsMax=6\nFlightKiBMax=64\nKeptMiBMax=2\nObserveMSecMax=1\n")
        self.addCleanup(self.machine.remove, DROP_IN)

    def test_limits_of_the_configuration_are_each_users(self):
        self.rules(f'if (action.id == "{NAME}.control") return polkit.Result.YES;')
        for user in (ALICE, BOB):
            who = self.client_of(user)
            session, other = who.create_session(), who.create_session()
            self.assert_limit("SessionsMax", who.create_session)
            first, second, third = (self.tracee(PROGRAM, user=user).inside for _ in range(3))
            session.attach(first)
            session.attach(second)
            self.assert_limit("TracersMax", session.attach, third)
            other.attach(first) # which has its tracer already
            self.assert_limit("TraceesMax", other.attach, second)

    def test_children_that_are_followed_beyond_the_limit_are_let_go(self):
        """They attach by themselves, and run on."""
        self.rules(f'if (action.id == "{NAME}.control") return polkit.Result.YES;')
        who = self.client_of(ALICE)
        tracee = self.tracee("keeps-children", 4, user=ALICE)
        session = who.create_session()
        session.attach(tracee.inside, children="follow")
        self.assertEqual(tracee.ask(), {"children": 4})
        lost = [session.events_until(lambda event: event.kind == "lost")[-1] for _ in range(2)]
        self.assertEqual({event.details["reason"] for event in lost}, {"limit"})
        self.assertEqual(len(who.manager.call("ListTracees")), 3)
        children = [self.machine.outside(event.pid) for event in lost]
        self.assertTrue(cases.wait_until(lambda: not any(map(cases.harness.procfs.tracer_pid, children)), 10))

    def test_limits_of_what_tracers_keep(self):
        self.rules(f'if (action.id == "{NAME}.control" || action.id == "{NAME}.observe-other") '
                   "return polkit.Result.YES;")
        who = self.client_of(ALICE)
        session = who.create_session()
        self.assert_limit("ThreadsMax", session.attach, self.tracee("many-threads", 8, user=ALICE).inside)
        first, second = (self.tracee("many-threads", 4, user=ALICE).inside for _ in range(2))
        session.attach(first)
        self.assert_limit("ThreadsMax", session.attach, second) # of four threads each
        session.process(first).detach()
        # A tracer that let go of them all ends. Each has a child, and one is kept ready.
        self.assertTrue(cases.wait_until(lambda: len(self.machine.running("ptraced-tracer")) == 2, 10))
        tracee = self.tracee(PROGRAM, user=ALICE)
        process = session.attach(tracee.inside)
        process.interrupt()
        at = process.thread(tracee.inside).registers()["rip"]
        process.call("AddBreakpoint", "tsa{sv}", at, "software", client.options())
        self.assert_limit("BreakpointsMax", process.call, "AddBreakpoint", "tsa{sv}", at + 64, "software",
                          client.options())
        self.assert_limit("FlightKiBMax", process.call, "WriteMemory", "tay", 0, bytes(65537))
        process.call("WriteMemory", "tay", process.thread(tracee.inside).registers()["rsp"] - 4096, bytes(512))
        self.assert_files_are_bounded(process, process.thread(tracee.inside).registers()["rsp"])
        bobs = self.tracee(PROGRAM, user=BOB)
        observed = session.attach(bobs.inside, access="observe")
        self.assertTrue(cases.wait_until(lambda: self.is_refused(observed.interrupt), 10))

    def assert_files_are_bounded(self, process, address):
        call = (process.call, "ReadMemoryFD", "a(tt)", [(address, 64)])
        fds = [call[0](*call[1:]) for _ in range(2)]
        self.assert_limit("KeptMiBMax", *call)
        for fd in fds:
            os.close(fd)
        self.assertTrue(cases.wait_until(lambda: not self.is_refused(lambda: os.close(call[0](*call[1:]))), 10))

    def is_refused(self, function):
        """Some time of it comes back while it is not used."""
        try:
            function()
        except wire.Error as e:
            return e.name == client.ERROR + "LimitExceeded"
        return False

    def assert_limit(self, name, function, *args):
        with self.assertRaises(wire.Error) as caught:
            function(*args)
        self.assertEqual(caught.exception.name, client.ERROR + "LimitExceeded")
        self.assertIn(name, caught.exception.message)


SANDBOX = ["NoNewPrivileges=yes", "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes", "PrivateDevices=yes",
           "ProtectProc=invisible", "MemoryDenyWriteExecute=yes", "SystemCallFilter=@system-service",
           "RestrictAddressFamilies=AF_UNIX", "ProtectKernelTunables=yes", "LockPersonality=yes"]


class Targets(Users):
    """What systemd starts in more than one way: whose it is, and that it is traced and let go like any other."""

    def assert_action(self, action, **kwargs):
        tracee = self.tracee("computes", 2, **kwargs)
        who = self.client_of(ALICE)
        self.assertEqual(self.refusal(who, tracee), (ASK_ME, action))
        self.rules(f'if (action.id == "{NAME}.{action}") return polkit.Result.YES;')
        session = self.attach(who, tracee)
        process = session.process(tracee.inside)
        process.interrupt()
        session.events_until(lambda event: event.kind == "stop")
        self.assertTrue(process.thread(tracee.inside).registers())
        session.close()
        self.assert_computes(tracee)

    def test_service_of_a_dynamic_user(self):
        self.assert_action("control-other", properties=["DynamicUser=yes"])

    def test_sandboxed_service_of_another_user(self):
        self.assert_action("control-other", user=BOB, properties=SANDBOX)

    def test_sandboxed_service_of_ones_own(self):
        self.assert_action("control", user=ALICE, properties=SANDBOX)

    def test_first_process_of_a_container(self):
        self.assert_action("control-other", user=ALICE, container=True)


class Journal(Users):
    def entries(self, kind):
        return [entry for entry in self.journal() if entry.get("MESSAGE_ID") == message_ids()[kind]]

    def test_entries_name_the_user_the_program_and_the_action(self):
        self.rules(f'if (action.id == "{NAME}.control") return polkit.Result.YES;')
        mine, yours = self.tracee(PROGRAM, user=ALICE), self.tracee(PROGRAM, user=BOB)
        who = self.client_of(ALICE)
        self.refusal(who, yours)
        session = self.attach(who, mine)
        session.process(mine.inside).detach()
        self.assert_wait(lambda: self.entries("release"), "the release is written")
        common = {"PTRACED_UID": str(who.connection.uid), "PTRACED_CALLER": who.connection.name,
                  "PTRACED_EXECUTABLE": mine.program, "PTRACED_ACCESS": "control"}
        for kind, pid, more in (("refusal", yours.inside, {"PTRACED_ACTION": NAME + ".control-other",
                                                           "PTRACED_COUNT": "1"}),
                                ("grant", mine.inside, {"PTRACED_ACTION": NAME + ".control"}),
                                ("attach", mine.inside, {"PTRACED_SESSION": session.id}),
                                ("release", mine.inside, {"PTRACED_SESSION": session.id,
                                                          "PTRACED_REASON": "detached"})):
            with self.subTest(kind=kind):
                (entry,) = self.entries(kind)
                wanted = {**common, "PTRACED_PID": str(pid), **more}
                self.assertEqual({key: entry.get(key) for key in wanted}, wanted)


if __name__ == "__main__":
    cases.main()
