# SPDX-License-Identifier: LGPL-2.1-or-later
"""A service on a private bus with a real polkitd, and users who are not root."""

import collections
import contextlib
import os
import pwd
import shutil
import time
from typing import NamedTuple

import client
import procfs
import service
import wire

POLKITD = "/usr/lib/polkit-1/polkitd"
AUTHORITY = "org.freedesktop.PolicyKit1"
AUTHORITY_PATH = "/org/freedesktop/PolicyKit1/Authority"

# Users that every Debian has. What the rules of a test give to whom, the test says.
USERS = ("games", "news")

# polkitd (122, and later ones) is told without its mutex that a rule has been run: where it is preempted just before it
# waits for that, it misses it, and refuses after ten seconds. In a real-time class and on one processor it is not: who
# runs goes on until it waits.
SCRIPT = """
mount --bind "$0/actions" /usr/share/polkit-1/actions
mount --bind "$0/rules" /etc/polkit-1/rules.d
mount -t tmpfs -o mode=755 tmpfs /usr/share/polkit-1/rules.d
if chrt --fifo 1 true 2>/dev/null; then
    set -- chrt --fifo 1 taskset --cpu-list "$PROCESSOR" "$@"
fi
exec "$@"
"""


def missing():
    """In one line, what is not there; None where all is."""
    if not os.path.exists(POLKITD):
        return "polkitd is not installed"
    if any(not service.user_exists(name) for name in (*USERS, "polkitd")):
        return f"one of the users {', '.join(USERS)}, polkitd is missing"
    return None


class PolkitService(service.SystemService):
    """rules: the body of a rule, in JavaScript; or a whole file of rules."""

    rules = ""
    rules_file = None
    with_polkit = True

    def __init__(self, scratch):
        self.polkit = None
        super().__init__(scratch)
        if self.with_polkit:
            self.start_polkit()

    def start_polkit(self):
        folder = self.path("polkit")
        for name in ("actions", "rules"):
            os.makedirs(os.path.join(folder, name), exist_ok=True)
        source = os.path.join(service.SOURCE, "bus-api/policy/org.ptraced.Tracer1.policy.in")
        with open(source) as f, open(os.path.join(folder, "actions/org.ptraced.Tracer1.policy"), "w") as copy:
            copy.write(f.read().replace("@USER@", self.user.pw_name))
        if self.rules_file:
            shutil.copy2(self.rules_file, os.path.join(folder, "rules/50-test.rules"))
        else:
            with open(os.path.join(folder, "rules/50-test.rules"), "w") as f:
                f.write(f"polkit.addRule(function(action, subject) {{\n{self.rules}\n}});\n")
        self.polkit = self.spawn("polkit", [*service.WITH_US, "unshare", "--mount", "--propagation", "private",
                                            "/bin/sh", "-ec", SCRIPT, folder, POLKITD],
                                 environment={"DBUS_SYSTEM_BUS_ADDRESS": self.address,
                                              "PROCESSOR": str(max(os.sched_getaffinity(0)))})
        probe = wire.Connection.open(self.bus_socket)
        try:
            if not service.wait_until(lambda: self.has_polkit(probe) or self.polkit.poll() is not None, 60):
                raise RuntimeError("polkitd did not start")
        finally:
            probe.close()

    @staticmethod
    def has_polkit(probe):
        return probe.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                          "NameHasOwner", "s", AUTHORITY)[0]

    def connect_as(self, user):
        """The bus takes the credentials of a connection when it is made."""
        with acting_as(user):
            one = client.Client(wire.Connection.open(self.bus_socket))
        self.clients.append(one)
        return one

    def stop(self):
        problems = super().stop()
        if self.polkit:
            self.polkit.terminate()
            service.reap(self.polkit, 5)
        return problems


class Question(NamedTuple):
    action: str
    message: str
    icon: str
    details: dict
    cookie: str
    identities: list
    serial: int


def ourselves(user):
    """This process as a subject, where it acts as a user."""
    return ("unix-process", {"pid": wire.Variant("u", os.getpid()),
                             "start-time": wire.Variant("t", procfs.start_time(os.getpid())),
                             "uid": wire.Variant("i", pwd.getpwnam(user).pw_uid)})


class Agent:
    """What shows dialogs for the programs of a subject, as polkit names them. Who agrees authenticates
    as whom polkit asks for; it takes root's word for that, as it takes that of its own helper."""

    PATH = "/agent"

    def __init__(self, bus, root, subject):
        """bus: a Listener, root: a connection of root's; both are closed in the end."""
        self.bus = bus
        self.root = root
        self.subject = subject
        self.bus.call(AUTHORITY, AUTHORITY_PATH, AUTHORITY + ".Authority", "RegisterAuthenticationAgent",
                      "(sa{sv})ss", self.subject, "C", self.PATH)

    def next_question(self):
        message = self.bus.next_call("BeginAuthentication")
        return Question(*message.body, message.serial)

    def wait_for_cancel(self):
        self.bus.next_call("CancelAuthentication")

    def agree(self, question):
        self.root.call(AUTHORITY, AUTHORITY_PATH, AUTHORITY + ".Authority", "AuthenticationAgentResponse2",
                       "us(sa{sv})", self.bus.uid, question.cookie, question.identities[0])
        self.bus.answer(question.serial)

    def dismiss(self, question):
        self.bus.answer(question.serial)

    def close(self):
        self.bus.close()
        self.root.close()


class Listener(wire.Connection):
    """One that is called."""

    def __init__(self, *args, **kwargs):
        self.calls = collections.deque()
        super().__init__(*args, **kwargs)

    def take(self, message):
        if message.type == wire.METHOD_CALL and message.fields[wire.MEMBER] != "Ping":
            self.calls.append(message)
        else:
            super().take(message)

    def next_call(self, member, timeout=10):
        deadline = time.monotonic() + timeout
        while not self.calls:
            if not self.pump(deadline - time.monotonic()):
                raise TimeoutError(f"nobody has called {member} within {timeout} s")
        message = self.calls.popleft()
        if message.fields[wire.MEMBER] != member:
            raise AssertionError(f"{message.fields[wire.MEMBER]} was called, not {member}")
        self.caller = message.fields[wire.SENDER]
        return message

    def answer(self, serial):
        self.send_message(wire.METHOD_RETURN, {wire.REPLY_SERIAL: serial, wire.DESTINATION: self.caller},
                          wire.Writer())


@contextlib.contextmanager
def acting_as(name):
    user = pwd.getpwnam(name)
    groups = os.getgroups()
    os.setgroups([user.pw_gid])
    os.setegid(user.pw_gid)
    os.seteuid(user.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def copy_program(path, folder, name, mode=0o755):
    """A program where every user may execute it."""
    copy = os.path.join(folder, name)
    shutil.copy2(path, copy)
    os.chmod(copy, mode)
    return copy
