# SPDX-License-Identifier: LGPL-2.1-or-later
"""Files of memory that a user keeps, which are the service's memory, whoever has let go of what."""

import mmap
import os
import signal
import subprocess
import time

import client
import harness
import polkit
import procfs
import wire
from client import options
from policy import GAMES, NEWS, ConfiguredService, Policy


class FilesService(ConfiguredService):
    limits = {"KeptMiBMax": 8}
    broker_options = ("--tracer-timeout=5",)


class Keeping(Policy):
    """Files of memory, which take the service's while anybody has them."""

    service_class = FilesService
    SIZE = 3 << 20

    def setUp(self):
        super().setUp()
        self.session = self.session_of(GAMES)
        self.process, self.address = self.attach(self.session, "program")
        self.fds = set()
        self.addCleanup(self.close)

    def attach(self, session, name, **kwargs):
        tracee = self.tracee_of(GAMES, name, source="holds-patterns", args=(self.SIZE >> 10,))
        words = dict(word.split("=") for word in tracee.words[1:])
        return session.attach(tracee.pid, **kwargs), int(words["pattern"])

    def close(self):
        while self.fds:
            os.close(self.fds.pop())

    def read(self, size=SIZE, process=None):
        fd = (process or self.process).call("ReadMemoryFD", "a(tt)", [(self.address, size)])
        self.fds.add(fd)
        return fd

    def snapshot(self, process=None, **values):
        fd = (process or self.process).call("Snapshot", "a{sv}", options(**values))
        self.fds.add(fd)
        return fd

    def assert_full(self, function, *args, **kwargs):
        error = self.assert_error("LimitExceeded", function, *args, **kwargs)
        self.assertIn("The limit KeptMiBMax is reached", error.message)

    @staticmethod
    def kept(who):
        return next(used for name, _, used, _ in who.manager.call("ListLimits") if name == "KeptMiBMax")

    def has_room(self, *args):
        try:
            os.close(self.read(*args))
        except wire.Error as e:
            self.assertIn("KeptMiBMax", e.message)
            return False
        self.fds.clear()
        return True


class Files(Keeping):
    def test_what_a_user_keeps_is_bounded_and_closing_makes_room(self):
        for _ in range(2):
            self.read()
        self.assert_full(self.read)
        self.read(1 << 20)
        self.read(1)
        self.assert_full(self.read, 1)
        self.assert_full(self.snapshot)
        self.assertEqual([self.kept(one) for one in (self.session.client, self.connect(), self.service.connect_as(NEWS))],
                         [8, 8, 0])
        self.assertEqual(len(self.process.call("ReadMemory", "tt", self.address, 4)), 4)  # that is no file
        self.close()
        self.assert_wait(lambda: self.kept(self.session.client) == 0, "all is free again")
        self.assertTrue(self.has_room())

    def test_who_lets_go_and_comes_again_has_no_more(self):
        for _ in range(2):
            self.read()
        self.process.detach()
        self.session.close()
        self.session.client.close()
        session = self.session_of(GAMES)
        process, self.address = self.attach(session, "second")
        self.assert_full(self.read, process=process)
        self.close()
        self.process = process
        self.assert_wait(self.has_room, "there is room again")

    def test_mapping_that_is_kept_counts(self):
        fd = self.read()
        mapping = mmap.mmap(fd, mmap.PAGESIZE, prot=mmap.PROT_READ)
        self.read()
        self.close()
        self.assert_wait(lambda: self.has_room(4 << 20), "one has gone")
        self.assertFalse(self.has_room(6 << 20))
        mapping.close()
        self.assert_wait(lambda: self.has_room(6 << 20), "the other has gone too")

    def test_small_files_have_a_bound_too(self):
        for _ in range(8):
            self.read(1)
        self.assert_full(self.read, 1)

    def test_another_user_has_his_own(self):
        for _ in range(2):
            self.read()
        self.assert_full(self.read)
        theirs = self.session_of(NEWS)
        process, self.address = self.attach(theirs, "allowed")
        for _ in range(2):
            self.read(process=process)
        self.assert_full(self.read, process=process)

    def test_root_is_not_counted(self):
        process, self.address = self.attach(self.new_session(), "second")
        for _ in range(4):
            self.read(process=process)
        for _ in range(9):
            self.snapshot(process)

    def test_what_is_under_way_counts(self):
        """A tracer fills the file before it answers."""
        session = self.session_of(GAMES)
        other, address = self.attach(session, "second")
        tracer = self.service.tracer_of(self.process.pid)
        self.assertNotEqual(tracer, self.service.tracer_of(other.pid))
        os.kill(tracer, signal.SIGSTOP)
        try:
            first = self.process.send("ReadMemoryFD", "a(tt)", [(self.address, self.SIZE)] * 2)
            self.assert_full(self.process.call, "ReadMemoryFD", "a(tt)", [(self.address, self.SIZE)])
            self.assert_full(other.call, "ReadMemoryFD", "a(tt)", [(address, self.SIZE)])
            self.assert_error("TimedOut", self.session.client.reply, first, timeout=60)
            # It may still be filled.
            self.assert_full(other.call, "ReadMemoryFD", "a(tt)", [(address, self.SIZE)])
        finally:
            os.kill(tracer, signal.SIGCONT)
        self.assert_wait(lambda: self.outcome(self.process.list_threads) is None, "it answers again", timeout=30)
        self.address = address
        self.read(process=other)

    def test_what_has_timed_out_ends_with_any_later_answer(self):
        """Here with that of the session's end, at a tracer that goes on for another session."""
        session = self.session_of(GAMES)
        other, address = self.attach(session, "second")
        session.attach(self.process.pid)
        tracer = self.service.tracer_of(self.process.pid)
        os.kill(tracer, signal.SIGSTOP)
        try:
            serial = self.process.send("ReadMemoryFD", "a(tt)", [(self.address, self.SIZE)] * 2)
            self.assert_error("TimedOut", self.session.client.reply, serial, timeout=60)
            self.assert_full(other.call, "ReadMemoryFD", "a(tt)", [(address, self.SIZE)])
        finally:
            os.kill(tracer, signal.SIGCONT)
        self.session.close()
        self.address = address
        self.read(process=other)

    def outcome(self, function):
        try:
            function()
        except wire.Error as e:
            self.assertEqual(e.name, client.ERROR + "TimedOut")
            return e
        return None

    def test_answer_that_is_too_much_is_not_passed_on(self):
        """Only the tracer knows how many threads there are."""
        tracee = self.tracee_of(GAMES, "threads", source="many-threads", args=(1000,))
        process = self.session.attach(tracee.pid)
        self.assertGreater(os.fstat(self.snapshot(process)).st_size, 2 << 20)
        self.close()
        self.assert_wait(lambda: self.has_room(8 << 20), "it has gone")
        for _ in range(2):
            self.read()
        before = procfs.descriptors(self.service.broker.pid)
        self.assert_full(self.snapshot, process)
        self.assert_wait(lambda: procfs.descriptors(self.service.broker.pid) <= before, "the broker has closed it")
        self.snapshot()  # there would have been room for what one may take


