# SPDX-License-Identifier: LGPL-2.1-or-later
"""Users of a booted system who are not root."""

import os
import re

import cases
import client
import polkit
import wire
from machine import UserConnection

ALICE, BOB = "alice", "bob"
RULES = "/etc/polkit-1/rules.d/10-test.rules"
LOGIN = "org.freedesktop.login1"
ASK_ME = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"
ACCESS_DENIED = "org.freedesktop.DBus.Error.AccessDenied"
NOT_PERMITTED = client.ERROR + "NotPermitted"
PROGRAM = "busy-loop"


class UserListener(UserConnection, polkit.Listener):
    """A user's program that is called."""


class Users(cases.Case):
    """Two users. What they attach to is asked of polkit: nobody here sends a proof."""

    def setUp(self):
        super().setUp()
        if self.machine.try_run("id", ALICE).returncode != 0:
            for user in (ALICE, BOB):
                self.machine.run("useradd", "--create-home", user)
        self.root_bus = self.machine.connect()
        self.logins = []
        self.addCleanup(self.leave)

    def leave(self):
        for fd in self.logins:
            os.close(fd)
        self.root_bus.close()
        if os.path.exists(self.machine.root + RULES):
            self.machine.remove(RULES)

    def rules(self, body):
        """The body of a rule, in JavaScript."""
        self.machine.write(RULES, f"polkit.addRule(function(action, subject) {{\n{body}\n}});\n")
        self.machine.run("systemctl", "restart", "polkit.service")

    def client_of(self, user, kind=None):
        one = client.Client(self.machine.connect_as(user, kind), auto_start=True)
        self.clients.append(one)
        return one

    def log_in(self, connection):
        """The program sits at the machine's seat from now on."""
        reply = self.root_bus.call(LOGIN, "/org/freedesktop/login1", LOGIN + ".Manager", "CreateSession",
                                   "uusssssussbssa(sv)", connection.uid, connection.pid, "test", "tty", "user", "",
                                   "seat0", 0, "", "", False, "", "", [])
        self.logins.append(reply[3])

    def attach(self, who, tracee, flags=0, **values):
        """The session, after polkit has said yes."""
        who.flags |= flags
        session = who.create_session()
        session.attach(tracee.inside, **values)
        return session

    def refusal(self, who, tracee, **values):
        """(error, action that was missing)."""
        session = who.create_session()
        with self.assertRaises(wire.Error) as caught:
            session.attach(tracee.inside, **values)
        session.close()
        self.assertEqual(cases.harness.procfs.tracer_pid(tracee.pid), 0)
        found = re.search(r"org\.ptraced\.Tracer1\.([a-z-]+)", caught.exception.message)
        return caught.exception.name, found[1] if found else None

    def agent(self, who):
        """What shows a program's dialogs."""
        pid = who.connection.pid
        start = cases.harness.procfs.start_time(who.connection.outside)
        subject = ("unix-process", {"pid": wire.Variant("u", pid), "start-time": wire.Variant("t", start),
                                    "uid": wire.Variant("i", who.connection.uid)})
        agent = polkit.Agent(self.client_of(ALICE, UserListener).connection, self.machine.connect(), subject)
        self.addCleanup(agent.close)
        return agent
