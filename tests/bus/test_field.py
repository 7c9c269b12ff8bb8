# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the field already knew: one test for each item, named after it.

The classes are named after where the items come from; others of these tests go into the depth of it.
"""

import os
import platform
import signal
import struct
import time

import harness
import procfs
from circles import Circles
from client import ENDS, FOREVER

# What a look at a thread may find after what the look before found; whatever is missing here cannot be.
# "signal", "clone" and so on are stops by an event of that kind.
MOVES = {
    "attached": {"running", "group-stop"},
    "running": {"running", "stopping", "stop", "signal", "clone", "breakpoint", "exit", "exiting", "exited", "detached"},
    "stopping": {"stopping", "stop", "signal", "clone", "breakpoint", "exited"},
    "stop": {"stop", "running", "stepping", "step", "detached", "exited"},
    "stepping": {"stepping", "step", "signal", "breakpoint", "exited"},
    "step": {"step", "stepping", "running", "breakpoint", "detached", "exited"},
    "signal": {"signal", "running", "detached", "exited"},
    "clone": {"clone", "running", "exited"},
    "breakpoint": {"breakpoint", "running", "stepping", "step", "exited"},
    "exit": {"exit", "exiting", "exited"},
    "exiting": {"exiting", "exited"},
    "exited": {"exited"},
    "detached": {"detached"},
}


class Field:
    def circles(self, threads=1, session=None, **options):
        circles = Circles(self.tracee("runs-in-circles", threads))
        session = session or self.new_session()
        return circles, session, session.attach(circles.pid, **options)

    def attached(self, name, *args, queue=False, **options):
        tracee = self.tracee(name, *args)
        session = self.new_session(queue=queue)
        process = session.attach(tracee.pid, **options)
        return tracee, session, process, process.thread(tracee.pid)

    def wait_for(self, session, *kinds):
        return session.events_until(lambda e: e.kind in kinds)[-1]


class DebuggerLibrary(Field):
    """From a debugger library's design for threads."""

    def test_attach_all(self):
        """One call attaches every thread, and each thread that is born meanwhile or later."""
        tracee = self.tracee("threads-come-and-go", 4, 200)
        process = self.new_session().attach(tracee.pid)
        for _ in range(harness.rounds(0.1)):
            for tid in tracee.threads():
                if tracee.state(tid) not in ("Z", "X", None):
                    self.assertNotEqual(procfs.status(tracee.pid, "TracerPid", tid), "0")
        self.assertIn(tracee.pid, process.list_threads())

    def test_get_event_that_does_not_block_has_an_error_of_its_own(self):
        tracee, session, _, thread = self.attached("handles-signals", queue=True)
        started = time.monotonic()
        self.assert_error("NoEvent", session.get_event, 0)
        self.assert_error("NoEvent", thread.get_event, 0)
        self.assertLess(time.monotonic() - started, 5)
        tracee.signal(signal.SIGUSR1)
        tracee.ask()
        self.assertEqual(session.get_event(0).kind, "signal")
        self.assert_error("NoEvent", session.get_event, 0)
        session.close()
        self.assert_error("NoSuchSession", session.get_event, 0)

    def test_get_event_that_blocks(self):
        tracee, session, _, _ = self.attached("handles-signals", queue=True)
        waiting = session.send("GetEvent", "t", FOREVER)
        time.sleep(0.05)
        self.assertFalse(session.client.connection.has_reply(waiting))
        tracee.signal(signal.SIGUSR1)
        (event,) = session.client.reply(waiting)
        self.assertEqual(event[4], "signal")

    def test_interrupt_whose_effect_is_an_event(self):
        circles, session, process = self.circles()
        thread = process.thread(circles.tids[0])
        self.assertTrue(thread.interrupt())
        event = session.next_event()
        self.assertEqual((event.tid, event.kind, event.stopped, event.details), (thread.tid, "stop", True, {}))
        self.assertEqual(session.events_for(0.05), [], "once")

    def test_continue_says_whether_there_was_anything_to_continue(self):
        circles, session, process = self.circles()
        thread = process.thread(circles.tids[0])
        self.assertIs(thread.continue_(), False)
        thread.interrupt()
        self.wait_for(session, "stop")
        self.assertIs(thread.continue_(), True)
        self.assertIs(thread.continue_(), False)
        self.assertEqual(circles.who_moves({thread.tid}), {thread.tid})

    def test_pause_as_a_loop_over_them(self):
        """All threads paused, by nothing but an interrupt of each and the event that follows."""
        circles, session, process = self.circles(4)
        for _ in range(harness.rounds(0.1)):
            waited = {tid for tid in process.list_threads() if process.thread(tid).interrupt()}
            self.assertEqual(waited, {circles.pid, *circles.tids})
            while waited:
                waited.remove(self.wait_for(session, "stop").tid)
            self.assert_all_stopped(circles.tracee)
            for tid in process.list_threads():
                self.assertTrue(process.thread(tid).continue_())
        self.assertEqual(circles.who_moves(set(circles.tids)), set(circles.tids))

    def test_suppress_signal(self):
        tracee, session, _, thread = self.attached("handles-signals", stops=["signal"])
        for suppress, times in ((True, 0), (False, 1), (True, 1)):
            tracee.signal(signal.SIGUSR1)
            self.wait_for(session, "signal")
            self.assertTrue(thread.continue_(suppress=suppress))
            self.assertEqual(tracee.ask()["usr1"], times)

    def test_syscall_is_a_mode_of_continue(self):
        tracee, session, _, thread = self.attached("makes-known-calls", stop=True)
        tracee.say("sleep")
        ends = []
        for _ in range(4):
            self.assertTrue(thread.continue_(mode="syscall"))
            ends.append(self.wait_for(session, "syscall-enter", "syscall-exit").kind)
        self.assertIn(ends, (["syscall-enter", "syscall-exit"] * 2, ["syscall-exit", "syscall-enter"] * 2))
        self.assertTrue(thread.continue_())
        self.assertEqual(tracee.read_pairs()["result"], 0)

    def test_single_step_is_a_mode_of_continue(self):
        circles, session, process = self.circles()
        thread = process.thread(circles.tids[0])
        thread.interrupt()
        self.wait_for(session, "stop")
        seen = {thread.get("ProgramCounter")}
        for _ in range(5):
            self.assertTrue(thread.continue_(mode="step"))
            self.assertTrue(self.wait_for(session, "step").stopped)
            seen.add(thread.get("ProgramCounter"))
        self.assertEqual(len(seen), 6)


