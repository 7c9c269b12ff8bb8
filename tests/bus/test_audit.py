# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is written about who traces what."""

import contextlib
import os
import pwd
import re
import signal
import time

import harness
import polkit
import wire
from client import options
from policy import ACCESS_DENIED, ASK_ME, GAMES, NEWS, Policy, Service, YamaService


class Written(Policy):
    """What the tests of it share; tests/system looks at the journal itself."""

    def log(self):
        return self.service.daemons.logs().get("broker.log", "")

    def assert_logged(self, *parts):
        self.assert_wait(lambda: any(all(part in line for part in parts) for line in self.log().splitlines()),
                         f"one line has all of {parts}; there is:\n{self.log()}")

    def assert_refusal_logged(self, user, *parts):
        self.assert_logged(f"User {pwd.getpwnam(user).pw_uid} ", "refused", *parts)

    @contextlib.contextmanager
    def unanswered(self, session, send):
        """polkit is being asked about the call, which is what `send` returns the number of."""
        os.kill(self.service.polkit.pid, signal.SIGSTOP)
        try:
            serial = send()
            session.client.manager.call("GetSession", "s", session.id) # it has come along,
            self.new_session().attach(self.tracee_of(NEWS, "else").pid) # and what the keeper is asked first, too
            yield serial
        finally:
            os.kill(self.service.polkit.pid, signal.SIGCONT)

    def proof_of(self, user, pid):
        with polkit.acting_as(user):
            fd = os.open(f"/proc/{pid}/mem", os.O_RDWR | os.O_CLOEXEC)
        self.addCleanup(os.close, fd)
        return wire.Variant("h", fd)


class BadInput(Written):
    """What is refused is named, with what it was about and what its caller was told."""

    WRONG = {"mode": wire.Variant("u", 3)}

    def refused(self, error, function, /, *args, **kwargs):
        message = self.assert_error(error, function, *args, **kwargs).message
        self.assert_refusal_logged(NEWS, message)
        return message

    def setUp(self):
        super().setUp()
        self.session = self.session_of(GAMES, lifetime="persistent")
        self.traced = self.tracee_of(GAMES, "theirs")
        self.process = self.session.attach(self.traced.pid)
        self.other = self.service.connect_as(NEWS)

    def test_session_of_another_user(self):
        self.refused(ACCESS_DENIED, self.other.session(self.session.id).call, "Interrupt")
        self.assert_refusal_logged(NEWS, f"Interrupt of session {self.session.id}")

    def test_process_of_another_users_session(self):
        self.refused(ACCESS_DENIED, self.other.session(self.session.id).process(self.traced.pid).kill)
        self.assert_refusal_logged(NEWS, f"Kill of process {self.traced.pid} ({self.traced.program}) in "
                                         f"session {self.session.id}")

    def test_session_that_was_guessed(self):
        self.refused("NoSuchSession", self.other.manager.call, "GetSession", "s", "s17")

    def test_process_that_was_guessed(self):
        self.refused("NotAttached", self.other.create_session().process(self.traced.pid).kill)

    def test_thread_that_was_guessed(self):
        tracee = self.tracee_of(NEWS)
        process = self.other.create_session().attach(tracee.pid, access="observe")
        self.refused("NoSuchThread", process.thread(self.traced.pid).call, "GetRegisters")
        self.assert_refusal_logged(NEWS, f"GetRegisters of process {tracee.pid} ({tracee.program})")

    def test_path_that_was_guessed(self):
        self.refused("org.freedesktop.DBus.Error.UnknownObject", self.other.call, self.session.path + "/nothing",
                     "org.ptraced.Tracer1.Process", "Kill")

    def test_process_that_has_ended(self):
        gone = self.tracee_of(NEWS)
        gone.quit()
        gone.wait()
        self.refused("NoSuchProcess", self.other.create_session().attach, gone.pid)

    def test_process_that_ends_while_polkit_is_asked(self):
        tracee, session = self.tracee_of(GAMES, "allowed"), self.other.create_session()
        with self.unanswered(session, lambda: session.send("AttachProcess", "ua{sv}", tracee.pid, options())) as serial:
            tracee.quit()
            tracee.wait()
        self.refused("NoSuchProcess", self.other.reply, serial)

    def test_what_is_not_there_takes_no_place_of_another_refusal(self):
        for _ in range(20):
            self.assert_error("NotAttached", self.other.create_session().process(self.traced.pid).kill)
        self.refused("InvalidOption", self.other.create_session, name=3)
        self.assertEqual(self.log().count("refused Kill of"), 1)
        self.assert_wait(lambda: f"User {pwd.getpwnam(NEWS).pw_uid} was refused 19 more times" in self.log(),
                         "they are counted", 40)

    def test_option_of_another_type(self):
        self.refused("InvalidOption", self.other.create_session, name=3)

    def test_option_of_another_type_of_an_attach(self):
        self.refused("InvalidOption", self.other.create_session().attach, self.tracee_of(NEWS).pid, access=3)

    def test_option_of_another_type_for_all_that_is_traced(self):
        self.refused("InvalidOption", self.other.create_session().call, "Continue", "a{sv}", self.WRONG)

    def test_option_of_another_type_for_a_process(self):
        process = self.other.create_session().attach(self.tracee_of(NEWS).pid, access="observe")
        self.refused("InvalidOption", process.call, "Continue", "a{sv}", self.WRONG)

    def test_log_is_roots_to_change(self):
        self.refused(ACCESS_DENIED, self.other.call, "/org/freedesktop/LogControl1",
                     "org.freedesktop.DBus.Properties", "Set", "ssv", "org.freedesktop.LogControl1", "LogLevel",
                     wire.Variant("s", "no such level"))

    def test_proof_of_another_process(self):
        proof = self.proof_of(NEWS, self.tracee_of(NEWS, "one").pid)
        message = self.refused("NotPermitted", self.other.create_session().attach,
                               self.tracee_of(NEWS, "two").pid, proof=proof)
        self.assertIn("The proof is none", message)


