# SPDX-License-Identifier: LGPL-2.1-or-later
"""How long sessions live, who hears of their events, and what their queues do."""

import time

import harness
import procfs
import wire
from client import FOREVER
from service import sanitized, wait_until

QUEUE_MAX = 1024


class Queue:
    """GetEvent and the queue, in both modes."""

    def test_no_queue(self):
        session = self.new_session()
        self.assertFalse(session.get("Queue"))
        self.assert_error("NotSupported", session.get_event, 0)

    def test_client_session_with_a_queue(self):
        tracee = self.tracee("many-threads", 3)
        session = self.new_session(queue=True)
        self.assertTrue(session.get("Queue"))
        session.attach(tracee.pid, stop=True)
        signals = [session.next_event() for _ in range(3)]
        self.assertEqual(session.drain(), signals, "each event comes both ways")

    def test_timeouts(self):
        session = self.new_session(queue=True)
        started = time.monotonic()
        self.assert_error("NoEvent", session.get_event, 0)
        self.assertLess(time.monotonic() - started, 5)
        started = time.monotonic()
        self.assert_error("NoEvent", session.get_event, 300000)
        self.assertGreaterEqual(time.monotonic() - started, 0.29)
        self.assertLess(time.monotonic() - started, 5)

    def test_waiter_gets_the_event_when_it_comes(self):
        tracee = self.tracee("many-threads", 1)
        session = self.new_session(queue=True)
        process = session.attach(tracee.pid)
        for timeout in (FOREVER, 10000000):
            waiter = session.send("GetEvent", "t", timeout)
            time.sleep(0.05)
            self.assertFalse(session.client.connection.has_reply(waiter))
            process.interrupt()
            (event,) = session.client.reply(waiter)
            self.assertEqual(event[4], "stop")
            process.continue_()
        self.assert_error("NoEvent", session.get_event, 0)

    def test_waiter_that_waits_before_anything_is_attached(self):
        tracee = self.tracee("many-threads", 1)
        session = self.new_session(queue=True)
        waiter = session.send("GetEvent", "t", FOREVER)
        time.sleep(0.05)
        session.attach(tracee.pid, stop=True)
        (event,) = session.client.reply(waiter)
        self.assertEqual((event[3], event[4]), (tracee.pid, "stop"))

    def test_each_waiter_gets_one_event(self):
        tracee = self.tracee("many-threads", 5)
        session = self.new_session(queue=True)
        process = session.attach(tracee.pid)
        waiters = [session.send("GetEvent", "t", FOREVER) for _ in range(5)]
        process.interrupt()
        tids = [session.client.reply(waiter)[0][3] for waiter in waiters]
        self.assertEqual(sorted(tids), tracee.threads())
        self.assert_error("NoEvent", session.get_event, 0)

    def test_events_of_several_processes(self):
        tracees = [self.tracee("many-threads", 2) for _ in range(3)]
        session = self.new_session(queue=True)
        waiter = session.send("GetEvent", "t", FOREVER)
        for tracee in tracees:
            session.attach(tracee.pid, stop=True)
        (first,) = session.client.reply(waiter)
        tids = [first[3]] + [session.get_event(2000000).tid for _ in range(5)]
        self.assertEqual(sorted(tids), sorted(t for tracee in tracees for t in tracee.threads()))

    def test_events_of_one_thread(self):
        tracee = self.tracee("many-threads", 4)
        session = self.new_session(queue=True)
        process = session.attach(tracee.pid, stop=True)
        tid = tracee.threads()[2]
        thread = process.thread(tid)
        self.assertEqual(thread.get_event(1000000).tid, tid)
        self.assert_error("NoEvent", thread.get_event, 0)
        self.assertEqual(sorted(e.tid for e in session.drain()), [t for t in tracee.threads() if t != tid])
        waiter = thread.send("GetEvent", "t", FOREVER)
        process.continue_()
        process.interrupt()
        (event,) = session.client.reply(waiter)
        self.assertEqual(event[3], tid)

    def test_full_queue_counts_what_it_drops_and_keeps_what_stops(self):
        tracee = self.tracee("threads-come-and-go", 4, 100)
        session = self.new_session(lifetime="persistent")
        process = session.attach(tracee.pid)
        self.assert_wait(lambda: session.get("LostEvents") > 100, "the queue is full", timeout=30)
        process.interrupt()
        self.assert_wait(lambda: set(process.list_threads().values()) == {"stopped"}, "it stands")
        held = session.list_stopped()
        taken = session.drain()
        lost = session.get("LostEvents")
        self.assertEqual([e for e in taken if e.stopped], sorted(held))
        self.assertLessEqual(len(taken), QUEUE_MAX + len(held))
        serials = [e.serial for e in taken]
        self.assertEqual(serials, sorted(set(serials)))
        process.detach()
        last = session.get_event(5000000)
        self.assertEqual(last.kind, "lost", "there is room again")
        self.assertEqual(last.serial, len(taken) + lost + 1, "taken and lost together are all that were")

    def test_list_stopped_takes_nothing(self):
        tracee = self.tracee("many-threads", 3)
        session = self.new_session(queue=True)
        session.attach(tracee.pid, stop=True)
        self.assertEqual(sorted(session.list_stopped()), sorted(session.list_stopped()))
        self.assertEqual(sorted(session.drain()), sorted(session.list_stopped()))

    def test_waiter_of_a_closed_session(self):
        session = self.new_session(queue=True)
        waiter = session.send("GetEvent", "t", FOREVER)
        session.call("Close")
        self.assert_error("NoSuchSession", session.client.reply, waiter)


