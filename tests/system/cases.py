# SPDX-License-Identifier: LGPL-2.1-or-later
"""The test cases' base: one booted machine for each file of tests, and after each test the proof that
no tracee was harmed, that no session is left, and that no service has failed.

    PTRACED_BUILD_DIR    the build tree, configured for --prefix=/usr
"""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "bus"))

# pylint: disable=wrong-import-position
import client
import harness
import wire
from machine import Inside, Machine, Unavailable
from service import wait_until

NAME, ROOT, MANAGER = client.NAME, client.ROOT, client.MANAGER
BROKER, KEEPER, SOCKET = "ptraced.service", "ptraced-keeper.service", "ptraced-keeper.socket"

main = harness.main


class Shared:
    """The machine of a file of tests, or why there is none."""

    machine = None
    failure = None

    @classmethod
    def get(cls):
        """Tried once: where it fails, it does so for each test."""
        if cls.failure:
            raise cls.failure
        if not cls.machine:
            try:
                cls.machine = Machine()
            except Exception as e:
                cls.failure = e
                raise
            unittest.addModuleCleanup(cls.end)
        return cls.machine

    @classmethod
    def end(cls):
        problems = cls.machine.end()
        cls.machine = None
        if problems:
            raise AssertionError("; ".join(problems))


class Case(unittest.TestCase):
    def setUp(self):
        try:
            self.machine = Shared.get()
        except Unavailable as e:
            self.skipTest(f"no system can be booted: {e}")
        self.clients = []
        self.tracees = []
        self.mark = self.machine.journal_mark()
        self.addCleanup(self.clean_up)

    def clean_up(self):
        """Looks before it cleans up, and then says what it saw."""
        problems = []
        self.close_sessions(problems)
        problems += [text for tracee in self.tracees for text in tracee.runs_free()]
        for tracee in self.tracees:
            tracee.kill()
        problems += self.failed_units()
        if problems or not self._outcome.success:
            self.show_log()
        self.stop_services()
        self.assertEqual(problems, [])

    def close_sessions(self, problems):
        for one in self.clients:
            one.close()
        if not self.machine.is_active(BROKER):
            return
        closer = client.Client(self.machine.connect())
        try:
            for path in [entry[3] for entry in closer.manager.call("ListSessions")]:
                harness.Case.close_quietly(closer, path)
        except (wire.Error, TimeoutError, ConnectionError) as e:
            problems.append(f"closing the sessions: {e}")
        closer.close()

    def failed_units(self):
        """But for tracees: those that were killed have failed until systemd forgets them."""
        return [f"failed: {line}" for line in
                self.machine.run("systemctl", "list-units", "--failed", "--plain", "--no-legend").splitlines()
                if not line.startswith("tracee-")]

    def stop_services(self):
        """So that each test has the bus start them."""
        self.machine.run("systemctl", "stop", BROKER, KEEPER, SOCKET)
        self.machine.try_run("systemctl", "reset-failed")

    def show_log(self):
        for entry in self.machine.journal("--after-cursor=" + self.mark)[-60:]:
            print(f"    {entry.get('SYSLOG_IDENTIFIER')}: {entry.get('MESSAGE')}", file=sys.stderr)

    # What tests call.

    def tracee(self, name, *args, **kwargs):
        tracee = Inside(self.machine, name, *args, **kwargs)
        self.tracees.append(tracee)
        return tracee

    def connect(self):
        one = client.Client(self.machine.connect(), auto_start=True)
        self.clients.append(one)
        return one

    def new_session(self, **values):
        return self.connect().create_session(**values)

    def call(self, *args):
        """busctl's words for what a call of the service's returns; args are those of busctl call."""
        return self.machine.run("busctl", "call", NAME, *args).strip()

    def journal(self, *args):
        """Entries since the test began."""
        return self.machine.journal("--after-cursor=" + self.mark, *args)

    def only(self, program):
        """The one process of a program. What the keeper starts is the keeper's program until it executes its own."""
        pids = wait_until(lambda: [pids for pids in [self.machine.running(program)] if len(pids) == 1], 10)
        self.assertTrue(pids, f"{program}: {self.machine.running(program)}")
        return pids[0][0]

    def assert_wait(self, condition, what, timeout=10):
        self.assertTrue(wait_until(condition, timeout, 0.02), f"in {timeout} s it did not happen that {what}")

    def assert_computes(self, tracee):
        """The tracee "computes" gets on, with results that are right, in text that is its own."""
        before = tracee.ask()["progress"]
        self.assert_wait(lambda: tracee.ask()["progress"] > before, "the tracee gets on", 20)
        self.assertEqual(tracee.ask()["wrong"], 0)
        self.assert_text_clean(tracee)

    def assert_text_clean(self, tracee):
        self.assertEqual([hex(address) for address in harness.procfs.changed_text(tracee.pid)], [])
