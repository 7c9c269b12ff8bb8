# SPDX-License-Identifier: LGPL-2.1-or-later
"""Time on one processor, on which a program and its tracer take turns, without that of others.

Between the two of them the processor is never idle, so that the time which they use is the time
which passes; what a third program uses meanwhile is no fault of theirs. Where they do let it idle,
that time counts."""

import os
import time

CPUCLOCK_SCHED = 2  # include/linux/posix-timers.h

_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


def _used(pid):
    """Seconds on a processor, of all its threads that there were."""
    try:
        return time.clock_gettime((~pid << 3) | CPUCLOCK_SCHED)
    except OSError:
        return 0.0


def _idle(cpu):
    """Seconds without anything to do. It goes in ticks."""
    with open("/proc/stat", encoding="utf-8") as f:
        fields = next(line.split() for line in f if line.startswith(f"cpu{cpu} "))
    return sum(int(field) for field in fields[4:6]) * _TICK_SECONDS


class ProcessorTime:
    """Seconds since it was made, on one processor, of the processes that share it."""

    def __init__(self, cpu, pids):
        self._cpu = cpu
        self._pids = list(pids)
        self._begin = self._read()

    def seconds(self):
        """How long they have used it, or left it idle."""
        used, idle = (now - then for now, then in zip(self._read(), self._begin))
        # One tick may have begun long before.
        return used + (idle if idle > 1.5 * _TICK_SECONDS else 0)

    def _read(self):
        return sum(_used(pid) for pid in self._pids), _idle(self._cpu)
