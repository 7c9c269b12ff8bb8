# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who reaches a limit is told which, by its name in ptraced.conf where it has one, and so is the journal."""

import contextlib
import mmap
import os
import signal
import subprocess
import sys

import client
import harness
import wire
from client import options
from policy import GAMES, NEWS, Policy, Service

DROP_IN = """
mount -t tmpfs tmpfs /run
mkdir -p /run/ptraced/ptraced.conf.d
cp "$0" /run/ptraced/ptraced.conf.d/test.conf
exec "$@"
"""

MANY_MAPS = """
import ctypes, mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
c = ctypes.CDLL(None)
for _ in range(50000):
    c.mmap(None, ctypes.c_size_t(mmap.PAGESIZE), mmap.PROT_READ, mmap.MAP_PRIVATE, fd, ctypes.c_long(0))
print("ready", flush=True)
sys.stdin.read()
"""


class ConfiguredService(Service):
    """With what a drop-in of /run sets."""

    limits = {}

    def broker_command(self):
        with open(self.path("limits.conf"), "w") as f:
            f.write("[Limits]\n" + "".join(f"{name}={value}\n" for name, value in self.limits.items()))
        return ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-ec", DROP_IN, self.path("limits.conf"),
                *super().broker_command()]


class Named(Policy):
    """What the tests of it share."""

    def assert_limit(self, name, function, /, *args, **kwargs):
        error = self.assert_error("LimitExceeded", function, *args, **kwargs)
        self.assertRegex(error.message, rf"\b{name}\b")
        return error

    def assert_told(self, name):
        """Of a first refusal, which has an entry."""
        self.assert_wait(lambda: any(" is refused " in line and name in line for line in self.log().splitlines()),
                         f"the journal is told of {name}")

    def log(self):
        return self.service.daemons.logs()["broker.log"]


class OfUsers(Named):
    class service_class(ConfiguredService):
        limits = {"TraceesMax": 2, "SessionsPerMinuteMax": 3, "QuestionsMax": 1}

    def test_processes(self):
        session = self.session_of(GAMES)
        for name in ("a", "b"):
            session.attach(self.tracee_of(GAMES, name).pid)
        self.assert_limit("TraceesMax", session.attach, self.tracee_of(GAMES, "c").pid)
        self.assert_told("TraceesMax")

    def test_new_sessions(self):
        for _ in range(3):
            self.session_of(GAMES).close()
        self.assert_limit("SessionsPerMinuteMax", self.session_of, GAMES)
        self.assert_told("SessionsPerMinuteMax")
        self.session_of(NEWS)

    def test_questions(self):
        tracee, session = self.tracee_of(GAMES), self.session_of(GAMES)
        os.kill(self.service.polkit.pid, signal.SIGSTOP)
        try:
            first = session.send("AttachProcess", "ua{sv}", tracee.pid, options())
            self.assert_limit("QuestionsMax", session.attach, tracee.pid)
            self.assert_told("QuestionsMax")
        finally:
            os.kill(self.service.polkit.pid, signal.SIGCONT)
        session.client.reply(first)


