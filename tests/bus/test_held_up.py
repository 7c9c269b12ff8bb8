# SPDX-License-Identifier: LGPL-2.1-or-later
"""A tracer that does not answer, as one that a hostile tracee holds up: it harms nobody else, costs
nothing without bound, and ends with the session."""

import os
import signal
import time

import harness
import procfs
import wire
from client import ERROR, options
from service import SystemService, sanitized, wait_until

BROKER_KIB = 6 * 1024


# Enough to send some thousand calls meanwhile.
TIMEOUT = 4 if sanitized() else 1


class ImpatientService(SystemService):
    broker_options = (f"--tracer-timeout={TIMEOUT}",)


# More than it takes to send them all, and less than a client waits for its answer.
LONG_TIMEOUT = 12 if sanitized() else 6


class PatientService(SystemService):
    broker_options = (f"--tracer-timeout={LONG_TIMEOUT}",)


class Holding(harness.OnTheBus):
    """What the tests below have in common."""

    def hold(self, tracee):
        """Its tracer answers nothing from now on."""
        tracer = self.service.tracer_of(tracee.pid)
        os.kill(tracer, signal.SIGSTOP)
        self.assert_wait(lambda: procfs.state(tracer) in "tT", "the tracer stands")
        return tracer

    def collect(self, client, serials):
        """How often which error, or None, was the answer."""
        counts = {}
        for serial in serials:
            try:
                client.reply(serial, timeout=30)
                name = None
            except wire.Error as e:
                name = e.name.removeprefix(ERROR)
            counts[name] = counts.get(name, 0) + 1
        return counts

    def start_hanging(self):
        """A process to which nobody can attach before its helper's end, which is returned too."""
        tracee = self.tracee("exec-that-hangs")
        tracee.ending = True
        return tracee, int(tracee.words[1])

    def known_client(self):
        client = self.connect()
        client.manager.get("Version")
        return client

    @staticmethod
    def add(counts, more):
        for name, n in more.items():
            counts[name] = counts.get(name, 0) + n

    def collect_all(self, calls):
        total = {}
        for client, serials in calls:
            self.add(total, self.collect(client, serials))
        return total

    def assert_ended(self, tracer, tracee):
        self.assert_wait(lambda: tracer not in self.service.daemons.tracers(), "the tracer has ended")
        self.assert_runs_free(tracee)


class HeldUpForLong(Holding):
    """So long that a loaded machine, too, has sent some thousand calls before anything is given up."""

    service_class = PatientService

    def test_attaches_of_closed_sessions_count(self):
        tracee, other = self.tracee("many-threads", 3), self.tracee("many-threads", 3)
        keeping = self.new_session(lifetime="persistent")
        keeping.attach(tracee.pid)
        tracer = self.hold(tracee)
        client, serials, counts = self.connect(), [], {}
        for _ in range(3):
            session = client.create_session()
            serials += [session.send("AttachProcess", "ua{sv}", tracee.pid, options()) for _ in range(600)]
            # All ask the keeper first, in turn: once this one is answered, those have come to the tracer.
            last = client.create_session()
            self.add(counts, self.collect(client, [last.send("AttachProcess", "ua{sv}", other.pid, options())]))
            last.close()
            session.send("Close")
        self.add(counts, self.collect(client, serials))
        self.assertGreater(counts.get("LimitExceeded", 0), 0, counts)
        self.assert_ended(tracer, tracee)

    def test_calls_to_all_tracers_are_bounded(self):
        tracee = self.tracee("many-threads", 3)
        session = self.new_session()
        session.attach(tracee.pid)
        tracer = self.hold(tracee)
        # A bus lets no connection wait for so many answers.
        clients = [session.client, self.known_client()]
        calls = [(c, [c.session(session.id).send("Interrupt") for _ in range(3000)]) for c in clients]
        total = self.collect_all(calls)
        self.assertEqual(set(total), {"TimedOut", "LimitExceeded"})
        self.assertLess(total["TimedOut"], 5500)
        session.close()
        self.assert_ended(tracer, tracee)

    def test_calls_time_out_and_others_are_served(self):
        held, other = self.tracee("many-threads", 3), self.tracee("many-threads", 3)
        session = self.new_session(queue=True)
        process = session.attach(held.pid)
        tracer = self.hold(held)
        waiting = [process.send("Interrupt"), session.send("Interrupt"), session.send("ListStopped"),
                   session.send("AttachThread", "ua{sv}", held.pid, options()),
                   session.send("GetEvent", "t", 0), process.thread(held.pid).send("GetEvent", "t", 0)]
        started = time.monotonic()
        second = self.new_session()
        second.attach(other.pid, stop=True)
        second.close()
        self.assertLess(time.monotonic() - started, 0.9 * LONG_TIMEOUT)
        self.assertEqual(self.collect(session.client, waiting), {"TimedOut": len(waiting)})
        os.kill(tracer, signal.SIGCONT)
        self.assertTrue(wait_until(process.list_threads), "it serves again")

    def test_attach_whose_client_has_left_is_kept_for_another_one(self):
        """What nobody waits for is undone, but not under the feet of who asked for the same."""
        tracee, helper = self.start_hanging()
        session = self.new_session(lifetime="persistent")
        first, second = self.known_client(), self.known_client()
        first.session(session.id).send("AttachProcess", "ua{sv}", tracee.pid, options())
        attach = second.session(session.id).send("AttachProcess", "ua{sv}", tracee.pid, options())
        time.sleep(0.2)
        first.close()
        time.sleep(0.2)
        os.kill(helper, signal.SIGKILL)
        self.assertEqual(second.reply(attach), (session.process(tracee.pid).path,))
        self.assertEqual(tracee.listen(), "executed")
        tracee.ending = False
        time.sleep(0.1)
        session.process(tracee.pid).interrupt()
        self.assert_all_stopped(tracee)


