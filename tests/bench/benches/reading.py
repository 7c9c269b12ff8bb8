# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reading memory: through the kernel's own descriptor, as a sealed file, and in messages."""

import os
import sys

from lib.figure import figure_of
from lib.peers import Gdb, Stopwatch
from lib.process import BenchError

NAME = "reading"
MIB = 256
WHAT = f"reading {MIB} MiB of a running program, in MiB/s"
CASES = ["descriptor", "sealed-file", "messages"]
SLOW = []
RUNS = 7
READY_LIMIT = 60


def _start_target(context):
    """A program with so much memory, and where it is."""
    program = context.build.path / "tests" / "tracees" / "holds-patterns"
    if not program.exists():
        raise BenchError(f"{program} is not built")
    target = context.supervisor.start([str(program), str(MIB * 1024)])
    words = target.read_until("\n", READY_LIMIT).split()[1:]
    return target, int(dict(word.split("=") for word in words)["pattern"])


def _run_ours(context, pid, address):
    """One rate of each case, and of its raw loop."""
    helper = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bench-reading.py")
    argv = [sys.executable, helper, str(context.build.path), str(pid), str(address), str(MIB)]
    with context.supervisor.start(argv, context.options.pin) as child:
        rates = child.read_json(context.options.timeout)
        child.finish(context.options.timeout)
    context.supervisor.wait_alone()
    return rates


class GdbDump(Gdb):
    """gdb reads so much only to write it to a file, which is /dev/null here."""

    def dump(self, supervisor, pid, address, limit):
        """Its rate."""
        with supervisor.start(["gdb", "-q", "-nx", "-iex", "set confirm off"], self._pin) as child:
            self._do(child, f"attach {pid}\n", "attached", limit)
            watch = Stopwatch()
            self._do(child, f"dump binary memory /dev/null {address} {address + MIB * 1024 * 1024}\n", "done",
                     limit)
            usec = watch.usec()
            self._do(child, "detach\n", "detached", limit)
            child.send_eof()
            child.finish(limit)
        return MIB / (usec / 1e6)


def _take(context, target, address):
    """{name: [rate]}, all tools in turn."""
    samples = {}
    with_gdb = any(peer.name == GdbDump.name for peer in context.peers)
    for _ in range(context.options.runs or RUNS):
        rates = _run_ours(context, target.pid, address)
        if with_gdb:
            rates["gdb"] = GdbDump(context.options.pin).dump(context.supervisor, target.pid, address,
                                                             context.options.timeout)
        for name, value in rates.items():
            samples.setdefault(name, []).append(value)
    return samples


def measure(context, cases):
    """One figure a case."""
    if not context.build.has_ours:
        return
    target, address = _start_target(context)
    with target:
        samples = _take(context, target, address)
    for case in cases:
        columns = {"ours": samples[case], "raw": samples[f"{case}-raw"]}
        if "gdb" in samples:
            columns["gdb"] = samples["gdb"]
        yield figure_of(NAME, case, "MiB/s", columns)
