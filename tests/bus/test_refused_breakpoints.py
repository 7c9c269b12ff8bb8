# SPDX-License-Identifier: LGPL-2.1-or-later
"""Breakpoints that are refused: what the error says, and that nothing was changed."""

import os

import harness
import procfs
from computing import FIRST, WIDE, Program
from wire import Variant

INVALID_ARGS = "org.freedesktop.DBus.Error.InvalidArgs"
PAGE = 4096


class Refusals(Program):
    def test_in_data(self):
        tracee, at, _, process = self.start()
        stack = next(start for start, _, _, _, path in procfs.mappings(tracee.pid) if path == "[stack]")
        for address in (at["watched"], at["points"], stack):
            with self.subTest(address=hex(address)):
                before = process.read_memory(address, 8)
                error = self.assert_error("BadAddress", process.add_breakpoint, address)
                self.assertIn(hex(address), error.message)
                self.assertIn("executable", error.message)
                self.assertEqual(procfs.read_memory(tracee.pid, address, 8), before)
        self.assertEqual(process.list_breakpoints(), [])

    def test_addresses_where_nothing_is(self):
        _, _, _, process = self.start()
        for address in (0, PAGE, 1 << 56, 2**63, 2**64 - 1):
            with self.subTest(address=hex(address)):
                error = self.assert_error("BadAddress", process.add_breakpoint, address)
                self.assertIn(f"0x{address:x}", error.message)
                self.assertIn(str(process.pid), error.message)
        self.assertEqual(process.list_breakpoints(), [])

    def test_unknown_kind(self):
        _, at, _, process = self.start()
        for kind in ("", "Software", "watch", "read"):
            with self.subTest(kind=kind):
                error = self.assert_error(INVALID_ARGS, process.add_breakpoint, at["target"], kind)
                self.assertIn("read-write", error.message)

    def test_options_that_are_wrong(self):
        _, at, _, process = self.start()
        for values, word in (({"sizes": 4}, "sizes"), ({"size": Variant("t", 4)}, "size"), ({"size": 4}, "size"),
                             ({"temporary": 1}, "temporary"), ({"ignore": Variant("u", 1)}, "ignore"),
                             ({"thread": "x"}, "thread"), ({"report_only": "yes"}, "report-only"),
                             ({"condition": Variant("s", "rdi == 1")}, "condition"),
                             ({"condition": ("nosuch", 0, 0, "==", 1)}, "nosuch"),
                             ({"condition": ("a-name-that-is-much-too-long", 0, 0, "==", 1)}, "too-long"),
                             ({"condition": (WIDE, 0, 0, "==", 1)}, WIDE),
                             ({"condition": (FIRST, 0, 0, "=", 1)}, "'='"),
                             ({"condition": (FIRST, 0, 0, "", 1)}, "condition"),
                             ({"condition": ("", at["watched"], 3, "==", 1)}, "3"),
                             ({"condition": ("", at["watched"], 0, "==", 1)}, "0")):
            with self.subTest(values=values):
                error = self.assert_error("InvalidOption", process.add_breakpoint, at["target"], **values)
                self.assertIn(word, error.message)
        for values, word in (({}, "size"), ({"size": 0}, "size"), ({"size": 3}, "3"), ({"size": 16}, "16")):
            for kind in ("write", "read-write"):
                with self.subTest(kind=kind, values=values):
                    error = self.assert_error("InvalidOption", process.add_breakpoint, at["watched"], kind, **values)
                    self.assertIn(word, error.message)
        self.assertEqual(process.list_breakpoints(), [])

    def test_threads_that_are_not_the_sessions(self):
        _, at, _, process = self.start()
        other = self.tracee("many-threads", 2)
        for tid in (0, other.pid, 2**31, 2**32 - 1):
            with self.subTest(tid=tid):
                error = self.assert_error("NoSuchThread", process.add_breakpoint, at["target"], thread=tid)
                self.assertIn(str(tid), error.message)

    def test_numbers_that_are_not_there(self):
        _, at, _, process = self.start()
        process.add_breakpoint(at["target"])
        for id in (0, 2, 2**32 - 1):
            with self.subTest(id=id):
                error = self.assert_error("NoSuchBreakpoint", process.remove_breakpoint, id)
                self.assertIn(str(id), error.message)

    def test_limit_of_a_user(self):
        tracee, at, session, process = self.start()
        for _ in range(8192):
            process.add_breakpoint(at["target"], report_only=True, condition=(FIRST, 0, 0, "==", 2**63))
        error = self.assert_error("LimitExceeded", process.add_breakpoint, at["target"])
        self.assertIn("BreakpointsMax", error.message)
        self.assertIn("8192", error.message)
        self.assertEqual(len(process.list_breakpoints()), 8192)
        _, elsewhere, _, another = self.start() # which has another tracer
        self.assert_error("LimitExceeded", another.add_breakpoint, elsewhere["target"])
        self.assert_calls(tracee, 3)
        process.remove_breakpoint(17)
        self.assertEqual(process.add_breakpoint(at["target"]), 8193)
        session.process(tracee.pid).detach()
        self.assert_text_clean(tracee)
        another.add_breakpoint(elsewhere["target"])

    def test_limit_of_addresses(self):
        """All sessions together. The program waits in the kernel meanwhile: none is ever met."""
        tracee, at, session, process = self.start()
        another = self.new_session().attach(tracee.pid)
        library = at["library"] & ~(PAGE - 1)
        for i in range(1000):
            process.add_breakpoint(library + i)
        for i in range(24):
            another.add_breakpoint(library + 1000 + i)
        for one in (process, another):
            error = self.assert_error("LimitExceeded", one.add_breakpoint, library + 2000)
            self.assertIn("LocationsMax", error.message)
            one.remove_breakpoint(one.add_breakpoint(library))
        self.assertEqual(len(procfs.changed_text(tracee.pid)), 1024)
        session.close()
        self.assertEqual(len(procfs.changed_text(tracee.pid)), 24)
        another.detach()
        self.assert_text_clean(tracee)
        self.assert_calls(tracee, 2)

    def test_memory_that_was_opened_for_writing(self):
        tracee, at, session, process = self.start()
        another = self.new_session().attach(tracee.pid)
        os.close(another.call("OpenMemory", "s", "read-write"))
        for one in (process, another):
            error = self.assert_error("Excluded", one.add_breakpoint, at["target"])
            self.assertIn("OpenMemory", error.message)
        self.assert_text_clean(tracee)
        # An exec makes the descriptor void.
        tracee.say("exec")
        at = self.addresses(tracee.listen().split())
        process.add_breakpoint(at["target"])
        self.assertEqual(len(self.assert_hits(tracee, session, process, 1)), 1)

    def test_memory_is_not_opened_for_writing_where_breakpoints_are(self):
        tracee, at, session, process = self.start()
        another = self.new_session().attach(tracee.pid)
        id = process.add_breakpoint(at["target"])
        for one in (process, another):
            error = self.assert_error("Excluded", one.call, "OpenMemory", "s", "read-write")
            self.assertIn("breakpoints", error.message)
            os.close(one.call("OpenMemory", "s", "read"))
        process.remove_breakpoint(id)
        os.close(another.call("OpenMemory", "s", "read-write"))

    def test_process_that_has_ended(self):
        tracee, at, _, process = self.start()
        process.add_breakpoint(at["target"])
        tracee.kill()
        self.assert_wait(lambda: not procfs.threads(tracee.pid), "it is gone")
        self.assert_error("NotAttached", process.add_breakpoint, at["target"])
        self.assert_error("NotAttached", process.remove_breakpoint, 1)
        self.assert_error("NotAttached", process.list_breakpoints)


class RefusalsOnTheBus(Refusals, harness.OnTheBus):
    pass


class RefusalsEmbedded(Refusals, harness.Embedded):
    pass


if __name__ == "__main__":
    harness.main()