class Journal(Written):
    def test_grant_attach_and_release_name_who_and_what(self):
        tracee = self.tracee_of(GAMES)
        session = self.session_of(GAMES)
        uid = pwd.getpwnam(GAMES).pw_uid
        session.attach(tracee.pid).detach()
        self.assert_logged(f"User {uid} ", f"process {tracee.pid} ({tracee.program})", "polkit allows")
        self.assert_logged(f"Session {session.id} of user {uid}", f"traces process {tracee.pid} ({tracee.program})")
        self.assert_logged(f"Session {session.id}", f"has released process {tracee.pid}", "detached")

    def test_control_that_comes_later_is_told_of(self):
        tracee = self.tracee_of(GAMES)
        session = self.session_of(GAMES)
        session.attach(tracee.pid, access="observe")
        session.attach(tracee.pid)
        self.assert_wait(lambda: self.log().count(f"Session {session.id} of user") == 2, "both are told of")

    def test_refusal_by_the_tracer_is_told_of(self):
        tracee = self.tracee_of(GAMES, source="executes")
        with polkit.acting_as(GAMES):
            fd = os.open(f"/proc/{tracee.pid}/mem", os.O_RDWR)
        self.addCleanup(os.close, fd)
        tracee.say(self.program("another"))
        self.assertEqual(tracee.listen(), "ready")
        self.assert_error("NotPermitted", self.session_of(GAMES).attach, tracee.pid, proof=wire.Variant("h", fd))
        self.assert_logged(f"process {tracee.pid} ", "refused Attach")

    def test_each_way_to_let_go_has_its_reason(self):
        ended, closed, gaining = (self.tracee_of(GAMES, name, "executes") for name in ("a", "b", "c"))
        session = self.session_of(GAMES)
        for tracee in (ended, closed, gaining):
            session.attach(tracee.pid)
        ended.quit()
        self.assert_logged(f"has released process {ended.pid}", "ended")
        gaining.say(self.program("gains", mode=0o4755))
        self.assert_logged(f"has lost process {gaining.pid}", "privilege")
        session.close()
        self.assert_logged(f"has released process {closed.pid}", "closed")

    def test_release_by_another_is_told_with_its_name(self):
        tracees = [self.tracee_of(GAMES, name) for name in ("a", "b", "c", "d")]
        session = self.session_of(GAMES, lifetime="persistent")
        first, second = (session.attach(tracee.pid) for tracee in tracees[:2])
        other, root = self.service.connect_as(GAMES).session(session.id), self.connect().session(session.id)
        other.call("AuthorizeProcess", "ua{sv}", tracees[0].pid, options())
        other.process(tracees[0].pid).detach()
        second.detach()
        session.attach(tracees[2].pid)
        root.call("DetachAll")
        session.attach(tracees[3].pid)
        root.close()
        by_other = f"by user {pwd.getpwnam(GAMES).pw_uid} ({other.client.connection.name})"
        by_root = f"by user 0 ({root.client.connection.name})"
        ends = ("detached " + by_other, "detached", "detached " + by_root, "closed " + by_root)
        for tracee, end in zip(tracees, ends):
            self.assert_wait(lambda t=tracee, e=end: re.search(
                rf"has released process {t.pid} after [0-9.]+ s: {re.escape(e)}$", self.log(), re.MULTILINE),
                f"{tracee.program} is {end}; there is:\n{self.log()}")
        told = f"User 0 ({root.client.connection.name}) may manage session {session.id}: it is root"
        self.assertEqual(self.log().count(told), 2)

    def test_death_of_a_tracer_is_a_loss(self):
        tracee = self.tracee_of(GAMES)
        session = self.session_of(GAMES)
        session.attach(tracee.pid)
        os.kill(self.service.tracer_of(tracee.pid), signal.SIGKILL)
        self.assert_logged(f"has lost process {tracee.pid}", "tracer")

    def test_many_refusals_are_counted_and_those_of_others_are_not_among_them(self):
        session = self.session_of(NEWS)
        tracee = self.tracee_of(NEWS, "forbidden")
        for _ in range(20):
            self.assert_refused(session, tracee)
        other = self.session_of(GAMES)
        self.assert_refused(other, self.tracee_of(NEWS, "b"), ASK_ME)
        mine, theirs = (pwd.getpwnam(user).pw_uid for user in (NEWS, GAMES))
        lines = [line for line in self.log().splitlines() if "refused" in line]
        self.assertEqual([f"User {mine} " in lines[0], f"User {theirs} " in lines[1]], [True, True], lines)
        self.assertEqual(len(lines), 2)
        self.assert_wait(lambda: f"User {mine} was refused 19 more times" in self.log(), "they are counted", 40)

    def test_last_of_the_counted_refusals_is_named(self):
        session = self.session_of(NEWS)
        first, last = (self.tracee_of(NEWS, name) for name in ("first", "last"))
        for tracee in (first, first, first, first, last):
            self.assert_refused(session, tracee, ASK_ME)
        self.assert_wait(lambda: f"was refused 4 more times, the last ({session.client.connection.name}) "
                                 f"org.ptraced.Tracer1.control of process {last.pid} ({last.program})" in self.log(),
                         "the last is named", 40)

    def test_followed_children_beyond_some_hundred_in_a_minute_are_counted(self):
        tracee = self.tracee_of(GAMES, source="spawns-grandchildren", args=(1, 700))
        session = self.session_of(GAMES)
        session.attach(tracee.pid, children="follow", events=[])
        started = time.monotonic()
        self.assertEqual(tracee.ask("grow", timeout=60), {"processes": 700, "wrong": 0})
        if time.monotonic() - started >= 50:
            self.skipTest("too slow for one minute")
        session.close()
        uid = pwd.getpwnam(GAMES).pw_uid
        self.assert_wait(lambda: f"User {uid} followed " in self.log(), "they are counted", 40)
        told = self.log().count(" (a child)")
        self.assertEqual(told, 600)
        self.assert_wait(lambda: self.counted_children(uid) == [100, 100], "the others are counted", 40)

    def counted_children(self, uid):
        found = re.findall(rf"User {uid} followed (\d+) more children and released (\d+)", self.log())
        return [sum(map(int, column)) for column in zip(*found)]

    def test_attaches_of_a_user_in_a_minute_are_bounded(self):
        """Each is some entries. Those that fail count as well."""
        session = self.session_of(NEWS)
        gone = self.tracee_of(NEWS)
        gone.quit()
        gone.wait()
        started = time.monotonic()
        for _ in range(6):
            for serial in [session.send("AttachProcess", "ua{sv}", gone.pid, options()) for _ in range(100)]:
                self.assert_error("NoSuchProcess", session.client.reply, serial)
        self.assertLess(time.monotonic() - started, 50)
        error = self.assert_error("LimitExceeded", session.attach, gone.pid)
        self.assertIn("AttachesPerMinuteMax", error.message)
        self.session_of(GAMES).attach(self.tracee_of(GAMES, "b").pid)
        roots = self.new_session()
        for _ in range(601):
            self.assert_error("NoSuchProcess", roots.attach, gone.pid)


