# SPDX-License-Identifier: LGPL-2.1-or-later
"""What one user, and all together, can have the service keep, and what others notice of it."""

import collections
import contextlib
import mmap
import os
import select
import signal
import statistics
import subprocess
import time

import client
import harness
import polkit
import procfs
import wire
from client import options
from policy import ASK_ME, GAMES, NEWS, Policy, Service
from service import BUILD, WITH_US, reap, sanitized, wait_until


class ImpatientService(Service):
    broker_options = (f"--tracer-timeout={5 if sanitized() else 2}",)


class Flood(Policy):
    """What one user can have the broker keep, though a tracer takes nothing."""

    service_class = ImpatientService
    GROWTH_KIB = (32 if not sanitized() else 256) * 1024

    def setUp(self):
        super().setUp()
        self.broker = self.service.broker.pid
        self.victim = self.tracee_of(GAMES)
        self.session = self.session_of(GAMES)
        self.process = self.session.attach(self.victim.pid)
        self.tracer = self.service.tracer_of(self.victim.pid)
        self.before = procfs.resident_kib(self.broker)

    def tearDown(self):
        self.go_on()
        super().tearDown()

    def hold(self):
        os.kill(self.tracer, signal.SIGSTOP)

    def go_on(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.tracer, signal.SIGCONT)

    def assert_others_are_served(self):
        self.assertLess(procfs.resident_kib(self.broker) - self.before, self.GROWTH_KIB)
        self.session_of(NEWS).close()

    def outcomes(self, serials):
        found = collections.Counter()
        for serial in serials:
            try:
                self.session.client.reply(serial, timeout=30)
                found[None] += 1
            except wire.Error as e:
                found[e.name.removeprefix(client.ERROR)] += 1
        return found

    def test_call_that_carries_too_much_is_refused(self):
        error = self.assert_error("LimitExceeded", self.process.call, "WriteMemory", "tay", 0, bytes(4 << 20))
        self.assertIn("WriteMemory", error.message)
        self.assert_error("LimitExceeded", self.session.attach, self.victim.pid,
                          syscalls=wire.Variant("at", [0] * 10000))
        self.assert_error("LimitExceeded", self.session.client.manager.call, "ListSessions", "ay", bytes(4 << 20))
        self.assert_error("LimitExceeded", self.session.client.manager.call, "ListSessions", "aay", [b""] * 400000)
        error = self.assert_error("LimitExceeded", self.session.client.manager.call, "ListSessions", "ay", bytes(100 << 10))
        self.assertIn("64 KiB", error.message)
        self.assert_error("LimitExceeded", self.session.call, "Continue", "a{sv}", options(mode="x" * 10000))
        for member in ("ReadMemoryFD", "ReadMemoryRanges"):
            self.assert_error("LimitExceeded", self.process.call, member, "a(tt)", [(0, 1)] * 4097)
        self.assert_error("BadAddress", self.process.call, "ReadMemoryFD", "a(tt)", [(0, 1)] * 4096)
        self.assertEqual(self.process.call("ReadMemoryRanges", "a(tt)", [(0, 1)] * 4096), [b""] * 4096)
        # What is too long is not sent back.
        long = "x" * 60000
        error = self.assert_error("InvalidOption", self.session.client.create_session, **{long: True})
        self.assertLess(len(error.message), 1000)
        error = self.assert_error("org.freedesktop.DBus.Error.UnknownObject", self.session.client.call,
                                  f"{client.ROOT}/session/{long}", client.SESSION, "Close")
        self.assertLess(len(error.message), 1000)
        self.assert_others_are_served()

    def test_calls_go_on_after_one_of_who_was_not_known_that_was_too_much(self):
        """What is kept for later is looked at a second time, and has had its turn whatever becomes of it."""
        one = self.service.connect_as(GAMES)
        path = self.process.path
        os.kill(self.broker, signal.SIGSTOP)
        try: # so that all calls are there before the bus is asked whose they are
            serials = [one.send(path, client.PROCESS, "ReadMemoryRanges", "a(tt)", [(0, 1)] * 4097) if many else
                       one.manager.send("ListTracees") for many in (True, False, True, False)]
            self.service.has_name(one.connection)
        finally:
            os.kill(self.broker, signal.SIGCONT)
        for many, serial in zip((True, False, True, False), serials, strict=True):
            if many:
                self.assertIn("CallRangesMax", self.assert_error("LimitExceeded", one.reply, serial).message)
            else:
                one.reply(serial)
        one.manager.call("ListTracees")

    def test_call_that_carries_descriptors_is_refused(self):
        null = os.open(os.devnull, os.O_RDONLY)
        self.addCleanup(os.close, null)
        error = self.assert_error("org.freedesktop.DBus.Error.InvalidArgs", self.process.call, "Continue", "a{sv}",
                                  {"mode": wire.Variant("h", null)})
        self.assertIn("takes no descriptor", error.message)

    def test_what_is_under_way_to_a_tracer_that_is_held_up_is_bounded(self):
        self.hold()
        found = self.outcomes([self.process.send("WriteMemory", "tay", 0, bytes(1 << 20)) for _ in range(12)])
        self.assertEqual(set(found), {"TimedOut", "LimitExceeded"})
        self.assertLessEqual(found["TimedOut"], 8)
        # Those have not gone away: until the tracer takes them, no more are kept.
        found = self.outcomes([self.process.send("WriteMemory", "tay", 0, bytes(1 << 20))])
        self.assertLessEqual(set(found), {"TimedOut", "LimitExceeded"})
        self.assert_others_are_served()
        self.go_on()
        self.assert_wait(lambda: self.outcomes([self.process.send("ListThreads")]) == {None: 1}, "it takes calls again")

    def test_what_one_tracer_does_not_take_is_no_room_at_another(self):
        other = self.tracee_of(GAMES, "second")
        second = self.session.attach(other.pid)
        self.hold()
        found = self.outcomes([self.process.send("WriteMemory", "tay", 0, bytes(1 << 20)) for _ in range(8)])
        self.assertEqual(set(found), {"TimedOut", "LimitExceeded"})
        self.assert_error("LimitExceeded", second.call, "WriteMemory", "tay", 0, bytes(1 << 20))
        self.go_on()
        self.assert_wait(lambda: "LimitExceeded" not in self.outcomes([second.send("WriteMemory", "tay", 0, bytes(1 << 20))]),
                         "there is room again")

    def test_changes_of_mind_are_not_kept(self):
        self.hold()
        for _ in range(20):
            self.outcomes([self.session.send(method) for _ in range(100) for method in ("Unsubscribe", "Subscribe")])
        if not sanitized(): # 4,000 calls that a tracer has not taken are 5 MiB
            self.assertLess(procfs.resident_kib(self.broker) - self.before, 3 * 1024)
        self.assert_others_are_served()
        self.assertNotIn("Cannot ask tracer", self.service.daemons.logs().get("broker.log", ""))
        self.go_on()
        self.process.interrupt()
        self.session.events_until(lambda event: event.kind == "stop")


