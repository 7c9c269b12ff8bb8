# SPDX-License-Identifier: LGPL-2.1-or-later
"""Starting programs so that none of them is left behind, and reading what they say in time."""

import ctypes
import json
import os
import select
import signal
import subprocess
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

URGENT_NICE = -20

_libc = ctypes.CDLL(None, use_errno=True)


class BenchError(Exception):
    """A measurement that could not be taken; the text says which and why."""


class NotPermitted(BenchError):
    """The kernel does not let this user trace."""


class NotYet(BenchError):
    """Ours has not learnt to do it, or nobody has for this kind of machine."""


def _prctl(option, value):
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


class Child:
    """A running program, its standard input, and its standard output and error in one stream.

    Every wait has a limit in seconds, and ends in BenchError."""

    def __init__(self, argv, pin=None, urgent=False):
        def prepare():
            _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if pin is not None:
                os.sched_setaffinity(0, {pin})
            if urgent:
                _raise_priority()

        self.name = os.path.basename(argv[0])
        self._popen = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=subprocess.STDOUT, bufsize=0, preexec_fn=prepare)
        self._pidfd = os.pidfd_open(self._popen.pid)
        self._unread = b""
        self._at_end = False

    @property
    def pid(self):
        """Its process id, which is its own until close()."""
        return self._popen.pid

    @property
    def is_open(self):
        """Until close()."""
        return self._pidfd >= 0

    def send(self, text):
        """Writes to its standard input."""
        try:
            self._popen.stdin.write(text.encode())
        except BrokenPipeError:
            raise BenchError(f"{self.name} has ended: {self._tail()}") from None

    def send_eof(self):
        """Ends its standard input."""
        self._popen.stdin.close()

    def kill(self, signo):
        """Sends it a signal; it has not been waited for, so that the id is still its own."""
        self._popen.send_signal(signo)

    def read_until(self, marker, limit):
        """What it says up to the marker, and the marker."""
        deadline = time.monotonic() + limit
        marker = marker.encode()
        while marker not in self._unread:
            if self._at_end:
                raise BenchError(f"{self.name} has ended: {self._tail()}")
            self._read(deadline)
        text, self._unread = self._unread.split(marker, 1)
        return (text + marker).decode(errors="replace")

    def read_json(self, limit):
        """The next line that is a JSON object; other lines are remarks of its own."""
        deadline = time.monotonic() + limit
        remarks = ""
        while True:
            try:
                line = self.read_until("\n", deadline - time.monotonic())
            except BenchError as e:
                raise BenchError(f"{e} {remarks}".strip()) from None
            if line.startswith("{"):
                return json.loads(line)
            remarks += line

    def finish(self, limit):
        """Reads until it ends; its exit status and the rest of what it said."""
        deadline = time.monotonic() + limit
        while not self._has_ended(0):
            if self._at_end:
                self._has_ended(deadline - time.monotonic())
            else:
                self._read(deadline)
        while not self._at_end and self._readable(0):
            self._read(deadline)
        return self._popen.wait(), self._unread.decode(errors="replace")

    def close(self):
        """Kills it where it still runs, and waits for its end."""
        if not self.is_open:
            return
        self._popen.kill()
        self._popen.wait()
        self._popen.stdout.close()
        try:
            self._popen.stdin.close()
        except BrokenPipeError:
            pass
        os.close(self._pidfd)
        self._pidfd = -1

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def _tail(self):
        return self._unread.decode(errors="replace").strip() or "it said nothing"

    def _readable(self, seconds):
        fds = [self._popen.stdout.fileno(), self._pidfd]
        return fds[0] in select.select(fds, [], [], max(seconds, 0))[0]

    def _has_ended(self, seconds):
        ended = bool(select.select([self._pidfd], [], [], max(seconds, 0))[0])
        if not ended and seconds > 0:
            raise BenchError(f"{self.name} does not end")
        return ended

    def _read(self, deadline):
        """Takes in what there is. Its output may outlive it, in the hands of what it started."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise BenchError(f"{self.name} takes too long")
        if self._readable(left):
            data = os.read(self._popen.stdout.fileno(), 65536)
            self._unread += data
            self._at_end = not data
        elif self._has_ended(0):
            self._at_end = True


class Supervisor:
    """Starts the programs of a run and ends whatever is left of them with it.

    What the programs leave behind becomes the harness's child, so that the daemons of embedded
    mode are found among its descendants, and no process of somebody else's."""

    def __init__(self):
        self._children = []
        self.may_raise = False  # whether tools may have a real-time class

    def __enter__(self):
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
        self.may_raise = _raise_class()
        for signo in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(signo, _exit_on_signal)
        return self

    def __exit__(self, *exc):
        for child in self._children:
            child.close()
        self.end_strays()

    def start(self, argv, pin=None, urgent=False):
        """Starts a program; its owner closes it, at the latest the supervisor does. What is urgent
        is that before other programs of the machine, where it may be."""
        child = Child(argv, pin, urgent)
        self._children = [c for c in self._children if c.is_open] + [child]
        return child

    def open_pids(self):
        """The pids of the programs that have been started and not closed."""
        return [child.pid for child in self._children if child.is_open]

    def strays(self):
        """The pids of what started programs have left running, reaping what has ended."""
        own = set(self.open_pids())
        alive = []
        for pid, state in descendants(os.getpid()):
            if pid in own:
                continue
            if state != "Z":
                alive.append(pid)
                continue
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass
        return alive

    def end_strays(self):
        """Kills what started programs have left running."""
        for pid in self.strays():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def wait_alone(self, limit=10):
        """Waits until nothing is left, lest it be measured with the next tool."""
        deadline = time.monotonic() + limit
        while strays := self.strays():
            if time.monotonic() > deadline:
                raise BenchError(f"processes are left behind: {strays}")
            time.sleep(0.005)


def _raise_priority():
    try:
        os.setpriority(os.PRIO_PROCESS, 0, URGENT_NICE)
    except PermissionError:
        pass


def _raise_class():
    """Among threads that spin, the harness would read what a tool says only many milliseconds later.
    What it starts is of the normal class. Whether it may."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except PermissionError:
        return False
    return True


def _exit_on_signal(signo, _frame):
    raise SystemExit(128 + signo)


def read_stat(pid):
    """State and parent of a process; None where it is gone. Its name may hold parentheses."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            fields = f.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0], int(fields[1])


def descendants(root):
    """(pid, state) of all that the process has started, and that they have."""
    stats = {int(pid): read_stat(pid) for pid in os.listdir("/proc") if pid.isdigit()}
    found, generation = [], {root}
    while generation:
        generation = {pid for pid, stat in stats.items() if stat and stat[1] in generation}
        found += sorted(generation)
    return [(pid, stats[pid][0]) for pid in found]


def read_status(path):
    """The fields of a /proc/.../status as strings; empty where the thread is gone."""
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
    except (FileNotFoundError, ProcessLookupError):
        return {}
