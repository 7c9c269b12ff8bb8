# SPDX-License-Identifier: LGPL-2.1-or-later
"""SIGKILL for each of our processes, at any moment, under load: every tracee runs on."""

import contextlib
import os
import random
import resource
import select
import signal
import socket
import time

import harness
import procfs
import wire
from client import ERROR

# The signal that a dead tracer held in its hands is given back, and may come after its successors.
UNHARMED = {"lost": 0, "doubled": 0, "other": 0}


class Deaths:
    def start_tracees(self):
        """One that would notice a lost signal, one whose threads change, one that never sleeps, and
        one that sits in a system call."""
        self.counter = self.tracee("signal-counter", 200)
        self.comer = self.tracee("threads-come-and-go", 3, 1000)
        self.spinner = self.tracee("busy-loop", 1)
        self.reader = self.tracee("blocked-in-read")

    def storm(self, session, repeats):
        """Requests for all of them, sent ahead without waiting for any answer."""
        serials = []
        for _ in range(repeats):
            for tracee in self.tracees:
                process = session.process(tracee.pid)
                serials.append(session.send("AttachProcess", "ua{sv}", tracee.pid, {}))
                serials.append(process.send("Interrupt"))
                serials.append(process.send("Continue", "a{sv}", {}))
                serials.append(process.send("Interrupt"))
                serials.append(process.send("Detach"))
        return serials

    def assert_unharmed(self):
        """They run free, and nothing has happened to them that would not have happened without us."""
        self.assert_runs_free(*self.tracees)
        counts = self.counter.ask()
        self.assertEqual({key: counts[key] for key in UNHARMED}, UNHARMED, counts)
        self.assert_advances(lambda: self.comer.ask()["created"])
        self.assert_advances(lambda: self.spinner.ask()["progress"])
        self.reader.say("hello")
        self.assertEqual(self.reader.listen(), "hello")

    def collect(self, client, serials):
        """Each request is answered; with success, or an error that says what has happened."""
        for serial in serials:
            try:
                client.reply(serial, timeout=30)
            except wire.Error as e:
                self.assertIn(e.name, (ERROR + "TracerGone", ERROR + "NotAttached", ERROR + "NoSuchProcess",
                                       ERROR + "TimedOut"), e.message)

    def wait_random(self, chance):
        time.sleep(chance.choice((0.001, 0.01, 0.03)) * chance.random())

    def test_tracer_is_killed(self):
        self.start_tracees()
        session = self.new_session()
        chance = random.Random(2)
        for i in range(harness.rounds(0.15)):
            with self.round(i):
                for tracee in self.tracees:
                    session.attach(tracee.pid)
                serials = self.storm(session, 2) if i % 3 else []
                self.wait_random(chance)
                for tracer in {self.service.tracer_of(t.pid) for t in self.tracees} - {None}:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(tracer, signal.SIGKILL)
                self.collect(session.client, serials + [session.send("DetachAll")])
                session.call("DetachAll")
                self.assert_unharmed()

    def test_tracer_is_killed_while_it_holds_threads(self):
        tracee = self.tracee("many-threads", 20, 2)
        session = self.new_session()
        for _ in range(harness.rounds(0.05)):
            session.attach(tracee.pid, stop=True)
            self.assert_all_stopped(tracee)
            os.kill(self.service.tracer_of(tracee.pid), signal.SIGKILL)
            lost = session.events_until(lambda e: e.kind == "lost")[-1]
            self.assertEqual((lost.tid, lost.stopped), (tracee.pid, False))
            self.assertEqual(lost.details, {"reason": "tracer", "process": True})
            self.assert_runs_free(tracee)
            self.assert_error("NotAttached", session.process(tracee.pid).interrupt)

    def test_tracer_is_killed_and_a_stopped_job_stays_stopped(self):
        tracee = self.tracee("job-control-stopped")
        session = self.new_session()
        tracee.signal(signal.SIGSTOP)
        self.assertEqual(tracee.changes(1), [(os.CLD_STOPPED, signal.SIGSTOP)])
        tracee.job_control_stopped = True
        for _ in range(harness.rounds(0.05)):
            session.attach(tracee.pid)
            os.kill(self.service.tracer_of(tracee.pid), signal.SIGKILL)
            session.events_until(lambda e: e.kind == "lost")
            self.assert_runs_free(tracee)
        tracee.job_control_stopped = False
        tracee.signal(signal.SIGCONT)
        self.assertEqual(tracee.changes(1), [(os.CLD_CONTINUED, signal.SIGCONT)])
        self.assert_wait(lambda: tracee.ask()["continued"] == 1, "its handler has run")

    def test_tracer_is_killed_while_a_stop_is_held_that_sigcont_has_undone(self):
        tracee = self.tracee("job-control-stopped")
        session = self.new_session()
        for continued in range(1, harness.rounds(0.05) + 1):
            session.attach(tracee.pid, stops=["signal"])
            tracee.signal(signal.SIGSTOP)
            session.events_until(lambda e: e.kind == "signal" and e.stopped)
            tracee.signal(signal.SIGCONT)
            os.kill(self.service.tracer_of(tracee.pid), signal.SIGKILL)
            session.events_until(lambda e: e.kind == "lost")
            self.assert_runs_free(tracee)
            self.assert_wait(lambda: tracee.ask()["continued"] == continued, "its handler has run")

    def test_tracer_is_killed_while_a_signal_stop_is_held(self):
        """A signal that was taken out of its queue, and whose delivery waits, is still delivered."""
        tracee = self.tracee("signal-counter", 500)
        session = self.new_session()
        for _ in range(harness.rounds(0.05)):
            session.attach(tracee.pid, stops=["signal"])
            session.events_until(lambda e: e.kind == "signal" and e.stopped)
            os.kill(self.service.tracer_of(tracee.pid), signal.SIGKILL)
            session.events_until(lambda e: e.kind == "lost")
            self.assert_runs_free(tracee)
            counts = tracee.ask()
            self.assertEqual({key: counts[key] for key in UNHARMED}, UNHARMED, counts)