class WatchedService(Service):
    rules = Service.rules + """
    if (action.id == "org.ptraced.Tracer1.observe-other" && action.lookup("executable").indexOf("/watched") >= 0)
        return polkit.Result.YES;
    """


class Observers(Policy):
    """Of what is not their own."""

    service_class = WatchedService

    def test_who_comes_again_and_again_has_no_more_time(self):
        """Each time it is another tracer, which knows nothing of the one before."""
        session = self.session_of(NEWS)
        tracee = self.tracee_of(GAMES, "watched")
        refused = 0
        started = time.monotonic()
        for _ in range(60):
            process = session.attach(tracee.pid, access="observe")
            try:
                process.interrupt()
            except wire.Error as e:
                self.assertEqual(e.name, client.ERROR + "LimitExceeded")
                refused += 1
            process.detach()
            if refused > 0:
                break
        if refused == 0 and time.monotonic() - started > 60 * 0.1:
            self.skipTest("too slow to use it up: some of it comes back meanwhile")
        self.assertGreater(refused, 0)
        # Its own, it may stop as it likes.
        own = self.session_of(GAMES).attach(tracee.pid)
        own.interrupt()
        own.continue_()


class SystemLikeService(Service):
    """With the limits of a system bus, and the pings that the installed policy lets us send."""

    bus_limits = {"max_incoming_bytes": 133169152, "max_outgoing_bytes": 133169152, "max_incoming_unix_fds": 64,
                  "max_outgoing_unix_fds": 64, "max_replies_per_connection": 128}


