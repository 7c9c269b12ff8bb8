# SPDX-License-Identifier: LGPL-2.1-or-later
"""The tools that people use today, at what the benches of the engine measure. They count nothing:
the program does. In the end they are killed, and the program after them: a tracer that lives and
does not collect its tracee's end keeps it a zombie."""

import contextlib

import time

from lib.jobs import PEER_RUNS, WARM_UP_SECONDS
from lib.peers import Gdb, Peer
from lib.process import BenchError
from lib.processor import ProcessorTime


@contextlib.contextmanager
def _started(context, argv):
    """The tool, killed in the end with all that it has started."""
    try:
        with context.supervisor.start(argv, context.cpu, urgent=True) as child:
            yield child
    finally:
        context.supervisor.end_strays()


class GdbJob(Peer):
    """gdb, attached and told what to do."""

    name = "gdb"
    program = "gdb"
    runs = PEER_RUNS

    def __init__(self, commands, events=1):
        super().__init__()
        self._commands = commands
        self._events = events

    def measure(self, context, actor):
        """Events in a second."""
        with self._attached(context, actor) as child:
            for command in self._commands:
                self._do(child, command.format(address=actor.address), context.options.timeout)
            child.send("continue\n")
            actor.wait_moving(context.options.timeout)
            time.sleep(WARM_UP_SECONDS)
            rate = actor.rate(context.options.window)
        return rate * self._events

    @contextlib.contextmanager
    def _attached(self, context, actor):
        argv = ["gdb", "-q", "-nx"]
        for setting in Gdb.settings:
            argv += ["-iex", f"set {setting}"]
        with _started(context, argv) as child:
            said = self._do(child, self._attach_command(actor), context.options.timeout)
            if "ptrace:" in said or "not being run" in said:
                raise BenchError(f"{self.name} could not attach: {said.strip()}")
            yield child

    @staticmethod
    def _attach_command(actor):
        return f"attach {actor.pid}"

    @staticmethod
    def _do(child, command, limit):
        child.send(f"{command}\necho bench-done\\n\n")
        return child.read_until("bench-done\n", limit)


class GdbServerJob(GdbJob):
    """gdb at the other end of gdbserver, which traces."""

    name = "gdbserver"
    program = "gdbserver"

    @classmethod
    def is_installed(cls):
        """Whether both are."""
        return super().is_installed() and GdbJob.is_installed()

    @staticmethod
    def _attach_command(actor):
        return f"target remote | exec gdbserver --once --attach - {actor.pid} 2>/dev/null"


class GdbDump(GdbJob):
    """gdb writing so many bytes of memory into nothing."""

    def __init__(self, size):
        super().__init__([])
        self._size = size

    def measure(self, context, actor):
        """MiB in a second."""
        with self._attached(context, actor) as child:
            pids = {child.pid, *context.supervisor.strays()}
            clock = ProcessorTime(context.cpu, pids)
            said = self._do(child, f"dump binary memory /dev/null {actor.address} "
                                   f"{actor.address + self._size}", context.options.timeout)
            seconds = clock.seconds()
        if "annot" in said:
            raise BenchError(f"{self.name} could not read: {said.strip()}")
        return self._size / seconds / (1 << 20)


class GdbServerDump(GdbDump, GdbServerJob):
    """The same through gdbserver."""


class StraceJob(Peer):
    """strace of all threads, into nothing."""

    name = "strace"
    program = "strace"
    runs = PEER_RUNS

    def __init__(self, options=(), events=1):
        super().__init__()
        self._options = options
        self._events = events

    def measure(self, context, actor):
        """Events in a second."""
        argv = ["strace", "-f", "-qq", *self._options, "-o", "/dev/null", "-p", str(actor.pid)]
        with _started(context, argv):
            actor.wait_traced(context.options.timeout)
            time.sleep(WARM_UP_SECONDS)
            rate = actor.rate(context.options.window)
        return rate * self._events


def gdb_setting(*commands, events=1):
    """gdb and gdb with gdbserver, doing the same."""
    return [GdbJob(commands, events), GdbServerJob(commands, events)]