class LeavingFilesService(FilesService):
    broker_options = ("--idle-exit=1",)


class FilesOfWhoHasLeft(Keeping):
    service_class = LeavingFilesService

    def test_service_stays_while_they_are_kept(self):
        """The next one would know nothing of them."""
        for _ in range(2):
            self.read()
        self.session.close()
        self.service.close_clients()
        time.sleep(3)  # a second is its time
        self.assertIsNone(self.service.broker.poll())
        session = self.session_of(GAMES)
        process, self.address = self.attach(session, "second")
        self.assert_full(self.read, process=process)
        session.close()
        self.service.close_clients()
        self.close()
        self.assert_wait(lambda: self.service.broker.poll() is not None, "it ends")
        self.assertEqual(self.service.broker.returncode, 0)
        self.service.start_broker()  # which the end of the test looks at


class FewWatchesService(FilesService):
    def broker_command(self):
        """In a user name space where there are but two, and in another in which it is itself again."""
        command = super().broker_command()
        at = command.index(self.daemons.paths["ptraced"])
        script = 'echo 2 >/proc/sys/user/max_inotify_watches; exec unshare --user --map-user="$0" "$@"'
        return [*command[:at], "unshare", "--user", "--map-root-user", "/bin/sh", "-ec", script,
                str(self.user.pw_uid), *command[at:]]


class FewWatches(Policy):
    service_class = FewWatchesService

    def setUp(self):
        if reason := polkit.missing() or self.missing():
            self.skipTest(reason)
        super().setUp()

    @staticmethod
    def missing():
        made = subprocess.run(["unshare", "--user", "--map-root-user", "true"], user=GAMES, capture_output=True, text=True)
        return made.returncode != 0 and "who is not root cannot make a user name space: " + made.stderr.strip()

    def test_file_that_cannot_be_watched_is_not_given_away(self):
        tracee = self.tracee_of(GAMES, source="holds-patterns", args=(64,))
        process = self.session_of(GAMES).attach(tracee.pid)
        address = int(dict(word.split("=") for word in tracee.words[1:])["pattern"])
        call = ("ReadMemoryFD", "a(tt)", [(address, 4096)])
        fds = [process.call(*call) for _ in range(2)]
        error = self.assert_error("LimitExceeded", process.call, *call)
        self.assertIn("max_user_watches", error.message)
        for fd in fds:
            os.close(fd)
        self.assert_wait(lambda: self.is_given(process, call), "there is room again")

    def is_given(self, process, call):
        try:
            os.close(process.call(*call))
        except wire.Error as e:
            self.assertIn("max_user_watches", e.message)
            return False
        return True


del Keeping, Policy

if __name__ == "__main__":
    harness.main()
