# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tests of users who are not root: a service whose rules let one of them trace what is its own."""

import os
import pwd

import harness
import polkit
import procfs
import wire
from programs import TRACEES

GAMES, NEWS = polkit.USERS
ACCESS_DENIED = "org.freedesktop.DBus.Error.AccessDenied"
ASK_ME = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"


class Service(polkit.PolkitService):
    rules = f"""
    if (action.id == "org.ptraced.Tracer1.control") {{
        if (subject.user == "{GAMES}" && action.lookup("access") == "control")
            return polkit.Result.YES;
        if (action.lookup("executable").indexOf("/forbidden") >= 0)
            return polkit.Result.NO;
    }}
    if (action.id == "org.ptraced.Tracer1.observe" && action.lookup("access") == "observe")
        return polkit.Result.YES;
    if (action.id == "org.ptraced.Tracer1.control-other" && action.lookup("executable").indexOf("/allowed") >= 0)
        return polkit.Result.YES;
    """


class ConfiguredService(Service):
    """With a file in ptraced.conf.d that nobody else sees."""

    limits = {}

    SCRIPT = """
    mount -t tmpfs -o mode=755 tmpfs /run
    mkdir -p /run/ptraced/ptraced.conf.d
    cp "$0" /run/ptraced/ptraced.conf.d/50-test.conf
    exec "$@"
    """

    def spawn(self, name, command, **kwargs):
        if name == "broker":
            with open(self.path("limits.conf"), "w") as f:
                f.write("[Limits]\n" + "".join(f"{key}={value}\n" for key, value in self.limits.items()))
            command = ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-ec", self.SCRIPT,
                       self.path("limits.conf"), *command]
        return super().spawn(name, command, **kwargs)


class YamaService(Service):
    """Whose keeper finds a machine with Yama."""

    scope = 3

    def keeper_command(self):
        os.makedirs(self.path("kernel/yama"))
        with open(self.path("kernel/yama/ptrace_scope"), "w") as f:
            f.write(f"{self.scope}\n")
        return ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c",
                'mount --bind "$0" /proc/sys/kernel && exec "$@"', self.path("kernel"), *super().keeper_command()]


class Policy(harness.OnTheBus):
    service_class = Service

    def setUp(self):
        if reason := polkit.missing():
            self.skipTest(reason)
        super().setUp()

    def program(self, name, source="busy-loop", mode=0o755):
        return polkit.copy_program(os.path.join(TRACEES, source), self.scratch, name, mode)

    def tracee_of(self, user, name="program", source="busy-loop", mode=0o755, args=()):
        self.program(name, source, mode)
        return self.tracee(name, *args, folder=self.scratch, user=pwd.getpwnam(user))

    def session_of(self, user, **values):
        return self.service.connect_as(user).create_session(**values)

    def assert_refused(self, session, tracee, name="NotPermitted", **kwargs):
        error = self.assert_error(name, session.attach, tracee.pid, **kwargs)
        self.assertEqual(procfs.tracer_pid(tracee.pid), 0)
        return error.message


class Dialog(Policy):
    """Somebody is there to be asked about what the second user wants."""

    def setUp(self):
        super().setUp()
        self.agent = polkit.Agent(polkit.Listener.open(self.service.bus_socket),
                                  wire.Connection.open(self.service.bus_socket), polkit.ourselves(NEWS))
        self.addCleanup(self.agent.close)
