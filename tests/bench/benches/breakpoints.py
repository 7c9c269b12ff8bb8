# SPDX-License-Identifier: LGPL-2.1-or-later
"""How many breakpoint hits a program survives in a second, none of which is of interest."""

from lib.debuggers import gdb_setting
from lib.figure import figure_of
from lib.jobs import Rate, take_values

NAME = "breakpoints"
WHAT = "breakpoint hits a second, with a condition (a register's value) that never holds"
CASES = ["step-over", "emulated"]
SLOW = []

ACTS = {"step-over": "stepped", "emulated": "emulated"}


def _raw(case):
    """In the case in which it emulates, the loop that steps is shown beside it."""
    step = "bench-raw-breakpoints", "step"
    if case == "step-over":
        return [Rate("raw", *step)]
    return [Rate("raw", "bench-raw-breakpoints", "emulate"), Rate("raw-step-over", *step)]


def measure(context, cases):
    """One figure for each kind of instruction under the breakpoint."""
    peers = context.others(*gdb_setting("break *{address} if $rdi == -1"))
    for case in cases:
        jobs = [Rate("ours", "bench-engine", "breakpoints"), *_raw(case), *peers]
        yield figure_of(NAME, case, "hits/s", take_values(context, ACTS[case], jobs))