class OfTracers(Named):
    class service_class(ConfiguredService):
        limits = {"TracersMax": 1, "ThreadsMax": 3, "BreakpointsMax": 1, "CallsMax": 4, "FlightKiBMax": 64,
                  "TracerCallsMax": 3}
        broker_options = ("--tracer-timeout=60",)

    @contextlib.contextmanager
    def held(self, tracee):
        """The tracer takes nothing meanwhile."""
        tracer = self.service.tracer_of(tracee.pid)
        os.kill(tracer, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(tracer, signal.SIGCONT)

    def attached(self):
        tracee, session = self.tracee_of(GAMES), self.session_of(GAMES)
        return tracee, session, session.attach(tracee.pid)

    def test_tracers(self):
        _, session, _ = self.attached()
        self.assert_limit("TracersMax", session.attach, self.tracee_of(GAMES, "second").pid)
        self.assert_told("TracersMax")

    def test_threads(self):
        tracee = self.tracee_of(GAMES, source="many-threads", args=(10,))
        self.assert_limit("ThreadsMax", self.session_of(GAMES).attach, tracee.pid)
        self.assert_told("ThreadsMax")

    def test_breakpoints(self):
        tracee, _, process = self.attached()
        with open(f"/proc/{tracee.pid}/maps") as f:
            text = next(int(line.split("-")[0], 16) for line in f if " r-xp " in line)
        process.add_breakpoint(text)
        self.assert_limit("BreakpointsMax", process.add_breakpoint, text)
        self.assert_told("BreakpointsMax")

    def test_calls(self):
        tracee, session, process = self.attached()
        with self.held(tracee):
            serials = [process.send("ListThreads") for _ in range(4)]
            self.assert_limit("CallsMax", process.list_threads)
            self.assert_told("CallsMax")
        for serial in serials:
            session.client.reply(serial)

    def test_what_is_under_way(self):
        tracee, session, process = self.attached()
        with self.held(tracee):
            first = process.send("WriteMemory", "tay", 0, bytes(40 * 1024))
            self.assert_limit("FlightKiBMax", process.call, "WriteMemory", "tay", 0, bytes(40 * 1024))
            self.assert_told("FlightKiBMax")
        self.assert_error("BadAddress", session.client.reply, first)

    def test_calls_that_several_tracers_answer(self):
        tracee, session, _ = self.attached()
        with self.held(tracee):
            serials = [session.send("Interrupt") for _ in range(3)]
            self.assert_limit("TracerCallsMax", session.interrupt)
            self.assert_told("TracerCallsMax")
        for serial in serials:
            session.client.reply(serial)
        session.continue_()


class OfSessions(Named):
    class service_class(ConfiguredService):
        limits = {"SubscribersMax": 1, "WaitersMax": 2}

    def test_subscribers(self):
        session = self.session_of(GAMES, lifetime="persistent")
        session.call("Subscribe")
        again = self.service.connect_as(GAMES).session(session.id)
        self.assert_limit("SubscribersMax", again.call, "Subscribe")
        self.assert_told("SubscribersMax")
        session.call("Unsubscribe")
        again.call("Subscribe")

    def test_waiters(self):
        session = self.session_of(GAMES, queue=True)
        for _ in range(2):
            session.send("GetEvent", "t", 60000000)
        self.assert_limit("WaitersMax", session.get_event, 60000000)
        self.assert_told("WaitersMax")


class OfPrograms(Named):
    class service_class(ConfiguredService):
        limits = {"CallersMax": 4, "UserCallersMax": 2}

    def test_of_one_user(self):
        kept = [self.session_of(GAMES) for _ in range(2)]
        self.assert_limit("UserCallersMax", self.session_of, GAMES)
        self.assert_told("UserCallersMax")
        kept.pop().close()
        self.session_of(GAMES)

    def test_of_all(self):
        kept = [self.session_of(user) for user in (GAMES, GAMES, NEWS, NEWS)]
        self.assert_limit("CallersMax", self.session_of, NEWS)
        self.assert_limit("CallersMax", self.new_session)
        self.assertEqual(len(kept), 4)


class OfProgramsThatWait(Named):
    class service_class(ConfiguredService):
        limits = {"UserCallersMax": 2}

    def test_of_one_user(self):
        """They have nothing, and have to be remembered all the same; twice as many may be."""
        session = self.session_of(NEWS, lifetime="persistent")
        os.kill(self.service.polkit.pid, signal.SIGSTOP)
        try:
            for _ in range(4):
                one = self.service.connect_as(GAMES)
                one.manager.send("ListSessions") # polkit is asked for those of others
            self.assert_wait(lambda: self.is_one_too_many(session), "all have come")
        finally:
            os.kill(self.service.polkit.pid, signal.SIGCONT)

    def is_one_too_many(self, session):
        one = self.service.connect_as(GAMES)
        with self.assertRaises(wire.Error) as caught:
            one.manager.call("GetSession", "s", session.id) # which is another user's
        one.close()
        return caught.exception.name == client.ERROR + "LimitExceeded" and "UserCallersMax" in caught.exception.message


class ObservingService(ConfiguredService):
    limits = {"ObserveMSecMax": 1}
    rules = Service.rules + """
    if (action.id == "org.ptraced.Tracer1.observe-other" && action.lookup("executable").indexOf("/watched") >= 0)
        return polkit.Result.YES;
    """


class OfObservers(Named):
    service_class = ObservingService

    def test_time_for_what_is_not_their_own(self):
        process = self.session_of(NEWS).attach(self.tracee_of(GAMES, "watched").pid, access="observe")
        self.assert_wait(lambda: "ObserveMSecMax" in self.refusal_of(process.interrupt), "it has none left")
        self.assert_told("ObserveMSecMax")

    def refusal_of(self, function):
        """Some comes back while the process runs."""
        try:
            function()
        except wire.Error as e:
            self.assertEqual(e.name, client.ERROR + "LimitExceeded")
            return e.message
        return ""


class OfMessages(Named):
    """What one message or answer can hold."""

    def test_arguments(self):
        tracee = self.tracee_of(GAMES, args=["x" * 100000] * 11)
        process = self.session_of(GAMES).attach(tracee.pid)
        self.assert_limit("CommandLineMax", process.call, "GetCommandLine")
        self.assert_told("CommandLineMax")

    def test_maps(self):
        path = os.path.join(self.scratch, "a-name-that-is-long-" + "x" * 180)
        with open(path, "wb") as f:
            f.write(bytes(mmap.PAGESIZE))
        with subprocess.Popen([sys.executable, "-c", MANY_MAPS, path], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as program:
            self.assertEqual(program.stdout.readline(), b"ready\n")
            process = self.new_session().attach(program.pid)
            error = self.assert_limit("MapsMax", process.call, "ReadMaps")
            self.assert_told("MapsMax")
            os.close(process.call("OpenMaps"))
            process.detach()
            program.communicate()
        self.assertIn("OpenMaps", error.message)

    def test_call(self):
        one = self.service.connect_as(GAMES)
        error = self.assert_error("LimitExceeded", one.manager.call, "ListSessions", "ay", bytes(4 << 20))
        self.assertIn("The limit of what a call carries is reached: ListSessions can be called with about 1792 KiB",
                      error.message)

    def test_answers_that_nobody_reads(self):
        tracee = self.tracee_of(GAMES)
        session = self.session_of(GAMES)
        process = session.attach(tracee.pid)
        with open(f"/proc/{tracee.pid}/maps") as f:
            text = next(int(line.split("-")[0], 16) for line in f if " r-xp " in line)
        serials = [process.send("ReadMemoryFD", "a(tt)", [(text, 4096)]) for _ in range(100)]
        messages = []
        for serial in serials:
            try:
                os.close(session.client.reply(serial)[0])
            except wire.Error as e:
                self.assertEqual(e.name, client.ERROR + "LimitExceeded")
                messages.append(e.message)
        self.assertTrue(messages, "it has read all in time")
        self.assertRegex(messages[0], r"The limit of unread answers is reached: user \d+ has \d+ KiB and \d+ descriptors, "
                                      r"and no more than 16384 KiB and 12 may be unread now")


del Policy, Named

if __name__ == "__main__":
    harness.main()