class DeathsOnTheBus(Deaths, harness.OnTheBus):
    def test_client_is_killed(self):
        self.start_tracees()
        chance = random.Random(3)
        for i in range(harness.rounds(0.1)):
            with self.round(i):
                client = self.connect()
                self.storm(client.create_session(), 3)
                self.wait_random(chance)
                client.close()
                self.assert_unharmed()
        self.assert_wait(lambda: self.connect().list_sessions() == {}, "its sessions end with it")

    def test_keeper_is_killed(self):
        self.start_tracees()
        chance = random.Random(4)
        for i in range(harness.rounds(0.05)):
            with self.round(i):
                session = self.new_session()
                for tracee in self.tracees:
                    session.attach(tracee.pid)
                serials = self.storm(session, 2) if i % 3 else []
                self.wait_random(chance)
                self.service.keeper.kill()
                self.service.keeper.wait()
                for serial in serials:
                    try:
                        session.client.reply(serial, timeout=30)
                    except wire.Error:
                        pass
                self.assert_unharmed()
                self.assert_wait(lambda: not self.service.daemons.running("ptraced-tracer"), "the tracers end")
                self.service.start_keeper()
                self.attach_again(session)
                session.close()
                self.assert_runs_free(*self.tracees)

    def attach_again(self, session):
        """The broker finds the new keeper by itself."""
        def attach():
            try:
                return session.attach(self.reader.pid)
            except wire.Error:
                return None
        self.assert_wait(attach, "attaching works again")

    def test_broker_is_killed_and_comes_back(self):
        self.start_tracees()
        chance = random.Random(5)
        for i in range(harness.rounds(0.05)):
            with self.round(i):
                session = self.new_session(lifetime="persistent", name="stays")
                for tracee in self.tracees:
                    session.attach(tracee.pid)
                self.storm(session, 2)
                self.wait_random(chance)
                self.service.broker.kill()
                self.service.broker.wait()
                self.service.close_clients()
                self.service.start_broker()

                client = self.connect()
                self.assertIn("stays", [name for _, name, _ in client.list_sessions().values()])
                session = client.session(session.id)
                self.assertEqual((session.get("Name"), session.get("Lifetime")), ("stays", "persistent"))
                process = session.attach(self.reader.pid)
                process.interrupt()
                self.assertEqual(procfs.state(self.reader.pid), "t")
                session.close()
                self.assert_unharmed()
                client.close()

    def test_persistent_session_keeps_its_events_through_the_brokers_death(self):
        tracee = self.tracee("many-threads", 6)
        session = self.new_session(lifetime="persistent")
        process = session.attach(tracee.pid)
        process.interrupt()
        self.assert_wait(lambda: len(session.list_stopped()) == 6, "it stands")
        first = session.get_event(1000000)
        self.service.broker.kill()
        self.service.broker.wait()
        self.assert_all_stopped(tracee)
        self.service.start_broker()

        session = self.connect().session(session.id)
        self.assertEqual(len(session.list_stopped()), 6)
        events = [first] + session.drain()
        self.assertEqual([e.kind for e in events], ["stop"] * 6)
        self.assert_contiguous(events)
        session.process(tracee.pid).continue_()
        session.process(tracee.pid).detach()
        self.assert_runs_free(tracee)

    def test_client_session_ends_though_the_broker_was_away_when_its_client_left(self):
        tracee = self.tracee("many-threads", 3)
        client = self.connect()
        session = client.create_session()
        session.attach(tracee.pid, stop=True)
        self.service.broker.kill()
        self.service.broker.wait()
        client.close()
        self.service.start_broker()
        self.assert_runs_free(tracee)
        self.assertNotIn(session.id, self.connect().list_sessions())

    def restart_broker(self):
        self.service.broker.kill()
        self.service.broker.wait()
        self.service.start_broker()

    def test_session_ids_are_not_given_again(self):
        """Not even that of a session which no tracer knows, so that nobody could tell of it."""
        given = set()
        for _ in range(3):
            client = self.connect()
            sessions = [client.create_session(lifetime="persistent") for _ in range(3)]
            self.assertFalse({s.id for s in sessions} & given)
            given |= {s.id for s in sessions}
            self.restart_broker()
            for session in sessions:
                self.assert_error("NoSuchSession", self.connect().session(session.id).close)

    def test_broker_is_killed_with_more_tracers_than_a_message_can_hold(self):
        tracees = [self.tracee("many-threads", 1) for _ in range(140)]
        session = self.new_session(lifetime="persistent")
        for tracee in tracees:
            session.attach(tracee.pid)
        self.restart_broker()
        client = self.connect()
        known = {pid for pid, *_ in client.manager.call("ListTracees")}
        self.assertEqual(known, {tracee.pid for tracee in tracees})
        client.session(session.id).close()
        self.assert_runs_free(*tracees)

    def test_broker_that_cannot_reach_the_keeper_at_first(self):
        """The keeper serves another one still; the tracers of before are asked for later."""
        tracee, other = self.tracee("many-threads", 3), self.tracee("many-threads", 3)
        session = self.new_session(lifetime="persistent")
        session.attach(tracee.pid, stop=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as in_the_way:
            self.service.broker.kill()
            self.service.broker.wait()
            in_the_way.connect(self.service.keeper_socket)
            self.service.start_broker()
            client = self.connect()
            self.assert_error("TracerGone", client.create_session().attach, other.pid)
        self.assertEqual(client.list_sessions().keys() & {session.id}, set())
        client.create_session().attach(other.pid)
        self.assert_wait(lambda: session.id in client.list_sessions(), "its session is found")
        self.assertEqual(len(client.session(session.id).list_stopped()), 3)
        client.session(session.id).close()
        self.assert_runs_free(tracee)

    def test_broker_ends_while_a_keeper_has_not_taken_its_connection(self):
        """It may be one that systemd starts only when the broker has ended."""
        tracee = self.tracee("many-threads", 1)
        session = self.new_session()
        self.service.keeper.kill()
        self.service.keeper.wait()
        os.unlink(self.service.keeper_socket)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(self.service.keeper_socket)
            os.chown(self.service.keeper_socket, self.service.user.pw_uid, -1)
            listener.listen(5)
            def has_connected():
                """A request that the former keeper's end has overtaken fails, and the next one connects."""
                session.send("AttachProcess", "ua{sv}", tracee.pid, {})
                return select.select([listener], [], [], 0.2)[0]
            self.assert_wait(has_connected, "the broker connects")
            self.service.broker.terminate()
            self.assertEqual(self.service.broker.wait(5), 0)
        self.service.broker = None

    def test_broker_is_killed_and_the_keeper_is_short_of_descriptors(self):
        """Of no tracer is told in an answer that does not come about."""
        tracees = [self.tracee("many-threads", 1) for _ in range(8)]
        other = self.tracee("many-threads", 1)
        session = self.new_session(lifetime="persistent")
        for tracee in tracees:
            session.attach(tracee.pid)
        for room in range(2, 7):
            self.service.broker.kill()
            self.service.broker.wait()
            keeper = self.service.keeper.pid
            self.assert_wait(lambda: len(self.service.daemons.tracers()) == 9, "one more is ready")
            before = resource.prlimit(keeper, resource.RLIMIT_NOFILE)
            resource.prlimit(keeper, resource.RLIMIT_NOFILE, (procfs.descriptors(keeper) + room, before[1]))
            self.service.start_broker()
            resource.prlimit(keeper, resource.RLIMIT_NOFILE, before)
            client = self.connect()
            client.create_session().attach(other.pid)
            self.assert_wait(lambda: len(client.manager.call("ListTracees")) == 9, f"all are found, with {room}")
            client.close()
            self.assert_runs_free(other)
        self.connect().session(session.id).close()
        self.assert_runs_free(*tracees)

    def test_broker_is_killed_and_none_comes_back(self):
        self.start_tracees()
        session = self.new_session(lifetime="persistent")
        for tracee in self.tracees:
            session.attach(tracee.pid, stop=tracee is not self.counter)
        self.service.broker.kill()
        self.service.broker.wait()
        for tracee in self.tracees:
            self.assertEqual(tracee.runs_free(timeout=15), [])
        self.assert_unharmed()

    def test_bus_goes_away(self):
        self.start_tracees()
        session = self.new_session(lifetime="persistent")
        for tracee in self.tracees:
            session.attach(tracee.pid)
        self.service.bus.kill()
        self.service.bus.wait()
        for tracee in self.tracees:
            self.assertEqual(tracee.runs_free(timeout=15), [])
        self.assert_unharmed()
        self.service.broker.wait(10)
        self.service.broker = None


class DeathsEmbedded(Deaths, harness.Embedded):
    def restart(self):
        """Ends what is left of the service and starts another one."""
        self.service.close_clients()
        self.service.stop()
        self.start_service()

    def run_rounds(self, seed, kill):
        self.start_tracees()
        chance = random.Random(seed)
        for i in range(harness.rounds(0.05)):
            with self.round(i):
                session = self.new_session()
                for tracee in self.tracees:
                    session.attach(tracee.pid)
                self.storm(session, 2)
                self.wait_random(chance)
                kill()
                self.assert_unharmed()
                self.restart()

    def test_client_is_killed(self):
        self.run_rounds(6, lambda: self.service.close_clients())

    def test_broker_is_killed(self):
        self.run_rounds(7, lambda: self.service.broker.kill())

    def test_keeper_is_killed(self):
        self.run_rounds(8, lambda: self.service.keeper.kill())

    def test_broker_and_keeper_are_killed_at_once(self):
        def kill():
            self.service.broker.kill()
            self.service.keeper.kill()
        self.run_rounds(9, kill)


class CtlDeaths(harness.CtlOnly):
    def test_ptracectl_events_is_killed(self):
        tracee = self.tracee("threads-come-and-go", 2, 1000)
        for i in range(harness.rounds(0.05)):
            ctl = self.ctl("events", "-p", tracee.pid)
            ctl.wait_event(lambda e: e["event"] == "clone")
            time.sleep(random.Random(i).random() * 0.02)
            ctl.process.kill()
            ctl.process.wait()
            self.assert_runs_free(tracee)
            self.assert_advances(lambda: tracee.ask()["created"])


if __name__ == "__main__":
    harness.main()
