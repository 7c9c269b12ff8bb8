# SPDX-License-Identifier: LGPL-2.1-or-later
"""The confined service traces: all that it offers works in its sandbox, and takes what it is left."""

import contextlib
import os
import random
import signal
import threading
import time

import cases
import procfs
import wire
from cases import BROKER, KEEPER

USER = "tracee"  # neither root nor the broker
ROUNDS = 20


class Case(cases.Case):
    def setUp(self):
        super().setUp()
        if self.machine.try_run("id", USER).returncode != 0:
            self.machine.run("useradd", "--create-home", USER)

    def start(self, threads=0, **values):
        """The tracee "computes" of another user, where things are in it, and its process."""
        tracee = self.tracee("computes", threads, user=USER)
        at = {key: int(value) for key, _, value in (word.partition("=") for word in tracee.words[1:])}
        session = self.new_session()
        return tracee, at, session, session.attach(tracee.inside, **values)


class Tracing(Case):
    def test_threads_are_stopped_looked_at_and_let_go(self):
        tracee, at, session, process = self.start(8)
        self.assertEqual(len(process.list_threads()), 9)
        process.interrupt()
        for tid in tracee.threads():
            self.assertEqual(procfs.state(tracee.pid, tid), "t")
        for tid in process.list_threads():
            self.assertIn("rip" if os.uname().machine == "x86_64" else "pc", process.thread(tid).registers())
        self.assertEqual(process.read_memory(at["target"], 16), procfs.read_memory(tracee.pid, at["target"], 16))
        process.call("WriteMemory", "tay", at["watched"], process.read_memory(at["watched"], 8))
        process.continue_()
        self.assert_computes(tracee)
        process.detach()
        self.assertEqual(tracee.runs_free(), [])
        self.assertIn("stop", {event.kind for event in session.events_for(0)})

    def test_breakpoint_is_hit(self):
        tracee, at, session, process = self.start()
        process.add_breakpoint(at["target"])
        tracee.say("call 3")
        for _ in range(3):
            event = session.events_until(lambda e: e.kind == "breakpoint")[-1]
            self.assertEqual(process.thread(event.tid).get("ProgramCounter"), at["target"])
            process.thread(event.tid).continue_()
        self.assertEqual(tracee.read_pairs(), {"sum": 1 + 4 + 7})
        process.detach()
        self.assert_text_clean(tracee)

    def test_watchpoint_fires(self):
        tracee, at, session, process = self.start()
        try:
            process.add_breakpoint(at["watched"], "write", size=8)
        except wire.Error as e:
            if not e.name.endswith("NotSupported"):
                raise
            self.skipTest(f"no debug registers here: {e.message}")
        tracee.say("call 1")
        event = session.events_until(lambda e: e.kind == "watchpoint")[-1]
        process.thread(event.tid).continue_()
        self.assertIn("sum", tracee.read_pairs())

    def test_system_calls_are_told(self):
        _, _, session, process = self.start(events=["syscall-enter", "syscall-exit"])
        process.thread(process.pid).interrupt()
        process.continue_()
        self.tracees[0].ask()
        self.assertTrue({"syscall-enter", "syscall-exit"} <= {e.kind for e in session.events_for(0.3)})

    def test_files_and_snapshots_are_passed(self):
        tracee, at, _, process = self.start(4)
        head = process.call("ReadMappedFile", "ttt", at["target"] & ~4095, 0, 4)
        self.assertEqual(head, b"\x7fELF")
        for member, signature, arguments in (
                ("OpenMappedFile", "t", [at["target"] & ~4095]), ("OpenMaps", "", []),
                ("OpenMemory", "s", ["read-write"]), ("ReadMemoryFD", "a(tt)", [[(at["target"], 64)]]),
                ("Snapshot", "a{sv}", [{}])):
            with self.subTest(member):
                descriptor = process.call(member, signature, *arguments)
                self.assertGreaterEqual(descriptor, 0)
        self.assertTrue(process.call("ReadAuxv"))
        self.assertTrue(process.call("ReadMaps"))
        self.assertTrue(process.call("GetCommandLine"))
        self.assert_computes(tracee)

    def test_program_is_signalled_and_killed(self):
        tracee, _, _, process = self.start()
        process.kill()
        self.assert_wait(lambda: procfs.state(tracee.pid) in (None, "Z"), "it is killed")
        tracee.ending = True

    def test_followed_children_are_traced(self):
        tracee, at, session, process = self.start(children="follow")
        process.add_breakpoint(at["target"])
        tracee.say("fork")
        event = session.events_until(lambda e: e.kind == "breakpoint")[-1]
        self.assertNotEqual(event.pid, tracee.inside)
        session.process(event.pid).thread(event.tid).continue_()
        self.assertEqual(tracee.read_pairs()["status"], 45)

    def test_ptracectl_as_the_readme_shows_it(self):
        tracee = self.tracee("computes", 3, user=USER)
        session = self.machine.run("ptracectl", "attach", tracee.inside).strip()
        self.machine.run("ptracectl", "interrupt", tracee.inside)
        status = self.machine.run("ptracectl", "status")
        self.assertEqual(status.count("stopped by an interrupt"), 4, status)
        self.machine.run("ptracectl", "continue", tracee.inside)
        self.assert_computes(tracee)
        self.machine.run("ptracectl", "close", session)
        self.assertEqual(tracee.runs_free(), [])

    def test_ptracectl_runs_a_program(self):
        done = self.machine.try_run("ptracectl", "run", "-f", "--", "sh", "-c", "ls / | sort -r | head -n 1; exit 3")
        self.assertEqual((done.returncode, done.stdout), (3, "var\n"), done.stderr)
        self.assertIn("exited", done.stderr)


