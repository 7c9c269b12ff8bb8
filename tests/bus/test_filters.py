# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a session is told: kinds, system calls by number and result, captures, signals, births, ends."""

import errno
import os
import platform
import signal
import struct

import harness
import procfs
from client import ENDS
from wire import Variant

CALLS = ("syscall-enter", "syscall-exit")
BY_RESULT = 6
AT_FDCWD = 2**64 - 100


class Filters:
    def calls(self, **options):
        """The tracee makes-known-calls, whose numbers are kept in self.numbers."""
        tracee = self.tracee("makes-known-calls")
        self.numbers = dict(zip(("open", "write", "read", "sleep", "getppid"), map(int, tracee.words[1:])))
        session = self.new_session()
        number = self.numbers.get(options.pop("only", None))
        if number is not None:
            options["syscalls"] = [number]
        return tracee, session, session.attach(tracee.pid, **options)

    def of_call(self, session, name, timeout=10):
        """Both ends of the next call of that name."""
        number = self.numbers[name]
        enter = session.events_until(
            lambda e: e.kind == "syscall-enter" and e.details["number"] == number, timeout)[-1]
        leave = session.events_until(
            lambda e: e.kind == "syscall-exit" and e.details["number"] == number, timeout)[-1]
        return enter, leave

    # System calls.

    def test_both_ends_of_a_call_with_all_their_details(self):
        tracee, session, _ = self.calls(events=CALLS, syscalls=[])
        self.assertEqual(tracee.ask("open")["error"], errno.ENOENT)
        enter, leave = self.of_call(session, "open")
        self.assertEqual((enter.tid, enter.stopped), (tracee.pid, False))
        self.assertEqual(enter.details.keys(), {"number", "arch", "arguments"})
        self.assertEqual(enter.details["arch"], platform.machine())
        directory, path, flags, *rest = enter.details["arguments"]
        self.assertEqual((directory & 0xffffffff, flags, len(rest)), (AT_FDCWD & 0xffffffff, os.O_RDONLY, 3))
        with open(f"/proc/{tracee.pid}/mem", "rb", buffering=0) as f:
            self.assertEqual(os.pread(f.fileno(), 18, path), b"/nonexistent/path\0")
        self.assertEqual(leave.details, {"number": self.numbers["open"], "arch": platform.machine(),
                                         "result": -errno.ENOENT, "error": errno.ENOENT})

    def test_a_call_that_succeeds_has_no_error(self):
        tracee, session, _ = self.calls(events=CALLS, only="write")
        self.assertEqual(tracee.ask("write")["result"], 7)
        enter, leave = self.of_call(session, "write")
        while enter.details["arguments"][2] != 7:  # the answers that it writes
            enter, leave = self.of_call(session, "write")
        self.assertEqual(leave.details["result"], 7)
        self.assertNotIn("error", leave.details)

    def test_calls_are_not_told_by_default(self):
        tracee, session, _ = self.calls()
        tracee.ask("getppid")
        self.assertEqual(session.events_for(0.1), [])

    def test_chosen_by_number(self):
        tracee, session, process = self.calls(events=CALLS, only="getppid")
        tracee.ask("getppid")
        tracee.ask("open")
        seen = session.events_for(0.2)
        self.assertEqual({e.details["number"] for e in seen}, {self.numbers["getppid"]})
        self.assertEqual([e.kind for e in seen], list(CALLS) * 100)
        self.assert_contiguous(seen)
        process.set_event_filter(syscalls=[self.numbers["open"]])
        tracee.ask("getppid")
        tracee.ask("open")
        seen = session.events_for(0.2)
        self.assertEqual([(e.kind, e.details["number"]) for e in seen],
                         [(kind, self.numbers["open"]) for kind in CALLS])

    def test_one_end_alone(self):
        tracee, session, _ = self.calls(events=["syscall-exit"], only="getppid")
        tracee.ask("getppid")
        self.assertEqual([e.kind for e in session.events_for(0.2)], ["syscall-exit"] * 100)

    def test_chosen_by_result(self):
        tracee, session, process = self.calls(events=["syscall-exit"], results=[errno.ENOENT])
        for call in ("open", "bad", "write", "getppid"):
            tracee.ask(call)
        seen = session.events_for(0.2)
        self.assertEqual([(e.details["number"], e.details["error"]) for e in seen],
                         [(self.numbers["open"], errno.ENOENT)])
        process.set_event_filter(results=[-1])
        for call in ("open", "bad", "getppid"):
            tracee.ask(call)
        seen = session.events_for(0.2)
        self.assertEqual([e.details["error"] for e in seen], [errno.ENOENT, errno.EBADF], "any error")
        process.set_event_filter(results=[0], syscalls=[self.numbers["open"], self.numbers["getppid"]])
        for call in ("open", "getppid"):
            tracee.ask(call)
        self.assertEqual([e.details["number"] for e in session.events_for(0.2)], [self.numbers["getppid"]] * 100)

    def test_call_that_stops(self):
        tracee, session, process = self.calls(stops=["syscall-enter"], only="open")
        thread = process.thread(tracee.pid)
        tracee.say("open")
        enter = session.events_until(lambda e: e.kind == "syscall-enter")[-1]
        self.assertTrue(enter.stopped)
        self.assertEqual(thread.get("StopReason"), "syscall-enter")
        self.assertEqual(tracee.state(), "t")
        self.assertTrue(thread.continue_())
        self.assertEqual(tracee.read_pairs()["error"], errno.ENOENT)

    def test_filter_is_set_while_it_runs(self):
        """The filter holds from when the call is answered, and no thread stays stopped for it."""
        tracee, session, process = self.calls()
        for _ in range(harness.rounds(0.1)):
            process.set_event_filter(events=CALLS, syscalls=[self.numbers["getppid"]])
            tracee.ask("getppid")
            seen = []
            while len(seen) < 200:
                seen += session.events_until(lambda e: True)
            process.set_event_filter(events=["signal"])
            tracee.ask("getppid")
            self.assertEqual(session.events_for(0.01), [])
        self.assertIn(tracee.state(), "RS")
        self.assertEqual(session.list_stopped(), [])

    # Captures.

    def captured(self, session, name, end=0):
        return self.of_call(session, name)[end].details.get("captures")

    def test_capture_of_a_string(self):
        tracee, session, process = self.calls(events=CALLS, only="open")
        n = self.numbers["open"]
        for size, wanted in ((4096, b"/nonexistent/path"), (5, b"/none")):
            process.set_event_filter(captures=[(n, 1, "enter", "string", 0, size)])
            tracee.ask("open")
            self.assertEqual(self.captured(session, "open"), [(1, wanted)])

    def test_capture_of_a_buffer_by_an_argument(self):
        tracee, session, process = self.calls(events=CALLS)
        n = self.numbers["write"]
        process.set_event_filter(syscalls=[n], captures=[(n, 1, "enter", "buffer", 2, 100)])
        tracee.ask("write")
        self.assertEqual(self.captured(session, "write"), [(1, b"sixteen")])
        answer = self.captured(session, "write")  # the tracee's answer is a write, too
        self.assertEqual(answer[0][1][:7], b"number=")
        process.set_event_filter(captures=[(n, 1, "enter", "buffer", 2, 3)])
        tracee.ask("write")
        self.assertEqual(self.captured(session, "write"), [(1, b"six")], "its bound")

    def test_capture_of_a_buffer_by_the_result(self):
        tracee, session, process = self.calls()
        tracee.ask("write")
        n = self.numbers["read"]
        process.set_event_filter(events=["syscall-exit"], syscalls=[n],
                                 captures=[(n, 1, "exit", "buffer", BY_RESULT, 4096)])
        tracee.ask("read")
        seen = [e.details for e in session.events_for(0.2)]
        self.assertIn([(1, b"sixteen")], [details["captures"] for details in seen])
        # The command comes byte by byte, each into a buffer of its own size.
        self.assertEqual([details["captures"] for details in seen if details["result"] == 1][:5],
                         [[(1, letter.encode())] for letter in "read\n"])

    def test_capture_of_a_fixed_size(self):
        tracee, session, process = self.calls(events=CALLS, only="sleep")
        n = self.numbers["sleep"]
        process.set_event_filter(captures=[(n, 0, "enter", "fixed", 0, 16), (n, 0, "exit", "fixed", 0, 8)])
        tracee.ask("sleep")
        enter, leave = self.of_call(session, "sleep")
        self.assertEqual(enter.details["captures"], [(0, struct.pack("qq", 0, 1000))])
        self.assertEqual(leave.details["captures"], [(0, struct.pack("q", 0))])

    def test_capture_where_there_is_nothing_to_be_read(self):
        tracee, session, process = self.calls(events=CALLS, only="open")
        n = self.numbers["open"]
        process.set_event_filter(captures=[(n, 1, "enter", "string", 0, 64)])
        self.assertEqual(tracee.ask("wild")["error"], errno.EFAULT)
        self.assertEqual(self.captured(session, "open"), [(1, b"")])

    def test_captures_that_cannot_be(self):
        tracee, session, process = self.calls(events=CALLS)
        good = (1, 1, "enter", "string", 0, 16)
        for bad in ((1024, *good[1:]), (1, 6, *good[2:]), (1, 1, "later", *good[3:]), (1, 1, "enter", "poem", 0, 16),
                    (1, 1, "enter", "buffer", 7, 16), (1, 1, "enter", "buffer", 6, 16), (*good[:5], 0),
                    (*good[:5], 16385)):
            with self.subTest(capture=bad):
                error = self.assert_error("InvalidOption", process.set_event_filter, captures=[bad])
                self.assertIn("captures", error.message)
        self.assert_error("InvalidOption", process.set_event_filter, captures=[good] * 65)
        for options in ({"syscalls": [1024]}, {"results": [-2]}, {"results": [192]}, {"pass-signals": [0]},
                        {"pass-signals": [65]}, {"events": ["syscall"]}, {"stops": ["lost"]}, {"exit": "loud"},
                        {"syscalls": Variant("au", [1])}):
            with self.subTest(**options):
                error = self.assert_error("InvalidOption", process.set_event_filter, **options)
                self.assertIn(next(iter(options)), error.message)
                self.assert_error("InvalidOption", session.attach, tracee.pid, **options)
        self.assert_error("InvalidOption", session.attach, tracee.pid, threads="loud")
        tracee.ask("open")
        self.assertEqual(self.of_call(session, "open")[0].details["number"], self.numbers["open"],
                         "what was refused has changed nothing")

    # Signals, births and ends.

    def test_signals_that_pass(self):
        tracee = self.tracee("handles-signals")
        session = self.new_session()
        process = session.attach(tracee.pid, stops=["signal"], pass_signals=[signal.SIGUSR1, signal.SIGURG])
        for _ in range(5):
            tracee.signal(signal.SIGUSR1)
            tracee.signal(signal.SIGURG)
            tracee.ask()
        self.assertGreaterEqual(tracee.ask()["usr1"], 1)
        self.assertEqual(session.events_for(0.05), [])
        tracee.signal(signal.SIGUSR2)
        event = session.events_until(lambda e: e.kind == "signal")[-1]
        self.assertEqual((event.details["signal"], event.stopped), (signal.SIGUSR2, True))
        process.continue_()
        process.set_event_filter(pass_signals=[])
        tracee.signal(signal.SIGUSR1)
        self.assertTrue(session.events_until(lambda e: e.kind == "signal")[-1].stopped)

    def test_quiet_threads(self):
        """Threads are attached as they are born, and nothing is said of it."""
        tracee = self.tracee("handles-signals")
        session = self.new_session()
        process = session.attach(tracee.pid, threads="quiet")
        tracee.ask("two")
        self.assertEqual(session.events_for(0.1), [])
        new = (set(tracee.threads()) - {tracee.pid}).pop()
        self.assertEqual(set(process.list_threads()), {tracee.pid, new})
        self.assertEqual(procfs.tracer_pid(tracee.pid, new), procfs.tracer_pid(tracee.pid))
        self.assertTrue(process.thread(new).interrupt())
        self.assertEqual(session.events_until(lambda e: True)[-1].tid, new)

    def test_quiet_exit(self):
        """Of ends the process's alone is told."""
        tracee = self.tracee("threads-come-and-go", 2, 500)
        session = self.new_session()
        session.attach(tracee.pid, exit="quiet", threads="quiet")
        before = tracee.ask()["ended"]
        self.assert_wait(lambda: tracee.ask()["ended"] > before + 20, "threads end")
        self.assertEqual(session.events_for(0.05), [])
        tracee.quit()
        seen = session.events_until(lambda e: e.kind in ENDS and e.tid == tracee.pid)
        self.assertEqual({e.tid for e in seen}, {tracee.pid})
        self.assertEqual([e.kind for e in seen], ["exit", "exited"])
        self.assertEqual(tracee.wait(), 0)

    def test_exec_tells_the_path(self):
        tracee = self.tracee("exec-from-other-thread")
        session = self.new_session()
        session.attach(tracee.pid)
        tracee.say("go")
        old = tracee.read_pairs()["old-tid"]
        event = session.events_until(lambda e: e.kind == "exec")[-1]
        self.assertEqual(event.details, {"old-tid": old, "path": tracee.program})
        self.assertEqual(tracee.listen(), "ready")

    # Seccomp.

    def test_seccomp_that_nobody_asks_for_is_as_without_a_tracer(self):
        tracee = self.tracee("asks-its-tracer")
        session = self.new_session()
        session.attach(tracee.pid)
        self.assertEqual(tracee.ask("go"), {"result": -1, "error": errno.ENOSYS})
        self.assertEqual(session.events_for(0.05), [])

    def test_seccomp_is_told_and_the_call_executed(self):
        tracee = self.tracee("asks-its-tracer")
        session = self.new_session()
        process = session.attach(tracee.pid, events=["seccomp"])
        self.assertEqual(tracee.ask("go"), {"result": os.getpid(), "error": 0})
        event = session.events_until(lambda e: True)[-1]
        self.assertEqual((event.kind, event.stopped), ("seccomp", False))
        self.assertEqual(len(event.details.pop("arguments")), 6)
        self.assertEqual(event.details, {"number": int(tracee.words[1]), "data": 42, "arch": platform.machine()})
        process.set_event_filter(events=["signal"])
        self.assertEqual(tracee.ask("go")["error"], errno.ENOSYS)
        process.set_event_filter(stops=["seccomp"])
        tracee.say("go")
        self.assertTrue(session.events_until(lambda e: e.kind == "seccomp")[-1].stopped)
        self.assertEqual(process.thread(tracee.pid).get("StopReason"), "seccomp")
        process.continue_()
        self.assertEqual(tracee.read_pairs()["result"], os.getpid())
        process.detach()
        self.assertEqual(tracee.ask("go")["error"], errno.ENOSYS)


class FiltersOnTheBus(Filters, harness.OnTheBus):
    pass


class FiltersEmbedded(Filters, harness.Embedded):
    pass


if __name__ == "__main__":
    harness.main()
