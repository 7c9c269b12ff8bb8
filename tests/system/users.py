# SPDX-License-Identifier: LGPL-2.1-or-later
"""Users of a booted system who are not root."""

import os
import re

import cases
import client
import polkit
import wire
from machine import UserConnection
from terminal import Terminal

ALICE, BOB = "alice", "bob"
RULES = "/etc/polkit-1/rules.d/10-test.rules"
LOGIN = "org.freedesktop.login1"
ASK_ME = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"
ACCESS_DENIED = "org.freedesktop.DBus.Error.AccessDenied"
NOT_PERMITTED = client.ERROR + "NotPermitted"
PROGRAM = "busy-loop"

# What polkit's rules and defaults tell apart: allow_active, allow_inactive, and allow_any twice.
PLACES = ("at the seat", "at the seat, but inactive", "remote", "in no session")


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
        """The body of a rule, in JavaScript. polkit knows no agent any more then."""
        self.machine.write(RULES, f"polkit.addRule(function(action, subject) {{\n{body}\n}});\n")
        self.machine.try_run("systemctl", "reset-failed", "polkit.service") # it may be started five times in a while
        self.machine.run("systemctl", "restart", "polkit.service")

    def client_of(self, user, kind=None):
        one = client.Client(self.machine.connect_as(user, kind), auto_start=True)
        self.clients.append(one)
        return one

    def log_in(self, connection, seat="seat0", remote=False):
        """The program is in a session of its own from now on, at the machine's seat if nothing else is said.
        The last one to come there is the active one."""
        reply = self.root_bus.call(LOGIN, "/org/freedesktop/login1", LOGIN + ".Manager", "CreateSession",
                                   "uusssssussbssa(sv)", connection.uid, connection.pid, "test", "tty", "user", "",
                                   seat, 0, "", "", remote, "", "elsewhere" if remote else "", [])
        self.logins.append(reply[3])

    def at(self, place):
        """A program of ALICE's there. To polkit all of a user's sessions at a seat are active if one is, so it
        is another user who makes them inactive."""
        who = self.client_of(ALICE)
        if place != "in no session":
            self.log_in(who.connection, **({"seat": "", "remote": True} if place == "remote" else {}))
        if place == "at the seat, but inactive":
            self.log_in(self.client_of(BOB).connection)
            self.assertEqual(self.state_of(who.connection.uid), "online")
        return who

    def state_of(self, uid):
        """As logind has it: active, online or offline."""
        (path,) = self.root_bus.call(LOGIN, "/org/freedesktop/login1", LOGIN + ".Manager", "GetUser", "u", uid)
        return self.root_bus.call(LOGIN, path, client.PROPERTIES, "Get", "ss", LOGIN + ".User", "State")[0].value

    def dialog(self, agent, action, asked):
        """The one that is shown next: whether it asks whom it should."""
        question = agent.next_question()
        self.assertEqual(question.action, f"{cases.NAME}.{action}")
        self.assertEqual([identity[1]["uid"].value for identity in question.identities],
                         [self.machine.account(asked).uid])
        return question

    def at_terminal(self, user, *command):
        """A command of a user's who sits before it."""
        account = self.machine.account(user)
        command = ["nsenter", "--target", str(self.machine.leader), "--all", "setpriv", f"--reuid={account.uid}",
                   f"--regid={account.gid}", "--init-groups", "env", "-i", "PATH=/usr/bin:/bin", "LANG=C.UTF-8",
                   "timeout", "--foreground", "60", *map(str, command)]
        terminal = Terminal(lambda: os.execvp(command[0], command))
        self.addCleanup(terminal.close)
        return terminal

    def set_password(self, user, password):
        self.machine.run("sh", "-c", f"echo '{user}:{password}' | chpasswd")

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
