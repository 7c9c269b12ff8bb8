# SPDX-License-Identifier: LGPL-2.1-or-later
"""A machine of its own: a real systemd, booted in a container, with the build installed in it.

Its files are a cached Debian (rootfs.sh) under a layer in memory that goes with it. The tests look
at it from outside: they run commands in it, connect to its bus through /proc/PID/root, and see its
processes in their own /proc, under other ids.
"""

import contextlib
import glob
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import procfs
import wire
from programs import Lines, Tracee
from service import BUILD, build_option, sanitized, wait_until

HERE = os.path.dirname(os.path.realpath(__file__))
PREFIX = "ptraced-system-"
TRACEES = "/opt/tracees"  # in the machine
TRACEE_SECONDS = 600
BOOT_TIMEOUT = 60
END_TIMEOUT = 40
# nspawn leaves this one out; the keeper opens mapped files by it.
CAPABILITIES = "CAP_CHECKPOINT_RESTORE"

CONTAINER = ("unshare", "--user", "--map-root-user", "--pid", "--mount-proc", "--uts", "--ipc", "--fork", "--kill-child")

# Into its cgroups, a layer over the files, and up. All mounts are in a name space of their own.
START = """set -e
root=$1 top=$2 tracees=$3; shift 3
for cgroup; do echo $$ >"$cgroup/cgroup.procs"; done
mount -t tmpfs -o mode=0755 ptraced-test "$top"
mkdir "$top/upper" "$top/work" "$top/root"
mount -t overlay -o "lowerdir=$root,upperdir=$top/upper,workdir=$top/work" ptraced-test "$top/root"
exec systemd-nspawn --quiet --boot --directory="$top/root" --machine="$MACHINE" --register=no --keep-unit \\
    --console=pipe --private-network --capability="$CAPABILITIES" --bind-ro="$tracees:$INSIDE"
"""


class Unavailable(Exception):
    """This machine cannot boot one; says why in one line."""


def run(*command, timeout, **kwargs):
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
                          check=False, **kwargs)


def find_rootfs():
    done = run(os.path.join(HERE, "rootfs.sh"), timeout=400)
    if done.returncode == 77:
        raise Unavailable(done.stdout.strip())
    if done.returncode != 0:
        raise RuntimeError(f"rootfs.sh failed: {done.stderr.strip()}")
    return done.stdout.strip()


def check_needs():
    if os.geteuid() != 0:
        raise Unavailable("not root, which booting a container takes")
    for program in ("systemd-nspawn", "nsenter", "unshare", "setpriv", "meson"):
        if not shutil.which(program):
            raise Unavailable(f"{program} is not installed")
    if sanitized():
        raise Unavailable("the build is one with sanitizers, whose libraries are not in there")
    if build_option("prefix") != "/usr":
        raise Unavailable("the build is not for /usr, where systemd and the bus look; meson setup --prefix=/usr")


def hierarchies():
    """Where the cgroup trees are that systemd uses: the unified one, and its own of version 1."""
    with open("/proc/self/mountinfo") as f:
        for line in f:
            before, _, after = line.partition(" - ")
            kind, _, options = after.split(maxsplit=2)
            if kind == "cgroup2" or kind == "cgroup" and "name=systemd" in options.strip().split(","):
                yield before.split()[4]


def left_by_the_dead(place):
    """What is named after a test's process that is no more: the machine has ended with it."""
    for name in os.listdir(place):
        if name.startswith(PREFIX) and not os.path.exists("/proc/" + name[len(PREFIX):].partition("-")[0]):
            yield os.path.join(place, name)


class Cgroups:
    """One of our own in each tree, so that nothing of the machine's is anywhere else."""

    def __init__(self, name):
        self.sweep()
        self.paths = []
        for tree in hierarchies():
            path = os.path.join(tree, name)
            try:
                os.mkdir(path)
            except OSError as e:
                self.remove()
                raise Unavailable(f"no cgroup can be made in {tree}: {e.strerror}") from e
            self.paths.append(path)
        if not self.paths:
            raise Unavailable("there is no cgroup tree")

    @classmethod
    def sweep(cls):
        """Those of tests that were killed."""
        for tree in hierarchies():
            for path in left_by_the_dead(tree):
                cls.remove_tree(path)

    @staticmethod
    def remove_tree(top):
        """Depth first; what is still in use stays."""
        for path, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(path)
        return not os.path.exists(top)

    def processes(self):
        found = []
        for top in self.paths:
            for path, _, _ in os.walk(top):
                with contextlib.suppress(OSError), open(os.path.join(path, "cgroup.procs")) as f:
                    found += [int(pid) for pid in f.read().split()]
        return sorted(set(found))

    def remove(self):
        """Returns those that cannot be."""
        return [path for path in self.paths if not wait_until(lambda path=path: self.remove_tree(path), 5)]


