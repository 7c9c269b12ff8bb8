# SPDX-License-Identifier: LGPL-2.1-or-later
"""Starts the service as a test wants it: on a private bus, or embedded as the library does it.

The daemons run from copies in the test's own folder, laid out as in the build tree. So the
unprivileged broker can be executed wherever the build tree lies, and a process whose program is one
of these files is this test's and nobody else's.
"""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time

import client
import procfs
import wire

BUILD = os.path.realpath(os.environ.get("PTRACED_BUILD_DIR", "build"))
SOURCE = os.path.realpath(os.environ.get("PTRACED_SOURCE_DIR", os.path.join(os.path.dirname(__file__), "..", "..")))
DAEMONS = ("broker/ptraced", "keeper/ptraced-keeper", "tracer/ptraced-tracer")
UNPRIVILEGED = "nobody"

# What goes on until it is told to end shall not outlive a test that was killed. The broker ends with
# its bus, an embedded service with its client.
WITH_US = ("setpriv", "--pdeathsig=TERM")

BUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  {policy}
  <!-- The broker's limits are to be met, not the bus's. -->
  <limit name="max_replies_per_connection">4096</limit>
  {limits}
</busconfig>
"""


BUS_POLICY = """
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
"""

# What the system bus allows everybody, without what installed files add.
SYSTEM_BUS_POLICY = """
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>
"""


def build_option(name):
    """A meson option of the build tree, or None where it cannot be told."""
    try:
        with open(os.path.join(BUILD, "meson-info", "intro-buildoptions.json")) as f:
            return next((o["value"] for o in json.load(f) if o["name"] == name), None)
    except OSError:
        return None


def user_exists(name):
    try:
        return bool(pwd.getpwnam(name))
    except KeyError:
        return False


def sanitized():
    return build_option("b_sanitize") not in (None, "none")


def wait_until(condition, timeout=10, interval=0.005):
    """Waits for a truth value and returns it; a false one when the time is over."""
    deadline = time.monotonic() + timeout
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(interval)
    return value


def is_listening(path):
    """A socket is there before anybody can connect to it."""
    with open("/proc/net/unix", errors="replace") as f:
        return any(line.rstrip("\n").endswith(" " + path) and line.split()[3] == "00010000" for line in f)


def reap(process, timeout):
    """The exit status of a Popen, which is killed when it takes too long; (status, in time)."""
    try:
        return process.wait(timeout), True
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait(), False


class Daemons:
    """The programs in the test's folder, their logs, and who of them runs."""

    def __init__(self, scratch):
        self.scratch = scratch
        self.paths = {}
        for name in DAEMONS:
            copy = os.path.join(scratch, "daemon", name)
            os.makedirs(os.path.dirname(copy), exist_ok=True)
            if not os.path.exists(copy):
                shutil.copy2(os.path.join(BUILD, "daemon", name), copy)
            self.paths[os.path.basename(name)] = copy

    def open_log(self, name):
        return open(os.path.join(self.scratch, name + ".log"), "ab")

    def logs(self):
        """Name and text of each log that holds anything."""
        found = {}
        for name in sorted(os.listdir(self.scratch)):
            if name.endswith(".log"):
                with open(os.path.join(self.scratch, name), errors="replace") as f:
                    if text := f.read():
                        found[name] = text
        return found

    def running(self, name=None):
        """Pids of our daemons, or of one of the three."""
        paths = [self.paths[name]] if name else list(self.paths.values())
        return sorted(procfs.processes_running(paths))

    def tracers(self):
        """Tracers, the ready one too, without the child that each has for a doorbell."""
        pids = self.running("ptraced-tracer")
        return [pid for pid in pids if procfs.parent(pid) not in pids]


