# SPDX-License-Identifier: LGPL-2.1-or-later
"""How long it takes from the request, which the tracer has already, to the collected stop."""

from lib.figure import figure_of
from lib.jobs import Latency, take_values

NAME = "interrupt"
WHAT = "from the request to the collected stop of one thread, the median in us"
CASES = ["spinning", "blocked"]
SLOW = []

ACTS = {"spinning": "spin", "blocked": "block"}


def measure(context, cases):
    """One figure for each state of the thread."""
    jobs = [Latency("ours", "bench-engine", "interrupt"), Latency("raw", "bench-raw-interrupt")]
    for case in cases:
        yield figure_of(NAME, case, "us", take_values(context, ACTS[case], jobs))
