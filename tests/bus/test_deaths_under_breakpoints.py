# SPDX-License-Identifier: LGPL-2.1-or-later
"""SIGKILL for our processes while threads run into breakpoints, or are stepped: nobody is the wiser for it."""

import os
import platform
import random
import signal
import time

import computing
import harness

FOREVER = 2**31  # hits that are ignored


def can_collect_last():
    """What a thread stands at in the moment of its tracer's death is collected by an io_uring alone
    (Linux 6.7, daemon/trace/lastwait.h)."""
    version = tuple(int(n) for n in platform.release().split("-")[0].split(".")[:2])
    try:
        with open("/proc/sys/kernel/io_uring_disabled") as f:
            allowed = int(f.read()) == 0
    except FileNotFoundError:
        allowed = True
    return version >= (6, 7) and allowed


def can_be_first():
    """CAP_SYS_NICE, for daemon/trace/repair-first.h."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(os.sched_get_priority_max(os.SCHED_FIFO)))
    except PermissionError:
        return False
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return True


class Deaths(computing.Program):
    def setUp(self):
        super().setUp()
        if not can_collect_last():
            self.skipTest("without waits in an io_uring (Linux 6.7) a killed tracer can take a program along")
        self.n_taken_along = 0

    def set_breakpoints(self, process, at):
        for point in self.points(at, process)[::2]:
            process.add_breakpoint(point, ignore=FOREVER)

    def watch(self, process, at):
        process.add_breakpoint(at["watched"], "write", size=8, ignore=FOREVER)

    def step(self, process, at):
        process.interrupt()
        self.assert_wait(lambda: set(process.list_threads().values()) == {"stopped"}, "all are stopped")
        for tid in process.list_threads():
            process.thread(tid).step(range=(0, 2**63))

    def ways(self):
        return (self.set_breakpoints, self.watch, self.step)

    def in_rounds(self, share, kill, **values):
        """Kills in the midst of each, a random moment after it has begun."""
        chance = random.Random(7)
        tracee, at, session, process = self.start(4, self.new_session(**values))
        for i in range(harness.rounds(share)):
            for way in self.ways():
                with self.round(f"{i}, {way.__name__}"):
                    process = session.attach(tracee.pid)
                    way(process, at)
                    time.sleep(0.01 * chance.random())
                    session = kill(tracee, session)
                    self.assert_wait(lambda: self.is_dead(tracee) or tracee.runs_free(timeout=0.1) == [],
                                     "it runs or has ended")
                    if self.is_dead(tracee) and way == self.set_breakpoints:
                        tracee, at, session = self.replace(tracee, session)
                    else:
                        self.assert_computes(tracee)
        self.assert_calls(tracee, 3)

    @staticmethod
    def is_dead(tracee):
        return tracee.process.poll() is not None

    def replace(self, tracee, session):
        """One that met a breakpoint in the moment in which the tracer, which is killed before it learns of
        it, stopped all threads for another one's step in place: its SIGTRAP waits behind that stop, and who
        cannot be its tracer first cannot take it away. On a machine with ten times as many threads as
        processors that is one kill in a thousand."""
        self.n_taken_along += 1
        self.assertEqual((tracee.wait(), self.n_taken_along, can_be_first()), (-signal.SIGTRAP, 1, False))
        tracee, at, session, _ = self.start(4, session)
        return tracee, at, session

    def test_tracer_is_killed(self):
        def kill(tracee, session):
            os.kill(self.service.tracer_of(tracee.pid), signal.SIGKILL)
            lost = session.events_until(lambda e: e.kind == "lost")[-1]
            self.assertEqual(lost.details, {"reason": "tracer", "process": True})
            return session

        self.in_rounds(0.1, kill)


class DeathsOnTheBus(Deaths, computing.OnTheBus):
    def test_keeper_is_killed(self):
        self.in_rounds(0.05, self.kill_keeper)

    def kill_keeper(self, tracee, session):
        self.service.keeper.kill()
        self.service.keeper.wait()
        self.assert_runs_free(tracee)
        self.assert_wait(lambda: not self.service.daemons.running("ptraced-tracer"), "the tracers end")
        self.service.start_keeper()
        self.assert_wait(lambda: self.can_attach(tracee), "attaching works again")
        session.close()
        return self.new_session()

    def test_keeper_is_killed_together_with_a_tracer(self):
        """Nobody is there to repair what the tracer leaves, so the program may end. But no repair that was
        under way leaves it stopped."""
        chance = random.Random(8)
        for i in range(harness.rounds(0.15)):
            with self.round(i):
                tracee, at, session, process = self.start(2)
                self.set_breakpoints(process, at)
                time.sleep(0.002)
                os.kill(self.service.tracer_of(tracee.pid), signal.SIGKILL)
                time.sleep(0.004 * chance.random())
                self.service.keeper.kill()
                self.service.keeper.wait()
                self.assert_wait(lambda: self.is_dead(tracee) or tracee.runs_free(timeout=0.1) == [],
                                 "it runs or has ended")
                self.service.start_keeper()
                tracee.kill()

    def can_attach(self, tracee):
        try:
            session = self.new_session()
            session.attach(tracee.pid)
        except harness.wire.Error:
            return False
        session.close()
        return True

    def test_broker_is_killed_and_comes_back(self):
        def kill(tracee, session):
            self.service.broker.kill()
            self.service.broker.wait()
            self.service.close_clients()
            self.assert_advances(lambda: tracee.ask()["progress"])
            self.service.start_broker()
            self.connect().session(session.id).close()
            return self.new_session(lifetime="persistent")

        self.in_rounds(0.05, kill, lifetime="persistent")


class DeathsEmbedded(Deaths, harness.Embedded):
    pass


if __name__ == "__main__":
    harness.main()