class GoPackage(Field):
    """From the first ptrace package for Go."""

    def state_of(self, thread):
        """State and reason as one word, both read within one answer."""
        try:
            properties = {key: value.value for key, value in thread.get_all().items()}
        except harness.wire.Error as e:
            self.assertIn(e.name.rpartition(".")[2], ("NoSuchThread", "NotAttached", "NoSuchProcess"))
            return "detached" if procfs.state(self.traced) not in (None, "Z", "X") else "exited"
        return properties["StopReason"] if properties["State"] == "stopped" else properties["State"]

    def watch(self, thread, wanted, timeout=10, meanwhile=lambda: None):
        """Looks until that state is there; all that was seen goes to self.seen."""
        deadline = time.monotonic() + timeout
        while self.seen[-1:] != [wanted]:
            self.assertLess(time.monotonic(), deadline, f"{wanted} does not come; seen: {self.seen[-5:]}")
            meanwhile()
            state = self.state_of(thread)
            if self.seen:
                self.assertIn(state, MOVES[self.seen[-1]], f"after {self.seen}")
            if self.seen[-1:] != [state]:
                self.seen.append(state)

    def test_states_of_a_thread_and_no_other_transition(self):
        tracee, session, process, thread = self.attached("handles-signals", stops=["signal", "clone", "exit"])
        self.traced = tracee.pid
        self.seen = ["attached"]
        self.watch(thread, "running")
        thread.interrupt()
        self.watch(thread, "stop")
        thread.step(range=(0, 2**63))  # into its call, where it waits
        self.watch(thread, "stepping")
        tracee.say("report")
        tracee.listen(60) # thousands of steps
        tracee.signal(signal.SIGUSR1)
        self.watch(thread, "signal")
        thread.continue_()
        self.watch(thread, "running")
        tracee.say("two")
        self.watch(thread, "clone")
        process.continue_()
        self.watch(thread, "running")
        tracee.listen()
        tracee.quit()
        self.watch(thread, "exit")
        # The other thread is killed by that, and may come to its own exit stop later.
        self.watch(thread, "exited", meanwhile=session.continue_)
        self.assertLessEqual({"running", "stop", "stepping", "signal", "clone", "exit", "exited"}, set(self.seen))

    def test_states_of_a_thread_that_is_stepped_and_let_go(self):
        circles, session, process = self.circles()
        self.traced = circles.pid
        thread = process.thread(circles.tids[0])
        for _ in range(harness.rounds(0.1)):
            self.seen = ["attached"]
            self.watch(thread, "running")
            thread.interrupt()
            self.watch(thread, "stop")
            thread.step()
            self.watch(thread, "step")
            thread.continue_()
            self.watch(thread, "running")
            thread.detach()
            self.watch(thread, "detached")
            session.attach_thread(thread.tid)
            # Where it got no processor for the stop in which it is let go, it is on its way there still.
            self.assert_wait(lambda: self.state_of(thread) != "stopping", "it runs for the session again")

    def test_state_at_a_breakpoint(self):
        circles, _, process = self.circles()
        self.traced = circles.pid
        thread = process.thread(circles.tids[0])
        self.seen = ["attached"]
        self.watch(thread, "running")
        id = process.add_breakpoint(circles.start)
        for _ in range(harness.rounds(0.05)):
            self.watch(thread, "breakpoint")
            thread.step()
            self.watch(thread, "step")
            thread.continue_()
        process.remove_breakpoint(id)
        process.continue_()
        self.watch(thread, "running")

    @staticmethod
    def all_stand(tracee, process):
        living = {tid: tracee.state(tid) for tid in tracee.threads()}
        living = {tid: state for tid, state in living.items() if state not in ("Z", "X", None)}
        return set(living.values()) == {"t"} and sorted(process.list_threads()) == sorted(living)

    def test_attach_rescans_until_stable(self):
        """Threads that are born while it attaches are found, whoever bears them."""
        tracee = self.tracee("threads-come-and-go", 8, 0)
        session = self.new_session()
        for i in range(harness.rounds(0.1)):
            with self.round(i):
                process = session.attach(tracee.pid, stop=True)
                self.assert_wait(lambda: self.all_stand(tracee, process), "all stand, and it knows them all")
                process.detach()

    def test_breakpoints_can_be_added_and_removed(self):
        circles, session, process = self.circles()
        thread = process.thread(circles.tids[0])
        for _ in range(harness.rounds(0.1)):
            id = process.add_breakpoint(circles.end)
            hit = self.wait_for(session, "breakpoint")
            self.assertEqual((hit.tid, hit.details), (thread.tid, {"id": id, "address": circles.end}))
            process.remove_breakpoint(id)
            self.assertTrue(thread.continue_())
        self.assertEqual(process.list_breakpoints(), [])
        self.assertEqual(session.events_for(0.05), [])
        self.assertEqual(circles.who_moves({thread.tid}), {thread.tid})

    def test_continue_steps_off_breakpoints_first(self):
        """From where it stands it goes on, comes by again, and is told then and not before."""
        circles, session, process = self.circles()
        thread = process.thread(circles.tids[0])
        process.add_breakpoint(circles.end)
        self.wait_for(session, "breakpoint")
        before = circles.read_counts()[thread.tid]
        for i in range(1, 21):
            self.assertTrue(thread.continue_())
            self.wait_for(session, "breakpoint")
            self.assertEqual(thread.get("ProgramCounter"), circles.end)
            self.assertEqual(circles.read_counts()[thread.tid], before + i, "once around for each")

    def test_wait_stop(self):
        """Who waits for an event of one thread gets its stop, whenever that comes."""
        circles = Circles(self.tracee("runs-in-circles", 2))
        session = self.new_session(queue=True)
        process = session.attach(circles.pid)
        thread = process.thread(circles.tids[1])
        waiting = thread.send("GetEvent", "t", FOREVER)
        process.thread(circles.tids[0]).interrupt()
        time.sleep(0.05)
        self.assertFalse(session.client.connection.has_reply(waiting), "another's stop")
        thread.interrupt()
        (event,) = session.client.reply(waiting)
        self.assertEqual((event[3], event[4]), (thread.tid, "stop"))

    def test_no_sigstop_of_ours_reaches_the_program(self):
        """Attached, stopped, stepped, detached at any moment: it sees no signal, its parent no stop."""
        tracee = self.tracee("signal-counter", 500)
        session = self.new_session()
        for _ in range(harness.rounds(0.2)):
            process = session.attach(tracee.pid, stop=True)
            process.continue_(mode="step")
            process.interrupt()
            process.continue_()
            process.detach()
            self.assertIsNone(tracee.pending_change())
        answer = tracee.ask()
        self.assertEqual((answer["lost"], answer["doubled"], answer["other"]), (0, 0, 0))


