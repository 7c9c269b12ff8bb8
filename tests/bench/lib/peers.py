# SPDX-License-Identifier: LGPL-2.1-or-later
"""The tools that people use today, each doing the same: attach to all threads, stop, detach.

Their clocks start when they are ready to attach where that can be told (gdb), and else when they are
started (gdbserver and strace, which take a few milliseconds to do so)."""

import shutil
import signal
import time

from lib.process import BenchError

QUIT_LIMIT = 20


class Stopwatch:
    """Microseconds since it was made."""

    def __init__(self):
        self._begin = time.monotonic_ns()

    def usec(self):
        """How long it has been."""
        return (time.monotonic_ns() - self._begin) / 1000


class Peer:
    """A program that need not be installed."""

    name = ""
    program = ""

    def __init__(self, pin=None):
        self._pin = pin

    @classmethod
    def is_installed(cls):
        """Whether it is found in PATH."""
        return shutil.which(cls.program) is not None


class Gdb(Peer):
    """gdb as it comes, without its start-up files. It is started before the clock is, and says
    nothing of each thread, in its own favour."""

    name = "gdb"
    program = "gdb"
    commands = ()  # between the two
    settings = ("confirm off", "pagination off", "print thread-events off",
                "debuginfod enabled off")

    def run(self, supervisor, pid, limit):
        """Attaches, which stops, and detaches."""
        since_start = Stopwatch()
        argv = ["gdb", "-q", "-nx"]
        for setting in self.settings:
            argv += ["-iex", f"set {setting}"]
        with supervisor.start(argv, self._pin) as child:
            self._do(child, "", "ready", limit)
            since_ready = Stopwatch()
            said = self._do(child, f"attach {pid}\n", "attached", limit)
            attached = since_ready.usec()
            for command in self.commands:
                self._do(child, command, "next", limit)
            self._do(child, "detach\n", "detached", limit)
            total = since_ready.usec()
            cold = since_start.usec()
            child.send_eof()
            child.finish(QUIT_LIMIT)
        if "ptrace:" in said:
            raise BenchError(f"{self.name} could not attach: {said.strip()}")
        return {"attach": attached, "detach": total - attached, "total": total, "cold": cold}

    @staticmethod
    def _do(child, command, marker, limit):
        child.send(f"{command}echo bench-{marker}\\n\n")
        return child.read_until(f"bench-{marker}\n", limit)


class GdbWithoutSymbols(Gdb):
    """gdb that looks for no separate debugging information and loads no scripts."""

    name = "gdb-nosymbols"
    settings = Gdb.settings + ("debug-file-directory /nonexistent", "auto-load off")


class GdbServer(Peer):
    """gdbserver, which stops what it attaches to, told to detach at once in its own protocol. What
    gdb would add by asking for threads, registers and symbols is not in it."""

    name = "gdbserver"
    program = "gdbserver"

    def run(self, supervisor, pid, limit):
        """Attaches, which stops, and detaches."""
        since_start = Stopwatch()
        with supervisor.start(["gdbserver", "--attach", "-", str(pid)], self._pin) as child:
            child.send("+" + self._packet("D"))
            child.read_until(self._packet("OK"), limit)
            total = since_start.usec()
            child.send("+")
            child.send_eof()
            child.finish(QUIT_LIMIT)
        return {"total": total, "cold": total}

    @staticmethod
    def _packet(body):
        return f"${body}#{sum(body.encode()) % 256:02x}"


class Strace(Peer):
    """strace of all threads, ended with SIGINT as soon as it says that it has attached. It lets each
    thread run on by itself, so that its freeze is not that of a stop of all."""

    name = "strace"
    program = "strace"

    def run(self, supervisor, pid, limit):
        """Attaches and detaches; between the two, it follows for as short as can be."""
        since_start = Stopwatch()
        argv = ["strace", "-f", "-o", "/dev/null", "-p", str(pid)]
        with supervisor.start(argv, self._pin) as child:
            child.read_until(" attached", limit)
            attached = since_start.usec()
            child.kill(signal.SIGINT)
            child.finish(limit)
            total = since_start.usec()
        return {"attach": attached, "detach": total - attached, "total": total, "cold": total}


ALL = (Gdb, GdbWithoutSymbols, GdbServer, Strace)
