# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether the daemons sleep while nothing happens.

A process that has not been on a processor has made no system call, so its context switches tell
it, from outside: strace could not look at a tracer, which its keeper traces."""

import time

from lib.cases import ThreadCase
from lib.figure import Figure
from lib.service import wake_ups
from lib.target import Target

NAME = "idle"
SECONDS = 10
WHAT = f"wake-ups in {SECONDS} s with nothing to do, none being right"
THREADS = 100
ROLES = ("broker", "keeper", "tracer", "doorbell")
NOTHING = {role: f"{role} nothing-traced" for role in ROLES if role != "doorbell"}
TRACING = {role: f"{role} {THREADS} traced" for role in ROLES}
CASES = [*NOTHING.values(), *TRACING.values()]
SLOW = []

# What an attach leaves to be done, the next tracer's start for one.
SETTLE_SECONDS = 2


def _count(processes, names):
    """{case: wake-ups} of those roles that there are."""
    time.sleep(SETTLE_SECONDS)
    before = {role: wake_ups(pid) for role, pid in processes.items() if role in names}
    time.sleep(SECONDS)
    return {names[role]: wake_ups(processes[role]) - n for role, n in before.items()}


def _measure_service(context, wanted):
    counts = {}
    with Target(context.supervisor, context.build, ThreadCase(THREADS, False)) as target:
        with context.start_service(target.pid) as service:
            service.wait_for("open")
            if wanted & set(NOTHING.values()):
                counts |= _count(service.settle(), NOTHING)
            service.go_on()
            service.wait_for("attach")
            if wanted & set(TRACING.values()):
                counts |= _count(service.settle(target.pid), TRACING)
        target.check_released("ours")
    return counts


def measure(context, cases):
    """One figure for each role, with and without a process that is traced."""
    if not context.build.has_ours:
        return
    counts = _measure_service(context, set(cases))
    for case in cases:
        if case in counts:
            yield Figure(NAME, case, "wake-ups", counts[case])
