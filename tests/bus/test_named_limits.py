# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who reaches a limit is told which, by the name that ptraced.conf(5) or org.ptraced.Tracer1(5) has for it, and so is
the journal."""

import contextlib
import mmap
import os
import pwd
import resource
import signal
import subprocess
import sys

import client
import harness
import wire
from client import options
from policy import GAMES, NEWS, Policy, Service
from service import user_exists

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
        self.assert_told("CallersMax")
        kept.pop().close()
        self.session_of(NEWS)

    def test_of_all_and_root(self):
        """Root has places of its own, a few; what it has beyond them is of all."""
        kept = [self.session_of(user) for user in (GAMES, GAMES, NEWS, NEWS)]
        kept += [self.new_session() for _ in range(32)]
        self.assert_limit("CallersMax", self.new_session)
        kept.pop(0).client.close()
        root, games = self.connect(), self.service.connect_as(GAMES)
        self.assert_wait(lambda: self.finds_place(root), "the place is found to be free")
        self.assert_limit("CallersMax", games.create_session)
        kept.pop().client.close()
        self.assert_wait(lambda: self.finds_place(games), "root has no more than its own")

    def finds_place(self, one):
        try:
            return one.create_session()
        except wire.Error as e:
            self.assertEqual(e.name, client.ERROR + "LimitExceeded")
            return None

    def test_large_call_is_not_kept_for_who_has_no_place(self):
        kept = [self.session_of(user) for user in (GAMES, GAMES, NEWS, NEWS)]
        self.assert_limit("CallersMax", self.connect().manager.call, "ListSessions", "ay", bytes(5000))
        self.assertEqual(len(self.connect().list_sessions()), len(kept))


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

    def test_calls(self):
        tracee, theirs = self.tracee_of(GAMES), self.session_of(NEWS, lifetime="persistent")
        session = self.session_of(GAMES)
        process = session.attach(tracee.pid)
        for name, most, method, function in (
                ("LargeCallKiBMax", "about 1792 KiB", "WriteMemory",
                 lambda: process.call("WriteMemory", "tay", 0, bytes(4 << 20))),
                ("CallRangesMax", "4096 ranges", "ReadMemoryFD",
                 lambda: process.call("ReadMemoryFD", "a(tt)", [(0, 1)] * 4097)),
                ("CallKiBMax", "about 64 KiB", "ListSessions",
                 lambda: session.client.manager.call("ListSessions", "ay", bytes(100 << 10))),
                ("CallKiBMax", "about 64 KiB", "AttachProcess",
                 lambda: session.attach(tracee.pid, syscalls=wire.Variant("at", [0] * 10000))),
                ("ContinueKiBMax", "about 4 KiB", "Continue",
                 lambda: session.call("Continue", "a{sv}", options(mode="x" * 10000))),
                ("PermitKiBMax", "about 4 KiB", "Close",
                 lambda: session.client.session(theirs.id).call("Close", "ay", bytes(5000)))):
            with self.subTest(name):
                error = self.assert_limit(name, function)
                self.assertIn(f"no more than {most} in a call of {method}; ", error.message)

    def test_observer_of_what_is_its_own(self):
        tracee = self.tracee_of(NEWS)
        process = self.session_of(NEWS).attach(tracee.pid, access="observe")
        def refusal():
            try:
                process.interrupt()
            except wire.Error as e:
                self.assertEqual(e.name, client.ERROR + "LimitExceeded")
                return e.message
            return ""
        self.assert_wait(lambda: "The limit HoldMSecMax is reached: no more than 1000 " in refusal(), "its time is over")

    def test_open_files_of_the_keeper(self):
        """What the tracers get by with, which have the same limit, is little for so many of them."""
        session = self.session_of(GAMES)
        session.attach(self.tracee_of(GAMES).pid)
        keeper = self.service.keeper.pid
        before = resource.prlimit(keeper, resource.RLIMIT_NOFILE)
        resource.prlimit(keeper, resource.RLIMIT_NOFILE, (128, before[1]))
        try:
            error = self.first_refusal(session)
        finally:
            resource.prlimit(keeper, resource.RLIMIT_NOFILE, before)
        self.assertEqual(error.name, client.ERROR + "LimitExceeded", error.message)
        self.assertIn("The limit LimitNOFILE= of the keeper's unit is reached: ", error.message)
        self.assert_told("LimitNOFILE=")
        session.attach(self.tracee_of(GAMES, "last").pid)

    def first_refusal(self, session):
        for _ in range(64):
            tracee = self.tracee("program", folder=self.scratch, user=pwd.getpwnam(GAMES))
            try:
                session.attach(tracee.pid)
            except wire.Error as e:
                return e
        raise AssertionError("nothing is refused")


# Whom every Debian has; those of the tests come first.
CROWD = (GAMES, NEWS, "daemon", "bin", "sys", "man", "lp", "mail", "uucp")


class CrowdService(Service):
    rules = ObservingService.rules


class OfManyUsers(Named):
    service_class = CrowdService

    def setUp(self):
        if any(not user_exists(user) for user in CROWD):
            self.skipTest(f"one of the users {', '.join(CROWD)} is missing")
        super().setUp()
        self.victim = self.tracee_of(GAMES, "watched", source="holds-patterns", args=(2048,))
        self.address = int(dict(word.split("=") for word in self.victim.words[1:])["pattern"])

    def observe(self, user):
        return self.session_of(user).attach(self.victim.pid, access="observe")

    def flood(self, user, n, member, *args):
        """Returns when all is answered, which nobody reads."""
        process = self.observe(user)
        serials = [process.send(member, *args) for _ in range(n)]
        if not hasattr(self, "roots"):
            self.roots = self.new_session().attach(self.victim.pid)
        self.roots.list_threads() # the tracer answers in order
        return process, serials

    def refusals(self, process, serials):
        for serial in serials:
            try:
                for value in process.client.reply(serial):
                    if isinstance(value, int):
                        os.close(value)
            except wire.Error as e:
                self.assertEqual(e.name, client.ERROR + "LimitExceeded")
                yield e.message

    def assert_unread(self, users, limit, n, member, *args):
        """Of the last one."""
        floods = [self.flood(user, n, member, *args) for user in users]
        messages = [list(self.refusals(*flood)) for flood in floods]
        self.assertTrue(messages[-1], "it has read all in time")
        self.assertIn(limit, messages[-1][0])

    def test_descriptors_that_one_leaves_unread(self):
        self.assert_unread([GAMES], "The limit UnreadFDMax is reached: no more than 12 ", 60, "ReadMemoryFD", "a(tt)",
                           [(self.address, 4096)])
        self.assert_told("UnreadFDMax")

    def test_descriptors_that_all_leave_unread(self):
        self.assert_unread(CROWD[:5], "The limit AllUnreadFDMax is reached: no more than 48 ", 30, "ReadMemoryFD", "a(tt)",
                           [(self.address, 4096)])

    def test_bytes_that_one_leaves_unread(self):
        self.assert_unread([GAMES], "The limit UnreadKiBMax is reached: no more than 16384 KiB ", 40, "ReadMemory", "tt",
                           self.address, 1 << 20)

    def test_bytes_that_all_leave_unread(self):
        self.assert_unread(CROWD[:6], "The limit AllUnreadKiBMax is reached: no more than 98304 KiB ", 24, "ReadMemory", "tt",
                           self.address, 1 << 20)

    def test_users_of_one_tracer(self):
        for user in CROWD[:8]:
            self.observe(user)
        self.assert_limit("TracerUsersMax", self.observe, CROWD[8])
        self.new_session().attach(self.victim.pid) # whom nobody keeps out


del Policy, Named

if __name__ == "__main__":
    harness.main()
