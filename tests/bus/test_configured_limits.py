# SPDX-License-Identifier: LGPL-2.1-or-later
"""Limits that are met by what happens of itself, set low by a file of configuration: nothing fails, but what is
said of them holds."""

import os
import signal
import threading
import time

import harness
import procfs
from policy import GAMES, NEWS, ConfiguredService, Policy


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


class Sampler(threading.Thread):
    """For how long a process is in a real-time scheduling class, in milliseconds, as far as looking often tells."""

    def __init__(self, pid):
        super().__init__()
        self.pid = pid
        self.raised = 0
        self.looks, self.over = threading.Event(), threading.Event()
        self.start()
        self.looks.wait(20)

    def run(self):
        """In such a class itself, or it would look too late where others want the processors."""
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(2))
        before, was_raised = time.monotonic(), False
        while not self.over.is_set():
            is_raised = os.sched_getscheduler(self.pid) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO
            now = time.monotonic()
            if was_raised and is_raised:
                self.raised += (now - before) * 1000
            before, was_raised = now, is_raised
            self.looks.set()
            time.sleep(0.0005)

    def end(self):
        self.over.set()
        self.join()
        return self.raised


class RaisedClass(Policy):
    """A tracer is in a real-time class while it waits for threads to stop. Those here do not for as long as it waits,
    a tenth of a second, which is what each tracer may have at first; the user has as much for all of them."""

    class service_class(ConfiguredService):
        limits = {"RaisedMSecMax": 100}
        rules = ConfiguredService.rules + f"""
        if (action.id == "org.ptraced.Tracer1.control" && subject.user == "{NEWS}")
            return polkit.Result.YES;
        """

    def setUp(self):
        super().setUp()
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        except PermissionError:
            self.skipTest("nobody gets into SCHED_FIFO here")

    def raised_by_interrupt(self, user, name):
        """Of another tracer each time."""
        tracee = self.tracee_of(user, name, source="threads-wait-in-vfork", args=(8,))
        process = self.session_of(user).attach(tracee.pid)
        sampler = Sampler(self.service.tracer_of(tracee.pid))
        process.interrupt()
        raised = sampler.end()
        tracee.say("go")
        process.continue_()
        self.assertEqual(tracee.listen(), "over")
        return raised

    def test_who_has_used_it_up_is_not_raised_any_more(self):
        self.assertGreater(self.raised_by_interrupt(GAMES, "first"), 50)
        started = time.monotonic()
        others = sum(self.raised_by_interrupt(GAMES, f"another-{i}") for i in range(5))
        # A fiftieth of the time comes back, and a hundredth is each tracer's own.
        back = (time.monotonic() - started) * 1000 * (1 / 50 + 1 / 100)
        self.assertGreater(self.raised_by_interrupt(NEWS, "of-somebody-else"), 50)
        if back > 350:
            self.skipTest("too slow to tell: as much as each tracer may have comes back meanwhile")
        self.assertLess(others, back + 100)


del Policy

if __name__ == "__main__":
    harness.main()
