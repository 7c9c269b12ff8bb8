# SPDX-License-Identifier: LGPL-2.1-or-later
"""For how long the program stands still meanwhile, measured inside of it."""

from lib.cases import BLOCKED, SLOW as SLOW_CASES, SPINNING, ThreadCase
from lib.figure import figure_of, noise_of
from lib.measure import QUIET, column

NAME = "freeze"
WHAT = "the longest time that the program does not run meanwhile, in ms"
CASES = [str(c) for c in BLOCKED + SPINNING]
SLOW = [str(c) for c in SLOW_CASES]


def measure(context, cases):
    """One figure for each number of threads; its noise holds what there is without any tool."""
    for case in map(ThreadCase.parse, cases):
        samples = context.attach_samples(case)
        quiet = noise_of([times["freeze"] * 0.001 for times in samples[QUIET]])
        times = column(samples, "freeze", 0.001)
        yield figure_of(NAME, str(case), "ms", times, {QUIET: quiet})
