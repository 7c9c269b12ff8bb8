# SPDX-License-Identifier: LGPL-2.1-or-later
"""How long it takes to attach to a process, stop all of it and detach."""

from lib.cases import BLOCKED, SLOW as SLOW_CASES, SPINNING, ThreadCase
from lib.figure import figure_of
from lib.measure import column

NAME = "attach"
WHAT = "attach + stop all + detach, in ms"
CASES = [str(c) for c in BLOCKED + SPINNING]
SLOW = [str(c) for c in SLOW_CASES]


def measure(context, cases):
    """One figure for each number of threads."""
    for case in map(ThreadCase.parse, cases):
        times = column(context.attach_samples(case), "total", 0.001)
        yield figure_of(NAME, str(case), "ms", times)