class HeldUp(Holding):
    service_class = ImpatientService

    def test_closing_the_session_ends_it(self):
        tracee = self.tracee("many-threads", 3)
        session = self.new_session()
        session.attach(tracee.pid, stop=True)
        tracer = self.hold(tracee)
        session.close()
        self.assert_ended(tracer, tracee)

    def test_the_clients_end_ends_it(self):
        tracee = self.tracee("many-threads", 3)
        session = self.new_session()
        session.attach(tracee.pid, stop=True)
        tracer = self.hold(tracee)
        session.send("Interrupt")
        session.client.close()
        self.assert_ended(tracer, tracee)

    def test_closing_in_the_middle_of_an_attach_ends_it(self):
        tracee = self.tracee("many-threads", 3)
        first, second = self.new_session(), self.new_session()
        first.attach(tracee.pid)
        tracer = self.hold(tracee)
        attach = second.send("AttachProcess", "ua{sv}", tracee.pid, options())
        time.sleep(0.1)
        second.close()
        with self.assertRaises(wire.Error):
            second.client.reply(attach)
        self.assert_ended(tracer, tracee)
        self.assertEqual(first.events_until(lambda e: e.kind == "lost")[-1].details["reason"], "tracer")

    def test_lists_are_bounded(self):
        tracee = self.tracee("many-threads", 3)
        session = self.new_session()
        session.attach(tracee.pid)
        tracer = self.hold(tracee)
        clients = [session.client, self.known_client()]
        started = time.monotonic()
        calls = [(c, [c.manager.send("ListTracees") for _ in range(3000)]) for c in clients]
        for client in clients:
            client.manager.get("Version") # behind them, and answered at once
        quick = time.monotonic() - started < 0.9 # else the first ones went without, after a second
        total = self.collect_all(calls)
        self.assertLessEqual(set(total), {None, "LimitExceeded"})
        if quick:
            self.assertIn("LimitExceeded", total)
        session.close()
        self.assert_ended(tracer, tracee)

    def test_questions_for_one_thread_are_bounded(self):
        """Each stays at the tracer though nobody waits for its answer any more."""
        tracee = self.tracee("many-threads", 3)
        session = self.new_session(queue=True)
        thread = session.attach(tracee.pid).thread(tracee.pid)
        tracer = self.hold(tracee)
        counts = {}
        for _ in range(30):
            calls = [thread.send("GetEvent", "t", 1) for _ in range(16)]
            self.add(counts, self.collect(session.client, calls))
        self.assertEqual(set(counts), {"NoEvent", "LimitExceeded"})
        self.assertLessEqual(counts["NoEvent"], 256)
        session.close()
        self.assert_ended(tracer, tracee)

    def test_attach_that_hangs_is_ended_with_its_session(self):
        tracee, helper = self.start_hanging()
        session = self.new_session()
        tracers = set(self.service.daemons.tracers())
        self.assert_error("TimedOut", session.attach, tracee.pid)
        session.close()
        self.assert_wait(lambda: not tracers & set(self.service.daemons.tracers()), "the tracer has ended")
        os.kill(helper, signal.SIGKILL)
        self.assertEqual(tracee.listen(), "executed")
        tracee.ending = False

    def test_attach_that_is_late_is_undone(self):
        tracee, helper = self.start_hanging()
        session = self.new_session(lifetime="persistent")
        self.assert_error("TimedOut", session.attach, tracee.pid)
        os.kill(helper, signal.SIGKILL)
        self.assertEqual(tracee.listen(), "executed")
        tracee.ending = False
        self.assert_runs_free(tracee)

    def test_memory_is_given_back(self):
        tracee = self.tracee("many-threads", 3)
        for _ in range(2):
            session = self.new_session()
            session.attach(tracee.pid)
            tracer = self.hold(tracee)
            self.collect(session.client, [session.send("Interrupt") for _ in range(3000)])
            session.close()
            self.assert_ended(tracer, tracee)
            fds = procfs.descriptors(self.service.broker.pid)
        self.assertLessEqual(procfs.descriptors(self.service.broker.pid), fds)
        if not sanitized():
            self.assertLess(procfs.resident_kib(self.service.broker.pid), 4 * BROKER_KIB)


if __name__ == "__main__":
    harness.main()