class Service:
    """What both ways of running the service share."""

    mode = None
    broker_options = ()

    def __init__(self, scratch):
        self.daemons = Daemons(scratch)
        self.scratch = scratch
        self.broker = self.keeper = None
        self.clients = []

    def path(self, name):
        return os.path.join(self.scratch, name)

    def spawn(self, name, command, **kwargs):
        environment = {**os.environ, "TMPDIR": self.path("tmp"), **kwargs.pop("environment", {})}
        with self.daemons.open_log(name) as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                    env=environment, **kwargs)

    def tracer_of(self, pid):
        """The pid of our tracer that traces a process."""
        tracer = procfs.tracer_pid(pid)
        return tracer if tracer in self.daemons.tracers() else None

    def close_clients(self):
        for one in self.clients:
            one.close()
        self.clients = []

    def stop_daemon(self, process, what, problems):
        """SIGTERM, and the exit status has to be 0."""
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            code, in_time = reap(process, 15)
            if not in_time:
                problems.append(f"{what} did not end at SIGTERM")
            elif code != 0:
                problems.append(f"{what} ended with {code} at SIGTERM")

    def wait_for_end(self, problems):
        """No process of ours may be left, tracers included."""
        if not wait_until(lambda: not self.daemons.running(), 10):
            for pid in self.daemons.running():
                problems.append(f"process {pid} ({procfs.executable(pid)}) is left")
                os.kill(pid, signal.SIGKILL)
        for name, text in self.daemons.logs().items():
            for word in ("Sanitizer", "runtime error", "Assertion"):
                if word in text:
                    problems.append(f"{name} speaks of {word!r}")


class SystemService(Service):
    """dbus-daemon, the keeper as root and the broker as nobody, without any capability."""

    mode = "system"
    bus_limits = {}

    def __init__(self, scratch):
        super().__init__(scratch)
        self.bus_socket = self.path("bus")
        self.keeper_socket = self.path("keeper")
        self.address = "unix:path=" + self.bus_socket
        name = build_option("user") or "ptraced"
        self.user = pwd.getpwnam(name if user_exists(name) else UNPRIVILEGED)
        with open(self.path("bus.conf"), "w") as f:
            limits = [f'<limit name="{name}">{value}</limit>' for name, value in self.bus_limits.items()]
            f.write(BUS_CONFIG.format(socket=self.bus_socket, policy=self.bus_policy(), limits="".join(limits)))
        self.bus = self.spawn("bus", [*WITH_US, "dbus-daemon", "--config-file=" + self.path("bus.conf"), "--nofork",
                                      "--nopidfile", "--nosyslog"])
        if not wait_until(lambda: is_listening(self.bus_socket)):
            raise RuntimeError("dbus-daemon did not start")
        self.start_keeper()
        self.start_broker()

    def bus_policy(self):
        return BUS_POLICY

    def keeper_command(self):
        """The keeper serves the broker's user alone, whom only an installation makes. So where that
        user is missing, the keeper is shown a list of users in which it is another name of nobody's."""
        command = [*WITH_US, self.daemons.paths["ptraced-keeper"], "--listen=" + self.keeper_socket]
        name = build_option("user") or "ptraced"
        if user_exists(name):
            return command
        with open("/etc/passwd") as f, open(self.path("passwd"), "w") as copy:
            copy.write(f"{f.read()}{name}:x:{self.user.pw_uid}:{self.user.pw_gid}::/:/bin/false\n")
        return ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c",
                'mount --bind "$0" /etc/passwd && exec "$@"', self.path("passwd"), *command]

    def start_keeper(self):
        # The socket of one that was killed is there still.
        stale = self.keeper_socket_identity()
        self.keeper = self.spawn("keeper", self.keeper_command())
        if not wait_until(lambda: self.keeper_socket_identity() not in (None, stale) and
                          is_listening(self.keeper_socket) or self.keeper.poll() is not None):
            raise RuntimeError("ptraced-keeper did not start")
        if self.keeper.poll() is not None:
            raise RuntimeError(f"ptraced-keeper ended with {self.keeper.returncode}")

    def keeper_socket_identity(self):
        try:
            return os.stat(self.keeper_socket).st_ino, os.stat(self.keeper_socket).st_ctime_ns
        except FileNotFoundError:
            return None

    def broker_command(self):
        return ["setpriv", f"--reuid={self.user.pw_uid}", f"--regid={self.user.pw_gid}", "--clear-groups",
                "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs",
                self.daemons.paths["ptraced"], "--system", "--keeper=" + self.keeper_socket, *self.broker_options]

    def start_broker(self):
        self.broker = self.spawn("broker", self.broker_command(),
                                 environment={"DBUS_SYSTEM_BUS_ADDRESS": self.address})
        probe = wire.Connection.open(self.bus_socket)
        try:
            if not wait_until(lambda: self.has_name(probe) or self.broker.poll() is not None):
                raise RuntimeError("ptraced did not take its name")
        finally:
            probe.close()
        if self.broker.poll() is not None:
            raise RuntimeError(f"ptraced ended with {self.broker.returncode}")

    def has_name(self, probe):
        return probe.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                          "NameHasOwner", "s", client.NAME)[0]

    def connect(self):
        one = client.Client(wire.Connection.open(self.bus_socket))
        self.clients.append(one)
        return one

    def stop(self):
        """Ends everything; returns what was wrong."""
        problems = []
        self.close_clients()
        self.stop_daemon(self.broker, "ptraced", problems)
        self.stop_daemon(self.keeper, "ptraced-keeper", problems)
        self.wait_for_end(problems)
        self.bus.terminate()
        reap(self.bus, 5)
        return problems