class QueueOnTheBus(Queue, harness.OnTheBus):
    def test_waiter_that_left_takes_nothing(self):
        tracee = self.tracee("many-threads", 1)
        session = self.new_session(lifetime="persistent")
        process = session.attach(tracee.pid)
        for _ in range(harness.rounds(0.05)):
            waiter = self.connect()
            waiter.session(session.id).send("GetEvent", "t", FOREVER)
            waiter.session(session.id).send("GetEvent", "t", 60000000)
            waiter.manager.get("NSessions")
            waiter.close()
            process.interrupt()
            self.assertEqual(session.get_event(2000000).kind, "stop")
            process.continue_()

    def test_waiters_of_several_clients(self):
        tracee = self.tracee("many-threads", 4)
        session = self.new_session(lifetime="persistent")
        clients = [self.connect() for _ in range(4)]
        waiters = [(c, c.session(session.id).send("GetEvent", "t", FOREVER)) for c in clients]
        time.sleep(0.05)
        session.attach(tracee.pid, stop=True)
        tids = [c.reply(waiter)[0][3] for c, waiter in waiters]
        self.assertEqual(sorted(tids), tracee.threads())


class QueueEmbedded(Queue, harness.Embedded):
    pass


class Lifetime(harness.OnTheBus):
    def test_client_session_ends_when_its_creator_leaves(self):
        tracee = self.tracee("many-threads", 4)
        creator, other = self.connect(), self.connect()
        other.watch()
        session = creator.create_session()
        session.attach(tracee.pid, stop=True)
        creator.close()
        self.assert_runs_free(tracee)
        self.assertEqual(other.list_sessions(), {})
        self.assert_error("NoSuchSession", other.session(session.id).close)
        other.sort()
        root = "/org/ptraced/Tracer1"
        self.assertIn((root, "SessionNew", (session.id, session.path)), other.signals)
        self.assertIn((root, "SessionRemoved", (session.id, session.path)), other.signals)

    def test_persistent_session_stays(self):
        tracee = self.tracee("many-threads", 4)
        creator = self.connect()
        session = creator.create_session(lifetime="persistent", name="stays")
        self.assertTrue(session.get("Queue"), "it queues from the start")
        session.attach(tracee.pid, stop=True)
        creator.close()
        other = self.connect()
        time.sleep(0.2)
        self.assertEqual(other.list_sessions(), {session.id: [0, "stays", session.path]})
        self.assert_all_stopped(tracee)
        session = other.session(session.id)
        self.assertEqual(len(session.drain()), 4)
        session.process(tracee.pid).continue_()
        session.close()
        self.assertEqual(other.list_sessions(), {})
        self.assert_runs_free(tracee)

    def test_subscribers(self):
        tracee = self.tracee("many-threads", 2)
        creator, second, third = self.connect(), self.connect(), self.connect()
        session = creator.create_session()
        seen_by_second = second.session(session.id)
        seen_by_second.call("Subscribe")
        process = session.attach(tracee.pid, stop=True)
        self.assertEqual(session.events_for(0.2), seen_by_second.events_for(0.2))
        self.assertEqual(third.session(session.id).events_for(0.1), [], "nobody else hears of it")

        process.continue_()
        seen_by_second.call("Unsubscribe")
        process.interrupt()
        self.assertEqual(len(session.events_for(0.2)), 2)
        self.assertEqual(seen_by_second.events_for(0.1), [])

        process.continue_()
        second.close()
        process.interrupt()
        self.assertEqual(len(session.events_for(0.2)), 2)
        session.call("Unsubscribe")
        process.continue_()
        process.interrupt()
        self.assertEqual(session.events_for(0.1), [])

    def test_persistent_session_has_no_subscriber_until_one_asks(self):
        tracee = self.tracee("many-threads", 2)
        session = self.new_session(lifetime="persistent")
        process = session.attach(tracee.pid, stop=True)
        self.assertEqual(session.events_for(0.1), [])
        session.call("Subscribe")
        process.continue_()
        process.interrupt()
        told = session.events_for(0.2)
        self.assertEqual(len([e for e in told if e.serial > 2]), 2)
        self.assertEqual(len(session.drain()), 4)

    def test_subscriber_that_dies_under_load(self):
        tracee = self.tracee("threads-come-and-go", 3, 5000)
        session = self.new_session()
        session.attach(tracee.pid)
        seen = []

        def has_seen_a_clone(watching):
            """The slowest subscriber rules: nobody gets more while the creator does not read."""
            seen.extend(session.events_for(0))
            return any(event.kind == "clone" for event in watching.events_for(0))

        for _ in range(harness.rounds(0.05)):
            other = self.connect()
            watching = other.session(session.id)
            watching.call("Subscribe")
            self.assert_wait(lambda one=watching: has_seen_a_clone(one), "it sees a clone")
            other.close()
        seen += session.events_for(0.2)
        self.assert_contiguous(seen)
        self.assertEqual(session.get("LostEvents"), 0)

    def test_sessions_end_with_a_waiting_request(self):
        """The creator leaves while its own calls are under way."""
        tracee = self.tracee("many-threads", 100, 2)
        for i in range(harness.rounds(0.1)):
            client = self.connect()
            session = client.create_session(queue=True)
            session.send("AttachProcess", "ua{sv}", tracee.pid, {})
            process = session.process(tracee.pid)
            for _ in range(i % 4):
                process.send("Interrupt")
                process.send("ListThreads")
                session.send("GetEvent", "t", FOREVER)
                process.send("Continue", "a{sv}", {})
            client.close()
            self.assert_runs_free(tracee)
        self.assert_wait(lambda: self.connect().list_sessions() == {}, "no session is left")

    def test_tracers_end_when_they_are_idle(self):
        session = self.new_session()
        for _ in range(5):
            tracee = self.tracee("many-threads", 2)
            session.attach(tracee.pid).detach()
        session.close()
        self.assert_wait(lambda: len(self.service.daemons.tracers()) <= 1,
                         "only the tracer that is kept ready stays")

    def test_closing_with_many_processes(self):
        tracees = [self.tracee("many-threads", 3) for _ in range(20)]
        session = self.new_session()
        for i, tracee in enumerate(tracees):
            session.attach(tracee.pid, stop=i % 2 == 0)
        session.close()
        self.assert_runs_free(*tracees)

    def test_nothing_is_kept_of_sessions_that_have_gone(self):
        """Descriptors and memory are the same after many sessions as after a few."""
        tracee = self.tracee("many-threads", 20)

        def use(times):
            for _ in range(times):
                client = self.connect()
                client.create_session(queue=True).attach(tracee.pid, stop=True)
                client.close()
                self.assert_runs_free(tracee)
            self.assert_wait(lambda: len(self.service.daemons.tracers()) <= 1, "the tracers end")
            pids = (self.service.broker.pid, self.service.keeper.pid)
            self.assertTrue(wait_until(lambda: self.connect().list_sessions() == {}))
            self.service.close_clients()
            return [(procfs.descriptors(pid), procfs.resident_kib(pid)) for pid in pids]

        few = use(10)
        many = use(harness.rounds(0.25))
        for (fds_before, kib_before), (fds, kib) in zip(few, many):
            self.assertLessEqual(fds, fds_before + 2)
            if not sanitized():
                self.assertLess(kib, kib_before + 512)

    def test_limit_of_sessions(self):
        client = self.connect()
        limit = client.manager.get("SessionsMax")
        self.assertGreater(limit, 0)
        for _ in range(min(limit, 2000)):
            client.create_session()
        if limit > 2000:
            self.skipTest(f"the limit, {limit}, is too high to reach")
        self.assert_error("LimitExceeded", client.create_session)
        self.assertEqual(client.manager.get("NSessions"), limit)
        client.close()
        other = self.connect()
        self.assert_wait(lambda: other.manager.get("NSessions") == 0, "all have ended")
        other.create_session().close()