class Deaths(Case):
    def test_tracer_is_killed_under_breakpoints(self):
        """In tight loops: without io_uring in the sandbox hardly a program would live on."""
        chance = random.Random(4)
        for i in range(ROUNDS):
            tracee, at, session, process = self.start(2)
            data = process.read_memory(at["points"], 8 * at["n"])
            points = [int.from_bytes(data[j:j + 8], "little") for j in range(0, len(data), 8)]
            for address in chance.sample(points, 3):
                process.add_breakpoint(address, ignore=2**63)
            time.sleep(chance.uniform(0, 0.03))
            os.kill(procfs.tracer_pid(tracee.pid), signal.SIGKILL)
            lost = session.events_until(lambda e: e.kind == "lost")[-1]
            self.assertEqual(lost.details["reason"], "tracer")
            self.assertEqual(tracee.runs_free(), [], f"round {i}")
            self.assert_computes(tracee)
            session.client.close()
            tracee.kill()


class Capabilities(Case):
    """Each is there for something, which fails without it."""

    def without(self, capability):
        path = f"/run/systemd/system/{KEEPER}.d/test.conf"
        self.machine.write(path, f"[Service]\nCapabilityBoundingSet=~{capability}\n")
        self.addCleanup(self.machine.run, "systemctl", "daemon-reload")
        self.addCleanup(self.machine.remove, path)
        self.machine.run("systemctl", "daemon-reload")

    def assert_fails(self, function, *args):
        with self.assertRaises(wire.Error):
            function(*args)

    def test_sys_ptrace_is_needed_to_trace_others(self):
        self.without("CAP_SYS_PTRACE")
        self.assert_fails(self.start)

    def test_dac_override_is_needed_for_memory(self):
        self.without("CAP_DAC_OVERRIDE")
        _, at, _, process = self.start()
        self.assert_fails(process.read_memory, at["target"], 16)

    def test_kill_is_needed_for_signals(self):
        self.without("CAP_KILL")
        _, _, _, process = self.start()
        self.assert_fails(process.signal, signal.SIGCONT)

    def test_checkpoint_restore_is_needed_for_mapped_files(self):
        self.without("CAP_CHECKPOINT_RESTORE")
        _, at, _, process = self.start()
        self.assert_fails(process.call, "OpenMappedFile", "t", at["target"] & ~4095)

    def test_sys_nice_is_needed_to_stop_many_threads_at_once(self):
        self.assertTrue(self.is_raised())
        self.without("CAP_SYS_NICE")
        self.machine.run("systemctl", "stop", BROKER, KEEPER)
        self.assertFalse(self.is_raised())

    def is_raised(self):
        """Whether the tracer was seen in a real-time class while it stopped threads that spin."""
        tracee = self.tracee("busy-loop", 100, user=USER)
        session = self.new_session()
        process = session.attach(tracee.inside)
        tracer = procfs.tracer_pid(tracee.pid)
        seen, stop = set(), threading.Event()

        def watch():
            while not stop.is_set():
                with contextlib.suppress(ProcessLookupError):
                    seen.add(os.sched_getscheduler(tracer) & ~os.SCHED_RESET_ON_FORK)
                time.sleep(0)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            for _ in range(20):
                process.interrupt()
                process.continue_()
        finally:
            stop.set()
            watcher.join()
        session.client.close()
        self.assertEqual(tracee.runs_free(), [])
        tracee.kill()
        self.assertIn(os.SCHED_OTHER, seen)
        return os.SCHED_FIFO in seen


if __name__ == "__main__":
    cases.main()