class Attaching(Written):
    """Each way to be granted or refused an attach has its entry."""

    def test_proof_is_a_grant(self):
        tracee = self.tracee_of(NEWS)
        self.session_of(NEWS).attach(tracee.pid, proof=self.proof_of(NEWS, tracee.pid))
        self.assert_logged(f"User {pwd.getpwnam(NEWS).pw_uid} ", f"control process {tracee.pid} ({tracee.program})",
                           "it has sent a proof")

    def test_other_connection_that_gets_the_events_is_named(self):
        session = self.session_of(GAMES, lifetime="persistent")
        listener = self.service.connect_as(GAMES).session(session.id)
        listener.call("Subscribe")
        self.assert_error(ACCESS_DENIED, session.attach, self.tracee_of(GAMES).pid)
        self.assert_refusal_logged(GAMES, "refused Attach", f"gets the events of session {session.id}")

    def test_process_that_is_not_what_polkit_was_asked_about_any_more(self):
        tracee = self.tracee_of(NEWS, "allowed", "executes", mode=0o4755)
        session = self.session_of(NEWS, lifetime="persistent")
        session.attach(tracee.pid, proof=self.proof_of("root", tracee.pid)) # as who may trace it could have it
        again = self.service.connect_as(NEWS).session(session.id)
        with self.unanswered(again, lambda: again.send("AuthorizeProcess", "ua{sv}", tracee.pid, options())) as serial:
            tracee.say(self.program("another"))
            self.assertEqual(tracee.listen(), "ready")
        error = self.assert_error("NotPermitted", again.client.reply, serial)
        self.assertIn("no longer what polkit was asked about", error.message)
        self.assert_refusal_logged(NEWS, f"process {tracee.pid} ({tracee.program})", "refused Attach")


