# SPDX-License-Identifier: LGPL-2.1-or-later
"""For how long a program stands still while registers and stacks of all its threads are taken."""

from lib.cases import ThreadCase
from lib.figure import figure_of, noise_of
from lib.jobs import JobProgram
from lib.measure import QUIET, column, take_samples
from lib.peers import Gdb

NAME = "snapshot"
WHAT = "the freeze of a snapshot: registers, siginfo and 64 KiB of stack of each thread, in ms"
CASES = ["100 blocked", "1000 blocked"]
SLOW = []


class Snapshot(JobProgram):
    """A raw loop or ours, which takes one and says how long it took."""

    def __init__(self, context, name, program, how=""):
        super().__init__(name, program, how)
        self._context = context

    def run(self, supervisor, pid, limit):
        """One snapshot."""
        with self.start(self._context, pid) as child:
            return self.finish(self._context, child)


class GdbBacktrace(Gdb):
    """gdb that shows what every thread is doing, which is what it is used for in such a case."""

    name = "gdb"
    commands = ("thread apply all -q backtrace\n",)


def _tools(context):
    raw = "bench-raw-snapshot"
    return [Snapshot(context, "ours", "bench-engine", "snapshot"), Snapshot(context, "raw", raw),
            Snapshot(context, "raw-populated", raw, "populated"),
            *([] if context.options.no_peers or not Gdb.is_installed() else
              [GdbBacktrace(context.cpu)])]


def measure(context, cases):
    """One figure for each number of threads; its noise holds what there is without any tool."""
    for name in cases:
        case = ThreadCase(ThreadCase.parse(name).threads, False, deep=True, pin=context.cpu)
        samples = take_samples(context, case, _tools(context))
        quiet = noise_of([times["freeze"] * 0.001 for times in samples[QUIET]])
        freezes = column(samples, "freeze", 0.001)
        yield figure_of(NAME, name, "ms", freezes, {QUIET: quiet})