class LifetimeEmbedded(harness.Embedded):
    def test_all_is_released_when_the_socket_closes(self):
        tracees = [self.tracee("many-threads", 3) for _ in range(3)]
        session = self.new_session(lifetime="persistent")
        for tracee in tracees:
            session.attach(tracee.pid, stop=True)
        self.service.close_clients()
        self.assert_runs_free(*tracees)
        self.assertEqual(self.service.broker.wait(10), 0)
        self.assertEqual(self.service.keeper.wait(10), 0)

    def test_client_that_leaves_in_the_middle_of_a_message(self):
        tracee = self.tracee("many-threads", 3)
        session = self.new_session()
        session.attach(tracee.pid, stop=True)
        session.client.connection.send_bytes(b"l\1\0\1\4\0\0\0")
        self.service.close_clients()
        self.assert_runs_free(tracee)

    def test_client_that_speaks_no_dbus(self):
        tracee = self.tracee("many-threads", 3)
        session = self.new_session()
        session.attach(tracee.pid, stop=True)
        session.client.connection.send_bytes(b"GET / HTTP/1.0\r\n\r\n" * 10)
        with self.assertRaises((ConnectionError, wire.Error)):
            while session.client.connection.pump(10):
                pass
        self.assert_runs_free(tracee)


if __name__ == "__main__":
    harness.main()