class AnswersThatNobodyReads(Policy):
    """As the bus counts, the service has sent them: it would not read anything of it any more."""

    service_class = SystemLikeService

    def setUp(self):
        super().setUp()
        self.victim = self.tracee_of(GAMES, source="holds-patterns", args=(2048,))
        self.session = self.session_of(GAMES)
        self.process = self.session.attach(self.victim.pid)
        self.address = int(dict(word.split("=") for word in self.victim.words[1:])["pattern"])

    def assert_others_are_served(self):
        for _ in range(10):
            started = time.monotonic()
            one = self.session_of(NEWS)
            one.close()
            one.client.close()
            self.assertLess(time.monotonic() - started, 10)

    def flood(self, n, member, *args):
        """Nothing is read meanwhile."""
        serials = []
        for i in range(n):
            serials.append(self.process.send(member, *args))
            if i % 50 == 49:
                time.sleep(0.05)
                self.assert_others_are_served()
        return serials

    def errors_of(self, serials):
        found = collections.Counter()
        for serial in serials:
            try:
                for value in self.session.client.reply(serial, timeout=30):
                    if isinstance(value, int):
                        os.close(value)
            except wire.Error as e:
                found[e.name.removeprefix(client.ERROR)] += 1
            else:
                found[None] += 1
        return found

    def test_descriptors(self):
        found = self.errors_of(self.flood(400, "ReadMemoryFD", "a(tt)", [(self.address, 4096)]))
        self.assertGreater(found["LimitExceeded"], 0, found)
        self.assertGreater(found[None], 0, found)
        # Once read, all is well.
        self.assertEqual(self.errors_of([self.process.send("ReadMemoryFD", "a(tt)", [(self.address, 4096)])]), {None: 1})

    def test_small_answers(self):
        """Of any kind: what sd-bus itself answers, lists, errors."""
        for _ in range(30):
            for call in ((client.ROOT, client.MANAGER, "ListTracees"), (client.ROOT, client.INTROSPECTABLE, "Introspect"),
                         (client.ROOT, client.OBJECT_MANAGER, "GetManagedObjects"),
                         (self.session.path + "/nothing", client.SESSION, "Close")):
                for _ in range(250):
                    self.session.client.send(*call)
            self.assert_others_are_served()

    def test_megabytes(self):
        found = self.errors_of(self.flood(300, "ReadMemory", "tt", self.address, 1 << 20))
        self.assertGreater(found["LimitExceeded"], 0, found)

    def wait_for_all_to_be_answered(self):
        """What is answered when the client reads already, it has room for."""
        def used():
            return [procfs.cpu_ticks(pid) for pid in (self.service.broker.pid, self.service.tracer_of(self.victim.pid))]
        roots = self.new_session().attach(self.victim.pid)
        before = None
        while before != (before := used()):
            time.sleep(0.5)
            roots.list_threads() # the tracer answers in order

    def test_answers_to_pings_that_were_guessed_count_for_nothing(self):
        """The bus lets them through; who sends them has not read anything."""
        connection = self.session.client.connection
        first = self.session.client.send(client.ROOT, client.MANAGER, "ListSessions")
        while first not in connection.replies:
            connection.pump(20)
        last, broker = connection.replies[first].serial, connection.replies[first].fields[wire.SENDER]
        serials = []
        for i in range(40):
            serials.append(self.process.send("ReadMemory", "tt", self.address, 1 << 20))
            time.sleep(0.03)
            for guess in range(last + 1, last + 3 * i + 10):
                connection.send_message(wire.METHOD_RETURN, {wire.REPLY_SERIAL: guess, wire.DESTINATION: broker},
                                        wire.Writer())
        self.wait_for_all_to_be_answered()
        found = self.errors_of(serials)
        self.assertLessEqual(found[None], 18, found)
        self.assertGreater(found["LimitExceeded"], 0, found)


