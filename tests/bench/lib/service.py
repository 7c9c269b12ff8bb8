# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemons of one embedded connection, to be driven and looked at from outside."""

import os
import time

from lib.process import BenchError, read_status

ROLES = {"ptraced": "broker", "ptraced-keeper": "keeper", "ptraced-tracer": "tracer",
         "ptraced-bell": "doorbell"}

# The tracer that is kept ready starts by and by.
SETTLE_LIMIT = 20
SETTLE_SECONDS = 0.02


class Service:
    """A running bench-ours and the daemons that it has started."""

    def __init__(self, supervisor, argv, limit, pin=None):
        self._supervisor = supervisor
        self._limit = limit
        self._child = supervisor.start(argv, pin)

    def wait_for(self, step):
        """Waits until the step has been taken; the next one waits for go_on()."""
        taken = self._child.read_json(self._limit).get("step")
        if taken != step:
            raise BenchError(f"bench-ours is at '{taken}' instead of '{step}'")

    def go_on(self):
        """Lets it take the next step."""
        self._child.send("\n")

    def finish(self):
        """Its exit status and what it has said."""
        return self._child.finish(self._limit)

    def processes(self, tracee=None):
        """{role: pid}. There may be two tracers: "tracer" is the tracee's, or the only one."""
        found = {}
        busy = int(read_status(f"/proc/{tracee}/status").get("TracerPid", 0)) if tracee else 0
        for pid in self._supervisor.strays():
            role = ROLES.get(read_status(f"/proc/{pid}/status").get("Name"))
            if role == "tracer" and busy and pid != busy:
                role = "ready tracer"
            if role:
                found[role] = pid
        return found

    def settle(self, tracee=None):
        """The processes once a tracer is there and none of them has done anything for a moment."""
        deadline = time.monotonic() + SETTLE_LIMIT
        before = None
        while time.monotonic() < deadline:
            processes = self.processes(tracee)
            now = {pid: wake_ups(pid) for pid in processes.values()}
            if now == before and "tracer" in processes:
                return processes
            before = now
            time.sleep(SETTLE_SECONDS)
        raise BenchError(f"embedded mode does not settle; there is: {', '.join(self.processes())}")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._child.close()
        self._supervisor.wait_alone()


def resident_kb(pid):
    """Resident memory, exactly where that may be read: the sum in status is lazy since Linux 6.2."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("Rss:"))
    except OSError:
        return int(read_status(f"/proc/{pid}/status")["VmRSS"].split()[0])


def wake_ups(pid):
    """How often the threads of a process have gone off a processor; 0 where it has just ended."""
    total = 0
    try:
        tids = os.listdir(f"/proc/{pid}/task")
    except FileNotFoundError:
        return 0
    for tid in tids:
        status = read_status(f"/proc/{pid}/task/{tid}/status")
        total += int(status.get("voluntary_ctxt_switches", 0))
        total += int(status.get("nonvoluntary_ctxt_switches", 0))
    return total
