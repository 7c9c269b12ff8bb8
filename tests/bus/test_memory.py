# SPDX-License-Identifier: LGPL-2.1-or-later
"""A process's memory, maps, mapped files and command line, read and written while it runs."""

import array
import fcntl
import mmap
import os
import pwd
import signal
import struct
import threading
import time

import harness
import procfs
import wire
from service import UNPRIVILEGED, EmbeddedService

INVALID_ARGS = "org.freedesktop.DBus.Error.InvalidArgs"
KIB = 1024
MIB = 1024 * KIB
PAGE = 4096
AT_ENTRY = 9
GONE = ("org.ptraced.Tracer1.Error.NotAttached", "org.ptraced.Tracer1.Error.NoSuchProcess")

F_ADD_SEALS, F_GET_SEALS = 1033, 1034
SEALED = 0x1 | 0x2 | 0x4 | 0x8  # seal, shrink, grow, write


def pattern(size):
    """What the tracee holds-patterns has in its memory."""
    return array.array("I", (i * 2654435761 & 0xFFFFFFFF for i in range(size // 4))).tobytes()


class Process:
    """The Process object's methods about memory."""

    def __init__(self, case, process):
        self.case = case
        self.object = process
        self.call = process.call
        self.get = process.get

    def read(self, address, size):
        return self.call("ReadMemory", "tt", address, size)

    def ranges(self, *ranges):
        return self.call("ReadMemoryRanges", "a(tt)", list(ranges))

    def write(self, address, data):
        return self.call("WriteMemory", "tay", address, data)

    def descriptor(self, *call):
        """What the call passes; it ends with the test."""
        fd = self.call(*call)
        self.case.addCleanup(os.close, fd)
        return fd

    def memfd(self, *ranges):
        return self.descriptor("ReadMemoryFD", "a(tt)", list(ranges))

    def open(self, mode):
        return self.descriptor("OpenMemory", "s", mode)

    def mapped(self, address, offset, size):
        return self.call("ReadMappedFile", "ttt", address, offset, size)


class Memory:
    SIZE = 3 * MIB

    def start(self, *arguments, size=SIZE):
        """A tracee with its addresses, and its Process object."""
        tracee = self.tracee("holds-patterns", size // KIB, *arguments)
        at = {key: int(value) for key, _, value in (word.partition("=") for word in tracee.words[1:])}
        return tracee, at, Process(self, self.new_session().attach(tracee.pid))

    def read_fd(self, fd):
        """All of it, the message's position left alone."""
        data = b""
        while part := os.pread(fd, MIB, len(data)):
            data += part
        return data

    # Reading.

    def test_read(self):
        tracee, at, process = self.start()
        expected = pattern(self.SIZE)
        for offset, size in ((0, 1), (0, 8), (3, 70001), (PAGE - 1, 2), (MIB + 5, MIB), (self.SIZE - 1, 1)):
            with self.subTest(offset=offset, size=size):
                self.assertEqual(process.read(at["pattern"] + offset, size), expected[offset:offset + size])
        self.assertEqual(process.object.list_threads(), {tracee.pid: "running"})
        self.assertIn(tracee.state(), "SR")

    def test_read_while_its_threads_stand(self):
        tracee, at, process = self.start(size=64 * KIB)
        process.object.interrupt()
        self.assert_all_stopped(tracee)
        self.assertEqual(process.read(at["pattern"], 64 * KIB), pattern(64 * KIB))
        self.assert_all_stopped(tracee)

    def test_partial_read_says_how_far_it_got(self):
        _, at, process = self.start(size=64 * KIB)
        # What has no access and what is read-only can be read; the hole ends it.
        self.assertEqual(len(process.read(at["none"] - 10, MIB)), 10 + 2 * PAGE)
        self.assertEqual(len(process.read(at["hole"] - 1, 2)), 1)
        error = self.assert_error("BadAddress", process.read, at["hole"], 1)
        self.assertIn(hex(at["hole"]), error.message)
        self.assertIn(str(process.object.pid), error.message)

    def test_many_ranges(self):
        _, at, process = self.start()
        expected = pattern(self.SIZE)
        ranges = [(at["pattern"] + i * 701, i % 300 + 1) for i in range(4096)]
        answers = process.ranges(*ranges)
        self.assertEqual(answers, [expected[i * 701:i * 701 + size] for i, (_, size) in enumerate(ranges)])

    def test_one_bad_range_does_not_spoil_the_others(self):
        _, at, process = self.start(size=64 * KIB)
        answers = process.ranges((at["pattern"], 4), (at["hole"], 100), (at["hole"] - 3, 100), (2**63, 8),
                                 (at["pattern"] + 4, 4))
        expected = pattern(8)
        self.assertEqual([len(answer) for answer in answers], [4, 0, 3, 0, 4])
        self.assertEqual((answers[0], answers[4]), (expected[:4], expected[4:]))
        self.assertEqual(process.ranges((at["hole"], 1)), [b""])

    # Sealed files.

    def test_sealed_file(self):
        _, at, process = self.start()
        expected = pattern(self.SIZE)
        fd = process.memfd((at["pattern"], self.SIZE), (at["pattern"] + 1, 3), (at["readonly"], PAGE))
        self.assertEqual(self.read_fd(fd), expected + expected[1:4] + bytes(PAGE))
        self.assertEqual(fcntl.fcntl(fd, F_GET_SEALS) & SEALED, SEALED)
        for change in (lambda: os.pwrite(fd, b"x", 0), lambda: os.ftruncate(fd, 0), lambda: os.ftruncate(fd, 2**30),
                       lambda: fcntl.fcntl(fd, F_ADD_SEALS, 0x8), lambda: mmap.mmap(fd, PAGE)):
            with self.assertRaises(OSError):
                change()

    def test_sealed_file_ends_where_the_first_range_is_refused(self):
        _, at, process = self.start(size=64 * KIB)
        fd = process.memfd((at["pattern"], 100), (at["hole"] - 50, 100), (at["pattern"], 100))
        self.assertEqual(os.fstat(fd).st_size, 150)
        error = self.assert_error("BadAddress", process.memfd, (at["hole"], 100), (at["pattern"], 100))
        self.assertIn(hex(at["hole"]), error.message)

    # Writing.

    def test_write(self):
        tracee, at, process = self.start()
        data = bytes(range(256)) * (MIB // 256)
        process.write(at["pattern"] + 4, data)
        self.assertEqual(process.read(at["pattern"] + 4, MIB), data)
        self.assertEqual(process.read(at["pattern"] + 4 + MIB, 8), pattern(2 * MIB)[MIB + 4:MIB + 12])
        process.write(at["pattern"], struct.pack("I", 4711))
        self.assertEqual(tracee.ask()["first"], 4711)

    def test_write_to_text(self):
        tracee, at, process = self.start(size=64 * KIB)
        self.assertEqual(tracee.ask()["value"], 0x11223344)
        where = process.read(at["text"], 32).find(struct.pack("I", 0x11223344))
        if where < 0:
            self.skipTest("this machine makes the constant of parts")
        process.write(at["text"] + where, struct.pack("I", 0x55667788))
        self.assertEqual(tracee.ask()["value"], 0x55667788)

    def test_write_that_is_refused_half_way_says_how_far_it_got(self):
        _, at, process = self.start(size=64 * KIB)
        data = b"w" * (3 * PAGE)
        error = self.assert_error("BadAddress", process.write, at["hole"] - PAGE - 100, data)
        self.assertRegex(error.message, rf"\b{PAGE + 100} of {3 * PAGE} bytes written\b")
        self.assertIn(hex(at["hole"]), error.message)
        self.assertEqual(process.read(at["hole"] - PAGE - 100, MIB), data[:PAGE + 100])
        error = self.assert_error("BadAddress", process.write, at["hole"], b"12345")
        self.assertRegex(error.message, r"\b0 of 5 bytes written\b")

    # The kernel's own file.

    def test_descriptor_of_memory(self):
        tracee, at, process = self.start()
        reader = process.open("read")
        self.assertEqual(os.pread(reader, MIB, at["pattern"] + 8), pattern(2 * MIB)[8:MIB + 8])
        with self.assertRaises(OSError):
            os.pwrite(reader, b"x", at["pattern"])
        writer = process.open("read-write")
        os.pwrite(writer, struct.pack("I", 815), at["pattern"])
        self.assertEqual(tracee.ask()["first"], 815)

    def test_unknown_mode(self):
        _, _, process = self.start(size=64 * KIB)
        for mode in ("", "write", "READ", "rw"):
            with self.subTest(mode=mode):
                error = self.assert_error(INVALID_ARGS, process.open, mode)
                self.assertIn("read-write", error.message)

    # What is mapped.

    def maps(self, tracee):
        with open(f"/proc/{tracee.pid}/maps", "rb") as f:
            return f.read()

    def test_maps(self):
        tracee, _, process = self.start(size=64 * KIB)
        self.assertEqual(process.call("ReadMaps"), self.maps(tracee))
        fd = process.descriptor("OpenMaps")
        self.assertEqual(self.read_fd(fd), self.maps(tracee))

    def mapped_file(self):
        path = os.path.join(self.scratch, "mapped\nby name")
        data = os.urandom(3 * PAGE + 100)
        with open(path, "wb") as f:
            f.write(data)
        return path, data

    def test_mapped_file(self):
        path, data = self.mapped_file()
        _, at, process = self.start(0, path, size=64 * KIB)
        os.unlink(path)
        fd = process.descriptor("OpenMappedFile", "t", at["file"] + 17)
        self.assertEqual(self.read_fd(fd), data)
        with self.assertRaises(OSError):
            os.write(fd, b"x")
        for offset, size in ((0, 1), (5, 2 * PAGE), (3 * PAGE, MIB), (len(data), 1), (2**40, 10)):
            with self.subTest(offset=offset, size=size):
                self.assertEqual(process.mapped(at["file"], offset, size), data[offset:offset + size])
        self.assertEqual(process.mapped(process.get("EntryPoint"), 0, 4), b"\x7fELF")

    def test_addresses_without_a_regular_file(self):
        _, at, process = self.start(size=64 * KIB)
        for name, wanted in (("pattern", "BadAddress"), ("hole", "BadAddress"), ("zero", "NotSupported")):
            with self.subTest(name=name):
                error = self.assert_error(wanted, process.call, "OpenMappedFile", "t", at[name])
                self.assertIn(hex(at[name]), error.message)
                self.assert_error(wanted, process.mapped, at[name], 0, 1)
        for address in (0, 2**63, 2**64 - 1):
            with self.subTest(address=address):
                self.assert_error("BadAddress", process.mapped, address, 0, 1)

    def test_auxv_and_entry_point(self):
        tracee, _, process = self.start(size=64 * KIB)
        auxv = process.call("ReadAuxv")
        with open(f"/proc/{tracee.pid}/auxv", "rb") as f:
            self.assertEqual(auxv, f.read())
        self.assertEqual(process.get("EntryPoint"), dict(struct.iter_unpack("QQ", auxv))[AT_ENTRY])

    def test_command_line(self):
        arguments = [b"64", b"0", b"/dev/zero", b"", b"with spaces", b"bytes \xff\xfe", b"", b"\n"]
        tracee = self.tracee("holds-patterns", *map(os.fsdecode, arguments))
        process = Process(self, self.new_session().attach(tracee.pid))
        answer = process.call("GetCommandLine")
        self.assertEqual(answer[1:], arguments)
        self.assertTrue(answer[0].endswith(b"/holds-patterns"), answer[0])

    def test_exec_gives_another_memory(self):
        tracee = self.tracee("exec-from-other-thread")
        session = self.new_session(queue=True)
        process = Process(self, session.attach(tracee.pid, events=["exec"]))
        old = process.open("read")
        for _ in range(3):
            entry = process.get("EntryPoint")
            before = process.read(entry, 64)
            tracee.say("go")
            tracee.listen()
            self.assertEqual(tracee.listen(), "ready")
            self.assertNotEqual(process.get("EntryPoint"), entry)
            self.assertEqual(process.read(process.get("EntryPoint"), 64), before)
            self.assertEqual(os.pread(old, 64, entry), b"")

    def test_zombie_leader(self):
        tracee = self.tracee("zombie-leader", 2)
        self.assertEqual(tracee.state(), "Z")
        process = Process(self, self.new_session().attach(tracee.pid))
        entry = process.get("EntryPoint")
        self.assertNotEqual(entry, 0)
        self.assertEqual(len(process.read(entry, 64)), 64)
        self.assertIn(b"zombie-leader", process.call("ReadMaps"))
        self.assertIn(b"zombie-leader", process.call("GetCommandLine")[0])
        self.assert_error("NotSupported", process.call, "OpenMappedFile", "t", entry)

    # What is wrong.

    def test_addresses_outside_the_address_space(self):
        _, _, process = self.start(size=64 * KIB)
        for address in (0, 8, 1 << 56, 2**63 - 1, 2**63, 2**63 + 1, 0xFFFFFFFFFF600000, 2**64 - 1):
            with self.subTest(address=hex(address)):
                error = self.assert_error("BadAddress", process.read, address, 1)
                self.assertIn(hex(address), error.message)
                self.assert_error("BadAddress", process.write, address, b"x")
                self.assert_error("BadAddress", process.memfd, (address, 1))

    def test_ranges_that_wrap_around(self):
        _, at, process = self.start(size=64 * KIB)
        for address, size in ((2**64 - 1, 2), (2**64 - 4096, 4097), (2, 2**64 - 1), (at["pattern"], 2**64 - 1)):
            with self.subTest(address=hex(address), size=size):
                self.assert_error(INVALID_ARGS, process.read, address, size)
                self.assert_error(INVALID_ARGS, process.ranges, (at["pattern"], 1), (address, size))
                self.assert_error(INVALID_ARGS, process.memfd, (at["pattern"], 1), (address, size))
        self.assert_error(INVALID_ARGS, process.write, 2**64 - 1, b"xy")
        self.assert_error(INVALID_ARGS, process.mapped, at["zero"], 2**63, 1)
        self.assert_error(INVALID_ARGS, process.mapped, at["zero"], 2**63 - 1, 2)

    def test_nothing_to_do(self):
        _, at, process = self.start(size=64 * KIB)
        here = at["pattern"]
        for call in (lambda: process.read(here, 0), lambda: process.write(here, b""), process.ranges, process.memfd,
                     lambda: process.ranges((here, 0)), lambda: process.memfd((here, 4), (here, 0)),
                     lambda: process.mapped(here, 0, 0)):
            self.assert_error(INVALID_ARGS, call)

    def test_limits(self):
        _, at, process = self.start()
        here = at["pattern"]
        for limit, call in (("MemoryMessageMax", lambda: process.read(here, MIB + 1)),
                            ("MemoryMessageMax", lambda: process.ranges((here, MIB), (here, 1))),
                            ("MemoryMessageRangesMax", lambda: process.ranges(*[(here, 1)] * 4097)),
                            ("MemoryMessageMax", lambda: process.write(here, bytes(MIB + 1))),
                            ("MemoryFDMax", lambda: process.memfd((here, 2**30), (here, 1))),
                            ("MemoryFDMax", lambda: process.memfd((here, 2**46))),
                            ("MemoryFDRangesMax", lambda: process.memfd(*[(here, 1)] * 65537)),
                            ("MemoryMessageMax", lambda: process.mapped(here, 0, MIB + 1))):
            with self.subTest(limit=limit):
                error = self.assert_error("LimitExceeded", call)
                self.assertIn(limit, error.message)
        self.assertEqual(process.read(here, 4), bytes(4))

    def test_wrong_arguments(self):
        _, at, process = self.start(size=64 * KIB)
        for member, signature, arguments in (("ReadMemory", "uu", (1, 1)), ("WriteMemory", "ts", (1, "x")),
                                             ("ReadMemoryFD", "at", ([1],)), ("OpenMemory", "", ())):
            with self.subTest(member=member):
                self.assert_error(INVALID_ARGS, process.call, member, signature, *arguments)
        self.assertEqual(len(process.read(at["pattern"], 8)), 8)

    def test_page_that_never_arrives(self):
        """Nobody waits for it: the kernel refuses to read it for another process."""
        tracee = self.tracee("page-never-arrives", ready=False)
        words = tracee.listen().split()
        if words == ["cannot"]:
            tracee.wait()
            self.skipTest("no userfaultfd for faults of the kernel's")
        page = int(words[1].partition("=")[2])
        process = Process(self, self.new_session().attach(tracee.pid))
        started = time.monotonic()
        self.assert_error("BadAddress", process.read, page, 8)
        self.assert_error("BadAddress", process.write, page, b"x")
        self.assertEqual(process.ranges((page, 8), (process.get("EntryPoint"), 8))[0], b"")
        self.assertLess(time.monotonic() - started, 5)
        tracee.say("alive")
        self.assertEqual(tracee.listen(), "alive")

    # What ends meanwhile.

    def calls(self, at):
        here = at["pattern"]
        return (("ReadMemory", "tt", here, MIB), ("ReadMemoryRanges", "a(tt)", [(here, 4)] * 100),
                ("WriteMemory", "tay", here + 4, b"word"), ("ReadMemoryFD", "a(tt)", [(here, self.SIZE)]),
                ("OpenMemory", "s", "read"), ("OpenMaps", ""), ("ReadMaps", ""), ("OpenMappedFile", "t", at["text"]),
                ("ReadMappedFile", "ttt", at["text"], 0, 4), ("ReadAuxv", ""), ("GetCommandLine", ""))

    def test_process_that_has_ended(self):
        tracee, at, process = self.start()
        tracee.kill()
        self.assert_wait(lambda: not procfs.threads(tracee.pid), "it is gone")
        for call in self.calls(at):
            with self.subTest(call=call[0]):
                self.assert_error("NotAttached", process.call, *call)

    def test_process_that_was_detached(self):
        tracee, at, process = self.start()
        process.object.detach()
        for call in self.calls(at):
            with self.subTest(call=call[0]):
                self.assert_error("NotAttached", process.call, *call)
        self.assertEqual(tracee.ask()["first"], 0)

    def test_process_that_dies_between_calls(self):
        for i in range(harness.rounds(0.05)):
            with self.round(i):
                tracee, at, process = self.start()
                killer = threading.Timer(0.002 * (i % 8), tracee.signal, (signal.SIGKILL,))
                tracee.ending = True
                killer.start()
                self.call_until_gone(process, at)
                killer.join()
                process.object.client.session(process.object.path.rpartition("/process")[0]).close()

    def call_until_gone(self, process, at):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for call in self.calls(at):
                try:
                    answer = process.call(*call)
                except wire.Error as e:
                    self.assertIn(e.name, GONE, e.message)
                    if e.name == GONE[0]:
                        return
                    continue
                if call[0].startswith("Open") or call[0].endswith("FD"):
                    os.close(answer)
        self.fail("it does not end")

    def test_no_descriptor_is_left(self):
        """In no process of ours, whether calls succeed or fail."""
        path, _ = self.mapped_file()
        tracee, at, process = self.start(0, path, size=64 * KIB)

        def use():
            for call in (("ReadMemoryFD", "a(tt)", [(at["pattern"], 8)]), ("OpenMemory", "s", "read"),
                         ("OpenMemory", "s", "read-write"), ("OpenMaps",), ("OpenMappedFile", "t", at["file"])):
                os.close(process.call(*call))
            self.assert_error("BadAddress", process.memfd, (at["hole"], 8))
            self.assert_error("NotSupported", process.mapped, at["zero"], 0, 4)
            process.read(at["pattern"], 8)

        use()
        pids = (self.service.broker.pid, self.service.tracer_of(tracee.pid))
        before = {pid: procfs.descriptors(pid) for pid in pids}
        for _ in range(harness.rounds(0.1)):
            use()
        self.assertEqual({pid: procfs.descriptors(pid) for pid in pids}, before)


class MemoryOnTheBus(Memory, harness.OnTheBus):
    def test_busctl(self):
        tracee, at, _ = self.start(size=64 * KIB)
        session = self.connect().create_session(lifetime="persistent")
        path = session.attach(tracee.pid).path
        interface = "org.ptraced.Tracer1.Process"
        self.assertEqual(bytes(self.busctl.call(path, interface, "ReadMemory", "tt", at["pattern"] + 4, 4)[0]),
                         pattern(8)[4:])
        self.busctl.call(path, interface, "WriteMemory", "tay", at["pattern"], 4, 1, 2, 3, 4)
        self.assertEqual(tracee.ask()["first"], 0x04030201)
        self.assertIn(hex(at["hole"]), self.busctl.fails(path, interface, "ReadMemory", "tt", at["hole"], 4))


class MemoryEmbedded(Memory, harness.Embedded):
    def settle(self):
        """Waits until no process of ours has anything to do."""
        def look():
            before = [procfs.context_switches(pid) for pid in self.service.daemons.running()]
            time.sleep(0.05)
            return before == [procfs.context_switches(pid) for pid in self.service.daemons.running()]

        self.assert_wait(look, "all calls are answered")

    def test_client_that_does_not_read_its_answers(self):
        """What it may leave unread has a limit, beside the 8 MiB that sd-bus gives to a socket."""
        _, at, process = self.start()
        serials = []
        for _ in range(10):
            serials += [process.object.send("ReadMemory", "tt", at["pattern"], 32 * KIB) for _ in range(200)]
            self.settle()
        refused = []
        for serial in serials:
            try:
                process.object.client.reply(serial)
            except wire.Error as e:
                self.assertEqual(e.name, "org.ptraced.Tracer1.Error.LimitExceeded")
                refused.append(e.message)
        self.assertIn("UnreadMax", "".join(refused))
        self.assertGreater(len(serials) - len(refused), 1000)
        self.assertLess(int(procfs.status(self.service.broker.pid, "VmHWM").split()[0]), 200 * KIB)
        self.assertEqual(process.read(at["pattern"], 4), bytes(4))


class UnprivilegedService(EmbeddedService):
    """As a user without any capability starts it."""

    def spawn(self, name, command, **kwargs):
        user = pwd.getpwnam(UNPRIVILEGED)
        return super().spawn(name, ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups",
                                    "--bounding-set=-all", "--inh-caps=-all", *command], **kwargs)


class MemoryUnprivileged(harness.Embedded):
    service_class = UnprivilegedService

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("not root: it takes another user's place")
        super().setUp()

    def test_all_but_mapped_files(self):
        tracee = self.tracee("holds-patterns", 64, pwd.getpwnam(UNPRIVILEGED).pw_uid)
        at = {key: int(value) for key, _, value in (word.partition("=") for word in tracee.words[1:])}
        process = Process(self, self.new_session().attach(tracee.pid))
        self.assertEqual(process.read(at["pattern"], 64 * KIB), pattern(64 * KIB))
        process.write(at["pattern"], struct.pack("I", 42))
        self.assertEqual(tracee.ask()["first"], 42)
        self.assertIn(b"holds-patterns", process.call("ReadMaps"))
        self.assertNotEqual(process.get("EntryPoint"), 0)
        for call in (("OpenMappedFile", "t", at["text"]), ("ReadMappedFile", "ttt", at["text"], 0, 4)):
            error = self.assert_error("NotPermitted", process.call, *call)
            self.assertIn("CAP_CHECKPOINT_RESTORE", error.message)


if __name__ == "__main__":
    harness.main()