class Limits(Written):
    """Who has reached one, and which."""

    def test_limit_of_the_broker(self):
        session = self.session_of(GAMES)
        for _ in range(63):
            session.client.create_session()
        self.assert_error("LimitExceeded", session.client.create_session)
        self.assert_refusal_logged(GAMES, f"({self.name_of(session)})", "refused CreateSession", "SessionsMax")

    def name_of(self, session):
        return session.client.connection.name

    def test_limit_of_a_tracer(self):
        process = self.session_of(GAMES).attach(self.tracee_of(GAMES).pid)
        self.assert_error("LimitExceeded", process.read_memory, 4096, 1 << 30)
        self.assert_refusal_logged(GAMES, "refused ReadMemory", "MemoryMessageMax")

    def test_questions(self):
        tracee, session = self.tracee_of(GAMES), self.session_of(GAMES)
        os.kill(self.service.polkit.pid, signal.SIGSTOP)
        try:
            serials = [session.send("AttachProcess", "ua{sv}", tracee.pid, options()) for _ in range(17)]
            self.assert_error("LimitExceeded", session.client.reply, serials.pop())
        finally:
            os.kill(self.service.polkit.pid, signal.SIGCONT)
        for serial in serials:
            session.client.reply(serial)
        self.assert_refusal_logged(GAMES, "refused AttachProcess", "QuestionsMax")

    def test_size_of_a_call(self):
        client = self.service.connect_as(GAMES)
        client.list_sessions()
        self.assert_error("LimitExceeded", client.manager.call, "ListSessions", "ay", bytes(4 << 20))
        self.assert_refusal_logged(GAMES, "refused ListSessions")

    def test_calls_of_one_who_is_not_known_yet(self):
        """It may be anybody, so that they are counted alone."""
        one = self.service.connect_as(GAMES)
        os.kill(self.service.broker.pid, signal.SIGSTOP)
        try: # so that all calls are there before the bus is asked whose they are
            serials = [one.manager.send("GetSession", "s", "s1") for _ in range(74)]
            self.new_bus_round_trip(one)
        finally:
            os.kill(self.service.broker.pid, signal.SIGCONT)
        for serial in serials[:64]:
            self.assert_error("NoSuchSession", one.reply, serial)
        for serial in serials[64:]:
            self.assertIn("UncheckedMax", self.assert_error("LimitExceeded", one.reply, serial).message)
        self.assert_wait(lambda: f"Other users were refused 10 times, the last ({one.connection.name}) GetSession" in
                         self.log(), "they are counted", 40)

    def new_bus_round_trip(self, one):
        """The bus has taken what was sent before."""
        self.service.has_name(one.connection)


