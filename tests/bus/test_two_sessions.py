# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two sessions on one process: each has its own stops, and its own events."""

import harness
import procfs


class TwoSessions:
    def attach_both(self, tracee, **values):
        first, second = self.new_session(), self.new_session()
        return first, second, first.attach(tracee.pid, **values), second.attach(tracee.pid, **values)

    def states(self, tracee):
        return {tracee.state(t) for t in tracee.threads()}

    def test_they_share_one_tracer(self):
        tracee = self.tracee("many-threads", 4)
        first = self.new_session().attach(tracee.pid)
        tracer = procfs.tracer_pid(tracee.pid)
        second = self.new_session().attach(tracee.pid)
        self.assertEqual({procfs.tracer_pid(tracee.pid, t) for t in tracee.threads()}, {tracer})
        self.assertEqual(first.list_threads(), second.list_threads())
        self.assertEqual(len(first.client.manager.call("ListTracees")), 2)

    def test_each_has_to_continue_its_own_stop(self):
        tracee = self.tracee("many-threads", 4)
        first, second, a, b = self.attach_both(tracee)
        a.interrupt()
        b.interrupt()
        for session in (first, second):
            self.assert_wait(lambda s=session: len(s.list_stopped()) == 4, "each holds all threads")
        a.continue_()
        self.assertEqual(first.list_stopped(), [])
        self.assertEqual(self.states(tracee), {"t"})
        self.assertEqual(len(second.list_stopped()), 4)
        b.continue_()
        self.assert_wait(lambda: self.states(tracee) == {"S"}, "it runs on")

    def test_the_other_sees_no_stop_but_that_it_does_not_run(self):
        tracee = self.tracee("busy-loop", 1)
        first, second, a, b = self.attach_both(tracee)
        a.interrupt()
        self.assertEqual(self.states(tracee), {"t"})
        self.assertEqual(second.list_stopped(), [])
        self.assertEqual(second.events_for(0.1), [])
        self.assertEqual(len([first.next_event() for _ in range(2)] + first.events_for(0.1)), 2)
        self.assertFalse(b.thread(tracee.pid).continue_(), "it has no stop to give up")
        b.continue_()
        second.continue_()
        self.assertEqual(self.states(tracee), {"t"})
        a.continue_()
        self.assert_advances(lambda: tracee.ask()["progress"])

    def test_one_thread_at_a_time(self):
        tracee = self.tracee("many-threads", 3)
        first, second, a, b = self.attach_both(tracee)
        one, two, three = tracee.threads()
        self.assertTrue(a.thread(one).interrupt())
        self.assertTrue(b.thread(two).interrupt())
        self.assert_wait(lambda: first.list_stopped() and second.list_stopped(), "each holds one")
        self.assertEqual([tracee.state(tid) for tid in (one, two, three)], ["t", "t", "S"])
        self.assertTrue(a.thread(one).continue_())
        self.assert_wait(lambda: tracee.state(one) == "S", "the first runs")
        self.assertEqual(tracee.state(two), "t")
        self.assertTrue(b.thread(two).continue_())

    def test_detach_gives_up_ones_own_stop_alone(self):
        tracee = self.tracee("many-threads", 4)
        _, second, a, b = self.attach_both(tracee)
        a.interrupt()
        b.interrupt()
        a.detach()
        self.assertEqual(self.states(tracee), {"t"})
        self.assertEqual(len(second.list_stopped()), 4)
        b.detach()
        self.assert_runs_free(tracee)

    def test_detach_of_the_one_that_holds_it(self):
        tracee = self.tracee("many-threads", 4)
        _, second, a, b = self.attach_both(tracee)
        a.interrupt()
        a.detach()
        self.assert_wait(lambda: self.states(tracee) == {"S"}, "it runs on")
        self.assertTrue(procfs.tracer_pid(tracee.pid))
        b.interrupt()
        self.assert_wait(lambda: len(second.list_stopped()) == 4, "the other still has control")

    def test_close_of_the_one_that_holds_it(self):
        tracee = self.tracee("many-threads", 4)
        first, second, a, b = self.attach_both(tracee)
        a.interrupt()
        first.close()
        self.assert_wait(lambda: self.states(tracee) == {"S"}, "it runs on")
        self.assertEqual(sorted(b.list_threads()), tracee.threads())
        second.close()
        self.assert_runs_free(tracee)

    def test_both_see_each_event_once(self):
        tracee = self.tracee("threads-come-and-go", 2, 2000)
        first, second, a, b = self.attach_both(tracee, events=["clone", "exited"])
        a.interrupt()
        b.interrupt()
        self.assert_wait(lambda: set(a.list_threads().values()) == {"stopped"}, "it stands")
        for session in (first, second):
            session.events_for(0.1)
        a.continue_()
        b.continue_()
        seen = first.events_until(lambda e: e.kind == "clone") + first.events_for(0.2), second.events_for(0)
        a.interrupt()
        b.interrupt()
        seen = [part + session.events_for(0.2) for part, session in zip(seen, (first, second))]
        told = []
        for events in seen:
            self.assert_contiguous(events)
            told.append([(e.tid, e.kind, e.details) for e in events if e.kind != "stop"])
        self.assertEqual(sorted(told[0], key=str), sorted(told[1], key=str))
        self.assertTrue(told[0])

    def test_each_has_its_own_filter(self):
        tracee = self.tracee("threads-come-and-go", 2, 1000)
        first, second = self.new_session(), self.new_session()
        first.attach(tracee.pid, events=["clone"])
        second.attach(tracee.pid, events=["exited"])
        for session, kind in ((first, "clone"), (second, "exited")):
            self.assertEqual({e.kind for e in session.events_until(lambda e: True) + session.events_for(0.2)}, {kind})

    def test_an_event_stops_for_the_one_that_asked(self):
        tracee = self.tracee("exec-from-other-thread")
        first, second = self.new_session(), self.new_session()
        a = first.attach(tracee.pid, stops=["exec"])
        second.attach(tracee.pid)
        tracee.say("go")
        tracee.read_pairs()
        self.assertTrue(first.events_until(lambda e: e.kind == "exec")[-1].stopped)
        self.assertFalse(second.events_until(lambda e: e.kind == "exec")[-1].stopped)
        self.assertEqual((len(first.list_stopped()), second.list_stopped()), (1, []))
        self.assertEqual(self.states(tracee), {"t"})
        a.continue_()
        self.assertEqual(tracee.listen(), "ready")

    def test_second_session_attaches_to_what_the_first_holds(self):
        tracee = self.tracee("many-threads", 4)
        first, second = self.new_session(), self.new_session()
        a = first.attach(tracee.pid, stop=True)
        b = second.attach(tracee.pid)
        self.assertEqual(second.list_stopped(), [])
        b.interrupt()
        self.assert_wait(lambda: len(second.list_stopped()) == 4, "it holds them too")
        a.continue_()
        self.assertEqual(self.states(tracee), {"t"})
        b.continue_()
        self.assert_wait(lambda: self.states(tracee) == {"S"}, "it runs on")


class TwoSessionsOnTheBus(TwoSessions, harness.OnTheBus):
    def test_death_of_the_client_that_holds_it(self):
        tracee = self.tracee("many-threads", 4)
        dying, living = self.connect(), self.connect()
        dying.create_session().attach(tracee.pid, stop=True)
        second = living.create_session()
        b = second.attach(tracee.pid)
        b.interrupt()
        dying.close()
        self.assert_wait(lambda: len(living.list_sessions()) == 1, "its session ends")
        self.assertEqual(self.states(tracee), {"t"})
        b.continue_()
        self.assert_wait(lambda: self.states(tracee) == {"S"}, "it runs on")
        self.assertTrue(procfs.tracer_pid(tracee.pid))


class TwoSessionsEmbedded(TwoSessions, harness.Embedded):
    pass


if __name__ == "__main__":
    harness.main()
