# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who is not root attaches to programs while they come to have more rights than he has. Whichever comes
first, he never sees or changes any of what has them, and it runs on with them.

A child of the tracee comes-to-more-rights does it some microseconds after it said so, and these are chosen
such that the attach comes before, meanwhile (it was found to be allowed when it no longer was) and after."""

import collections
import os
import pwd
import signal
import struct

import harness
import polkit
import procfs
import wire
from client import ERROR, options
from policy import ASK_ME, GAMES, ConfiguredService, Policy

MARKER = 0x10000000  # tests/tracees/meson.build
HARMLESS, SCRIBBLE = b"harmless", b"scribble"
NEAR = 1 << 20  # a stack's depth; where another program's stack lies is anybody's guess

BEFORE, MEANWHILE, AFTER = "before", "meanwhile", "after"

# What a call on a process says that the session does not trace, or may not trace any more.
OUT_OF_REACH = ("NotAttached", "NotPermitted", "NoSuchProcess", "NoSuchThread")


class Child:
    """One that is about to have more rights, and its user's session."""

    def __init__(self, words, session):
        word, pid, stack = words.split()
        assert word == "child", words
        self.pid, self.stack = int(pid), int(stack)
        self.process = session.process(self.pid)
        self.thread = self.process.thread(self.pid)

    def has_more(self):
        """Whether it has more rights already: its memory is root's then, as no other's is."""
        try:
            return os.stat(f"/proc/{self.pid}/mem").st_uid == 0
        except FileNotFoundError:
            return True


class Delays:
    """Some as long as an attach takes, shorter ones and longer ones, spread evenly: the third that is
    longer stays one, whatever the machine has to do besides."""

    def __init__(self):
        self.span = 6000.0

    def next(self, i):
        return int(self.span * (i * 0.618 % 1.0))

    def learn(self, when):
        self.span = self.span * 0.9 if when == BEFORE else min(self.span * 1.05, 200000.0)


