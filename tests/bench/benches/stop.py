# SPDX-License-Identifier: LGPL-2.1-or-later
"""The stop alone: what a raised scheduling class gains, and what waiting for a certain thread does."""

from lib.cases import ThreadCase
from lib.figure import figure_of
from lib.measure import column, take_samples

NAME = "stop"
WHAT = "one request that stops all threads, in ms"
RAISED = ["100 spinning", "1000 spinning"]
NORMAL = ["100 spinning normal-class"]
BLOCKED = ["100 blocked", "5000 blocked"]
CASES = BLOCKED + RAISED + NORMAL
SLOW = ["5000 spinning", "1000 spinning normal-class"]


def _tools(context, name, case):
    if name.endswith(" normal-class"):
        return [*context.ours("--normal-class"), context.raw()]
    if case.spinning:
        return [*context.ours(fifo=True), context.raw(fifo=True)]
    return [*context.ours(), *context.ours("--unsubscribed", name="ours-unsubscribed"),
            context.raw(), context.raw(name="raw-wildcard", wildcard=True)]


def measure(context, cases):
    """One figure a case. In a normal-class case, ours has lost the right to another one."""
    for name in cases:
        case = ThreadCase.parse(name.removesuffix(" normal-class"))
        samples = take_samples(context, case, _tools(context, name, case))
        yield figure_of(NAME, name, "ms", column(samples, "stop", 0.001))
