# SPDX-License-Identifier: LGPL-2.1-or-later
"""What attaches to a program, stops it and detaches: ours and the raw loop. The others are peers.

A tool has a name and `run(supervisor, pid, limit)`, which gives its times in microseconds: at least
"total" (attach, stop, detach) and "cold" (its own start included)."""

import json

from lib.process import BenchError, NotPermitted
from lib.service import Service


def _read_times(name, status, text):
    """The last line of what a helper said."""
    lines = [line for line in text.splitlines() if line.startswith("{")]
    if status != 0 or not lines:
        raise BenchError(f"{name} failed with status {status}: {text.strip() or 'it said nothing'}")
    return json.loads(lines[-1])


class RawLoop:
    """The yardstick; its variants are shown beside it."""

    def __init__(self, build, pin=None, name="raw", fifo=False, wildcard=False):
        self.name = name
        self._argv = [str(build.helper("bench-raw"))]
        self._argv += ["--fifo"] * fifo + ["--wildcard"] * wildcard
        self._pin = pin

    def run(self, supervisor, pid, limit):
        """One loop. It is there at once, so that its cold start is none."""
        with supervisor.start(self._argv + [str(pid)], self._pin) as child:
            status, text = child.finish(limit)
        if status != 0 and "Operation not permitted" in text:
            raise NotPermitted(text.strip())
        times = _read_times(self.name, status, text)
        return times | {"cold": times["total"]}


class Ours:
    """The service in embedded mode, through libptraced. The options are those of bench-ours."""

    def __init__(self, build, pin=None, options=(), name="ours"):
        self.name = name
        self._program = str(build.helper("bench-ours"))
        self._options = list(options)
        self._pin = pin

    def run(self, supervisor, pid, limit):
        """One request each, to a service that has settled, as one has that is there already."""
        argv = [self._program, "--hold", *self._options, str(pid)]
        with Service(supervisor, argv, limit, self._pin) as service:
            service.wait_for("open")
            service.settle()
            service.go_on()
            status, text = service.finish()
        return _read_times(self.name, status, text)


class OursAtOnce(Ours):
    """The same, but the first request is made as soon as the connection is open."""

    def run(self, supervisor, pid, limit):
        """One request each, to a service that is just starting."""
        argv = [self._program, *self._options, str(pid)]
        with supervisor.start(argv, self._pin) as child:
            status, text = child.finish(limit)
        return _read_times(self.name, status, text)
