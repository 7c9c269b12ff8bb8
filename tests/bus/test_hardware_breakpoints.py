# SPDX-License-Identifier: LGPL-2.1-or-later
"""Breakpoints and watchpoints in debug registers, which are few, and of which nothing may be left."""

import os
import random
import time

import harness
import wire
from client import ERROR
from computing import FIRST, OnTheBus, Program


class Hardware(Program):
    """Debug registers."""

    def start(self, *args, **values):
        tracee, at, session, process = super().start(*args, **values)
        try:
            process.remove_breakpoint(process.add_breakpoint(at["target"], "hardware"))
        except wire.Error as e:
            if e.name != ERROR + "NotSupported":
                raise
            self.skipTest("there are no debug registers to be had here")
        return tracee, at, session, process

    def test_memory_is_opened_for_writing_all_the_same(self):
        tracee, at, session, process = self.start()
        process.add_breakpoint(at["target"], "hardware")
        os.close(process.call("OpenMemory", "s", "read-write"))
        process.add_breakpoint(at["watched"], "write", size=8)

    def test_execution(self):
        tracee, at, session, process = self.start()
        id = process.add_breakpoint(at["target"], "hardware")
        self.assert_text_clean(tracee)
        tracee.say("call 3")
        for i in range(3):
            event = self.wait_hit(session)
            self.assertEqual(event.details, {"id": id, "address": at["target"]})
            thread = process.thread(event.tid)
            self.assertEqual((thread.get("ProgramCounter"), thread.registers()[FIRST]), (at["target"], i))
            thread.continue_()
        self.assert_sum(tracee, 3)
        self.assertEqual(process.list_breakpoints()[0]["hits"], 3)
        process.remove_breakpoint(id)
        self.assert_calls(tracee, 3)
        self.assertEqual(session.events_for(0.05), [])

    def test_step_off(self):
        tracee, at, session, process = self.start()
        process.add_breakpoint(at["target"], "hardware")
        tracee.say("call 2")
        for _ in range(2):
            thread = process.thread(self.wait_hit(session).tid)
            thread.step()
            self.assertEqual(session.next_event().kind, "step")
            self.assertNotEqual(thread.get("ProgramCounter"), at["target"])
            thread.continue_()
        self.assert_sum(tracee, 2)

    def test_watching_writes(self):
        tracee, at, session, process = self.start()
        for size in (1, 2, 4, 8):
            with self.subTest(size=size):
                id = process.add_breakpoint(at["watched"], "write", size=size)
                tracee.say("call 3")
                for i in range(3):
                    event = self.wait_hit(session, "watchpoint")
                    self.assertEqual(event.details, {"id": id, "address": at["watched"], "access": "write"})
                    self.assertTrue(event.stopped)
                    value = process.read_memory(at["watched"], 8)
                    self.assertEqual(int.from_bytes(value, "little"), i, "it stands behind the write")
                    process.continue_()
                self.assert_sum(tracee, 3)
                self.assertEqual(process.list_breakpoints()[0]["size"], size)
                process.remove_breakpoint(id)

    def test_watching_what_lies_beside(self):
        tracee, at, session, process = self.start()
        process.add_breakpoint(at["watched"] + 8, "write", size=8)
        process.add_breakpoint(at["watched"] - 1, "read-write", size=1)
        self.assert_calls(tracee, 3)
        self.assertEqual(session.events_for(0.05), [])

    def test_watching_any_access(self):
        tracee, at, session, process = self.start()
        id = process.add_breakpoint(at["watched"], "read-write", size=8)
        tracee.say("call 1")
        event = self.wait_hit(session, "watchpoint")
        self.assertEqual(event.details, {"id": id, "address": at["watched"], "access": "read-write"})
        process.continue_()
        self.assert_sum(tracee, 1)

    def test_options(self):
        tracee, at, session, process = self.start()
        condition = ("", at["watched"], 8, "==", 7)
        process.add_breakpoint(at["watched"], "write", size=8, condition=condition, temporary=True)
        tracee.say("call 10")
        self.wait_hit(session, "watchpoint")
        self.assertEqual(int.from_bytes(process.read_memory(at["watched"], 8), "little"), 7)
        self.assertEqual(process.list_breakpoints(), [])
        process.continue_()
        self.assert_sum(tracee, 10)
        process.add_breakpoint(at["target"], "hardware", ignore=4, report_only=True)
        self.assert_calls(tracee, 10)
        events = [session.next_event() for _ in range(6)] + session.events_for(0.05)
        self.assertEqual([(e.kind, e.stopped) for e in events], [("breakpoint", False)] * 6)

    def test_one_thread_only(self):
        tracee, at, session, process = self.start(3)
        tid = tracee.threads()[2]
        process.add_breakpoint(self.points(at, process)[0], "hardware", thread=tid)
        for _ in range(10):
            self.assertEqual(self.wait_hit(session).tid, tid)
            process.continue_()
        process.detach()
        self.assert_computes(tracee)

    def test_new_threads_have_them(self):
        tracee, at, session, process = self.start()
        process.add_breakpoint(at["watched"], "write", size=8)
        process.add_breakpoint(at["target"], "hardware")
        tracee.say("thread")
        tids = set()
        for kind in ("breakpoint", "watchpoint"):
            event = self.wait_hit(session, kind)
            tids.add(event.tid)
            process.continue_()
        self.assertEqual({tracee.read_pairs()["tid"]}, tids)

    def test_followed_children_have_them(self):
        tracee, at, session, process = self.start(children="follow")
        id = process.add_breakpoint(at["target"], "hardware")
        for how in ("fork", "vfork"):
            with self.subTest(how=how):
                tracee.say(how)
                event = self.wait_hit(session)
                self.assertNotEqual(event.pid, tracee.pid)
                self.assertEqual(event.details["id"], id)
                session.process(event.pid).continue_()
                self.assertEqual(tracee.read_pairs()["status"], 45)

    def test_registers_that_are_used_up(self):
        tracee, at, session, process = self.start()
        another = self.new_session().attach(tracee.pid)
        ids = []
        while len(ids) < 64:
            try:
                ids.append(process.add_breakpoint(at["watched"] + 8 * len(ids), "write", size=8))
            except wire.Error as e:
                self.assertEqual(e.name, ERROR + "LimitExceeded", e.message)
                self.assertIn("the limit DebugRegistersMax is reached: ", e.message)
                break
        self.assertGreaterEqual(len(ids), 1)
        self.assertLess(len(ids), 64)
        self.assert_error("LimitExceeded", another.add_breakpoint, at["target"], "hardware")
        process.remove_breakpoint(ids[0])
        another.add_breakpoint(at["target"], "hardware")
        self.assert_error("LimitExceeded", process.add_breakpoint, at["library"], "hardware")
        session.close()
        another.add_breakpoint(at["library"], "hardware")

    def test_unaligned(self):
        _, at, _, process = self.start()
        for offset, size in ((1, 2), (1, 4), (2, 4), (1, 8), (4, 8)):
            for kind in ("write", "read-write"):
                with self.subTest(offset=offset, size=size, kind=kind):
                    error = self.assert_error("BadAddress", process.add_breakpoint, at["watched"] + offset, kind,
                                              size=size)
                    self.assertIn(hex(at["watched"] + offset), error.message)
                    self.assertIn(f"multiple of {size}", error.message)

    def test_addresses_outside_the_address_space(self):
        tracee, _, _, process = self.start()
        for address in (2**63, 2**64 - 8):
            for kind, values in (("hardware", {}), ("write", {"size": 8}), ("read-write", {"size": 1})):
                with self.subTest(address=hex(address), kind=kind):
                    error = self.assert_error("BadAddress", process.add_breakpoint, address, kind, **values)
                    self.assertIn(hex(address), error.message)
        self.assertEqual(process.list_breakpoints(), [])
        self.assert_calls(tracee, 2)

    def test_two_sessions(self):
        tracee, at, first, a = self.start()
        second = self.new_session()
        b = second.attach(tracee.pid)
        a.add_breakpoint(at["watched"], "write", size=8)
        tracee.say("call 1")
        self.wait_hit(first, "watchpoint")
        self.assertEqual((second.list_stopped(), second.events_for(0.05)), ([], []))
        a.continue_()
        self.assert_sum(tracee, 1)
        b.add_breakpoint(at["watched"], "write", size=8)
        tracee.say("call 1")
        for session in (first, second):
            self.wait_hit(session, "watchpoint")
        a.continue_()
        b.continue_()
        self.assert_sum(tracee, 1)

    def test_software_and_hardware_at_one_address(self):
        tracee, at, session, process = self.start()
        ids = {process.add_breakpoint(at["target"], kind) for kind in ("software", "hardware")}
        tracee.say("call 2")
        for _ in range(2):
            told = [self.wait_hit(session)]
            told += [e for e in session.events_for(0.05) if e.kind == "breakpoint"]
            while len(told) < 2:
                process.continue_()
                told.append(self.wait_hit(session))
            self.assertEqual({e.details["id"] for e in told}, ids)
            process.continue_()
        self.assert_sum(tracee, 2)

    def test_nothing_is_left(self):
        """A debug register that outlived its tracer would kill the program."""
        for end in ("detach", "close", "exec", "remove"):
            with self.subTest(end=end):
                tracee, at, session, process = self.start()
                id = process.add_breakpoint(at["target"], "hardware")
                process.add_breakpoint(at["watched"], "write", size=8)
                tracee.say("call 1")
                self.wait_hit(session)
                if end == "detach":
                    process.detach()
                elif end == "close":
                    session.close()
                elif end == "remove":
                    process.remove_breakpoint(id)
                    process.remove_breakpoint(id + 1)
                    process.continue_()
                else:
                    process.continue_()
                    self.wait_hit(session, "watchpoint")
                    process.continue_()
                self.assert_sum(tracee, 1)
                if end == "exec":
                    tracee.say("exec")
                    tracee.listen()
                    self.assertEqual(process.list_breakpoints(), [])
                self.assert_calls(tracee, 5)
                self.assertEqual([e for e in session.events_for(0.02) if e.stopped], [])

    def test_session_closes_under_fire(self):
        for i in range(harness.rounds(0.1)):
            with self.round(i):
                tracee, at, session, process = self.start(3)
                for point in random.sample(self.points(at, process), 2):
                    process.add_breakpoint(point, "hardware", report_only=bool(i % 2))
                deadline = time.monotonic() + 0.02
                while time.monotonic() < deadline:
                    process.continue_()
                session.close()
                self.assert_runs_free(tracee)
                self.assert_computes(tracee)
                tracee.kill()


class HardwareOnTheBus(Hardware, OnTheBus):
    def test_client_is_killed_under_fire(self):
        tracee, at, session, _ = self.start(3)
        session.close()

        def work(session):
            process = session.attach(tracee.pid)
            process.add_breakpoint(self.points(at, process)[0], "hardware")
            process.add_breakpoint(at["watched"], "write", size=8)
            return process

        pid = self.run_client(work)
        time.sleep(0.05)
        self.kill_client(pid)
        self.assert_runs_free(tracee)
        self.assert_computes(tracee)
        self.assert_calls(tracee, 3)


class HardwareEmbedded(Hardware, harness.Embedded):
    pass


if __name__ == "__main__":
    harness.main()
