# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a thread costs: it should cost no more among thousands than among a hundred."""

from lib.cases import BLOCKED, ThreadCase
from lib.figure import figure_of
from lib.measure import column

NAME = "attach-per-thread"
WHAT = "attach + stop all + detach for each thread, in us"
CASES = [str(c) for c in BLOCKED]
SLOW = []


def measure(context, cases):
    """One figure for each number of threads."""
    for case in map(ThreadCase.parse, cases):
        times = column(context.attach_samples(case), "total", 1 / case.threads)
        yield figure_of(NAME, str(case), "us", times)