class Flooder:
    """Another process, which does the same over and over while it is told to."""

    def __init__(self, start):
        """start: makes what is to be done, in that process."""
        self.turns = mmap.mmap(-1, 8)
        reads, self.orders = os.pipe()
        self.answers, writes = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.orders)
            os.close(self.answers)
            self.work(start, reads, writes)
        os.close(reads)
        os.close(writes)

    def work(self, start, orders, answers):
        """At each byte it begins, or ends and says so."""
        status = 1
        try:
            turn = start()
            while os.read(orders, 1):
                while not select.select([orders], [], [], 0)[0]:
                    turn()
                    self.turns[:] = (self.count() + 1).to_bytes(8, "little")
                if os.read(orders, 1):
                    os.write(answers, b"-")
            status = 0
        finally:
            os._exit(status)

    def count(self):
        return int.from_bytes(self.turns[:], "little")

    @contextlib.contextmanager
    def going(self):
        before = self.count()
        os.write(self.orders, b"+")
        if not wait_until(lambda: self.count() > before, 20, 0.001):
            raise AssertionError("it does not come to do anything")
        yield
        os.write(self.orders, b"-")
        if not os.read(self.answers, 1):
            raise AssertionError("it has ended")

    def end(self):
        """Its exit status: 0 where all that it did went well."""
        os.close(self.orders)
        os.close(self.answers)
        return os.waitpid(self.pid, 0)[1]


