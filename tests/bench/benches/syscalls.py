# SPDX-License-Identifier: LGPL-2.1-or-later
"""How many system calls a program gets done whose every one is stopped at, twice."""

from lib.debuggers import GdbJob, StraceJob
from lib.figure import figure_of
from lib.jobs import Rate, take_values

NAME = "syscalls"
WHAT = "system-call stops a second, two for each call"
CASES = ["1 thread", "4 threads"]
SLOW = []

STOPS = 2  # on entry and on exit
GDB = ("catch syscall getppid", "ignore $bpnum 1000000000")


def measure(context, cases):
    """One figure for each number of threads."""
    jobs = [Rate("ours", "bench-engine", "syscalls", events=STOPS),
            Rate("raw", "bench-raw-syscalls", events=STOPS),
            *context.others(StraceJob(events=STOPS), GdbJob(GDB, events=STOPS))]
    for case in cases:
        values = take_values(context, f"syscalls {case.split()[0]}", jobs)
        yield figure_of(NAME, case, "stops/s", values)