class KernelProposals(Field):
    """From the proposals of 2011 for a better ptrace."""

    def test_attach_without_stopping_and_with_options_set_atomically(self):
        """The option that lets seccomp ask is in force from the attach on, and nothing was stopped for it."""
        tracee = self.tracee("asks-its-tracer")
        self.assert_wait(lambda: tracee.state() == "S", "it waits for a line")
        before = procfs.context_switches(tracee.pid)
        session = self.new_session()
        session.attach(tracee.pid, events=["seccomp"])
        self.assertEqual(procfs.context_switches(tracee.pid), before, "it was disturbed")
        self.assertEqual(tracee.ask("go"), {"result": os.getpid(), "error": 0})
        self.assertEqual(session.next_event().kind, "seccomp")
        self.assertEqual(session.events_for(0.05), [])

    def test_inheritance_without_stops(self):
        """Threads and children are traced from their birth, and the client sees no stop and no event."""
        tracee, session, process, _ = self.attached("threads-come-and-go", 4, 200, threads="quiet", exit="quiet")
        before = tracee.ask()["created"]
        self.assert_wait(lambda: tracee.ask()["created"] > before + 50, "threads are born")
        self.assertEqual(session.events_for(0.05), [])
        process.interrupt()
        self.assert_wait(lambda: {tracee.state(tid) for tid in tracee.threads()} == {"t"}, "all stand")
        self.assertEqual(sorted(process.list_threads()), tracee.threads(), "each was inherited")

    def test_no_zombie_reports(self):
        tracee, session, _, _ = self.attached("threads-come-and-go", 4, 200, exit="quiet")
        before = tracee.ask()["ended"]
        self.assert_wait(lambda: tracee.ask()["ended"] > before + 50, "threads end")
        tracee.quit()
        seen = session.events_until(lambda e: e.kind in ENDS and e.tid == tracee.pid)
        self.assertEqual({e.kind for e in seen if e.tid != tracee.pid} & {"exit", *ENDS}, set())
        self.assertEqual(seen[-1].kind, "exited")

    def test_interrupt_of_who_stands_already_says_so(self):
        """EALREADY, as an answer."""
        circles, session, process = self.circles()
        thread = process.thread(circles.tids[0])
        self.assertIs(thread.interrupt(), True)
        self.wait_for(session, "stop")
        self.assertIs(thread.interrupt(), False)
        self.assertIs(thread.interrupt(), False)
        self.assertEqual(session.events_for(0.05), [])