class Routed(Written):
    """What a call to a traced process is refused."""

    def test_descriptor(self):
        process = self.session_of(GAMES).attach(self.tracee_of(GAMES).pid)
        null = os.open(os.devnull, os.O_RDONLY)
        self.addCleanup(os.close, null)
        self.assert_error("org.freedesktop.DBus.Error.InvalidArgs", process.call, "Continue", "a{sv}",
                          {"mode": wire.Variant("h", null)})
        self.assert_refusal_logged(GAMES, "refused Continue", "takes no descriptor")

    def test_control_by_an_observer(self):
        tracee = self.tracee_of(NEWS)
        process = self.session_of(NEWS).attach(tracee.pid, access="observe")
        self.assert_error("NotPermitted", process.kill)
        self.assert_refusal_logged(NEWS, f"refused Kill of process {tracee.pid} ({tracee.program}) ", "only observe")


class PermittingService(Service):
    rules = Service.rules + f"""
    if (subject.user == "{NEWS}" && (action.id == "org.ptraced.Tracer1.manage" ||
                                     action.id == "org.ptraced.Tracer1.list-other"))
        return polkit.Result.YES;
    if (subject.user == "{GAMES}" && action.id == "org.ptraced.Tracer1.list")
        return polkit.Result.NO;
    if (action.id == "org.ptraced.Tracer1.open-memory" && action.lookup("executable").indexOf("/open") >= 0)
        return polkit.Result.YES;
    """


