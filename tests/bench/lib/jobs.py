# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the benches of the engine measure, each tool on a program of its own, all on one processor.

A job has a name and `measure(context, actor)`, which gives one value."""

import json
import time

from lib.actor import Actor
from lib.process import BenchError, NotPermitted, NotYet

# Short and often, all tools in turn: a change in the machine's load hits all of them alike. What a
# peer's figure is worth needs no more than a few.
RUNS = 11
PEER_RUNS = 3
WARM_UP_SECONDS = 0.05

EXIT_UNABLE = 3  # JOB_EXIT_UNABLE in job.h
# For so long a tool goes on after the window that it is looked at in, lest the program be seen free:
# on a busy machine the harness is late too.
MARGIN_SECONDS = 0.3
# What may be under way when the tool ends, beside what is lost in the readings of the counters.
UNCOUNTED_MAX = 64


class JobProgram:
    """A raw loop or ours: a program that says "attached", works, and prints its result. `how` and
    the options are those of job.h."""

    runs = RUNS

    def __init__(self, name, program, how="", **options):
        self.name = name
        self._program = program
        self._options = options | ({"how": how} if how else {})

    def start(self, context, pid, **options):
        """The program, once it is attached."""
        program = context.build.helper(self._program)
        if not program.exists():
            raise NotYet(f"{self._program} is not built for this machine")
        argv = [str(program)]
        argv += [f"--{key}={value}" for key, value in (self._options | options).items()]
        child = context.supervisor.start(argv + [str(pid)], context.cpu, urgent=True)
        try:
            child.read_until("attached\n", context.options.timeout)
        except BenchError as e:
            status, text = child.finish(context.options.timeout)
            raise _error_of(status, text or str(e)) from None
        return child

    def finish(self, context, child):
        """What it says in the end."""
        status, text = child.finish(context.options.timeout)
        if status != 0:
            raise _error_of(status, text)
        return json.loads(text)

    def _start_on(self, context, actor, seconds):
        usec = round(seconds * 1e6)
        return self.start(context, actor.pid, address=actor.address, **{"for": usec})

    def _run_on(self, context, actor):
        with self._start_on(context, actor, context.options.window) as child:
            said = self.finish(context, child)
        actor.check_released(self.name)
        return said


def _error_of(status, text):
    if status == EXIT_UNABLE:
        return NotYet(text.strip())
    return (NotPermitted if "Operation not permitted" in text else BenchError)(text.strip())


class Rate(JobProgram):
    """How fast a program goes that does nothing but what stops it, times the events that each of
    its rounds makes."""

    def __init__(self, name, program, how="", events=1):
        super().__init__(name, program, how)
        self._events = events

    def measure(self, context, actor):
        """Events in a second. The tool must have counted all that the program did meanwhile."""
        window = context.options.window
        with self._start_on(context, actor, WARM_UP_SECONDS + window + MARGIN_SECONDS) as child:
            before = actor.count()
            time.sleep(WARM_UP_SECONDS)
            rate = actor.rate(window) * self._events
            done = (actor.count() - before) * self._events
            said = self.finish(context, child)
        actor.check_released(self.name)
        if said["stops"] + UNCOUNTED_MAX < done:
            raise BenchError(f"{self.name} has counted {said['stops']} events of {done}")
        return rate


class Speed(JobProgram):
    """How fast the program's memory is read, in MiB/s."""

    def measure(self, context, actor):
        """One pass."""
        said = self._run_on(context, actor)
        return said["bytes"] / said["usec"] * 1e6 / (1 << 20)


class Latency(JobProgram):
    """How long a thing takes that is done over and over, in microseconds: the median."""

    def measure(self, context, actor):
        """As many rounds as there is time for."""
        return self._run_on(context, actor)["median"]


def take_values(context, act, jobs):
    """{name of the job: [values]}, every job in turn, in an order that changes."""
    jobs, values = list(jobs), {job.name: [] for job in jobs}
    for number in range(context.options.runs or RUNS):
        turn = number % max(len(jobs), 1)
        for job in jobs[turn:] + jobs[:turn]:
            if number >= job.runs:
                continue
            try:
                values[job.name].append(_measure(context, act, job))
            except NotPermitted:
                raise
            except BenchError as e:
                context.report_failure(job, f"{job.name} with {act}: {e}", e)
                jobs.remove(job)
                values[job.name] = []
    return values


def _measure(context, act, job):
    with Actor(context, act) as actor:
        value = job.measure(context, actor)
    context.supervisor.wait_alone()
    return value
