# SPDX-License-Identifier: LGPL-2.1-or-later
"""Limits that are met by what happens of itself, set low by a file of configuration: nothing fails, but what is
said of them holds."""

import os
import signal

import harness
import procfs
from policy import GAMES, ConfiguredService, Policy


class Events(Policy):
    class service_class(ConfiguredService):
        limits = {"QueuedEventsMax": 3}

    def test_events_beyond_those_that_may_wait_are_counted(self):
        tracee = self.tracee_of(GAMES, source="handles-signals")
        session = self.session_of(GAMES, lifetime="persistent")
        session.attach(tracee.pid)
        for n in range(1, 11):
            os.kill(tracee.pid, signal.SIGUSR1)
            self.assert_wait(lambda n=n: tracee.ask()["usr1"] == n, "the signal has come")
        self.assert_wait(lambda: session.get("LostEvents") == 7, "the others are counted")
        self.assertEqual([event.kind for event in session.drain()], ["signal"] * 3)
        os.kill(tracee.pid, signal.SIGUSR1)
        self.assertEqual(session.get_event(10000000).kind, "signal")


class Threads(Policy):
    class service_class(ConfiguredService):
        limits = {"ThreadsMax": 4}

    def test_threads_that_start_beyond_the_limit_are_let_go(self):
        """They run on, and the others stay."""
        tracee = self.tracee_of(GAMES, source="starts-threads")
        session = self.session_of(GAMES)
        process = session.attach(tracee.pid)
        for n in range(2, 7):
            self.assertEqual(tracee.ask("more"), {"threads": n})
        self.assert_wait(lambda: [procfs.tracer_pid(tracee.pid, tid) > 0 for tid in tracee.threads()] ==
                         [True] * 4 + [False] * 2, "four are traced")
        events = []
        while len(events) < 2:
            events += [event for event in session.events_until(lambda event: event.kind == "lost") if
                       event.kind == "lost"]
        self.assertEqual([(event.tid, event.details) for event in events],
                         [(tid, {"reason": "limit", "process": False}) for tid in tracee.threads()[4:]])
        self.assertEqual(sorted(process.list_threads()), tracee.threads()[:4])
        process.interrupt()


del Policy

if __name__ == "__main__":
    harness.main()
