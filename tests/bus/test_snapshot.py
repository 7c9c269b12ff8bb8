# SPDX-License-Identifier: LGPL-2.1-or-later
"""Registers and stacks of all threads at one instant, and the record that they come in."""

import fcntl
import os
import platform
import signal
import struct
import time
import unittest

import harness
import procfs
from wire import Variant

KIB = 1024
MIB = 1024 * KIB
F_GET_SEALS = 1034
SEALED = 0x1 | 0x2 | 0x4 | 0x8  # seal, shrink, grow, write
RUNNING, HELD, SIGNAL = 1, 2, 4

# bus-api/snapshot.h, written down a second time.
HEADER = struct.Struct("<8s IIII QQ IIII QQQ 128s")
THREAD = struct.Struct("<II 16s 16s 16s B7x Q 8I QQQQ 128s")
WORD = struct.Struct("<Q")
R15, RBX, RSP = 0, 5, 19  # of struct user_regs_struct


def text(field):
    return field.rstrip(b"\0").decode()


def round_up(size):
    return (size + 15) // 16 * 16


class Thread:
    def __init__(self, data, sets, record):
        (self.tid, self.flags, comm, state, architecture, kernel_state, registers, *rest) = THREAD.unpack(record)
        sizes, (self.sp, self.stack_address, stack, size, self.siginfo) = rest[:8], rest[8:]
        self.comm, self.state, self.architecture = text(comm), text(state), text(architecture)
        self.kernel_state = chr(kernel_state)
        self.stack = data[stack:stack + size]
        self.offsets = [registers, stack]
        self.sets = {}
        for name, size in zip(sets, sizes):
            self.sets[name] = data[registers:registers + size]
            registers += round_up(size)

    def word(self, i):
        return WORD.unpack_from(self.sets["general"], 8 * i)[0]


class Record:
    """A snapshot, read by nothing but its documentation."""

    def __init__(self, fd):
        data = b""
        while part := os.pread(fd, MIB, len(data)):
            data += part
        (self.magic, self.version, self.header_size, self.thread_size, n_threads, offset, self.size, self.pid, n_sets,
         self.stack_size, self.reserved, *self.times, names) = HEADER.unpack_from(data)
        self.data = data
        self.sets = [text(names[16 * i:16 * i + 16]) for i in range(n_sets)]
        self.threads = {}
        for i in range(n_threads):
            at = offset + i * self.thread_size
            thread = Thread(data, self.sets, data[at:at + THREAD.size])
            self.threads[thread.tid] = thread


