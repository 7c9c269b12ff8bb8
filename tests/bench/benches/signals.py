# SPDX-License-Identifier: LGPL-2.1-or-later
"""How many signals a program sends itself in a second when each stops it and is passed on."""

from lib.debuggers import StraceJob, gdb_setting
from lib.figure import figure_of
from lib.jobs import Rate, take_values

NAME = "signals"
WHAT = "signal-delivery stops a second"
CASES = ["ignored"]
SLOW = []

GDB = "handle SIGUSR1 nostop noprint pass"


def measure(context, cases):
    """One figure. Ours and the raw loop know who sent each; raw-bare does not ask."""
    jobs = [Rate("ours", "bench-engine", "signals"), Rate("raw", "bench-raw-signals"),
            Rate("raw-bare", "bench-raw-signals", "bare"),
            *context.others(StraceJob(["-e", "trace=none"]), *gdb_setting(GDB))]
    for case in cases:
        yield figure_of(NAME, case, "signals/s", take_values(context, "signals", jobs))