class Races(Policy):
    class service_class(ConfiguredService):
        limits = {"AttachesPerMinuteMax": 100000}

    capabilities = False  # whether the program has any

    def setUp(self):
        super().setUp()
        self.seen = collections.Counter()
        self.reached = collections.Counter()
        self.session = self.session_of(GAMES)

    def start(self, mode):
        """The tracee, with a program of this mode to execute."""
        program = self.program("secret", "keeps-a-secret", mode)
        if self.capabilities:
            self.give_capability(program)
        return self.tracee_of(GAMES, "racing", "comes-to-more-rights", args=(program,))

    def give_capability(self, program):
        """As setcap(8) writes CAP_NET_BIND_SERVICE: permitted, and effective from the beginning."""
        try:
            os.setxattr(program, "security.capability", struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0))
        except OSError as e:
            self.skipTest(f"no program can have capabilities in {self.scratch}: {e.strerror}")

    # Attaching. Each tells when it came.

    def by_polkit(self, child):
        try:
            self.session.attach(child.pid, stops=["exec"])
        except wire.Error as e:
            self.assertIn(e.name, (ASK_ME, ERROR + "NotPermitted"), e.message)
            return AFTER if e.name == ASK_ME else MEANWHILE
        return BEFORE

    def by_proof(self, child):
        try:
            with polkit.acting_as(GAMES):
                proof = os.open(f"/proc/{child.pid}/mem", os.O_RDWR)
        except PermissionError:
            return AFTER
        try:
            self.session.attach(child.pid, stops=["exec"], proof=wire.Variant("h", proof))
        except wire.Error as e:
            self.assertEqual(e.name, ERROR + "NotPermitted", e.message)
            return MEANWHILE
        finally:
            os.close(proof)
        return BEFORE

    def attach_to(self, child, attach, late):
        """late: it has more rights already."""
        if late:
            self.assert_wait(child.has_more, "it has more rights", 20)
        had_more = child.has_more()
        when = attach(child)
        self.assertFalse(had_more and when == BEFORE, "it had more rights before anybody attached to it")
        return when

    # What a session tries that has come before.

    def send_all(self, child):
        return {
            "ReadMemory": child.process.send("ReadMemory", "tt", MARKER, len(HARMLESS)),
            "WriteMemory": child.process.send("WriteMemory", "tay", MARKER, SCRIBBLE),
            "Signal": child.process.send("Signal", "i", signal.SIGUSR1),
            "Interrupt": child.process.send("Interrupt"),
            "GetRegisters": child.thread.send("GetRegisters"),
            "Continue": child.process.send("Continue", "a{sv}", options()),
        }

    def answers(self, serials):
        """(by method what was returned, the errors)."""
        values, errors = {}, {}
        for method, serial in serials.items():
            try:
                values[method] = self.session.client.reply(serial)
            except wire.Error as e:
                errors[method] = e.name.removeprefix(ERROR)
        return values, errors

    def try_all(self, child, one_program):
        """Until nothing is in reach any more. one_program: what it executes next has more rights."""
        while True:
            has_more = child.has_more()
            values, errors = self.answers(self.send_all(child))
            self.reached.update(values.keys())
            if has_more:
                self.assertEqual(set(values) - {"Interrupt", "Continue"}, set())
            if "ReadMemory" in values:
                self.assertIn(values["ReadMemory"][0], (HARMLESS, SCRIBBLE))
            if "GetRegisters" in values and one_program:
                registers = wire.plain(values["GetRegisters"][0])
                self.assertLess(abs(registers.get("rsp", registers.get("sp")) - child.stack), NEAR)
            if one_program:
                # Which it has from its first moment on: other memory than that is not there.
                self.assertNotIn("BadAddress", errors.values())
            if not values:
                self.assertLessEqual(set(errors.values()), set(OUT_OF_REACH))
                return

    def assert_lost(self, child):
        events = self.session.events_until(lambda e: e.pid == child.pid and e.kind == "lost", 20)
        self.assertEqual(events[-1].details, {"reason": "privilege", "process": True})
        return events

    def assert_runs_on(self, tracee, child, user):
        """To its end, with its rights, its own memory, and without us."""
        self.assertEqual(tracee.listen(30), "gained")
        self.assert_wait(lambda: procfs.tracer_pid(child.pid) == 0, "it is not traced", 20)
        if self.capabilities:
            self.assertEqual(int(procfs.status(child.pid, "CapEff"), 16), 1 << 10)
        _, errors = self.answers(self.send_all(child))
        self.assertEqual(set(errors.values()), {"NotAttached"})
        tracee.say("end")
        self.assertEqual(tracee.read_pairs(30), {"euid": user, "changes": 0, "signals": 0})
        self.assertEqual(tracee.listen(30), "ended 0")

    def race(self, tracee, how, attach, late, delay, user):
        tracee.say(f"{how} {delay}")
        child = Child(tracee.listen(30), self.session)
        when = self.attach_to(child, attach, late)
        if when == BEFORE:
            self.try_all(child, one_program=how == "execute")
            execs = sum(event.kind == "exec" for event in self.assert_lost(child))
            self.assertLessEqual(execs, 3 if how == "again" else 0)
        self.assert_runs_on(tracee, child, user)
        self.assertIsNone(self.session.next_event(0), "what it does is nobody's business")
        return when

    def loop(self, mode, how, attach, user=0, once=None, reach=()):
        """reach: methods that have to come before the exec now and then."""
        tracee = self.start(mode)
        delays = Delays()
        i = 0
        # The fewest of a short run might all come at the same time.
        while i < harness.rounds(2) or (i < harness.rounds(2) + 500 and
                                        not (len(self.seen) == 3 and all(self.reached[one] for one in reach))):
            with self.round(i):
                when = (once or self.race)(tracee, how, attach, i % 8 == 0, delays.next(i), user)
            delays.learn(when)
            self.seen[when] += 1
            i += 1
        print(f"{dict(self.seen)}, in reach {dict(self.reached)}", flush=True)
        self.assertEqual(set(self.seen), {BEFORE, MEANWHILE, AFTER})
        self.assertEqual([one for one in reach if self.reached[one] == 0], [])
        self.assert_runs_free(tracee)

    def test_set_user_id_program_and_proof(self):
        self.loop(0o4755, "execute", self.by_proof, reach=("ReadMemory", "GetRegisters"))

    def test_set_user_id_program_and_polkit(self):
        self.loop(0o4755, "execute", self.by_polkit, reach=("ReadMemory", "GetRegisters"))

    def test_unreadable_program_and_proof(self):
        self.loop(0o711, "execute", self.by_proof, pwd.getpwnam(GAMES).pw_uid)

    def test_unreadable_program_and_polkit(self):
        self.loop(0o711, "execute", self.by_polkit, pwd.getpwnam(GAMES).pw_uid)

    def test_program_that_is_replaced_again_and_again_and_proof(self):
        self.loop(0o4755, "again", self.by_proof)

    def test_program_that_is_replaced_again_and_again_and_polkit(self):
        self.loop(0o4755, "again", self.by_polkit)

    def test_program_with_capabilities_and_proof(self):
        self.capabilities = True
        self.loop(0o755, "execute", self.by_proof, pwd.getpwnam(GAMES).pw_uid)

    def test_program_with_capabilities_and_polkit(self):
        self.capabilities = True
        self.loop(0o755, "execute", self.by_polkit, pwd.getpwnam(GAMES).pw_uid)

    # Who may trace a process before it hides goes on with it, as a tracer of the user's own would.

    def hide(self, tracee, how, attach, late, delay, user):
        tracee.say(f"{how} {delay}")
        child = Child(tracee.listen(30), self.session)
        when = self.attach_to(child, attach, late)
        if when == BEFORE:
            child.process.detach()
            self.session.events_until(lambda e: e.pid == child.pid and e.kind == "lost", 20)
        self.assert_runs_on(tracee, child, user)
        return when

    def test_program_that_hides_and_proof(self):
        self.loop(0o755, "hide", self.by_proof, pwd.getpwnam(GAMES).pw_uid, self.hide)

    def test_program_that_hides_and_polkit(self):
        self.loop(0o755, "hide", self.by_polkit, pwd.getpwnam(GAMES).pw_uid, self.hide)


del Policy

if __name__ == "__main__":
    harness.main()