class Permissions(Written):
    """What polkit answers about lists, sessions and memory."""

    service_class = PermittingService

    def setUp(self):
        super().setUp()
        self.games, self.news = (f"User {pwd.getpwnam(name).pw_uid} " for name in (GAMES, NEWS))

    def test_lists(self):
        session = self.session_of(GAMES, lifetime="persistent")
        session.attach(self.tracee_of(GAMES).pid)
        manager, other = self.service.connect_as(NEWS), self.service.connect_as(GAMES)
        for _ in range(20):
            manager.list_sessions()
        other.manager.call("ListTracees")
        self.assert_logged(self.news, "may see what others trace: polkit allows org.ptraced.Tracer1.list-other")
        self.assert_logged(self.games, "may not see what its user traces: refused org.ptraced.Tracer1.list: polkit "
                                     "refuses, and what it would show is left out")
        self.assert_wait(lambda: f"{self.news}was permitted something 19 more times" in self.log(), "they are counted", 40)
        self.assertEqual(self.log().count("may see what others trace"), 1)

    def test_sessions(self):
        session, mine = (self.session_of(user, lifetime="persistent") for user in (GAMES, NEWS))
        self.service.connect_as(NEWS).session(session.id).call("DetachAll")
        told = self.assert_error(ASK_ME, self.service.connect_as(GAMES).session(mine.id).close).message
        self.assert_logged(self.news, f"may manage session {session.id}: polkit allows org.ptraced.Tracer1.manage")
        self.assert_logged(self.games, f"may not manage session {mine.id}: refused org.ptraced.Tracer1.manage: {told}")

    def test_memory(self):
        opened, kept = (self.tracee_of(GAMES, name) for name in ("opened", "kept"))
        session = self.session_of(GAMES)
        os.close(session.attach(opened.pid).call("OpenMaps"))
        self.assert_error(ASK_ME, session.attach(kept.pid).call, "OpenMaps")
        self.assert_logged(self.games, f"may use process {opened.pid} ({opened.program}): polkit allows "
                                       "org.ptraced.Tracer1.open-memory")
        self.assert_logged(self.games, f"may not use process {kept.pid} ({kept.program}): refused "
                                       "org.ptraced.Tracer1.open-memory")

    def test_memory_of_what_is_replaced_while_polkit_is_asked(self):
        tracee, session = self.tracee_of(GAMES, "opened"), self.session_of(GAMES)
        process = session.attach(tracee.pid)
        with self.unanswered(session, lambda: process.send("OpenMaps")) as serial:
            process.detach()
        error = self.assert_error("NotAttached", session.client.reply, serial)
        self.assertIn("polkit was asked about", error.message)
        self.assert_refusal_logged(GAMES, f"OpenMaps of process {tracee.pid} ", error.message)

    def test_memory_of_who_is_not_asked(self):
        mine, any_ = self.tracee_of(NEWS, "mine"), self.tracee_of(NEWS, "any")
        proven = self.session_of(NEWS).attach(mine.pid, proof=self.proof_of(NEWS, mine.pid))
        os.close(proven.call("OpenMemory", "s", "read"))
        self.assert_logged(self.news, f"may use process {mine.pid} ({mine.program}): it has sent a proof")
        os.close(self.new_session().attach(any_.pid).call("OpenMaps"))
        self.assert_logged("User 0 ", f"may use process {any_.pid} ({any_.program}): it is root")

    def test_mapped_file_that_root_opens(self):
        tracee = self.tracee_of(NEWS)
        process = self.new_session().attach(tracee.pid)
        with open(f"/proc/{tracee.pid}/maps") as f:
            text = int(next(line for line in f if line.endswith(tracee.program + "\n")).split("-")[0], 16)
        os.close(process.call("OpenMappedFile", "t", text))
        self.assert_logged("User 0 ", f"may use process {tracee.pid} ({tracee.program}): it is root")

    def test_last_events(self):
        tracee = self.tracee_of(GAMES, "allowed")
        session = self.session_of(NEWS, lifetime="persistent")
        session.attach(tracee.pid)
        tracee.quit()
        tracee.wait()
        self.assert_wait(lambda: not self.connect().manager.call("ListTracees"), "it is gone")
        self.assert_error(ASK_ME, self.service.connect_as(NEWS).session(session.id).call, "GetEvent", "t", 0)
        self.assert_logged(self.news, f"may not use process {tracee.pid} ({tracee.program}): refused "
                                      "org.ptraced.Tracer1.observe-other")


class WhereNobodyTraces(Written):
    service_class = YamaService

    def test_refusal_names_the_setting(self):
        tracee = self.tracee_of(GAMES)
        error = self.assert_error("NotSupported", self.session_of(GAMES).attach, tracee.pid)
        self.assertIn("kernel.yama.ptrace_scope", error.message)
        self.assert_refusal_logged(GAMES, f"process {tracee.pid} ", "kernel.yama.ptrace_scope is 3")


class PowerlessService(YamaService):
    """Whose tracers the kernel forbids what it forbids all of them at that scope."""

    def keeper_command(self):
        return ["setpriv", "--inh-caps=-sys_ptrace", "--bounding-set=-sys_ptrace", *super().keeper_command()]


class WhereNotEvenRootTraces(Written):
    service_class = PowerlessService

    def test_kernels_refusal_names_the_setting(self):
        """root's attach is the kernel's to refuse."""
        tracee = self.tracee_of(GAMES)
        error = self.assert_error("NotSupported", self.new_session().attach, tracee.pid)
        self.assertIn("kernel.yama.ptrace_scope is 3", error.message)
        self.assert_runs_free(tracee)


del Policy, Written

if __name__ == "__main__":
    harness.main()
