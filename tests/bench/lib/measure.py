# SPDX-License-Identifier: LGPL-2.1-or-later
"""Taking samples: every tool in turn, several times over, on the same program."""

import time

from lib.process import BenchError, NotPermitted
from lib.target import Target

# A tool that takes so long, its start and end included, is measured no more often than this.
SLOW_SECONDS = 1
SLOW_RUNS = 3

QUIET = "quiet"
QUIET_SECONDS = 0.2


class Rounds:
    """The rounds of one case, on one program.

    A tool that fails is out, and the program is replaced: who knows what is left in it."""

    def __init__(self, context, case, tools):
        self._context = context
        self._case = case
        self._tools = list(tools)
        self._target = None
        self.samples = {name: [] for name in [tool.name for tool in tools] + [QUIET]}

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._end_target()

    def run(self, number):
        """One round. Its order changes with the number, so that no tool is always the one behind
        a certain other."""
        turn = number % max(len(self._tools), 1)
        for tool in self._tools[turn:] + self._tools[:turn]:
            if self._has_enough(tool):
                continue
            try:
                self.samples[tool.name].append(self._sample(tool))
            except NotPermitted:
                raise
            except BenchError as e:
                self._drop(tool, e)
        self.samples[QUIET].append(self._sample_quiet())

    def _has_enough(self, tool):
        samples = self.samples[tool.name]
        return len(samples) >= SLOW_RUNS and min(s["wall"] for s in samples) > SLOW_SECONDS

    def _sample(self, tool):
        target = self._get_target()
        target.reset_meter()
        begin = time.monotonic()
        times = tool.run(self._context.supervisor, target.pid, self._context.options.timeout)
        times["wall"] = time.monotonic() - begin
        times["freeze"] = target.read_meter()
        target.check_released(tool.name)
        self._context.supervisor.wait_alone()
        return times

    def _sample_quiet(self):
        target = self._get_target()
        target.reset_meter()
        time.sleep(QUIET_SECONDS)
        return {"freeze": target.read_meter()}

    def _drop(self, tool, error):
        self._context.report_failure(tool, f"{tool.name} with {self._case}: {error}", error)
        self._tools.remove(tool)
        self.samples[tool.name] = []
        self._end_target()

    def _get_target(self):
        if not self._target:
            self._target = Target(self._context.supervisor, self._context.build, self._case)
        return self._target

    def _end_target(self):
        if self._target:
            self._target.close()
        self._target = None


def take_samples(context, case, tools):
    """{name of tool: [times]}; under QUIET what the meter shows with no tool near."""
    with Rounds(context, case, tools) as rounds:
        for number in range(context.options.runs or case.runs):
            rounds.run(number)
        return rounds.samples


def column(samples, key, scale=1.0):
    """One kind of time of every tool that has it: {tool: [value]}."""
    return {name: [times[key] * scale for times in rows if key in times]
            for name, rows in samples.items() if name != QUIET}
