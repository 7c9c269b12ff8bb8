# SPDX-License-Identifier: LGPL-2.1-or-later
"""The program that does one thing over and over, and counts it where everybody can look."""

import json
import mmap
import os
import struct
import time

from lib.process import BenchError, read_status
from lib.processor import ProcessorTime

START_LIMIT = 20
COUNTERS_SIZE = 4096  # as in bench-actor.c
COUNTER_STRIDE = 64


class Actor:
    """A running bench-actor, ended with the object."""

    def __init__(self, context, act):
        argv = [str(context.build.helper("bench-actor")), *act.split()]
        self._child = context.supervisor.start(argv, context.cpu, urgent=True)
        said = json.loads(self._child.read_until("\n", START_LIMIT))
        self._supervisor = context.supervisor
        self._cpu = context.cpu
        self.address = said["address"]
        fd = os.open(f"/proc/{self.pid}/fd/{said['counters']}", os.O_RDONLY)
        try:
            self._counters = mmap.mmap(fd, COUNTERS_SIZE, prot=mmap.PROT_READ)
        finally:
            os.close(fd)

    @property
    def pid(self):
        """The process to trace."""
        return self._child.pid

    def count(self):
        """How often it has done its thing, all threads together."""
        offsets = range(0, COUNTERS_SIZE, COUNTER_STRIDE)
        return sum(struct.unpack_from("=Q", self._counters, offset)[0] for offset in offsets)

    def rate(self, seconds):
        """How often it does it in a second of its processor, which it shares with its tracer and
        whatever that has started; seen over so many seconds."""
        pids = {self.pid, *self._supervisor.open_pids(), *self._supervisor.strays()}
        clock, before = ProcessorTime(self._cpu, pids), self.count()
        time.sleep(seconds)
        used, done = clock.seconds(), self.count() - before
        if used <= 0:
            raise BenchError("the program never ran")
        return done / used

    def wait_moving(self, limit):
        """Waits until it goes on with its thing."""
        deadline, before = time.monotonic() + limit, self.count()
        while self.count() == before:
            if time.monotonic() > deadline:
                raise BenchError("the program is never let run")
            time.sleep(0.005)

    def wait_traced(self, limit):
        """Waits until each of its threads is traced."""
        deadline = time.monotonic() + limit
        while not self._is_traced():
            if time.monotonic() > deadline:
                raise BenchError("the program is never attached")
            time.sleep(0.005)

    def check_released(self, tool):
        """Raises BenchError where the tool has harmed it, or has left it traced or stopped."""
        status = read_status(f"/proc/{self.pid}/status")
        if status.get("TracerPid") != "0" or status["State"][0] not in "RS":
            raise BenchError(f"{tool} has left the program behind: {status.get('State', 'gone')}, "
                             f"its tracer is {status.get('TracerPid')}")

    def _is_traced(self):
        task = f"/proc/{self.pid}/task"
        statuses = [read_status(f"{task}/{tid}/status") for tid in os.listdir(task)]
        return all(status.get("TracerPid") != "0" for status in statuses)

    def close(self):
        """Ends it."""
        self._child.close()
        self._counters.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
