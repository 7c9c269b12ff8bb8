# SPDX-License-Identifier: LGPL-2.1-or-later
"""The program that is traced."""

import os
import time

from lib.process import BenchError, read_status

START_LIMIT = 60
# A meter among thousands of spinning threads takes its time.
ANSWER_LIMIT = 90


class Target:
    """A running bench-target (see bench-target.c), ended with the object."""

    def __init__(self, supervisor, build, case):
        argv = [str(build.helper("bench-target")), *["--deep"] * case.deep]
        argv += [str(case.threads), str(case.spinners)]
        self._child = supervisor.start(argv, case.pin)
        self._child.read_until("ready\n", START_LIMIT)
        # Threads that have started are not yet asleep.
        time.sleep(0.05)

    @property
    def pid(self):
        """The process to trace."""
        return self._child.pid

    def reset_meter(self):
        """Forgets all gaps so far."""
        self._child.send("reset\n")
        self._child.read_until("ok\n", ANSWER_LIMIT)

    def read_meter(self):
        """For how many microseconds the program was held, at the longest."""
        self._child.send("report\n")
        return self._child.read_json(ANSWER_LIMIT)["gap"]

    def check_released(self, tool):
        """Raises BenchError where the tool has left a thread traced or stopped."""
        deadline = time.monotonic() + 2
        while held := self._held_thread():
            if time.monotonic() > deadline:
                raise BenchError(f"{tool} has left a thread behind: {held}")
            time.sleep(0.01)

    def _held_thread(self):
        task = f"/proc/{self.pid}/task"
        for tid in os.listdir(task):
            status = read_status(f"{task}/{tid}/status")
            if status.get("TracerPid", "0") != "0" or status.get("State", "S")[0] in "tT":
                return f"{tid} is {status['State']}, its tracer is {status['TracerPid']}"
        return None

    def close(self):
        """Ends it."""
        self._child.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