class InstalledService(SystemService):
    """On a bus with the policy and the limits of a system bus, and with the file that we install there."""

    bus_limits = {"max_replies_per_connection": 128}

    def bus_policy(self):
        with open(os.path.join(SOURCE, "bus-api/policy/org.ptraced.Tracer1.conf.in")) as f:
            text = f.read().replace("@USER@", self.user.pw_name)
        start, end = "<busconfig>", "</busconfig>"
        return SYSTEM_BUS_POLICY + text[text.index(start) + len(start) : text.index(end)]


class EmbeddedService(Service):
    """A broker and a keeper over socketpairs, as ptraced_open_embedded() starts them."""

    mode = "embedded"

    def __init__(self, scratch):
        super().__init__(scratch)
        client_end, broker_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        broker_keeper, keeper_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.keeper = self.start("keeper", "ptraced-keeper", [keeper_end])
        self.broker = self.start("broker", "ptraced", [broker_end, broker_keeper])
        for end in (broker_end, broker_keeper, keeper_end):
            end.close()
        self.client_end = client_end

    def start(self, log, program, sockets):
        """The sockets become the descriptors from 3 on; a shell does what dup2() would."""
        moves = " ".join(f"{20 + i}<&{s.fileno()}" for i, s in enumerate(sockets))
        places = " ".join(f"{3 + i}<&{20 + i} {20 + i}<&-" for i in range(len(sockets)))
        return self.spawn(log, ["/bin/bash", "-c", f'exec {moves}; exec "$0" --embedded {places}',
                                self.daemons.paths[program]],
                          pass_fds=[s.fileno() for s in sockets])

    def connect(self):
        """The one client that there is."""
        if not self.clients:
            self.clients.append(client.Client(wire.Connection(self.client_end, bus=False), None))
        return self.clients[0]

    def stop(self):
        """The client goes, and all the rest has to end by itself."""
        problems = []
        self.close_clients()
        self.client_end.close()
        for process, what in ((self.broker, "ptraced"), (self.keeper, "ptraced-keeper")):
            before = process.poll()
            code, in_time = reap(process, 15)
            if not in_time:
                problems.append(f"{what} did not end when its client had gone")
            elif before is None and code != 0:
                problems.append(f"{what} ended with {code} when its client had gone")
        self.wait_for_end(problems)
        return problems
