# SPDX-License-Identifier: LGPL-2.1-or-later
"""What it takes from nothing: the start of embedded mode, or of the peer, included."""

from lib.cases import ThreadCase
from lib.figure import figure_of
from lib.measure import column, take_samples

NAME = "cold"
WHAT = "starting the tool + attach + stop all + detach, in ms (the raw loop has no start)"
CASES = ["10 blocked", "1000 blocked"]
SLOW = []


def measure(context, cases):
    """One figure for each number of threads."""
    for case in map(ThreadCase.parse, cases):
        tools = [*context.ours_at_once(), context.raw(), *context.peers]
        samples = take_samples(context, case, tools)
        yield figure_of(NAME, str(case), "ms", column(samples, "cold", 0.001))
