# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who sits at a terminal without a desktop is asked there, by a real pkttyagent."""

import os
import pwd
import shutil
import subprocess

import harness
import polkit
import procfs
from programs import CTL, SEARCH_PATH, TRACEES
from service import BUILD
from terminal import Terminal

GAMES, NEWS = polkit.USERS
AGENT = shutil.which("pkttyagent", path=SEARCH_PATH)
NOT_PERMITTED = 4 # ptracectl's exit code


class AtATerminal(harness.OnTheBus):
    service_class = polkit.PolkitService

    def setUp(self):
        reason = polkit.missing() or (None if AGENT else "pkttyagent is not installed")
        if reason:
            self.skipTest(reason)
        super().setUp()
        self.agents = set(procfs.processes_running({AGENT}))
        polkit.copy_program(os.path.join(TRACEES, "busy-loop"), self.scratch, "program")
        self.ctl = polkit.copy_program(CTL, self.scratch, "ptracectl")
        self.environment = {"DBUS_SYSTEM_BUS_ADDRESS": self.service.address, "PATH": SEARCH_PATH, "LANG": "C",
                            "LD_LIBRARY_PATH": os.path.join(BUILD, "client", "lib")}
        self.user = pwd.getpwnam(NEWS)

    def tracee_of(self, user):
        return self.tracee("program", folder=self.scratch, user=pwd.getpwnam(user))

    def run_at_terminal(self, *arguments):
        def execute():
            os.setgroups([])
            os.setresgid(*[self.user.pw_gid] * 3)
            os.setresuid(*[self.user.pw_uid] * 3)
            os.execve(self.ctl, [self.ctl, "--system", *map(str, arguments)], self.environment)
        terminal = Terminal(execute)
        self.addCleanup(terminal.close)
        return terminal

    def assert_no_agent(self):
        """Ours, which ends with the terminal's program."""
        self.assert_wait(lambda: not set(procfs.processes_running({AGENT})) - self.agents, "the agent has ended")

    def test_question_is_shown_and_a_wrong_password_is_a_refusal(self):
        tracee = self.tracee_of(GAMES)
        for verb in (("attach",), ("events", "-p")):
            with self.subTest(verb=verb):
                terminal = self.run_at_terminal(*verb, tracee.pid)
                terminal.read_until("Password: ")
                self.assertIn("AUTHENTICATING FOR org.ptraced.Tracer1.control-other", terminal.text)
                self.assertIn(f"Authentication is required to let ptracectl control {tracee.program} "
                              f"(process {tracee.pid}", terminal.text)
                terminal.type("no password of anybody\n")
                self.assertEqual(terminal.end(), NOT_PERMITTED, terminal.text)
                self.assertIn("AUTHENTICATION FAILED", terminal.text)
                self.assert_runs_free(tracee)
                self.assert_no_agent()

    def test_interrupt_key_takes_the_question_back(self):
        tracee = self.tracee_of(GAMES)
        terminal = self.run_at_terminal("attach", tracee.pid)
        terminal.read_until("Password: ")
        terminal.type("\x03")
        self.assertNotEqual(terminal.end(), 0, terminal.text)
        self.assertTrue(terminal.has_echo)
        self.assert_runs_free(tracee)
        self.assert_no_agent()

    def test_nobody_is_asked_who_does_not_want_to_be(self):
        tracee = self.tracee_of(GAMES)
        terminal = self.run_at_terminal("--no-ask-password", "attach", tracee.pid)
        self.assertEqual(terminal.end(), NOT_PERMITTED, terminal.text)
        self.assertNotIn("AUTHENTICATING", terminal.text)
        self.assertIn("org.ptraced.Tracer1.control-other", terminal.text)
        self.assert_runs_free(tracee)

    def test_nobody_is_asked_without_a_terminal(self):
        tracee = self.tracee_of(GAMES)
        done = subprocess.run([self.ctl, "--system", "attach", str(tracee.pid)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=20, check=False, user=self.user.pw_uid,
                              group=self.user.pw_gid, extra_groups=[], env=self.environment)
        self.assertEqual(done.returncode, NOT_PERMITTED, done.stderr)
        self.assert_runs_free(tracee)

    def test_nobody_is_asked_about_what_he_can_prove(self):
        tracee = self.tracee_of(NEWS)
        terminal = self.run_at_terminal("attach", tracee.pid)
        self.assertEqual(terminal.end(), 0, terminal.text)
        self.assertNotIn("AUTHENTICATING", terminal.text)
        self.connect().session(terminal.text.strip()).close()


if __name__ == "__main__":
    harness.main()