class Inside(Tracee):
    """A tracee in the machine, a service of its own there. `pid` is what it is here, and what the
    tests look at; `inside` is what the service knows it by."""

    # pylint: disable=super-init-not-called
    def __init__(self, machine, name, *args, user=None, program=None, properties=(), container=False):
        """program: where it is, if not with the others; properties: of the service; container: in name spaces
        of its own, in which it is the first process."""
        machine.tracees += 1
        self.name = name
        self.machine = machine
        self.unit = f"tracee-{machine.tracees}.service"
        self.program = program or os.path.join(TRACEES, name)
        self.process = subprocess.Popen(
            machine.command("systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--unit=" + self.unit,
                            "--property=LimitCORE=0", "--setenv=TRACEE_OUTLIVES_PARENT=1",
                            *([f"--uid={user}"] if user else []),
                            *("--property=" + one for one in properties),
                            *(CONTAINER if container else ()), self.program,
                            *map(str, args), seconds=TRACEE_SECONDS),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.lines = Lines(self.process.stdout)
        self.status = None
        self.ending = False
        self.job_control_stopped = False
        self.inside = self.pid = None
        try:
            # It ends with its input, or with the machine: its parent is that one's first process.
            self.words = self.listen().split()
            self.inside = int(machine.show(self.unit, "MainPID"))
            self.pid = machine.outside(self.inside)
            if container:
                (self.pid,) = procfs.children(self.pid)
                self.inside = machine.inside(self.pid)
        except BaseException:
            self.kill()
            raise

    def kill(self):
        self.ending = True
        if self.process.poll() is None:
            self.machine.try_run("systemctl", "kill", "--signal=KILL", self.unit)
            self.process.wait(10)
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


class Account(NamedTuple):
    uid: int
    gid: int
    groups: list


class UserConnection(wire.Connection):
    """`pid`: of the process that has connected, as the machine knows it, and `outside` as it is known here. It
    ends with the connection."""

    def __init__(self, sock, uid, pid, process, channel):
        self.pid = pid
        self.process = process
        (self.outside,) = procfs.children(process.pid)
        self.channel = channel
        super().__init__(sock, uid=uid)

    def close(self):
        if not self.closed:
            os.close(self.channel)
            self.process.wait(10)
        super().close()


class Machine:
    numbers = itertools.count(1)

    def __init__(self, with_build=True):
        """with_build: what is built is installed."""
        check_needs()
        rootfs = find_rootfs()
        self.name = f"{PREFIX}{os.getpid()}-{next(self.numbers)}"
        self.nspawn = None
        self.leader = None
        self.tracees = 0
        self.cgroups = Cgroups(self.name)
        for path in left_by_the_dead(tempfile.gettempdir()):
            shutil.rmtree(path, ignore_errors=True)
        self.scratch = tempfile.mkdtemp(prefix=self.name + "-")
        self.log = os.path.join(self.scratch, "console")
        os.mkdir(self.path("top"))
        try:
            self.boot(rootfs)
            if with_build:
                self.install()
        except BaseException:
            self.end()
            raise

    def path(self, name):
        return os.path.join(self.scratch, name)

    def boot(self, rootfs):
        environment = {**os.environ, "MACHINE": self.name, "CAPABILITIES": CAPABILITIES, "INSIDE": TRACEES}
        with open(self.log, "wb") as log:
            self.nspawn = subprocess.Popen(
                ["setpriv", "--pdeathsig=TERM", "unshare", "--mount", "--propagation", "private", "bash", "-c", START,
                 "start", rootfs, self.path("top"), os.path.join(BUILD, "tests", "tracees"), *self.cgroups.paths],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True)
        wait_until(lambda: self.find_leader() or self.nspawn.poll() is not None, BOOT_TIMEOUT)
        if not self.leader:
            # Nothing of ours has run yet: it is this machine that cannot, or that is very slow.
            raise Unavailable(f"systemd-nspawn does not start: {self.console()[-1:]}")
        state = wait_until(self.state, BOOT_TIMEOUT, 0.05)
        if state not in ("running", "degraded"):
            raise RuntimeError(f"the machine did not boot, it is {state}: {self.console()[-10:]}")
        # What fails in a container before anything of ours is there is no concern of ours.
        self.run("systemctl", "reset-failed")

    def find_leader(self):
        """Its first process, once it is the system that has its own files."""
        for pid in procfs.children(self.nspawn.pid):
            ids = (procfs.status(pid, "NSpid") or "").split()
            if len(ids) > 1 and ids[-1] == "1" and os.path.exists(f"/proc/{pid}/root/run/systemd/private"):
                self.leader = pid
        return self.leader

    def state(self):
        state = self.run("systemctl", "is-system-running", check=False).strip()
        return None if state in ("", "initializing", "starting", "offline", "unknown") else state

    def console(self):
        with open(self.log, errors="replace") as f:
            return [line.rstrip() for line in f if line.strip()]

    def install(self):
        """As the README says it, from outside."""
        done = run("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", timeout=120,
                   env={**os.environ, "DESTDIR": self.root})
        if done.returncode != 0:
            raise RuntimeError(f"meson install: {done.stdout}{done.stderr}")
        self.run("systemd-sysusers")
        self.run("systemd-tmpfiles", "--create", "ptraced.conf")
        self.run("systemctl", "daemon-reload")
        self.run("systemctl", "reload", "dbus")
        self.run("ldconfig")
        self.run("journalctl", "--update-catalog")

    @property
    def root(self):
        return f"/proc/{self.leader}/root"

    # What tests call.

    def command(self, *args, seconds=60):
        """It ends by itself, in there too, whatever becomes of us."""
        return ["nsenter", "--target", str(self.leader), "--all", "env", "-i", "PATH=/usr/sbin:/usr/bin",
                "LANG=C.UTF-8", "timeout", "--kill-after=2", str(seconds), *map(str, args)]

    def try_run(self, *args, timeout=30):
        return run(*self.command(*args, seconds=timeout), timeout=timeout + 10)

    def run(self, *args, check=True, **kwargs):
        """What a command in the machine writes, run by root."""
        done = self.try_run(*args, **kwargs)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(map(str, args))} exited with {done.returncode}: "
                                 f"{done.stdout}{done.stderr}")
        return done.stdout

    def try_run_as(self, user, *args, **kwargs):
        """A command of another user's, as a service."""
        return self.try_run("systemd-run", "--quiet", "--wait", "--pipe", "--collect", f"--uid={user}", *args,
                            **kwargs)

    def show(self, unit, name):
        return self.run("systemctl", "show", "--property=" + name, "--value", unit).strip()

    def is_active(self, unit):
        return self.show(unit, "ActiveState") in ("active", "activating", "reloading")

    def connect(self):
        """root, on its bus."""
        return wire.Connection.open(self.root + "/run/dbus/system_bus_socket")

    def connect_as(self, user, kind=None):
        """A user, on its bus, from a process of the machine's. kind: a UserConnection."""
        account = self.account(user)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            process = subprocess.Popen(
                ["nsenter", "--target", str(self.leader), "--pid", "--uts", "--ipc", "--net", sys.executable,
                 os.path.join(HERE, "connect.py"), str(theirs.fileno()), self.root + "/run/dbus",
                 *map(str, (account.uid, account.gid, *account.groups))],
                stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
            theirs.close()
            ours.settimeout(10)
            word, (bus,), _, _ = socket.recv_fds(ours, 64, 1)
            return (kind or UserConnection)(socket.socket(fileno=bus), account.uid, int(word), process, ours.detach())

    def account(self, user):
        _, _, uid, gid, *_ = self.run("getent", "passwd", user).strip().split(":")
        return Account(int(uid), int(gid), [int(group) for group in self.run("id", "-G", user).split()])

    def write(self, path, text):
        os.makedirs(os.path.dirname(self.root + path), exist_ok=True)
        with open(self.root + path, "w") as f:
            f.write(text)

    def copy_tracee(self, name, path, mode=0o755):
        """Where it can have a mode of its own."""
        shutil.copy2(os.path.join(BUILD, "tests", "tracees", name), self.root + path)
        os.chmod(self.root + path, mode)
        return path

    def remove(self, path):
        os.unlink(self.root + path)

    def processes(self):
        return [self.leader] + procfs.descendants(self.leader)

    def outside(self, inside):
        """A process of the machine as it is known here."""
        for pid in self.processes():
            if (procfs.status(pid, "NSpid") or "").split()[-1:] == [str(inside)]:
                return pid
        raise AssertionError(f"process {inside} of the machine is gone")

    def inside(self, pid):
        """As the machine knows it, though it may be in a container in there."""
        depth = len(procfs.status(self.leader, "NSpid").split())
        return int(procfs.status(pid, "NSpid").split()[depth - 1])

    def running(self, program):
        """Processes of an installed program, as they are known here."""
        return [pid for pid in self.processes() if procfs.executable(pid) == f"/usr/libexec/ptraced/{program}"]

    def journal(self, *args):
        """Entries, the oldest first."""
        self.run("journalctl", "--sync")
        lines = self.run("journalctl", "--quiet", "--output=json", "--no-pager", *args).splitlines()
        return [json.loads(line) for line in lines]

    def journal_mark(self):
        entries = self.journal("--lines=1")
        return entries[-1]["__CURSOR"]

    # The end.

    def end(self):
        """Returns what was wrong."""
        problems = []
        if self.nspawn:
            self.end_nspawn(problems)
        if self.cgroups.processes() and not wait_until(lambda: not self.cgroups.processes(), 5):
            problems += [f"process {pid} ({procfs.executable(pid)}) is left" for pid in self.cgroups.processes()]
        problems += [f"cgroup {path} is left" for path in self.cgroups.remove()]
        with open("/proc/self/mountinfo") as f:
            problems += [f"mounted still: {line.split()[4]}" for line in f if self.scratch in line]
        problems += [f"{path} is left" for path in glob.glob(f"/run/systemd/nspawn/*/*{self.name}*")]
        shutil.rmtree(self.scratch, ignore_errors=True)
        return problems

    def end_nspawn(self, problems):
        """SIGTERM has it shut down in order."""
        started = time.monotonic()
        self.nspawn.terminate()
        try:
            self.nspawn.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.nspawn.kill()
            self.nspawn.wait()
            problems.append(f"the machine did not shut down in {time.monotonic() - started:.0f} s: "
                            f"{self.console()[-5:]}")
