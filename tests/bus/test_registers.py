# SPDX-License-Identifier: LGPL-2.1-or-later
"""Registers by name and as raw sets, of threads that stand and of threads that don't."""

import os
import platform
import signal
import struct
import unittest

import harness
import wire
from client import ERROR
from programs import TRACEES
from wire import Variant

INVALID_ARGS = "org.freedesktop.DBus.Error.InvalidArgs"
WIDE = ("rax", "rbx", "rcx", "rdx", "rbp", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15")
NARROW = ("eax", "ebx", "ecx", "edx", "ebp", "edi", "esi")
KNOWN = 0x1010101
ONE = bytes.fromhex("0000000000000080ff3f")  # 1.0 in the x87's format
# Of struct user_regs_struct.
RBX, N_WORDS = 5, 27


def known_vector(i, size):
    return bytes((16 * i + n) & 0xff for n in range(size))


class AnyMachine:
    """What needs no known values."""

    def standing(self, name="busy-loop", *args):
        tracee = self.tracee(name, *args)
        session = self.new_session()
        process = session.attach(tracee.pid, stop=True)
        return tracee, session, process, process.thread(tracee.pid)

    def test_architecture(self):
        tracee = self.tracee("many-threads", 2)
        process = self.new_session().attach(tracee.pid)
        self.assertEqual(process.get("Architecture"), platform.machine())
        process.interrupt()
        self.assertEqual(process.get("Architecture"), platform.machine())

    def test_types_follow_the_size(self):
        thread = self.standing()[3]
        registers = thread.call("GetRegisters")
        self.assertGreater(len(registers), 30)
        for name, value in registers.items():
            with self.subTest(register=name):
                self.assertIn(value.signature, ("t", "ay"))
                if value.signature == "ay":
                    self.assertGreater(len(value.value), 8)

    def test_running_thread_is_not_stopped(self):
        tracee = self.tracee("busy-loop", 1)
        process = self.new_session().attach(tracee.pid)
        thread = process.thread(tracee.pid)
        for function, *args in ((thread.registers,), (thread.register_set, "general"),
                                (thread.set_register_set, "general", bytes(216))):
            with self.subTest(function=function.__name__):
                error = self.assert_error("NotStopped", function, *args)
                self.assertIn(f"Thread {tracee.pid} of process {tracee.pid} is running", error.message)
        self.assert_error("NotStopped", thread.set_registers)
        self.assertEqual((thread.get("ProgramCounter"), thread.get("StackPointer")), (0, 0))
        process.interrupt()
        thread.registers()
        process.continue_()
        self.assert_error("NotStopped", thread.registers)

    def test_stop_of_another_session_is_not_ours(self):
        tracee = self.tracee("many-threads", 2)
        first, second = self.new_session(), self.new_session()
        a, b = first.attach(tracee.pid), second.attach(tracee.pid)
        a.interrupt()
        a.thread(tracee.pid).registers()
        self.assert_error("NotStopped", b.thread(tracee.pid).registers)
        self.assertEqual(b.thread(tracee.pid).get("ProgramCounter"), 0)
        self.assertNotEqual(a.thread(tracee.pid).get("ProgramCounter"), 0)

    def test_thread_that_job_control_has_stopped_too(self):
        tracee = self.tracee("job-control-stopped")
        process = self.new_session().attach(tracee.pid, stop=True)
        tracee.job_control_stopped = True
        tracee.signal(signal.SIGSTOP)
        process.continue_()
        self.assert_wait(lambda: process.list_threads()[tracee.pid] == "group-stop", "job control stops it")
        self.assert_error("NotStopped", process.thread(tracee.pid).registers)
        process.interrupt()
        self.assertIn(process.thread(tracee.pid).get("ProgramCounter"),
                      process.thread(tracee.pid).registers().values())

    def test_unknown_names_are_refused_by_name(self):
        thread = self.standing()[3]
        before = thread.registers()
        error = self.assert_error("InvalidOption", thread.set_registers, nonsense=1)
        self.assertIn("nonsense", error.message)
        for function, *more in ((thread.register_set,), (thread.set_register_set, b"")):
            error = self.assert_error(INVALID_ARGS, function, "nonsense", *more)
            self.assertIn("nonsense", error.message)
            self.assertIn("'general'", error.message)
        self.assertEqual(thread.registers(), before)

    def test_set_of_wrong_size(self):
        thread = self.standing()[3]
        general = thread.register_set("general")
        for data in (b"", general[:-8], general + bytes(8)):
            with self.subTest(size=len(data)):
                error = self.assert_error(INVALID_ARGS, thread.set_register_set, "general", data)
                self.assertIn(str(len(general)), error.message)
        self.assertEqual(thread.register_set("general"), general)

    def test_thread_that_is_killed_in_between(self):
        for i in range(harness.rounds(0.1)):
            with self.round(i):
                tracee, session, _, thread = self.standing()
                serials = [thread.send("GetRegisters")]
                tracee.signal(signal.SIGKILL)
                tracee.ending = True
                serials += [thread.send("GetRegisters") for _ in range(3)]
                serials += [thread.send("SetRegisters", "a{sv}", {}), thread.send("GetRegisterSet", "s", "fp")]
                for serial in serials:
                    try:
                        session.client.reply(serial)
                    except wire.Error as e:
                        self.assertIn(e.name, [ERROR + n for n in ("NoSuchThread", "NotAttached", "NotStopped")])
                self.assertEqual(tracee.wait(), -signal.SIGKILL)
                session.close()


@unittest.skipUnless(platform.machine() == "x86_64", "the known registers are x86_64's")
class X86:
    """A program that has loaded known values."""

    def spinning(self, name="known-registers", last="r15", n=14):
        if not os.path.exists(os.path.join(TRACEES, name)):
            self.skipTest(f"there is no {name}: the compiler makes no programs of 32 bits here")
        tracee = self.tracee(name)
        process = self.new_session().attach(tracee.pid)
        thread = process.thread(tracee.pid)

        def is_there():
            process.interrupt()
            if thread.registers().get(last) == n * KNOWN:
                return True
            process.continue_()
            return False

        self.assert_wait(is_there, "it has loaded its registers")
        return tracee, process, thread

    def said(self, tracee):
        said = {}
        while (line := tracee.listen()) != "end":
            name, _, value = line.partition(" ")
            said[name] = value
        self.assertEqual(tracee.wait(), 0)
        return said

    def assert_known(self, tracee, registers, names):
        for i, name in enumerate(names, start=1):
            self.assertEqual(registers[name], i * KNOWN, name)
        self.assertEqual(registers["st0"], ONE)
        self.assertEqual(registers["fctrl"], 0x37f)
        n_vectors = 16 if names is WIDE else 8
        for i in range(n_vectors):
            self.assertEqual(registers[f"xmm{i}"], known_vector(i, 16))
            if tracee.words[1] == "avx":
                self.assertEqual(registers[f"ymm{i}"], known_vector(i, 32))
        self.assertNotIn(f"xmm{n_vectors}", registers)

    def test_registers_by_name(self):
        tracee, process, thread = self.spinning()
        registers = thread.registers()
        self.assert_known(tracee, registers, WIDE)
        self.assertEqual(process.get("Architecture"), "x86_64")
        self.assertEqual(registers["cs"], 0x33)
        self.assertEqual(registers["rip"], thread.get("ProgramCounter"))
        self.assertEqual(registers["rsp"], thread.get("StackPointer"))
        self.assertNotEqual(registers["rsp"], 0)
        self.assertNotEqual(registers["fs_base"], 0)

    def test_registers_of_a_program_of_32_bits(self):
        tracee, process, thread = self.spinning("known-registers-32", "esi", 7)
        registers = thread.registers()
        self.assert_known(tracee, registers, NARROW)
        self.assertEqual(process.get("Architecture"), "i386")
        self.assertEqual(registers["eip"], thread.get("ProgramCounter"))
        self.assertEqual(len(thread.register_set("general")), 68)
        self.assertNotIn("rax", registers)
        error = self.assert_error("InvalidOption", thread.set_registers, ebx=2**32)
        self.assertIn("ebx", error.message)
        thread.set_registers(ebx=0xcafebeef, esi=0)
        process.continue_()
        self.assertEqual(self.said(tracee)["ebx"], "cafebeef")

    def test_what_is_set_reaches_the_program(self):
        tracee, process, thread = self.spinning()
        vector = "ymm9" if tracee.words[1] == "avx" else "xmm9"
        size = 32 if vector == "ymm9" else 16
        two = bytes.fromhex("00000000000000800040")
        thread.set_registers(rbx=0xfeedfacecafebeef, st0=two, r15=0, **{vector: b"\xe7" * size})
        registers = thread.registers()
        self.assertEqual((registers["rbx"], registers["st0"]), (0xfeedfacecafebeef, two))
        process.continue_()
        said = self.said(tracee)
        self.assertEqual(said["rbx"], "feedfacecafebeef")
        self.assertEqual(said["rax"], f"{KNOWN:x}")
        self.assertEqual(said["st0"], two.hex())
        self.assertEqual(said[vector], "e7" * size)

    def test_whole_sets(self):
        tracee, process, thread = self.spinning()
        general = thread.register_set("general")
        words = list(struct.unpack(f"<{N_WORDS}Q", general))
        self.assertEqual(words[RBX], 2 * KNOWN)
        words[RBX] = 0xb0b
        words[0] = 0  # r15: lets it go on
        thread.set_register_set("general", struct.pack(f"<{N_WORDS}Q", *words))
        self.assertEqual(thread.registers()["rbx"], 0xb0b)
        fp, xstate = thread.register_set("fp"), thread.register_set("xstate")
        self.assertEqual(fp[160:416], b"".join(known_vector(i, 16) for i in range(16)))
        self.assertEqual(xstate[160:416], fp[160:416])
        changed = xstate[:160] + bytes(16) + xstate[176:]
        thread.set_register_set("xstate", changed)
        self.assertEqual(thread.registers()["xmm0"], bytes(16))
        process.continue_()
        said = self.said(tracee)
        self.assertEqual(said["rbx"], "b0b")
        self.assertTrue(said.get("ymm0", said.get("xmm0")).startswith("00" * 16))

    def test_wrong_types_and_sizes_change_nothing(self):
        _, _, thread = self.spinning()
        before = thread.registers()
        for name, value in (("rbx", Variant("u", 1)), ("rbx", Variant("s", "1")), ("rbx", b"\0" * 8),
                            ("xmm1", 7), ("xmm1", bytes(15)), ("xmm1", bytes(32)), ("st0", bytes(16)),
                            ("mxcsr", 2**32), ("fctrl", 0x10000)):
            with self.subTest(register=name, value=value):
                error = self.assert_error("InvalidOption", thread.set_registers, rax=1, **{name: value})
                self.assertIn(name, error.message)
        self.assertEqual(thread.registers(), before)

    def test_values_that_the_kernel_refuses_change_nothing(self):
        _, _, thread = self.spinning()
        before = thread.registers()
        for values in ({"rbx": 1, "fs_base": 2**63}, {"rbx": 1, "ds": 0x18}, {"rbx": 1, "mxcsr": 0xffffffff}):
            with self.subTest(values=values):
                error = self.assert_error(INVALID_ARGS, thread.set_registers, **values)
                self.assertIn("nothing was changed", error.message)
        with self.assertRaises(wire.Error):
            thread.set_register_set("xstate", b"\xff" * len(thread.register_set("xstate")))
        self.assertEqual(thread.registers(), before)

    def test_program_counter_that_is_set_into_a_call_stays(self):
        """To the instruction behind the call: were the call restarted there, the program would run the
        two bytes before."""
        tracee = self.tracee("blocked-in-read")
        process = self.new_session().attach(tracee.pid)
        thread = process.thread(tracee.pid)
        self.assert_wait(lambda: tracee.state() == "S", "it blocks")
        process.interrupt()
        registers = thread.registers()
        self.assertEqual(registers["orig_rax"], 0)
        thread.set_registers(rip=registers["rip"], rax=registers["rax"])
        self.assertEqual(thread.registers()["orig_rax"], 2**64 - 1)
        thread.set_registers(orig_rax=0)
        process.continue_()
        tracee.say("still reading")
        self.assertEqual(tracee.listen(), "still reading")


class RegistersOnTheBus(AnyMachine, harness.OnTheBus):
    pass


class RegistersEmbedded(AnyMachine, harness.Embedded):
    pass


class X86OnTheBus(X86, harness.OnTheBus):
    pass


class X86Embedded(X86, harness.Embedded):
    pass


if __name__ == "__main__":
    harness.main()