class Delve(Field):
    """From delve, a debugger whose bugs are well told."""

    def test_phantom_breakpoints(self):
        """Threads run into a breakpoint while it is removed: nobody gets a SIGTRAP, nobody is told."""
        circles, session, process = self.circles(4)
        for _ in range(harness.rounds(0.2)):
            id = process.add_breakpoint(circles.start)
            self.wait_for(session, "breakpoint")
            process.remove_breakpoint(id)
            process.continue_()
            session.events_for(0)
        self.assertEqual([e.kind for e in session.events_for(0.1) if e.kind != "breakpoint"], [])
        process.continue_()
        self.assertEqual(circles.who_moves(set(circles.tids)), set(circles.tids))
        self.assertEqual(process.list_breakpoints(), [])

    def test_hard_coded_breakpoints(self):
        """A trap in the program's own text is its own SIGTRAP, with and without breakpoints of ours."""
        tracee, session, process, thread = self.attached("handles-signals", stops=["signal"])
        for times in (1, 2):
            tracee.say("trap")
            event = self.wait_for(session, "signal", "breakpoint")
            self.assertEqual((event.kind, event.details["signal"]), ("signal", signal.SIGTRAP))
            self.assertGreater(event.details["code"], 0)
            self.assertTrue(thread.continue_())
            self.assertEqual(tracee.read_pairs()["trap"], times)
            process.add_breakpoint(process.get("EntryPoint"))
        tracee.say("raise")
        event = self.wait_for(session, "signal")
        self.assertLessEqual(event.details["code"], 0)
        self.assertTrue(thread.continue_())
        self.assertEqual(tracee.read_pairs()["trap"], 3)

    def test_delayed_signal_that_comes_during_a_stop_is_delivered_later_and_once(self):
        tracee, session, process, thread = self.attached("handles-signals")
        for times in range(1, harness.rounds(0.1)):
            thread.interrupt()
            self.wait_for(session, "stop")
            tracee.signal(signal.SIGUSR1)
            self.assertEqual(session.events_for(0.005), [], "it stands")
            process.continue_()
            self.assertEqual(self.wait_for(session, "signal").details["signal"], signal.SIGUSR1)
            self.assertEqual(tracee.ask()["usr1"], times)
        self.assertEqual(session.events_for(0.05), [])

    def test_zombie_leader_never_hangs_a_wait(self):
        """Neither an attach nor an interrupt, a waiter, a snapshot or a detach waits for what cannot come."""
        tracee = self.tracee("zombie-leader", 6)
        session = self.new_session(queue=True)
        process = session.attach(tracee.pid)
        started = time.monotonic()
        process.interrupt()
        living = [tid for tid in tracee.threads() if tid != tracee.pid]
        self.assert_wait(lambda: sorted(e.tid for e in session.list_stopped()) == living, "the living stand")
        os.close(process.call("Snapshot", "a{sv}", {}))
        process.continue_()
        session.drain()
        self.assert_error("NoEvent", session.get_event, 10000)
        process.detach()
        self.assertLess(time.monotonic() - started, 10)
        self.assert_runs_free(tracee)
        tracee.say("go")
        self.assertEqual(tracee.changes(1), [(os.CLD_EXITED, 6)])

    def test_detach_leaves_no_process_in_state_t(self):
        """Whatever its threads stood in."""
        for prepare in (lambda p, t: p.interrupt(),
                        lambda p, t: p.continue_(mode="step"),
                        lambda p, t: p.continue_(mode="syscall"),
                        lambda p, t: p.continue_(),
                        lambda p, t: p.add_breakpoint(Circles(t).start)):
            tracee = self.tracee("runs-in-circles", 3)
            process = self.new_session().attach(tracee.pid, stop=True, stops=["signal", "step"])
            for _ in range(harness.rounds(0.03)):
                prepare(process, tracee)
                tracee.signal(signal.SIGURG)
                process.detach()
                self.assert_runs_free(tracee)
                circles = Circles(tracee)
                self.assertEqual(circles.who_moves(set(circles.tids)), set(circles.tids))
                process = self.new_session().attach(tracee.pid, stop=True, stops=["signal", "step"])

    def test_kill_works_in_every_state(self):
        def at_breakpoint(session, process, tracee):
            process.add_breakpoint(Circles(tracee).start)
            self.wait_for(session, "breakpoint")

        def group_stopped(session, _, tracee):
            tracee.signal(signal.SIGSTOP)
            self.assertEqual(tracee.changes(1), [(os.CLD_STOPPED, signal.SIGSTOP)])
            self.wait_for(session, "group-stop")

        def at_a_signal(session, process, tracee):
            process.set_event_filter(stops=["signal"])
            tracee.signal(signal.SIGURG)
            self.wait_for(session, "signal")

        def stepping(_, process, tracee):
            process.interrupt()
            process.thread(Circles(tracee).tids[0]).step(range=(0, 2**63))

        def in_a_call(session, process, tracee):
            process.set_event_filter(stops=["syscall-enter"])
            tracee.say("report")
            self.wait_for(session, "syscall-enter")

        for prepare in (lambda s, p, t: None, lambda s, p, t: p.interrupt(), stepping, at_breakpoint,
                        group_stopped, at_a_signal, in_a_call):
            with self.subTest(state=prepare.__name__):
                tracee = self.tracee("runs-in-circles", 2)
                session = self.new_session()
                process = session.attach(tracee.pid)
                prepare(session, process, tracee)
                process.kill()
                self.assertEqual(tracee.changes(1), [(os.CLD_KILLED, signal.SIGKILL)])
                end = session.events_until(lambda e, t=tracee: e.kind in ENDS and e.tid == t.pid)[-1]
                self.assertEqual((end.kind, end.details["signal"]), ("killed", signal.SIGKILL))

    def test_kill_works_at_its_exit(self):
        tracee, session, process, _ = self.attached("exits-with", 9, "wait", stops=["exit"])
        tracee.quit()
        self.wait_for(session, "exit")
        process.kill()
        self.assertEqual(len(tracee.changes(1)), 1, "it has ended")

    def test_kill_works_in_vfork(self):
        tracee, session, process, _ = self.attached("vfork-parent-waits")
        process.kill()
        self.assertEqual(tracee.changes(1), [(os.CLD_KILLED, signal.SIGKILL)])
        session.events_until(lambda e: e.kind in ENDS and e.tid == tracee.pid)

    def test_entry_point_from_auxv(self):
        """It is where the program was loaded to, not what its file says."""
        tracee, _, process, _ = self.attached("handles-signals")
        auxv = process.call("ReadAuxv")
        entries = dict(struct.iter_unpack("QQ", auxv[:len(auxv) // 16 * 16]))
        at_phdr, at_entry = entries[3], entries[9]
        self.assertEqual(process.get("EntryPoint"), at_entry)
        with open(tracee.program, "rb") as f:
            header = f.read(64)
        kind, = struct.unpack_from("H", header, 16)
        entry, phoff = struct.unpack_from("QQ", header, 24)
        base = at_phdr - phoff if kind == 3 else 0  # ET_DYN: its program headers are in its first page
        self.assertEqual(at_entry, base + entry)


class ManyWhoAskedHow(Field):
    def test_all_threads_stand_while_one_is_stepped_ten_times_with_every_register_set_shown(self):
        circles, session, process = self.circles(4)
        process.interrupt()
        self.assert_all_stopped(circles.tracee)
        thread = process.thread(circles.tids[2])
        left = {circles.pid, *circles.tids}
        while left:
            left.discard(session.events_until(lambda e: e.kind == "stop")[-1].tid)
        others = {tid: process.thread(tid).registers() for tid in process.list_threads() if tid != thread.tid}
        sets = ("general", "fp", "xstate") if platform.machine() == "x86_64" else ("general", "fp", "tls")
        counted = circles.read_counts()
        seen = []
        for _ in range(10):
            thread.step()
            event = session.next_event()
            self.assertEqual((event.tid, event.kind, event.stopped), (thread.tid, "step", True))
            seen.append({name: thread.register_set(name) for name in sets})
            self.assertIn(thread.get("ProgramCounter"), thread.registers().values())
            self.assert_all_stopped(circles.tracee)
        self.assertEqual(len({shown["general"] for shown in seen}), 10, "each step is shown")
        self.assertEqual(len({len(shown[name]) for shown in seen for name in sets}), len(sets))
        for tid, registers in others.items():
            self.assertEqual(process.thread(tid).registers(), registers, f"thread {tid} has moved")
        counts = circles.read_counts()
        self.assertEqual({tid: counts[tid] for tid in counts if tid != thread.tid},
                         {tid: counted[tid] for tid in counted if tid != thread.tid})
        process.continue_()
        self.assertEqual(circles.who_moves(set(circles.tids)), set(circles.tids))


def in_both_modes(tests):
    """A class of each for the system bus and for embedded mode."""
    for base in (harness.OnTheBus, harness.Embedded):
        name = tests.__name__ + base.__name__
        globals()[name] = type(name, (tests, base), {"__module__": __name__})


for source in (DebuggerLibrary, GoPackage, KernelProposals, Delve, ManyWhoAskedHow):
    in_both_modes(source)


if __name__ == "__main__":
    harness.main()