class Snapshot:
    def take(self, process, **values):
        made = {key: Variant("u", value) if key == "stack" else Variant("as", value) for key, value in values.items()}
        fd = process.call("Snapshot", "a{sv}", made)
        try:
            self.assertEqual(fcntl.fcntl(fd, F_GET_SEALS) & SEALED, SEALED)
            return Record(fd)
        finally:
            os.close(fd)

    def take_standing(self, process, running=0, ready=None, timeout=20, **values):
        """One in which all threads stand but as many as cannot. On a loaded machine a thread may not get a
        processor, to stop on, within a snapshot's patience, and then has the state "stopping" until it does.
        `ready` is waited for before each try."""
        deadline = time.monotonic() + timeout
        while True:
            if ready:
                self.assert_wait(ready, "it is ready")
            threads = (record := self.take(process, **values)).threads.values()
            if sum(bool(thread.flags & RUNNING) or thread.state == "stopping" for thread in threads) <= running:
                return record
            self.assertLess(time.monotonic(), deadline, "no snapshot has all threads")
            time.sleep(0.02)

    def attach(self, *tracee, **values):
        tracee = self.tracee(*tracee)
        session = self.new_session()
        return tracee, session, session.attach(tracee.pid, **values)

    def test_every_thread_is_in_it_and_runs_on(self):
        tracee, session, process = self.attach("many-threads", 40, 3)
        # After a snapshot it has to get a processor first, to go back to sleep on.
        record = self.take_standing(process, ready=lambda: procfs.state(tracee.pid) == "S")
        self.assertEqual((record.magic, record.version), (b"ptrcsnap", 1))
        self.assertEqual((record.header_size, record.thread_size), (HEADER.size, THREAD.size))
        self.assertEqual((record.size, record.pid, record.reserved), (len(record.data), tracee.pid, 0))
        self.assertEqual((record.sets, record.stack_size), (["general"], 64 * KIB))
        self.assertEqual(record.times, sorted(record.times))
        self.assertLess(abs(record.times[2] / 1e6 - time.monotonic()), 30)
        self.assertEqual(set(record.threads), set(tracee.threads()))
        for thread in record.threads.values():
            self.assertEqual((thread.flags, thread.state, thread.comm), (0, "running", "many-threads"))
            self.assertEqual(thread.architecture, platform.machine())
            self.assertEqual([offset % 16 for offset in thread.offsets], [0, 0])
            self.assertGreater(len(thread.stack), 128)
            self.assertEqual(thread.siginfo, bytes(128))
        self.assertIn("S", {thread.kernel_state for thread in record.threads.values()})
        self.assertIn("R", {thread.kernel_state for thread in record.threads.values()})
        self.assertEqual(set(process.list_threads().values()), {"running"})
        self.assertEqual(session.events_for(0.1), [])
        process.detach()
        self.assert_runs_free(tracee)

    @unittest.skipUnless(platform.machine() == "x86_64", "known registers of x86_64")
    def test_known_registers(self):
        tracee, _, process = self.attach("known-registers")
        self.assert_wait(lambda: self.take_standing(process).threads[tracee.pid].word(R15) == 14 * 0x1010101,
                         "it has loaded its registers")
        thread = self.take_standing(process, registers=["xstate", "general"]).threads[tracee.pid]
        self.assertEqual(thread.word(RBX), 2 * 0x1010101)
        self.assertEqual(thread.word(RSP), thread.sp)
        self.assertEqual(thread.stack_address, thread.sp - 128)
        self.assertGreaterEqual(len(thread.sets["xstate"]), 576)
        self.assertEqual(thread.sets["xstate"][160:176], bytes(range(16)))  # xmm0 in the XSAVE area

    def test_it_is_what_reading_gives(self):
        """Of a process that stands already, nothing differs from the other methods."""
        tracee, _, process = self.attach("many-threads", 8)
        process.interrupt()
        record = self.take(process, registers=["general", "fp"], stack=8 * KIB)
        for tid, thread in record.threads.items():
            self.assertEqual((thread.flags, thread.state), (HELD, "stopped"))
            self.assertEqual(thread.sets["general"], process.thread(tid).register_set("general"))
            self.assertEqual(thread.sets["fp"], process.thread(tid).register_set("fp"))
            self.assertEqual(thread.sp, process.thread(tid).get("StackPointer"))
            self.assertEqual(thread.stack, process.call("ReadMemory", "tt", thread.stack_address, len(thread.stack)))
        self.assert_all_stopped(tracee)
        process.continue_()
        process.detach()
        self.assert_runs_free(tracee)

    def test_neither_stacks_nor_registers(self):
        tracee, _, process = self.attach("many-threads", 3)
        record = self.take_standing(process, registers=[], stack=0)
        self.assertEqual(record.sets, [])
        self.assertEqual({len(thread.stack) for thread in record.threads.values()}, {0})
        self.assertTrue(all(thread.sp for thread in record.threads.values()))
        self.assertEqual(len(record.data), HEADER.size + 3 * THREAD.size)

    def test_signal_that_a_thread_stands_at(self):
        tracee, session, process = self.attach("busy-loop", stops=["signal"])
        tracee.signal(signal.SIGURG)
        session.events_until(lambda event: event.kind == "signal")
        thread = self.take(process).threads[tracee.pid]
        self.assertEqual(thread.flags, HELD | SIGNAL)
        self.assertEqual(struct.unpack_from("<iii4xI", thread.siginfo),
                         (signal.SIGURG, 0, 0, os.getpid()))
        process.continue_()
        process.detach()
        self.assert_runs_free(tracee)

    def test_job_control_stays_as_it_is(self):
        tracee, session, process = self.attach("job-control-stopped")
        tracee.job_control_stopped = True
        tracee.signal(signal.SIGSTOP)
        for _ in tracee.threads():
            session.events_until(lambda event: event.kind == "group-stop")
        thread = self.take_standing(process).threads[tracee.pid]
        self.assertEqual((thread.flags, thread.state), (0, "group-stop"))
        self.assertGreater(len(thread.stack), 0)
        self.assertEqual(process.list_threads()[tracee.pid], "group-stop")
        self.assertEqual(session.events_for(0.1), [])

    def test_parent_in_vfork_is_not_waited_for(self):
        tracee, _, process = self.attach("vfork-parent-waits")
        started = time.monotonic()
        self.take(process)
        self.assertLess(time.monotonic() - started, 2)
        record = self.take_standing(process, running=1)
        running = [thread for thread in record.threads.values() if thread.flags & RUNNING]
        self.assertEqual(len(running), 1)
        self.assertEqual((running[0].architecture, running[0].sp, running[0].stack), ("", 0, b""))
        self.assertEqual(running[0].comm, "vfork-parent-wa")
        tracee.say("end")
        self.assertEqual(tracee.read_pairs()["status"], 3)

    def test_signals_and_threads_go_on_while_snapshots_are_taken(self):
        tracee, _, process = self.attach("signal-counter", 200)
        before = tracee.ask()["received"]
        for _ in range(harness.rounds(0.3)):
            self.take(process)

        def take_and_ask():
            self.take(process)
            return tracee.ask()["received"] > before
        self.assert_wait(take_and_ask, "a signal comes along")
        report = tracee.ask()
        self.assertEqual((report["lost"], report["doubled"], report["reordered"], report["other"]), (0, 0, 0, 0))

    def test_threads_that_come_and_go(self):
        tracee, _, process = self.attach("threads-come-and-go")
        for _ in range(harness.rounds(0.3)):
            self.assertIn(tracee.pid, self.take(process).threads)

    def test_only_what_the_session_traces(self):
        tracee = self.tracee("many-threads", 5)
        self.new_session().attach(tracee.pid)
        second = self.new_session()
        tid = tracee.threads()[-1]
        second.attach_thread(tid)
        self.assertEqual(set(self.take(second.process(tracee.pid)).threads), {tid})

    def test_bad_options(self):
        _, _, process = self.attach("many-threads", 2)
        for word, made in (("nonsense", {"nonsense": Variant("b", True)}),
                           ("stack", {"stack": Variant("t", 1)}),
                           ("registers", {"registers": Variant("s", "general")}),
                           ("xmm", {"registers": Variant("as", ["general", "xmm"])}),
                           ("general", {"registers": Variant("as", ["general", "general"])}),
                           ("fp", {"registers": Variant("as", ["fp"] * 100)})):
            with self.subTest(option=word):
                error = self.assert_error("InvalidOption", process.call, "Snapshot", "a{sv}", made)
                self.assertIn(f"'{word}'", error.message)
        self.assertEqual(len(self.take(process).threads), 2)

    def test_limits(self):
        _, _, process = self.attach("many-threads", 1100)
        for limit, stack in (("SnapshotStackMax", MIB + 1), ("SnapshotStackMax", 2**32 - 1), ("SnapshotMax", MIB)):
            with self.subTest(limit=limit):
                error = self.assert_error("LimitExceeded", process.call, "Snapshot", "a{sv}",
                                          {"stack": Variant("u", stack)})
                self.assertIn(limit, error.message)
        self.assertEqual(len(self.take(process, stack=4 * KIB).threads), 1100)

    def test_process_that_has_ended(self):
        tracee, session, process = self.attach("busy-loop")
        tracee.kill()
        session.events_until(lambda event: event.kind == "killed")
        self.assert_error("NotAttached", process.call, "Snapshot", "a{sv}", {})

    def test_no_descriptor_is_left(self):
        tracee, _, process = self.attach("many-threads", 3)

        def use():
            self.take(process)
            self.assert_error("LimitExceeded", process.call, "Snapshot", "a{sv}", {"stack": Variant("u", MIB + 1)})

        use()
        pids = (self.service.broker.pid, self.service.tracer_of(tracee.pid))
        before = {pid: procfs.descriptors(pid) for pid in pids}
        for _ in range(harness.rounds(0.1)):
            use()
        self.assertEqual({pid: procfs.descriptors(pid) for pid in pids}, before)


class SnapshotOnTheBus(Snapshot, harness.OnTheBus):
    pass


class SnapshotEmbedded(Snapshot, harness.Embedded):
    pass


if __name__ == "__main__":
    harness.main()
