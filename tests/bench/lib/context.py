# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a bench may use: the build, the options, the tools, and samples that benches share."""

import os
import sys

from lib import peers
from lib.machine import describe_machine
from lib.measure import take_samples
from lib.process import NotYet
from lib.service import Service
from lib.tools import Ours, OursAtOnce, RawLoop


class Context:
    """One for a run of the harness."""

    def __init__(self, supervisor, build, options):
        self.supervisor = supervisor
        self.build = build
        self.options = options
        self.failed = False
        self.peers = [] if options.no_peers else \
            [p(options.pin) for p in peers.ALL if p.is_installed()]
        self._attach_samples = {}

    @property
    def cpu(self):
        """The one processor on which the benches of the engine happen, the program's and the tools'
        part of them: else they measure how fast an idle processor is woken."""
        pin = self.options.pin
        return max(os.sched_getaffinity(0)) if pin is None else pin

    def say(self, text):
        """A remark. Standard output is for figures alone where programs read them."""
        print(text, file=sys.stderr if self.options.json else sys.stdout, flush=True)

    def introduce(self):
        """Says on what is measured, and what is not."""
        self.say(f"{describe_machine()}; {self.build.describe()}")
        if not self.supervisor.may_raise:
            self.say("no right to a real-time class: times among spinning threads are noise")
        missing = sorted({p.program for p in peers.ALL if not p.is_installed()})
        if missing and not self.options.no_peers:
            self.say(f"left out, not installed: {', '.join(missing)}")
        if not self.build.has_ours:
            self.say("left out, not built: bench-ours")

    def fail(self, text):
        """A remark that makes the whole run fail in the end."""
        self.failed = True
        self.say(f"FAILED: {text}")

    def report_failure(self, tool, text, error=None):
        """A tool that fails is left out. What stands beside ours and the raw loop may, and so may
        what cannot be done yet."""
        if tool.name in ("ours", "raw") and not isinstance(error, NotYet):
            self.fail(text)
        else:
            self.say(f"left out: {text}")

    def others(self, *jobs):
        """Those of the peers' jobs whose programs are installed, and wanted."""
        return [] if self.options.no_peers else [job for job in jobs if job.is_installed()]

    def ours(self, *options, fifo=False, name="ours"):
        """Ours as a list of one tool, or of none where it has not been built. Its client is raised
        where the raw loop is, which is its own client."""
        if not self.build.has_ours:
            return []
        options += ("--fifo",) * (fifo and self.supervisor.may_raise)
        return [Ours(self.build, self.options.pin, options, name)]

    def ours_at_once(self):
        """The same for a service that is just starting."""
        return [OursAtOnce(self.build, self.options.pin)] if self.build.has_ours else []

    def start_service(self, pid):
        """Ours going step by step, to be looked at on the way."""
        argv = [str(self.build.helper("bench-ours")), "--steps", str(pid)]
        return Service(self.supervisor, argv, self.options.timeout)

    def raw(self, fifo=False, **variant):
        """The raw loop, or a variant of it; raised only where that is permitted."""
        return RawLoop(self.build, self.options.pin, fifo=fifo and self.supervisor.may_raise,
                       **variant)

    def attach_samples(self, case):
        """Samples of all tools, taken once for all benches. The raw loop has the scheduling class
        that suits the case; the loop with the other one is shown beside it."""
        if case not in self._attach_samples:
            other = self.raw(name="raw-normal") if case.spinning else \
                self.raw(name="raw-fifo", fifo=True)
            tools = [*self.ours(fifo=case.spinning), self.raw(fifo=case.spinning), other]
            if self.options.all or not case.starves:
                tools += self.peers
            self._attach_samples[case] = take_samples(self, case, tools)
        return self._attach_samples[case]
