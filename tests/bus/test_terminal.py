# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who sits at a terminal without a desktop is asked there, by a real pkttyagent."""

import os
import pty
import pwd
import select
import shutil
import subprocess
import termios
import time

import harness
import polkit
import procfs
from programs import CTL, SEARCH_PATH, TRACEES
from service import BUILD

GAMES, NEWS = polkit.USERS
AGENT = shutil.which("pkttyagent", path=SEARCH_PATH)
NOT_PERMITTED = 4 # ptracectl's exit code


class Terminal:
    """A program that is another user's, in the foreground of a terminal of its own."""

    def __init__(self, command, user, environment):
        self.text = ""
        self.status = None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.setgroups([])
                os.setresgid(*[user.pw_gid] * 3)
                os.setresuid(*[user.pw_uid] * 3)
                os.execve(command[0], command, environment)
            finally:
                os._exit(127)

    def read_until(self, words, timeout=20):
        """None: until everybody has closed the terminal."""
        deadline = time.monotonic() + timeout
        while words is None or words not in self.text:
            if not select.select([self.fd], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise TimeoutError(f"{words!r} was not shown within {timeout} s, but {self.text!r}")
            try:
                data = os.read(self.fd, 65536)
            except OSError: # EIO: nobody has it open any more
                data = b""
            if not data:
                if words is None:
                    return
                raise EOFError(f"it ended without {words!r}: {self.text!r}")
            self.text += data.decode(errors="replace").replace("\r\n", "\n")

    def type(self, text):
        """What is typed before the echo is off is thrown away: so it is with passwords."""
        deadline = time.monotonic() + 10
        while termios.tcgetattr(self.fd)[3] & termios.ECHO:
            if time.monotonic() > deadline:
                raise TimeoutError(f"nobody turns the echo off: {self.text!r}")
            time.sleep(0.002)
        os.write(self.fd, text.encode())

    def end(self):
        """The exit status, or minus the signal."""
        self.read_until(None)
        self.has_echo = bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)
        return self.close()

    def close(self):
        """The terminal hangs up on who is still there."""
        if self.status is None:
            os.close(self.fd)
            _, status = os.waitpid(self.pid, 0)
            self.status = os.waitstatus_to_exitcode(status)
        return self.status


class AtATerminal(harness.OnTheBus):
    service_class = polkit.PolkitService

    def setUp(self):
        reason = polkit.missing() or (None if AGENT else "pkttyagent is not installed")
        if reason:
            self.skipTest(reason)
        super().setUp()
        polkit.copy_program(os.path.join(TRACEES, "busy-loop"), self.scratch, "program")
        self.ctl = polkit.copy_program(CTL, self.scratch, "ptracectl")
        self.environment = {"DBUS_SYSTEM_BUS_ADDRESS": self.service.address, "PATH": SEARCH_PATH, "LANG": "C",
                            "LD_LIBRARY_PATH": os.path.join(BUILD, "client", "lib")}
        self.user = pwd.getpwnam(NEWS)

    def tracee_of(self, user):
        return self.tracee("program", folder=self.scratch, user=pwd.getpwnam(user))

    def run_at_terminal(self, *arguments):
        terminal = Terminal([self.ctl, "--system", *map(str, arguments)], self.user, self.environment)
        self.addCleanup(terminal.close)
        return terminal

    def assert_no_agent(self):
        """Ours, which ends with the terminal's program."""
        self.assert_wait(lambda: not procfs.processes_running({AGENT}), "the agent has ended")

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
