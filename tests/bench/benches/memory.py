# SPDX-License-Identifier: LGPL-2.1-or-later
"""Resident memory of the daemons, with nothing traced and with many threads stopped."""

from lib.cases import ThreadCase
from lib.figure import Figure
from lib.service import resident_kb
from lib.target import Target

NAME = "memory"
WHAT = "resident memory, in kB (B for each thread)"
THREADS = 5000
ROLES = ("broker", "keeper", "tracer")
IDLE = {role: f"{role} idle" for role in ROLES}
BUSY = {role: f"{role} {THREADS} stopped" for role in ROLES}
PER_THREAD = "tracer per thread"
CASES = [*IDLE.values(), *BUSY.values(), PER_THREAD]
SLOW = []


def _resident(processes):
    return {role: resident_kb(processes[role]) for role in ROLES}


def _measure_service(context):
    """Resident memory of each role before and after. An attach takes the tracer that is ready, so
    that both speak of the same one."""
    with Target(context.supervisor, context.build, ThreadCase(THREADS, False)) as target:
        with context.start_service(target.pid) as service:
            service.wait_for("open")
            idle = _resident(service.settle())
            for step in ("attach", "stop"):
                service.go_on()
                service.wait_for(step)
            busy = _resident(service.settle(target.pid))
            service.go_on()
            service.wait_for("detach")
        target.check_released("ours")
    return idle, busy


def measure(context, cases):
    """One figure for each role before and after."""
    if not context.build.has_ours:
        return
    idle, busy = _measure_service(context)
    values = {IDLE[role]: idle[role] for role in ROLES} | {BUSY[role]: busy[role] for role in ROLES}
    for case in cases:
        if case == PER_THREAD:
            grown = (busy["tracer"] - idle["tracer"]) * 1024 / THREADS
            yield Figure(NAME, case, "B", grown)
        else:
            yield Figure(NAME, case, "kB", values[case])
