# SPDX-License-Identifier: LGPL-2.1-or-later
"""How a stop is given up: step by step, call by call, with another signal or none, one or all."""

import os
import signal

import harness
from circles import Circles
from wire import Variant

SIGRT = signal.SIGRTMIN + 1
SI_USER, SI_QUEUE, SI_TKILL = 0, -1, -6


class Resuming:
    def circles(self, threads=1, **options):
        circles = Circles(self.tracee("runs-in-circles", threads))
        session = self.new_session()
        return circles, session, session.attach(circles.pid, **options)

    def next_of(self, session, tid, *kinds):
        """The next event of a thread that is of one of these kinds."""
        return session.events_until(lambda e: e.tid == tid and e.kind in kinds)[-1]

    def stop(self, session, thread):
        self.assertTrue(thread.interrupt())
        return self.next_of(session, thread.tid, "stop")

    def step(self, session, thread, **options):
        """One step, and where it led."""
        thread.step(**options)
        event = self.next_of(session, thread.tid, "step")
        self.assertTrue(event.stopped)
        return thread.get("ProgramCounter")

    def into_the_circle(self, circles, session, thread):
        """Steps until it stands at the circle's first instruction."""
        for _ in range(100):
            if self.step(session, thread) == circles.start:
                return
        self.fail("it does not come by in a hundred steps")

    def handler(self, **options):
        tracee = self.tracee("handles-signals")
        session = self.new_session()
        process = session.attach(tracee.pid, **options)
        return tracee, session, process, process.thread(tracee.pid)

    # Step by step.

    def test_step_is_one_instruction(self):
        circles, session, process = self.circles()
        thread = process.thread(circles.tids[0])
        self.stop(session, thread)
        self.into_the_circle(circles, session, thread)
        width = 1 if process.get("Architecture") == "x86_64" else 4
        self.assertEqual([self.step(session, thread) for _ in range(8)],
                         [circles.start + width * i for i in range(1, 9)])
        self.assertEqual(thread.get("StopReason"), "step")

    def test_continue_with_mode_step_is_the_same(self):
        circles, session, process = self.circles()
        thread = process.thread(circles.tids[0])
        self.stop(session, thread)
        self.into_the_circle(circles, session, thread)
        self.assertTrue(thread.continue_(mode="step"))
        self.assertTrue(self.next_of(session, thread.tid, "step").stopped)
        self.assertIn(thread.get("ProgramCounter") - circles.start, (1, 4))
        self.assertTrue(thread.continue_(mode="run"))
        self.assertIn(thread.tid, circles.who_moves({thread.tid}))

    def test_block_step_comes_to_the_next_branch_or_says_that_it_cannot(self):
        circles, session, process = self.circles()
        thread = process.thread(circles.tids[0])
        self.stop(session, thread)
        self.into_the_circle(circles, session, thread)
        self.assertTrue(thread.continue_(mode="block-step"))
        self.assertTrue(self.next_of(session, thread.tid, "step").stopped)
        went = thread.get("ProgramCounter") - circles.start
        if process.get("BlockStep") == "block":
            self.assertEqual(went, 0, "the branch leads back to the start")
        else:
            self.assertIn(went, (1, 4), "one instruction")

    def test_block_step_property(self):
        circles, session, process = self.circles()
        said = process.get("BlockStep")
        self.assertIn(said, ("block", "instruction", "none"))
        self.assertEqual([process.get("BlockStep") for _ in range(3)], [said] * 3)
        # Its probe leaves nothing behind, and disturbs nothing.
        self.assertEqual(circles.who_moves(set(circles.tids)), set(circles.tids))
        self.assertEqual(session.events_for(0.05), [])
        self.assertEqual(self.new_session().attach(circles.pid).get("BlockStep"), said)

    def test_range_goes_on_while_it_is_inside(self):
        circles, session, process = self.circles()
        thread = process.thread(circles.tids[0])
        self.stop(session, thread)
        self.into_the_circle(circles, session, thread)
        before = circles.read_counts()
        self.assertEqual(self.step(session, thread, range=(circles.start, circles.end)), circles.end)
        self.assertEqual(circles.read_counts(), before, "it has left the circle, and no more")

    def test_range_is_left_by_an_interrupt(self):
        circles, session, process = self.circles()
        thread = process.thread(circles.tids[0])
        self.stop(session, thread)
        thread.step(range=(0, 2**63))
        self.assertEqual(thread.get("State"), "stepping")
        self.assertIn(thread.tid, circles.who_moves({thread.tid}), "it steps on and on")
        self.assertTrue(thread.interrupt())
        seen = session.events_until(lambda e: e.kind == "stop")
        self.assertEqual([e.kind for e in seen], ["stop"])
        self.assertTrue(thread.continue_())
        self.assertIn(thread.tid, circles.who_moves({thread.tid}))

    def test_step_of_a_thread_that_is_not_held(self):
        circles, session, process = self.circles()
        thread = process.thread(circles.tids[0])
        self.assert_error("NotStopped", thread.step)
        self.assertFalse(thread.continue_(mode="step"), "there is nothing to continue")
        self.assertEqual(session.events_for(0.05), [])
        self.assertIn(thread.tid, circles.who_moves({thread.tid}))

    def test_one_steps_while_the_others_stand(self):
        circles, session, process = self.circles(3)
        process.interrupt()
        thread = process.thread(circles.tids[1])
        for _ in range(10):
            self.step(session, thread)
        self.assertTrue(thread.continue_())
        self.assertEqual(circles.who_moves({thread.tid}), {thread.tid}, "the others stand on")
        process.continue_()
        self.assertEqual(circles.who_moves(set(circles.tids)), set(circles.tids))

    def test_one_steps_while_the_others_run(self):
        circles, session, process = self.circles(3)
        thread = process.thread(circles.tids[1])
        self.stop(session, thread)
        for _ in range(10):
            self.step(session, thread)
        self.assertEqual(circles.who_moves(set(circles.tids) - {thread.tid}), set(circles.tids) - {thread.tid})
        self.assertTrue(thread.continue_())
        self.assertEqual(circles.who_moves(set(circles.tids)), set(circles.tids))

    def test_whole_process_steps_in_one_call(self):
        circles, session, process = self.circles(3)
        process.interrupt()
        threads = {tid: process.thread(tid) for tid in circles.tids}
        session.events_for(0.05)
        process.continue_(mode="step")
        waiting = set(circles.tids)
        while waiting:
            event = session.events_until(lambda e: e.kind == "step")[-1]
            self.assertIn(event.tid, waiting, "each steps once")
            waiting.remove(event.tid)
        self.assertEqual({thread.get("StopReason") for thread in threads.values()}, {"step"})
        self.assertEqual(circles.who_moves(), set())

    def test_step_into_a_signal_that_is_caught(self):
        tracee, session, _, thread = self.handler(stops=["signal"])
        tracee.signal(signal.SIGUSR1)
        self.next_of(session, thread.tid, "signal")
        before = thread.get("ProgramCounter")
        at = self.step(session, thread)
        self.assertNotEqual(at, before, "the handler's first instruction")
        self.assert_error("InvalidOption", thread.continue_, signal=signal.SIGUSR2)
        self.assertNotEqual(self.step(session, thread), at)
        self.assertTrue(thread.continue_())
        self.assertEqual(tracee.ask()["usr1"], 1)
        self.assertEqual(tracee.ask()["trap"], 0)

    # System calls.

    def test_mode_syscall_stops_at_both_ends_of_the_next_call(self):
        tracee = self.tracee("makes-known-calls")
        session = self.new_session()
        process = session.attach(tracee.pid, stop=True)
        thread = process.thread(tracee.pid)
        numbers = dict(zip(("open", "write", "read", "sleep", "getppid"), map(int, tracee.words[1:])))
        session.events_for(0.02)
        tracee.say("open")
        seen = []
        for _ in range(30):  # it reads the line byte by byte first
            self.assertTrue(thread.continue_(mode="syscall"))
            event = self.next_of(session, thread.tid, "syscall-enter", "syscall-exit")
            self.assertTrue(event.stopped)
            seen.append((event.kind, event.details["number"]))
            if seen[-1] == ("syscall-exit", numbers["open"]):
                break
        self.assertEqual(seen[-2:], [("syscall-enter", numbers["open"]), ("syscall-exit", numbers["open"])])
        self.assertTrue(thread.continue_())
        self.assertEqual(tracee.read_pairs()["error"], 2)
        self.assertEqual([e.kind for e in session.events_for(0.05)], [], "it was for that once")

    # Signals.

    def test_signal_is_delivered_unless_something_else_is_said(self):
        tracee, session, _, thread = self.handler(stops=["signal"])
        tracee.signal(signal.SIGUSR1)
        self.next_of(session, thread.tid, "signal")
        self.assertTrue(thread.continue_())
        self.assertEqual(tracee.ask()["usr1"], 1)

    def test_signal_is_replaced(self):
        tracee, session, _, thread = self.handler(stops=["signal"])
        tracee.signal(signal.SIGUSR1)
        self.next_of(session, thread.tid, "signal")
        self.assertTrue(thread.continue_(signal=signal.SIGUSR2))
        answer = tracee.ask()
        self.assertEqual((answer["usr1"], answer["usr2"]), (0, 1))

    def test_signal_is_dropped(self):
        tracee, session, process, thread = self.handler(stops=["signal"])
        tracee.signal(signal.SIGUSR1)
        self.next_of(session, thread.tid, "signal")
        self.assertTrue(thread.continue_(suppress=True))
        self.assertEqual(tracee.ask()["usr1"], 0)
        tracee.signal(signal.SIGUSR1)
        self.next_of(session, thread.tid, "signal")
        process.continue_(suppress=True)
        self.assertEqual(tracee.ask()["usr1"], 0)
        tracee.signal(signal.SIGUSR1)
        self.next_of(session, thread.tid, "signal")
        self.assertTrue(thread.continue_())
        self.assertEqual(tracee.ask()["usr1"], 1, "what was said of one holds for that one alone")

    def test_deadly_signal_is_dropped(self):
        tracee, session, _, thread = self.handler(stops=["signal"])
        tracee.signal(signal.SIGTERM)
        self.next_of(session, thread.tid, "signal")
        self.assertTrue(thread.continue_(suppress=True))
        self.assertEqual(tracee.ask()["urg"], 0)

    def test_signal_where_a_step_has_ended(self):
        circles, session, process = self.circles()
        thread = process.thread(circles.tids[0])
        self.stop(session, thread)
        self.assert_error("InvalidOption", thread.continue_, signal=signal.SIGUSR1)
        self.assertEqual(thread.get("StopReason"), "stop", "nothing was resumed")
        self.step(session, thread)
        self.assertTrue(thread.continue_(signal=signal.SIGUSR1))
        self.assertEqual(circles.tracee.changes(1), [(os.CLD_KILLED, signal.SIGUSR1)])

    def test_signal_and_suppress_exclude_each_other(self):
        tracee, session, process, thread = self.handler(stops=["signal"])
        tracee.signal(signal.SIGUSR1)
        self.next_of(session, thread.tid, "signal")
        self.assert_error("InvalidOption", thread.continue_, signal=10, suppress=True)
        self.assert_error("InvalidOption", process.continue_, signal=10)
        self.assert_error("InvalidOption", thread.continue_, mode="syscall", range=(1, 2))
        self.assert_error("InvalidOption", thread.continue_, mode="step", range=(2, 2))
        self.assert_error("InvalidOption", thread.continue_, mode="backwards")
        self.assert_error("InvalidOption", thread.continue_, signal=65)
        self.assert_error("InvalidOption", thread.step, mode="step")
        self.assertEqual(thread.get("StopReason"), "signal", "nothing was resumed")
        self.assertTrue(thread.continue_())
        self.assertEqual(tracee.ask()["usr1"], 1)

    def test_what_one_session_drops_is_dropped(self):
        tracee, first, _, thread = self.handler(stops=["signal"])
        second = self.new_session()
        other = second.attach(tracee.pid, stops=["signal"]).thread(tracee.pid)
        tracee.signal(signal.SIGUSR1)
        self.next_of(first, thread.tid, "signal")
        self.next_of(second, thread.tid, "signal")
        self.assertTrue(thread.continue_(suppress=True))
        self.assertEqual(tracee.state(), "t")
        self.assertTrue(other.continue_())
        self.assertEqual(tracee.ask()["usr1"], 0)

    def test_signal_information(self):
        tracee, session, _, thread = self.handler(stops=["signal"])
        tracee.signal(signal.SIGUSR1)
        event = self.next_of(session, thread.tid, "signal")
        info = thread.signal_info()
        self.assertEqual((info["signal"], info["code"], info["errno"]), (signal.SIGUSR1, SI_USER, 0))
        self.assertEqual((info["sender-pid"], info["sender-uid"]), (os.getpid(), os.getuid()))
        self.assertEqual(len(info["raw"]), 128)
        self.assertEqual(event.details, {"signal": 10, "code": 0, "sender-pid": os.getpid(),
                                         "sender-uid": os.getuid()})

    def test_signal_information_is_changed(self):
        tracee, session, _, thread = self.handler(stops=["signal"])
        tracee.signal(signal.SIGUSR1)
        self.next_of(session, thread.tid, "signal")
        thread.set_signal_info(signal=SIGRT, code=SI_QUEUE, sender_pid=77, value=4711)
        info = thread.signal_info()
        self.assertEqual((info["signal"], info["code"], info["sender-pid"], info["value"]), (SIGRT, SI_QUEUE, 77, 4711))
        self.assertTrue(thread.continue_())
        answer = tracee.ask()
        self.assertEqual((answer["usr1"], answer["rt"], answer["code"], answer["value"], answer["sender"]),
                         (0, 1, SI_QUEUE, 4711, 77))

    def test_signal_information_as_a_whole(self):
        tracee, session, _, thread = self.handler(stops=["signal"])
        tracee.signal(signal.SIGUSR1)
        self.next_of(session, thread.tid, "signal")
        raw = thread.signal_info()["raw"]
        self.assert_error("InvalidOption", thread.set_signal_info, raw=raw[:-1])
        self.assert_error("InvalidOption", thread.set_signal_info, raw=bytes(128))
        self.assert_error("InvalidOption", thread.set_signal_info, nonsense=1)
        thread.set_signal_info(raw=raw, code=SI_TKILL)
        self.assertTrue(thread.continue_())
        answer = tracee.ask()
        self.assertEqual((answer["usr1"], answer["code"]), (1, SI_TKILL))

    def test_signal_information_where_there_is_no_signal(self):
        _, session, _, thread = self.handler()
        self.assert_error("NotStopped", thread.signal_info)
        self.assert_error("NotStopped", thread.set_signal_info, code=0)
        self.stop(session, thread)
        self.assert_error("NotStopped", thread.signal_info)
        self.assert_error("NotStopped", thread.set_signal_info, code=0)

    # Interrupts.

    def test_interrupt_of_a_stopped_thread_is_false_at_once(self):
        circles, session, process = self.circles()
        thread = process.thread(circles.tids[0])
        self.stop(session, thread)
        self.assertFalse(thread.interrupt())
        self.step(session, thread)
        self.assertFalse(thread.interrupt())
        self.assertEqual(session.events_for(0.05), [])

    def test_interrupt_turns_a_group_stop_into_a_stop_of_ours(self):
        tracee = self.tracee("job-control-stopped")
        session = self.new_session()
        process = session.attach(tracee.pid)
        thread = process.thread(tracee.pid)
        tracee.signal(signal.SIGSTOP)
        tracee.changes(1)
        tracee.job_control_stopped = True
        self.next_of(session, thread.tid, "group-stop")
        self.assert_error("NotStopped", thread.registers)
        self.assertTrue(thread.interrupt())
        self.assertTrue(self.next_of(session, thread.tid, "stop").stopped)
        self.assertTrue(thread.registers())
        self.assertEqual((thread.get("State"), thread.get("StopReason")), ("stopped", "stop"))
        self.assertFalse(thread.interrupt())
        self.assertTrue(thread.continue_())
        self.assert_wait(lambda: thread.get("State") == "group-stop", "it is stopped by job control again")
        self.assertIsNone(tracee.pending_change(), "its parent was told of something")

    # All-stop.

    def test_all_stop(self):
        circles, session, process = self.circles(3, all_stop=True)
        everybody = set(circles.tids) | {circles.pid}
        for tid in circles.tids:
            self.assertTrue(process.thread(tid).interrupt())
            self.assert_wait(lambda: {e.tid for e in session.list_stopped()} == everybody, "all follow one")
            self.assertEqual(circles.who_moves(), set())
            process.continue_()
            self.assertEqual(circles.who_moves(set(circles.tids)), set(circles.tids))

    def test_all_stop_by_an_event(self):
        circles, session, _ = self.circles(3, all_stop=True, stops=["signal"])
        circles.tracee.signal(signal.SIGURG)
        event = session.events_until(lambda e: e.kind == "signal")[-1]
        self.assert_wait(lambda: len(session.list_stopped()) == 4, "all follow one")
        kinds = {e.tid: e.kind for e in session.list_stopped()}
        self.assertEqual(kinds.pop(event.tid), "signal")
        self.assertEqual(set(kinds.values()), {"stop"})
        session.continue_()
        self.assertEqual(circles.who_moves(set(circles.tids)), set(circles.tids))

    def test_all_stop_steps_one(self):
        """Continue of one thread in an all-stop process lets that one go, and its step stops no further one."""
        circles, session, process = self.circles(3, all_stop=True)
        process.interrupt()
        session.events_for(0.05)
        thread = process.thread(circles.tids[0])
        for _ in range(10):
            self.step(session, thread)
        self.assertEqual(session.events_for(0.05), [], "the others stood all the time")
        self.assertEqual(circles.who_moves(), set())

    def test_unknown_options_of_continue(self):
        circles, session, process = self.circles()
        process.interrupt()
        thread = process.thread(circles.tids[0])
        for function in (thread.continue_, thread.step, process.continue_, session.continue_):
            error = self.assert_error("InvalidOption", function, nonsense=True)
            self.assertIn("nonsense", error.message)
        error = self.assert_error("InvalidOption", thread.continue_, suppress=Variant("i", 1))
        self.assertIn("suppress", error.message)
        self.assertEqual(len(session.list_stopped()), 2)


class ResumingOnTheBus(Resuming, harness.OnTheBus):
    pass


class ResumingEmbedded(Resuming, harness.Embedded):
    pass


if __name__ == "__main__":
    harness.main()