class Latency(Policy):
    """What one user notices of another who calls as fast as he can. Much of that is the bus's work and the processors':
    whoever calls a service that does nothing notices it too."""

    service_class = SystemLikeService
    TURNS, MORE_TURNS = 12, 60  # without and with the flood, for what else the machine does
    SECONDS = 0.1
    IDLE, FLOODED = "org.ptraced.Idle1", "org.ptraced.Flooded1"

    def setUp(self):
        super().setUp()
        self.victim = self.service.connect_as(NEWS)
        for name in (self.IDLE, self.FLOODED):
            self.start_nothing(name)

    def start_nothing(self, name):
        process = self.service.spawn(name, [*WITH_US, os.path.join(BUILD, "tests", "bus", "does-nothing"), name],
                                     environment={"DBUS_SYSTEM_BUS_ADDRESS": self.service.address})
        self.addCleanup(reap, process, 5)
        self.assert_wait(lambda: self.victim.connection.call(
            "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "NameHasOwner", "s", name)[0],
            "it serves")

    def calls(self, destination):
        """Reads what is answered, but asks for much at a time."""
        one = self.service.connect_as(GAMES)
        one.destination = destination

        def turn():
            for serial in [one.send(client.ROOT, client.MANAGER, "GetSession", "s", "s1") for _ in range(250)]:
                self.assertRaises(wire.Error, one.reply, serial)
        return turn

    def large_calls(self, destination, signature, size):
        """Of many elements, so many bytes, which are made once."""
        one = self.service.connect_as(GAMES)
        body = wire.Writer()
        body.put("u", size)
        body.align(8)
        body.data += bytes(size)
        fields = {wire.PATH: client.ROOT, wire.INTERFACE: client.MANAGER, wire.MEMBER: "ListSessions",
                  wire.DESTINATION: destination, wire.SIGNATURE: signature}

        def turn():
            for serial in [one.connection.send_message(wire.METHOD_CALL, fields, body) for _ in range(8)]:
                self.assertRaises(wire.Error, one.reply, serial)
        return turn

    def attaches(self, tracee):
        session = self.session_of(GAMES)

        def turn():
            for serial in [session.client.manager.send("ListTracees") for _ in range(12)]:  # polkit is asked about each
                session.client.reply(serial)
            with contextlib.suppress(wire.Error):  # so many a minute
                session.attach(tracee.pid).detach()
        return turn

    def attached(self):
        tracee = self.tracee_of(NEWS)
        with polkit.acting_as(NEWS):
            fd = os.open(f"/proc/{tracee.pid}/mem", os.O_RDWR)
        self.addCleanup(os.close, fd)
        return self.session_of(NEWS).attach(tracee.pid, proof=wire.Variant("h", fd))

    def idle_service(self):
        self.victim.destination = self.IDLE
        return client.Process(self.victim, client.ROOT)

    @staticmethod
    def take(process, seconds):
        """How long a call takes, of those that follow each other for so long. A median of them would not tell: most
        are made while the flooder reads and writes, and what time it takes from us is in a few."""
        n = 0
        started = time.monotonic()
        while (taken := time.monotonic() - started) < seconds:
            process.call("ListThreads")
            n += 1
        return taken / n

    def take_turn(self, process, flooder, seen):
        quiet = self.take(process, self.SECONDS)
        with flooder.going():
            seen.append((quiet, self.take(process, self.SECONDS)))

    @staticmethod
    def times(seen):
        """How many times as long a call takes under the flood."""
        quiet, flooded = zip(*seen, strict=True)
        return statistics.median(flooded) / statistics.median(quiet)

    def assert_at_most_doubled(self, start, start_nothing, times=2):
        """Or twice what no service could help. The machine has other things to do too, so more turns are taken where
        it seems to be more."""
        process, nothing = self.attached(), self.idle_service()
        flooder, flooder_of_nothing = Flooder(start), Flooder(start_nothing)
        ours, others = [], []
        try:
            while len(ours) < self.TURNS or len(ours) < self.MORE_TURNS and not self.is_fair(ours, others, times):
                self.take_turn(process, flooder, ours)
                self.take_turn(nothing, flooder_of_nothing, others)
        finally:
            # The later one has the earlier one's pipes too.
            statuses = [flooder_of_nothing.end(), flooder.end()]
        self.assertEqual(statuses, [0, 0], "they have flooded all the while")
        self.assertTrue(self.is_fair(ours, others, times), f"{self.times(ours)} times, and {self.times(others)} of nothing")

    def is_fair(self, ours, others, times):
        return self.times(ours) <= times * max(1, self.times(others))

    def test_flood_of_calls_by_one_user_does_not_double_what_another_waits(self):
        self.assert_at_most_doubled(lambda: self.calls(client.NAME), lambda: self.calls(self.FLOODED))

    def assert_is_the_bus_s(self, signature, size):
        """Each is milliseconds of the bus's time, so few of the other's calls are taken and their times vary."""
        self.assert_at_most_doubled(lambda: self.large_calls(client.NAME, signature, size),
                                    lambda: self.large_calls(self.FLOODED, signature, size), 10)

    def test_flood_of_large_calls_is_the_bus_s_to_deal_with(self):
        self.assert_is_the_bus_s(f"a({'y' * 8})", 8 * 22000)

    def test_flood_of_ranges_is_too(self):
        self.assert_is_the_bus_s("a(tt)", 16 * 65536)

    def test_flood_of_attaches_and_lists_does_not_either(self):
        tracee = self.tracee_of(GAMES, "other")
        self.assert_at_most_doubled(lambda: self.attaches(tracee), lambda: self.attaches(tracee))


class WhilePolkitThinks(Policy):
    def setUp(self):
        super().setUp()
        os.kill(self.service.polkit.pid, signal.SIGSTOP)

    def tearDown(self):
        os.kill(self.service.polkit.pid, signal.SIGCONT)
        super().tearDown()

    def test_caller_that_leaves_leaves_nothing(self):
        tracee = self.tracee_of(GAMES)
        before = procfs.descriptors(self.service.broker.pid)
        for _ in range(harness.rounds(0.1)):
            session = self.session_of(GAMES)
            session.client.flags |= wire.ALLOW_INTERACTION
            session.send("AttachProcess", "ua{sv}", tracee.pid, options())
            session.client.list_sessions()
            session.client.close()
        self.assert_wait(lambda: procfs.descriptors(self.service.broker.pid) <= before + 1, "all is closed")
        os.kill(self.service.polkit.pid, signal.SIGCONT)
        self.session_of(GAMES).attach(tracee.pid)

    def test_questions_are_counted(self):
        tracee = self.tracee_of(GAMES)
        session = self.session_of(GAMES)
        serials = [session.send("AttachProcess", "ua{sv}", tracee.pid, options()) for _ in range(17)]
        error = self.assert_error("LimitExceeded", session.client.reply, serials[16])
        self.assertIn("QuestionsMax", error.message)
        os.kill(self.service.polkit.pid, signal.SIGCONT)
        for serial in serials[:16]:
            session.client.reply(serial)

    def test_questions_of_all_together_are_counted(self):
        """Each is a call that the bus has to remember, and it remembers so many of ours."""
        tracee = self.tracee_of(GAMES)
        games, news = self.session_of(GAMES), self.session_of(NEWS)
        serials = [(games, games.send("AttachProcess", "ua{sv}", tracee.pid, options())) for _ in range(16)]
        games.client.manager.call("GetSession", "s", games.id) # they have all come
        serials += [(news, news.send("AttachProcess", "ua{sv}", tracee.pid, options())) for _ in range(5)]
        error = self.assert_error("LimitExceeded", news.client.reply, serials.pop()[1])
        self.assertIn("The limit AllQuestionsMax is reached: no more than 28 questions", error.message)
        os.kill(self.service.polkit.pid, signal.SIGCONT)
        for session, serial in serials[:16]:
            session.client.reply(serial)
        for session, serial in serials[16:]:
            self.assert_error(ASK_ME, session.client.reply, serial)

    def test_broker_that_ends_meanwhile_ends_in_order(self):
        """With sanitizers: and loses no memory."""
        session = self.session_of(GAMES)
        session.send("AttachProcess", "ua{sv}", self.tracee_of(GAMES).pid, options())
        session.client.list_sessions()
        self.service.broker.terminate()
        self.assertEqual(self.service.broker.wait(10), 0)

    def test_others_are_served_meanwhile(self):
        session = self.session_of(GAMES)
        session.send("AttachProcess", "ua{sv}", self.tracee_of(GAMES).pid, options())
        self.assertEqual(len(self.connect().list_sessions()), 1)

    def test_process_that_ends_meanwhile_is_told_of(self):
        tracee = self.tracee_of(GAMES)
        session = self.session_of(GAMES)
        serial = session.send("AttachProcess", "ua{sv}", tracee.pid, options())
        session.client.list_sessions()
        # Whose it is is known now: the keeper has been asked about it before.
        self.new_session().attach(self.tracee_of(GAMES, "second").pid)
        tracee.kill()
        os.kill(self.service.polkit.pid, signal.SIGCONT)
        self.assert_error("NoSuchProcess", session.client.reply, serial)


del Policy

if __name__ == "__main__":
    harness.main()
