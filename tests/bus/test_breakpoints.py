# SPDX-License-Identifier: LGPL-2.1-or-later
"""Breakpoints in the program's text: who is told of what, and what the program notices: nothing."""

import contextlib
import random
import signal
import time

import harness
import procfs
import wire
from client import ERROR
from computing import FIRST, OnTheBus, Program


class Breakpoints(Program):
    # A hit.

    def test_hit(self):
        tracee, at, session, process = self.start()
        here = at["target"]
        before = process.read_memory(here - 8, 32)
        id = process.add_breakpoint(here)
        self.assertNotEqual(procfs.read_memory(tracee.pid, here - 8, 32), before, "nothing was inserted")
        self.assertEqual(process.read_memory(here - 8, 32), before)
        self.assertEqual(process.read_memory(here, 1), before[8:9])
        tracee.say("call 3")
        for i in range(3):
            event = self.wait_hit(session)
            self.assertEqual((event.tid, event.pid, event.stopped), (tracee.pid, tracee.pid, True))
            self.assertEqual(event.details, {"id": id, "address": here})
            thread = process.thread(event.tid)
            self.assertEqual(thread.get("ProgramCounter"), here)
            self.assertEqual(thread.get("StopReason"), "breakpoint")
            self.assertEqual(thread.registers()[FIRST], i)
            self.assertEqual(tracee.state(), "t")
            self.assertTrue(thread.continue_())
        self.assert_sum(tracee, 3)
        self.assertEqual(process.list_breakpoints(), [{"id": id, "address": here, "kind": "software", "hits": 3}])
        process.remove_breakpoint(id)
        self.assertEqual(process.list_breakpoints(), [])
        self.assert_text_clean(tracee)
        self.assert_calls(tracee, 3)
        self.assertEqual(session.events_for(0.1), [])

    def test_step_off(self):
        tracee, at, session, process = self.start()
        process.add_breakpoint(at["target"])
        tracee.say("call 2")
        for i in range(2):
            thread = process.thread(self.wait_hit(session).tid)
            thread.step()
            step = session.next_event()
            self.assertEqual((step.kind, step.stopped, step.details), ("step", True, {}))
            self.assertNotEqual(thread.get("ProgramCounter"), at["target"])
            self.assertLess(abs(thread.get("ProgramCounter") - at["target"]), 64)
            thread.continue_()
        self.assert_sum(tracee, 2)

    def test_step_onto(self):
        """A breakpoint on the next instruction is met by a step, and told once."""
        tracee, at, session, process = self.start()
        first = process.add_breakpoint(at["target"])
        tracee.say("call 1")
        thread = process.thread(self.wait_hit(session).tid)
        thread.step()
        self.wait_hit(session, "step")
        second_at = thread.get("ProgramCounter")
        second = process.add_breakpoint(second_at)
        thread.continue_()
        # It stood there when the breakpoint came: it goes on from it.
        self.assert_sum(tracee, 1)
        tracee.say("call 1")
        self.assertEqual(self.wait_hit(session).details["id"], first)
        thread.step()
        events = session.events_until(lambda e: e.stopped)
        thread.continue_()
        events += session.events_for(0.2)
        if events[-1].stopped and events[-1].kind == "breakpoint" and len(events) > 1:
            thread.continue_()
        self.assert_sum(tracee, 1)
        told = [e.details["id"] for e in events if e.kind == "breakpoint"]
        self.assertEqual(told, [second])

    def test_step_through_instructions_with_breakpoints_on_each(self):
        tracee, at, session, process = self.start(1)
        for point in self.points(at, process):
            process.add_breakpoint(point)
        seen = set()
        for _ in range(3 * at["n"]):
            event = self.wait_hit(session)
            seen.add(event.details["address"])
            process.thread(event.tid).continue_()
        self.assertGreater(len(seen), at["n"] * 3 // 4)
        process.detach()
        self.assert_computes(tracee)

    def test_interrupt_and_continue_at_a_breakpoint(self):
        tracee, at, session, process = self.start()
        process.add_breakpoint(at["target"])
        tracee.say("call 1")
        event = self.wait_hit(session)
        thread = process.thread(event.tid)
        self.assertFalse(thread.interrupt(), "it is stopped already")
        thread.continue_()
        self.assert_sum(tracee, 1)

    def test_remove_while_a_thread_stands_there(self):
        tracee, at, session, process = self.start()
        id = process.add_breakpoint(at["target"])
        tracee.say("call 2")
        self.wait_hit(session)
        process.remove_breakpoint(id)
        self.assert_text_clean(tracee)
        process.continue_()
        self.assert_sum(tracee, 2)

    def test_write_over_a_breakpoint(self):
        """It changes the program's byte, not ours."""
        tracee, at, session, process = self.start()
        before = process.read_memory(at["target"], 16)
        id = process.add_breakpoint(at["target"])
        process.call("WriteMemory", "tay", at["target"], bytes(reversed(before)))
        self.assertEqual(process.read_memory(at["target"], 16), bytes(reversed(before)))
        process.call("WriteMemory", "tay", at["target"], before)
        self.assert_hits(tracee, session, process, 1)
        process.remove_breakpoint(id)
        self.assert_text_clean(tracee)

    def test_twice_at_one_address(self):
        tracee, at, session, process = self.start()
        ids = [process.add_breakpoint(at["target"]) for _ in range(2)]
        self.assertEqual(ids, [1, 2])
        tracee.say("call 1")
        events = [self.wait_hit(session), self.wait_hit(session)]
        self.assertEqual([e.details["id"] for e in events], ids)
        process.continue_()
        self.assert_sum(tracee, 1)
        process.remove_breakpoint(1)
        self.assertEqual([e.details["id"] for e in self.assert_hits(tracee, session, process, 2)], [2, 2])
        process.remove_breakpoint(2)
        self.assert_text_clean(tracee)
        self.assertEqual(process.add_breakpoint(at["target"]), 3, "a number comes once")

    # Options.

    def test_condition_on_a_register(self):
        tracee, at, session, process = self.start()
        process.add_breakpoint(at["target"], condition=(FIRST, 0, 0, "==", 500))
        tracee.say("call 1000")
        event = self.wait_hit(session)
        self.assertEqual(self.read_first(session, event), 500)
        process.continue_()
        self.assert_sum(tracee, 1000)
        self.assertEqual(session.events_for(0.05), [])
        self.assertEqual(process.list_breakpoints()[0]["hits"], 1)

    def test_condition_on_memory(self):
        """It holds the number of the call before."""
        tracee, at, session, process = self.start()
        process.add_breakpoint(at["target"], condition=("", at["watched"], 8, ">", 497))
        self.assert_calls(tracee, 1)
        tracee.say("call 500")
        event = self.wait_hit(session)
        self.assertEqual(self.read_first(session, event), 499)
        process.continue_()
        self.assert_sum(tracee, 500)

    def test_operators(self):
        tracee, at, session, process = self.start()
        for sign, wanted in (("==", 1), ("!=", 9), ("<", 3), ("<=", 4), (">", 6), (">=", 7), ("<s", 3), ("<=s", 4),
                             (">s", 6), (">=s", 7), ("&", 7)):
            with self.subTest(sign=sign):
                id = process.add_breakpoint(at["target"], report_only=True, condition=(FIRST, 0, 0, sign, 3))
                self.assert_calls(tracee, 10)
                self.assertEqual(process.list_breakpoints()[0]["hits"], wanted)
                process.remove_breakpoint(id)

    def test_ignore(self):
        tracee, at, session, process = self.start()
        process.add_breakpoint(at["target"], ignore=7)
        tracee.say("call 5")
        self.assert_sum(tracee, 5)
        self.assertEqual(process.list_breakpoints()[0]["ignore"], 2)
        tracee.say("call 3")
        event = self.wait_hit(session)
        self.assertEqual(self.read_first(session, event), 2)
        self.assertNotIn("ignore", process.list_breakpoints()[0])
        process.continue_()
        self.assert_sum(tracee, 3)

    def test_temporary(self):
        tracee, at, session, process = self.start()
        id = process.add_breakpoint(at["target"], temporary=True, ignore=1)
        self.assertEqual(process.list_breakpoints(), [{"id": id, "address": at["target"], "kind": "software", "hits": 0,
                                                       "temporary": True, "ignore": 1}])
        tracee.say("call 5")
        event = self.wait_hit(session)
        self.assertEqual(event.details["id"], id)
        self.assertEqual(process.list_breakpoints(), [])
        self.assert_text_clean(tracee)
        error = self.assert_error("NoSuchBreakpoint", process.remove_breakpoint, id)
        self.assertIn(str(id), error.message)
        process.continue_()
        self.assert_sum(tracee, 5)

    def test_one_thread_only(self):
        tracee, at, session, process = self.start(3)
        tid = tracee.threads()[2]
        process.add_breakpoint(self.points(at, process)[0], thread=tid)
        self.assertEqual(process.list_breakpoints()[0]["thread"], tid)
        for _ in range(20):
            event = self.wait_hit(session)
            self.assertEqual(event.tid, tid)
            process.thread(tid).continue_()
        process.detach()
        self.assert_computes(tracee)

    def test_report_only(self):
        tracee, at, session, process = self.start()
        id = process.add_breakpoint(at["target"], report_only=True)
        self.assert_calls(tracee, 20)
        events = [session.next_event() for _ in range(20)] + session.events_for(0.1)
        self.assertEqual([(e.kind, e.stopped, e.details["id"]) for e in events], [("breakpoint", False, id)] * 20)
        self.assertEqual(session.list_stopped(), [])

    def test_list_shows_the_options(self):
        _, at, _, process = self.start()
        condition = ("", at["watched"], 4, "<=s", 2**64 - 1)
        process.add_breakpoint(at["target"], report_only=True, thread=process.pid, ignore=2**40, condition=condition)
        process.add_breakpoint(at["library"], condition=(FIRST, 1, 2, "&", 8))
        first, second = process.list_breakpoints()
        self.assertEqual(first, {"id": 1, "address": at["target"], "kind": "software", "hits": 0, "report-only": True,
                                 "thread": process.pid, "ignore": 2**40, "condition": condition})
        self.assertEqual(second["condition"], (FIRST, 1, 0, "&", 8))

    # Where it may be.

    def test_in_a_library(self):
        tracee, at, session, process = self.start()
        id = process.add_breakpoint(at["library"])
        tracee.say("library")
        self.assertEqual(self.wait_hit(session).details, {"id": id, "address": at["library"]})
        process.continue_()
        self.assertEqual(tracee.read_pairs(), {"done": 1})

    def test_in_the_vdso(self):
        tracee, at, session, process = self.start()
        if not at["vdso"]:
            self.skipTest("this machine's vdso has no clock")
        id = process.add_breakpoint(at["vdso"])
        tracee.say("vdso")
        self.assertEqual(self.wait_hit(session).details, {"id": id, "address": at["vdso"]})
        process.continue_()
        self.assertEqual(tracee.read_pairs(), {"done": 1})
        process.remove_breakpoint(id)
        self.assert_text_clean(tracee)

    def test_in_a_new_thread(self):
        tracee, at, session, process = self.start()
        process.add_breakpoint(at["target"])
        tracee.say("thread")
        event = self.wait_hit(session)
        self.assertEqual(self.read_first(session, event), 7)
        process.continue_()
        self.assertEqual(tracee.read_pairs(), {"tid": event.tid})

    # Two sessions.

    def start_two(self, threads=0):
        tracee, at, first, a = self.start(threads)
        second = self.new_session()
        return tracee, at, (first, second), (a, second.attach(tracee.pid))

    def test_the_other_session_sees_nothing(self):
        tracee, at, (first, second), (a, b) = self.start_two()
        before = b.read_memory(at["target"], 32)
        a.add_breakpoint(at["target"])
        for one in (a, b):
            self.assertEqual(one.read_memory(at["target"], 32), before)
        self.assertEqual(b.list_breakpoints(), [])
        tracee.say("call 2")
        for _ in range(2):
            event = self.wait_hit(first)
            self.assertEqual((second.list_stopped(), second.events_for(0.05)), ([], []))
            self.assertEqual(b.read_memory(at["target"], 32), before)
            self.assertFalse(b.thread(event.tid).continue_(), "it has no stop to give up")
            self.assertEqual(tracee.state(), "t")
            a.continue_()
        self.assert_sum(tracee, 2)
        self.assertEqual(second.events_for(0.05), [])
        self.assert_error("NoSuchBreakpoint", b.remove_breakpoint, 1)

    def test_the_other_session_interrupts_a_thread_at_a_breakpoint(self):
        """It sees the thread before the instruction."""
        tracee, at, (first, second), (a, b) = self.start_two()
        a.add_breakpoint(at["target"])
        tracee.say("call 1")
        event = self.wait_hit(first)
        self.assertTrue(b.thread(event.tid).interrupt())
        self.wait_hit(second, "stop")
        self.assertEqual(b.thread(event.tid).get("ProgramCounter"), at["target"])
        a.continue_()
        self.assertEqual(tracee.state(), "t")
        b.continue_()
        self.assert_sum(tracee, 1)

    def test_both_at_one_address(self):
        tracee, at, (first, second), (a, b) = self.start_two()
        a.add_breakpoint(at["library"])
        id_a, id_b = a.add_breakpoint(at["target"]), b.add_breakpoint(at["target"])
        self.assertEqual((id_a, id_b), (2, 1))
        tracee.say("call 2")
        for _ in range(2):
            self.assertEqual(self.wait_hit(first).details, {"id": id_a, "address": at["target"]})
            self.assertEqual(self.wait_hit(second).details, {"id": id_b, "address": at["target"]})
            a.continue_()
            self.assertEqual(tracee.state(), "t")
            b.continue_()
        self.assert_sum(tracee, 2)
        first.close()
        tracee.say("call 1")
        self.wait_hit(second)
        b.continue_()
        self.assert_sum(tracee, 1)
        second.close()
        self.assert_text_clean(tracee)

    # Its end.

    def test_process_that_is_killed_at_a_breakpoint(self):
        tracee, at, session, process = self.start()
        process.add_breakpoint(at["target"])
        tracee.say("call 1")
        self.wait_hit(session)
        tracee.signal(signal.SIGKILL)
        self.wait_hit(session, "killed")
        self.assertEqual(tracee.wait(), -signal.SIGKILL)

    def test_detach_leaves_no_byte(self):
        for i in range(harness.rounds(0.1)):
            with self.round(i):
                tracee, at, session, process = self.start(2)
                for point in random.sample(self.points(at, process), min(10, at["n"])):
                    process.add_breakpoint(point)
                self.assertNotEqual(procfs.changed_text(tracee.pid), [])
                self.wait_hit(session)
                process.detach()
                self.assert_text_clean(tracee)
                self.assert_runs_free(tracee)
                self.assert_computes(tracee)
                tracee.kill()

    def test_session_closes_under_fire(self):
        """While threads meet breakpoints that stop them, and others that do not."""
        for i in range(harness.rounds(0.1)):
            with self.round(i):
                tracee, at, session, process = self.start(3)
                self.set_on_fire(at, session, process, stopping=i % 2 == 0)
                session.close()
                self.assert_runs_free(tracee)
                self.assert_computes(tracee)
                tracee.kill()

    def set_on_fire(self, at, session, process, stopping, seconds=0.02):
        points = self.points(at, process)
        for point in random.sample(points, min(10, len(points))):
            process.add_breakpoint(point, condition=(FIRST, 0, 0, "==" if not stopping else "!=", 2**63 + 1))
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            process.continue_()

    def test_exec_forgets(self):
        tracee, at, session, process = self.start()
        process.add_breakpoint(at["target"])
        process.add_breakpoint(at["library"])
        tracee.say("exec")
        at = self.addresses(tracee.listen().split())
        self.assertEqual(process.list_breakpoints(), [])
        self.assert_text_clean(tracee)
        self.assert_calls(tracee, 3)
        self.assertEqual(process.add_breakpoint(at["target"]), 3)
        self.assertEqual(len(self.assert_hits(tracee, session, process, 2)), 2)

    # Children.

    def test_followed_child_has_them(self):
        tracee, at, session, process = self.start(children="follow")
        id = process.add_breakpoint(at["target"])
        tracee.say("fork")
        event = self.wait_hit(session)
        self.assertNotEqual(event.pid, tracee.pid)
        self.assertEqual(event.details, {"id": id, "address": at["target"]})
        child = session.process(event.pid)
        self.assertEqual(child.list_breakpoints(), [{"id": id, "address": at["target"], "kind": "software", "hits": 1}])
        self.assertEqual(process.list_breakpoints()[0]["hits"], 0)
        self.assertEqual(child.thread(event.tid).get("ProgramCounter"), at["target"])
        child.continue_()
        self.assertEqual(tracee.read_pairs(), {"child": event.pid, "status": 45})
        self.assert_hits(tracee, session, process, 1)

    def test_followed_vfork_child_has_them(self):
        """It runs in its parent's memory, and its hits are its own."""
        tracee, at, session, process = self.start(children="follow")
        process.add_breakpoint(at["target"])
        tracee.say("vfork")
        event = self.wait_hit(session)
        self.assertNotEqual(event.pid, tracee.pid)
        session.process(event.pid).continue_()
        self.assertEqual(tracee.read_pairs(), {"child": event.pid, "status": 45})
        self.assert_hits(tracee, session, process, 1)
        process.detach()
        self.assert_text_clean(tracee)

    def test_neighbours_are_masked(self):
        """Whatever is read, and from wherever between them."""
        tracee, at, _, process = self.start()
        before = process.read_memory(at["target"], 16)
        ids = [process.add_breakpoint(at["target"] + i) for i in range(12)]
        self.assertEqual(len(procfs.changed_text(tracee.pid)), len(ids))
        for i in range(12):
            for size in range(1, 16 - i):
                self.assertEqual(process.read_memory(at["target"] + i, size), before[i:i + size], (i, size))
        for id in ids:
            process.remove_breakpoint(id)
        self.assert_text_clean(tracee)

    def test_child_that_is_not_followed(self):
        tracee, at, session, process = self.start()
        process.add_breakpoint(at["target"])
        for how in ("fork", "vfork"):
            with self.subTest(how=how):
                tracee.say(how)
                self.assertEqual(tracee.read_pairs()["status"], 45)
        self.assertNotIn("breakpoint", [e.kind for e in session.events_for(0.05)])
        self.assert_hits(tracee, session, process, 1)

    # Everything at once.

    def test_anything_at_any_time(self):
        """Four threads that compute, and whatever a client may do to them: their results stay right."""
        seed = random.randrange(2**32)
        chance = random.Random(seed)
        tracee, at, session, process = self.start(4)
        points, tids = self.points(at, process), tracee.threads()[1:]
        deadline = time.monotonic() + max(1, 4 * harness.rounds() / 200)
        n = 0
        with self.round(f"with seed {seed}"):
            while time.monotonic() < deadline or n <= 20:
                self.do_something(chance, process, points, tids)
                session.events_for(0)
                n += 1
                if n % 50 == 0:
                    self.assertIn(tracee.state(), "RSDt", "it is gone")
            for one in process.list_breakpoints():
                with contextlib.suppress(wire.Error): # a temporary one may be hit meanwhile
                    process.remove_breakpoint(one["id"])
            process.continue_()
            self.assert_computes(tracee)
            process.detach()
            self.assert_runs_free(tracee)
            self.assert_computes(tracee)

    def do_something(self, chance, process, points, tids):
        action = chance.choices(("add", "remove", "step", "continue", "interrupt", "one", "read"),
                                (30, 20, 40, 40, 5, 10, 3))[0]
        try:
            if action == "add":
                process.add_breakpoint(chance.choice(points), **self.some_options(chance, tids))
            elif action == "remove":
                process.remove_breakpoint(chance.choice(process.list_breakpoints() or [{"id": 0}])["id"])
            elif action == "step":
                process.thread(chance.choice(tids)).step()
            elif action == "continue":
                process.continue_()
            elif action == "interrupt":
                process.interrupt()
            elif action == "one":
                thread = process.thread(chance.choice(tids))
                chance.choice((thread.interrupt, thread.continue_))()
            else:
                process.read_memory(points[0], points[-1] - points[0])
        except wire.Error as e:
            self.assertIn(e.name, (ERROR + "NoSuchBreakpoint", ERROR + "NotStopped", ERROR + "LimitExceeded"), e.message)

    @staticmethod
    def some_options(chance, tids):
        options = {}
        if chance.random() < 0.3:
            options["temporary"] = True
        if chance.random() < 0.3:
            options["ignore"] = chance.randrange(50)
        if chance.random() < 0.1:
            options["report_only"] = True
        if chance.random() < 0.3:
            options["thread"] = chance.choice(tids)
        if chance.random() < 0.3:
            options["condition"] = (FIRST, 0, 0, chance.choice(("<", ">", "&")), chance.getrandbits(64))
        return options


class BreakpointsOnTheBus(Breakpoints, OnTheBus):
    def test_client_is_killed_under_fire(self):
        for i in range(harness.rounds(0.1)):
            with self.round(i):
                tracee = self.tracee("computes", 3)
                at = self.addresses(tracee.words)

                def work(session):
                    process = session.attach(tracee.pid)
                    self.set_on_fire(at, session, process, stopping=i % 2 == 0, seconds=0)
                    return process

                pid = self.run_client(work)
                time.sleep(random.random() * 0.03)
                self.assertNotEqual(procfs.changed_text(tracee.pid), [], "nothing was inserted")
                self.kill_client(pid)
                self.assert_runs_free(tracee)
                self.assert_computes(tracee)
                tracee.kill()


class BreakpointsEmbedded(Breakpoints, harness.Embedded):
    def test_client_goes_under_fire(self):
        tracee, at, session, process = self.start(3)
        self.set_on_fire(at, session, process, stopping=True)
        self.service.close_clients()
        self.assert_runs_free(tracee)
        self.assert_computes(tracee)


if __name__ == "__main__":
    harness.main()
