# SPDX-License-Identifier: LGPL-2.1-or-later
"""How many threads a program starts, and waits for, in a second when each of them is traced."""

from lib.debuggers import StraceJob, gdb_setting
from lib.figure import figure_of
from lib.jobs import Rate, take_values

NAME = "threads"
WHAT = "threads a second that start and end under tracing"
CASES = ["one at a time"]
SLOW = []


def measure(context, cases):
    """One figure. Ours and the raw loop are told of beginnings and ends; ours-exit and raw-exit
    stop every thread before its end too."""
    jobs = [Rate("ours", "bench-engine", "threads"), Rate("raw", "bench-raw-threads"),
            Rate("ours-exit", "bench-engine", "threads-exit"),
            Rate("raw-exit", "bench-raw-threads", "exit"),
            *context.others(StraceJob(["-e", "trace=none"]), *gdb_setting())]
    for case in cases:
        yield figure_of(NAME, case, "threads/s", take_values(context, "threads", jobs))
