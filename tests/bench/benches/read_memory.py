# SPDX-License-Identifier: LGPL-2.1-or-later
"""How fast a program's memory is read: through a descriptor, and into a memfd."""

from lib.debuggers import GdbDump, GdbServerDump
from lib.figure import figure_of
from lib.jobs import Speed, take_values

NAME = "read-memory"
MIB = 256
WHAT = f"reading {MIB} MiB of memory that is in use, in MiB/s"
CASES = ["descriptor", "memfd"]
SLOW = []

GDBSERVER_MIB = 8  # at its speed, that is a second

HOW = {"descriptor": ("read", ""), "memfd": ("read-memfd", "memfd")}


def measure(context, cases):
    """One figure for each way; what the peers know is one way."""
    size = MIB << 20
    for case in cases:
        ours, raw = HOW[case]
        jobs = [Speed("ours", "bench-engine", ours, size=size),
                Speed("raw", "bench-raw-read", raw, size=size),
                *context.others(GdbDump(size), GdbServerDump(GDBSERVER_MIB << 20))]
        yield figure_of(NAME, case, "MiB/s", take_values(context, f"memory {MIB}", jobs))
