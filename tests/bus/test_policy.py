# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who is not root traces what polkit says, and nothing that gains privilege."""

import collections
import contextlib
import os
import pwd
import re
import signal
import subprocess
import time

import client
import harness
import polkit
import procfs
import wire
from client import options
from policy import ACCESS_DENIED, ASK_ME, GAMES, NEWS, Policy, Service
from programs import CTL
from service import BUILD

class Asked(Policy):
    def test_own_process_is_traced_where_a_rule_says_yes(self):
        tracee = self.tracee_of(GAMES)
        session = self.session_of(GAMES)
        process = session.attach(tracee.pid)
        process.interrupt()
        session.events_until(lambda e: e.kind == "stop")
        self.assertTrue(process.thread(tracee.pid).registers())
        session.close()
        self.assert_advances(lambda: tracee.ask()["progress"])

    def test_refusal_names_process_and_action(self):
        tracee = self.tracee_of(NEWS, "forbidden")
        message = self.assert_refused(self.session_of(NEWS), tracee)
        for part in (str(tracee.pid), "forbidden", "org.ptraced.Tracer1.control"):
            self.assertIn(part, message)

    def test_nobody_is_asked_where_the_call_does_not_allow_it(self):
        self.assert_refused(self.session_of(NEWS), self.tracee_of(NEWS), ASK_ME)

    def test_process_of_another_user_is_an_action_of_its_own(self):
        session = self.session_of(GAMES)
        self.assert_refused(session, self.tracee_of(NEWS), ASK_ME)
        session.attach(self.tracee_of(NEWS, "allowed").pid)

    def test_one_answer_is_not_good_for_another_process(self):
        session = self.session_of(GAMES)
        session.attach(self.tracee_of(NEWS, "allowed").pid)
        self.assert_refused(session, self.tracee_of(NEWS, "other"), ASK_ME)

    def test_privileged_process_is_nobodys_own(self):
        """The user's own, as far as the real user goes."""
        self.assert_refused(self.session_of(GAMES), self.tracee_of(GAMES, mode=0o4755), ASK_ME)
        self.assert_refused(self.session_of(GAMES), self.tracee_of(GAMES, "set-group", mode=0o2755), ASK_ME)

    def test_process_that_may_not_be_read_is_nobodys_own(self):
        self.assert_refused(self.session_of(GAMES), self.tracee_of(GAMES, "unreadable", mode=0o711), ASK_ME)

    def test_root_is_not_asked(self):
        os.kill(self.service.polkit.pid, signal.SIGSTOP)
        try:
            self.new_session().attach(self.tracee_of(NEWS).pid)
        finally:
            os.kill(self.service.polkit.pid, signal.SIGCONT)

    def test_observing_is_an_action_of_its_own(self):
        tracee = self.tracee_of(NEWS)
        session = self.session_of(NEWS)
        process = session.attach(tracee.pid, access="observe")
        self.assertTrue(process.list_threads())
        self.assert_error("NotPermitted", process.kill)
        self.assert_error(ASK_ME, session.attach, tracee.pid, access="control")
        self.assert_error("NotPermitted", process.kill)
        message = self.assert_refused(session, self.tracee_of(GAMES, "b"), ASK_ME, access="observe")
        self.assertIn("org.ptraced.Tracer1.observe-other", message)

    def test_refusal_does_not_tell_where_a_program_of_another_user_lies(self):
        tracee = self.tracee_of(GAMES)
        message = self.assert_refused(self.session_of(NEWS), tracee, ASK_ME)
        self.assertIn(f"process {tracee.pid} (not your own)", message)
        self.assertNotIn("/program", message)

    def test_refusal_does_not_tell_what_a_process_of_another_user_does(self):
        """Of one's own: that it has ended."""
        tracee = self.tracee_of(GAMES)
        os.kill(tracee.pid, signal.SIGKILL)
        self.assert_wait(lambda: procfs.state(tracee.pid) == "Z", "it has ended")
        self.assert_refused(self.session_of(NEWS), tracee, ASK_ME)
        self.assert_refused(self.session_of(GAMES), tracee, "NoSuchProcess")

    def test_thread_of_ones_own_is_asked_for_like_a_process(self):
        tracee = self.tracee_of(GAMES)
        session = self.session_of(GAMES)
        path, added = session.call("AttachThread", "ua{sv}", tracee.threads()[-1], options())
        self.assertTrue(added and path)
        self.assert_error(ASK_ME, session.call, "AttachThread", "ua{sv}", self.tracee_of(NEWS, "b").pid, options())


class InADialog(Policy):
    """Somebody is there to be asked."""

    def begin(self, tracee):
        session = self.session_of(NEWS)
        session.client.flags |= wire.ALLOW_INTERACTION
        serial = session.send("AttachProcess", "ua{sv}", tracee.pid, options())
        return session, serial, self.agent.next_question()

    def setUp(self):
        super().setUp()
        self.agent = polkit.Agent(polkit.Listener.open(self.service.bus_socket),
                                  wire.Connection.open(self.service.bus_socket), polkit.ourselves(NEWS))
        self.addCleanup(self.agent.close)

    def test_dialog_says_who_wants_to_control_what(self):
        tracee = self.tracee_of(NEWS)
        session, serial, question = self.begin(tracee)
        self.assertEqual(question.action, "org.ptraced.Tracer1.control")
        comm = procfs.comm(os.getpid())
        self.assertEqual(question.message,
                         f"Authentication is required to let {comm} control {tracee.program} (process {tracee.pid} of "
                         f"user {pwd.getpwnam(NEWS).pw_uid})")
        self.agent.agree(question)
        session.client.reply(serial)
        session.process(tracee.pid).interrupt()
        session.events_until(lambda e: e.kind == "stop")

    def test_dialog_that_is_dismissed_is_a_refusal(self):
        tracee = self.tracee_of(NEWS)
        session, serial, question = self.begin(tracee)
        self.agent.dismiss(question)
        self.assert_error("NotPermitted", session.client.reply, serial)
        self.assert_runs_free(tracee)

    def test_dialog_of_a_caller_that_leaves_is_taken_down(self):
        session, _, _ = self.begin(self.tracee_of(NEWS))
        session.client.close()
        self.agent.wait_for_cancel()

    def test_dialog_of_a_session_that_is_closed_is_taken_down(self):
        session, serial, _ = self.begin(self.tracee_of(NEWS))
        session.close()
        self.agent.wait_for_cancel()
        self.assert_error("NoSuchSession", session.client.reply, serial)

    def test_program_that_polkit_was_not_told_of_is_not_attached(self):
        tracee = self.tracee_of(GAMES, "executes", "executes")
        session, serial, question = self.begin(tracee)
        tracee.say(self.program("another"))
        self.assertEqual(tracee.listen(), "ready")
        self.agent.agree(question)
        self.assert_error("NotPermitted", session.client.reply, serial)
        self.assert_runs_free(tracee)

    def test_second_process_is_asked_for_again(self):
        session, serial, question = self.begin(self.tracee_of(NEWS))
        self.agent.agree(question)
        session.client.reply(serial)
        second = self.tracee_of(NEWS, "second")
        serial = session.send("AttachProcess", "ua{sv}", second.pid, options())
        self.agent.dismiss(self.agent.next_question())
        self.assert_error("NotPermitted", session.client.reply, serial)

    def test_name_that_would_deceive_is_shown_escaped(self):
        name = "a\n$(pid)\x1b[2J\u202eb"
        _, _, question = self.begin(self.tracee_of(NEWS, name))
        self.assertIn("a\\x0a$(pid)\\x1b[2J\\xe2\\x80\\xaeb", question.message)


class Journal(Policy):
    """What is written; tests/system looks at the journal itself."""

    def log(self):
        return self.service.daemons.logs().get("broker.log", "")

    def assert_logged(self, *parts):
        self.assert_wait(lambda: any(all(part in line for part in parts) for line in self.log().splitlines()),
                         f"one line has all of {parts}; there is:\n{self.log()}")

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
        self.assert_wait(lambda: f"User {mine} was refused 19 more times" in self.log(), "they are counted", 15)

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
        self.assert_wait(lambda: f"User {uid} followed " in self.log(), "they are counted", 15)
        told = self.log().count(" (a child)")
        self.assertEqual(told, 600)
        self.assert_wait(lambda: self.counted_children(uid) == [100, 100], "the others are counted", 15)

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


class Sessions(Policy):
    def test_session_of_another_user_is_out_of_reach(self):
        tracee = self.tracee_of(GAMES)
        session = self.session_of(GAMES, lifetime="persistent")
        process = session.attach(tracee.pid)
        other = self.service.connect_as(NEWS)
        self.assertEqual(other.list_sessions(), {})
        self.assertEqual(other.manager.call("ListTracees"), [])
        theirs = other.session(session.id)
        for call in (("Interrupt",), ("Subscribe",), ("GetEvent", "t", 0), ("ListStopped",), ("Unsubscribe",),
                     ("AttachProcess", "ua{sv}", tracee.pid, options())):
            with self.subTest(call=call[0]):
                self.assert_error(ACCESS_DENIED, theirs.call, *call)
        for call in (("Close",), ("DetachAll",)):
            with self.subTest(call=call[0]):
                error = self.assert_error(ASK_ME, theirs.call, *call)
                self.assertIn("org.ptraced.Tracer1.manage", error.message)
        self.assert_error(ACCESS_DENIED, theirs.process(tracee.pid).interrupt)
        self.assert_error(ACCESS_DENIED, other.manager.call, "GetSession", "s", session.id)
        process.detach()
        session.close()

    def test_another_connection_of_the_same_user_was_not_authorised(self):
        """Of a persistent session polkit is asked; of one that is its creator's alone, nobody."""
        tracee = self.tracee_of(NEWS)
        with polkit.acting_as(NEWS):
            fd = os.open(f"/proc/{tracee.pid}/mem", os.O_RDWR)
        self.addCleanup(os.close, fd)
        for lifetime, refusal in (("client", ACCESS_DENIED), ("persistent", ASK_ME)):
            session = self.session_of(NEWS, lifetime=lifetime, queue=True)
            session.attach(tracee.pid, proof=wire.Variant("h", fd))
            again = self.service.connect_as(NEWS).session(session.id)
            self.assertIn(session.id, again.client.list_sessions())
            for call in (("Interrupt",), ("Subscribe",), ("GetEvent", "t", 0), ("ListStopped",)):
                with self.subTest(call=call[0]):
                    self.assert_error(refusal, again.call, *call)
            self.assert_error(refusal, again.process(tracee.pid).interrupt)
            for interface, path in ((client.PROCESS, again.process(tracee.pid).path),
                                    (client.THREAD, again.process(tracee.pid).thread(tracee.pid).path)):
                self.assert_error(refusal, again.client.call, path, client.PROPERTIES, "GetAll", "s", interface)
                self.assert_error(ACCESS_DENIED, again.client.call, path, client.INTROSPECTABLE, "Introspect")
            if lifetime == "client":
                session.close()
        # But what one traces, by whatever program, one may know.
        (objects,) = again.client.call(client.ROOT, client.OBJECT_MANAGER, "GetManagedObjects")
        self.assertEqual(set(objects), {session.path, session.process(tracee.pid).path})
        self.assertEqual([entry[0] for entry in again.client.manager.call("ListTracees")], [tracee.pid])
        again.close()
        self.assert_runs_free(tracee)

    def test_one_user_does_not_crowd_out_the_others(self):
        sessions = [self.session_of(NEWS) for _ in range(64)]
        one_more = self.service.connect_as(NEWS)
        error = self.assert_error("LimitExceeded", one_more.create_session)
        self.assertIn("UserCallersMax", error.message)
        self.session_of(GAMES).close()
        self.new_session().close()
        one_more.session(sessions.pop().id).close()
        one_more.create_session()

    def test_root_attaches_nothing_for_somebody_else(self):
        session = self.session_of(GAMES)
        roots = self.connect().session(session.id)
        self.assert_error(ACCESS_DENIED, roots.attach, self.tracee_of(NEWS).pid)

    def test_descriptors_of_a_process_are_not_handed_out(self):
        tracee = self.tracee_of(GAMES)
        process = self.session_of(GAMES).attach(tracee.pid)
        for call in (("OpenMappedFile", "t", 0), ("ReadMappedFile", "ttt", 0, 0, 1)):
            with self.subTest(call=call[0]):
                self.assert_error(ACCESS_DENIED, process.call, *call)
        for call in (("OpenMemory", "s", "read"), ("OpenMaps",)):
            with self.subTest(call=call[0]):
                error = self.assert_error(ASK_ME, process.call, *call)
                self.assertIn("org.ptraced.Tracer1.open-memory,", error.message)
                self.assertIn(f"process {tracee.pid}", error.message)


class Anew(Policy):
    """A persistent session is for other connections of its user too, each of which is authorised anew."""

    def persistent(self):
        tracee = self.tracee_of(GAMES)
        session = self.session_of(GAMES, lifetime="persistent")
        return tracee, session, session.attach(tracee.pid)

    def again(self, session, user=GAMES):
        return self.service.connect_as(user).session(session.id)

    def authorize(self, session, pid, **values):
        return session.call("AuthorizeProcess", "ua{sv}", pid, options(**values))

    def test_connection_that_was_authorised_does_what_the_first_one_could(self):
        tracee, session, _ = self.persistent()
        session.client.close()
        again = self.again(session)
        self.authorize(again, tracee.pid)
        again.call("Subscribe")
        again.process(tracee.pid).interrupt()
        self.assertEqual(again.events_until(lambda e: e.kind == "stop")[-1].pid, tracee.pid)
        self.assertTrue(again.process(tracee.pid).thread(tracee.pid).registers())
        again.call("Continue", "a{sv}", options())
        again.close()
        self.assert_runs_free(tracee)

    def test_call_of_another_connection_asks_for_itself(self):
        """As those of busctl do, each of which is another connection."""
        tracee, session, _ = self.persistent()
        second = self.tracee_of(GAMES, "second")
        session.attach(second.pid)
        session.client.close()
        self.again(session).call("Interrupt") # of both
        self.assertEqual({event.pid for event in self.again(session).list_stopped()}, {tracee.pid, second.pid})
        self.assertTrue(self.again(session).process(tracee.pid).thread(tracee.pid).registers())
        self.again(session).process(tracee.pid).continue_()
        kinds = [self.again(session).call("GetEvent", "t", 0)[4] for _ in range(2)]
        self.assertEqual(kinds, ["stop"] * 2)
        error = self.assert_error("LimitExceeded", self.again(session).process(tracee.pid).call, "WriteMemory", "tay", 0,
                                  bytes(100000))
        self.assertIn("WriteMemory", error.message)
        self.again(session).close()
        self.assert_runs_free(tracee)

    def test_caller_that_leaves_while_polkit_is_asked_leaves_nothing(self):
        tracee, session, _ = self.persistent()
        before = procfs.descriptors(self.service.broker.pid)
        os.kill(self.service.polkit.pid, signal.SIGSTOP)
        try:
            for _ in range(10):
                again = self.again(session)
                again.process(tracee.pid).send("Interrupt")
                again.client.manager.call("GetSession", "s", session.id)
                again.client.close()
            self.assert_wait(lambda: procfs.descriptors(self.service.broker.pid) <= before + 1, "all is closed")
        finally:
            os.kill(self.service.polkit.pid, signal.SIGCONT)
        self.again(session).process(tracee.pid).interrupt()

    def test_polkit_decides_for_each_connection(self):
        tracee = self.tracee_of(NEWS)
        with polkit.acting_as(NEWS):
            fd = os.open(f"/proc/{tracee.pid}/mem", os.O_RDWR)
        self.addCleanup(os.close, fd)
        session = self.session_of(NEWS, lifetime="persistent")
        session.attach(tracee.pid, proof=wire.Variant("h", fd))
        again = self.again(session, NEWS)
        self.assert_error(ASK_ME, self.authorize, again, tracee.pid)
        self.assert_error(ASK_ME, again.process(tracee.pid).interrupt)
        self.authorize(again, tracee.pid, proof=wire.Variant("h", fd))
        again.process(tracee.pid).interrupt()
        again.process(tracee.pid).continue_()
        other = self.again(session, GAMES)
        self.assert_error(ACCESS_DENIED, self.authorize, other, tracee.pid)

    def test_proof_is_not_enough_for_what_was_more_than_its_users(self):
        """Such a process may come to that again, and the session keep it."""
        tracee = self.tracee_of(GAMES, "gains", mode=0o4755)
        session = self.session_of(GAMES, lifetime="persistent")
        fd = os.open(f"/proc/{tracee.pid}/mem", os.O_RDWR)
        self.addCleanup(os.close, fd)
        session.attach(tracee.pid, proof=wire.Variant("h", fd))
        error = self.assert_error("NotPermitted", self.authorize, self.again(session), tracee.pid,
                                  proof=wire.Variant("h", fd))
        self.assertIn("proof", error.message)

    def test_children_that_are_followed_go_with_it(self):
        tracee = self.tracee_of(GAMES, source="forks", args=("fork",))
        session = self.session_of(GAMES, lifetime="persistent")
        session.attach(tracee.pid, children="follow", stops=["exit"])
        again = self.again(session)
        self.authorize(again, tracee.pid)
        again.call("Subscribe")
        tracee.say("go")
        child = again.events_until(lambda e: e.kind == "exit" and e.pid != tracee.pid)[-1].pid
        self.assertTrue(again.process(child).thread(child).registers())
        again.process(child).continue_()
        self.assertIn(f"child={child}", tracee.listen())

    def test_nothing_new_comes_to_who_gets_the_events(self):
        _, session, _ = self.persistent()
        second = self.tracee_of(GAMES, "second")
        again = self.again(session)
        session.call("Subscribe")
        error = self.assert_error(ACCESS_DENIED, again.attach, second.pid)
        self.assertIn("events", error.message)
        session.call("Unsubscribe")
        again.attach(second.pid)
        session.call("Subscribe") # polkit has been asked, and said yes

    def test_what_is_not_traced_is_not_authorised(self):
        tracee, session, process = self.persistent()
        again = self.again(session)
        for pid in (0, os.getpid(), 2**32 - 1):
            self.assert_error("NotAttached", self.authorize, again, pid)
        self.assert_error("InvalidOption", self.authorize, again, tracee.pid, access="control")
        process.detach()
        self.assert_error("NotAttached", self.authorize, again, tracee.pid)
        client_session = self.session_of(GAMES)
        client_session.attach(tracee.pid)
        self.assert_error(ACCESS_DENIED, self.authorize, self.again(client_session), tracee.pid)

    def ptracectl_of(self, name, *arguments, code=0):
        """With no more rights than its user has."""
        user = pwd.getpwnam(name)
        ctl = os.path.join(self.scratch, "ptracectl")
        if not os.path.exists(ctl):
            polkit.copy_program(CTL, self.scratch, "ptracectl")
        library = os.path.dirname(os.path.join(BUILD, "client/lib/libptraced.so.0"))
        done = subprocess.run([ctl, "--system", *arguments], capture_output=True, text=True, timeout=20, check=False,
                              user=user.pw_uid, group=user.pw_gid, extra_groups=[],
                              env={"DBUS_SYSTEM_BUS_ADDRESS": self.service.address, "PATH": "/usr/bin",
                                   "LD_LIBRARY_PATH": library})
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def test_ptracectl_sends_it_by_itself(self):
        """With each call: every one is another connection."""
        tracee = self.tracee_of(NEWS)
        session = self.ptracectl_of(NEWS, "attach", str(tracee.pid)).stdout.strip()
        self.assertNotEqual(procfs.tracer_pid(tracee.pid), 0)
        self.ptracectl_of(NEWS, "interrupt", str(tracee.pid))
        self.assertIn(f"{tracee.pid} stopped by ", self.ptracectl_of(NEWS, "status").stdout)
        self.assertIn(f" {tracee.pid} ", self.ptracectl_of(NEWS, "threads", str(tracee.pid)).stdout)
        self.ptracectl_of(NEWS, "continue", "--all", "-s", session)
        self.assert_advances(lambda: tracee.ask()["progress"])
        self.ptracectl_of(NEWS, "interrupt", "-s", session, str(tracee.pid))
        self.ptracectl_of(NEWS, "detach", str(tracee.pid))
        self.ptracectl_of(NEWS, "close", session)
        self.assert_runs_free(tracee)

    def test_ptracectl_says_what_it_may_not_do(self):
        mine = self.tracee_of(GAMES)
        theirs = self.session_of(GAMES) # it lives as long as its connection, which alone uses it
        theirs.attach(mine.pid)
        done = self.ptracectl_of(GAMES, "interrupt", str(mine.pid), code=4)
        self.assertIn(f"Failed to use session {theirs.id} for process {mine.pid}", done.stderr)
        done = self.ptracectl_of(GAMES, "status")
        self.assertIn(f"What session {theirs.id} holds stopped is for those connections alone", done.stderr)

    def test_proof_from_before_an_exec_is_none(self):
        """Which only the tracer can tell: the file is the same."""
        tracee = self.tracee_of(NEWS, "executes", "executes")
        old, new = [], []
        for fds in (old, new):
            with polkit.acting_as(NEWS):
                fds.append(os.open(f"/proc/{tracee.pid}/mem", os.O_RDWR))
            self.addCleanup(os.close, fds[0])
            if fds is old:
                tracee.say(self.program("next", "executes"))
                self.assertEqual(tracee.listen(), "ready")
        session = self.session_of(NEWS, lifetime="persistent")
        session.attach(tracee.pid, proof=wire.Variant("h", new[0]))
        again = self.again(session, NEWS)
        self.assert_error("NotPermitted", self.authorize, again, tracee.pid, proof=wire.Variant("h", old[0]))
        self.assert_error(ASK_ME, again.process(tracee.pid).interrupt)
        self.authorize(again, tracee.pid, proof=wire.Variant("h", new[0]))

    def test_last_events_are_for_who_was_authorised(self):
        """Here of processes of another user, which a rule gives to each connection; but not what has ended."""
        first, second = self.tracee_of(GAMES, "allowed"), self.tracee_of(GAMES, "allowed-too")
        session = self.session_of(NEWS, lifetime="persistent")
        session.attach(first.pid)
        authorised, another = self.again(session, NEWS), self.again(session, NEWS)
        self.authorize(authorised, first.pid)
        authorised.attach(second.pid)
        self.authorize(another, second.pid)
        first.quit()
        first.wait()
        self.assert_wait(lambda: first.pid not in [entry[0] for entry in another.client.manager.call("ListTracees")], "it is gone")
        for taken in ((another, "GetEvent", "t", 0), (another, "Subscribe"),
                      (another.process(first.pid).thread(first.pid), "GetEvent", "t", 0)):
            error = self.assert_error(ASK_ME, taken[0].call, *taken[1:])
            self.assertIn("org.ptraced.Tracer1.observe-other", error.message)
        another.call("Continue", "a{sv}", options()) # of what lives
        kinds = []
        with contextlib.suppress(wire.Error):
            while True:
                kinds.append(authorised.call("GetEvent", "t", 0)[4])
        self.assertIn("exited", kinds)
        # What comes from now on is of the second one alone.
        self.assert_error("NoEvent", another.call, "GetEvent", "t", 0)

    def test_events_of_what_has_ended_meanwhile_wait_for_who_may_observe_it(self):
        tracees = [self.tracee_of(GAMES, name) for name in ("first", "second", "third")]
        session = self.session_of(GAMES, lifetime="persistent")
        for tracee in tracees:
            session.attach(tracee.pid)
        session.client.close()
        for tracee in tracees:
            tracee.quit()
            tracee.wait()
        ended = set()
        while not ended >= {tracee.pid for tracee in tracees}:
            event = self.again(session).call("GetEvent", "t", 10000000)
            if event[4] == "exited":
                ended.add(event[3])
        self.assert_error("NoEvent", self.again(session).call, "GetEvent", "t", 0)
        self.assert_error("NoEvent", self.again(session).call, "GetEvent", "t", 0)
        self.again(session).call("Interrupt") # of nothing

    def test_root_needs_none(self):
        tracee, session, _ = self.persistent()
        ours = self.connect().session(session.id)
        self.authorize(ours, tracee.pid)
        ours.process(tracee.pid).interrupt()


class ManagingService(Service):
    rules = Service.rules + f"""
    if (subject.user == "{NEWS}" && (action.id == "org.ptraced.Tracer1.manage" ||
                                     action.id == "org.ptraced.Tracer1.list-other"))
        return polkit.Result.YES;
    if (subject.user == "{GAMES}" && action.id == "org.ptraced.Tracer1.list")
        return polkit.Result.NO;
    """


class OpeningService(Service):
    rules = Service.rules + """
    if (action.id == "org.ptraced.Tracer1.open-memory" && action.lookup("executable").indexOf("/program") >= 0)
        return polkit.Result.YES;
    """


class Opening(Policy):
    """Descriptors that nobody can take back."""

    service_class = OpeningService

    def open(self, process, member, *args):
        os.close(process.call(member, *args))

    def test_rule_that_says_yes_is_enough_for_a_holder_with_control(self):
        tracee = self.tracee_of(GAMES)
        session = self.session_of(GAMES)
        process = session.attach(tracee.pid)
        self.open(process, "OpenMemory", "s", "read-write")
        self.open(process, "OpenMaps")
        again = self.service.connect_as(GAMES).session(session.id).process(tracee.pid)
        self.assert_error(ACCESS_DENIED, again.call, "OpenMemory", "s", "read")
        other = self.service.connect_as(NEWS).session(session.id).process(tracee.pid)
        self.assert_error(ACCESS_DENIED, other.call, "OpenMemory", "s", "read")

    def test_observer_does_not_write(self):
        tracee = self.tracee_of(NEWS)
        process = self.session_of(NEWS).attach(tracee.pid, access="observe")
        self.assert_error("NotPermitted", process.call, "OpenMemory", "s", "read-write")

    def test_process_of_another_user_is_an_action_of_its_own(self):
        process = self.session_of(GAMES).attach(self.tracee_of(NEWS, "allowed").pid)
        error = self.assert_error(ASK_ME, process.call, "OpenMemory", "s", "read")
        self.assertIn("open-memory-other", error.message)

    def test_answer_is_for_what_was_asked_about(self):
        """Which the session has let go of meanwhile, and has attached again since."""
        tracee = self.tracee_of(GAMES)
        session = self.session_of(GAMES)
        process = session.attach(tracee.pid)
        with polkit.acting_as(GAMES):
            fd = os.open(f"/proc/{tracee.pid}/mem", os.O_RDWR)
        self.addCleanup(os.close, fd)
        os.kill(self.service.polkit.pid, signal.SIGSTOP)
        try:
            serial = process.send("OpenMemory", "s", "read")
            process.detach()
            session.attach(tracee.pid, proof=wire.Variant("h", fd))
        finally:
            os.kill(self.service.polkit.pid, signal.SIGCONT)
        error = self.assert_error("NotAttached", session.client.reply, serial)
        self.assertIn(str(tracee.pid), error.message)

    def test_who_has_proved_it_is_not_asked(self):
        tracee = self.tracee_of(NEWS, "other")
        with polkit.acting_as(NEWS):
            fd = os.open(f"/proc/{tracee.pid}/mem", os.O_RDWR)
        self.addCleanup(os.close, fd)
        process = self.session_of(NEWS).attach(tracee.pid, proof=wire.Variant("h", fd))
        self.open(process, "OpenMemory", "s", "read-write")
        self.open(process, "OpenMaps")
        self.assert_error("NotAttached", process.client.session(process.path.split("/")[5]).process(1).call,
                          "OpenMemory", "s", "read")


class Managing(Policy):
    """Who may see and end what others trace."""

    service_class = ManagingService

    def setUp(self):
        super().setUp()
        self.traced = self.tracee_of(GAMES)
        self.session = self.session_of(GAMES, lifetime="persistent")
        self.session.attach(self.traced.pid)
        self.manager = self.service.connect_as(NEWS)

    def test_sessions_of_others_are_listed(self):
        self.assertEqual(list(self.manager.list_sessions()), [self.session.id])
        self.assertEqual([entry[0] for entry in self.manager.manager.call("ListTracees")], [self.traced.pid])
        (objects,) = self.manager.call(client.ROOT, client.OBJECT_MANAGER, "GetManagedObjects")
        self.assertEqual(set(objects), {self.session.path, self.session.process(self.traced.pid).path})
        other = self.service.connect_as(GAMES)
        self.assertEqual(list(other.list_sessions()), [self.session.id])
        self.assertEqual(other.manager.call("ListTracees"), [], "a rule says no")

    def test_permission_is_for_one_call(self):
        self.manager.list_sessions()
        self.assert_error(ACCESS_DENIED, self.manager.session(self.session.id).interrupt)
        theirs = self.manager.session(self.session.id)
        serials = [theirs.send("Interrupt"), self.manager.manager.send("ListTracees"), theirs.send("Interrupt"),
                   theirs.send("Subscribe")]
        for serial in (serials[0], *serials[2:]):
            self.assert_error(ACCESS_DENIED, self.manager.reply, serial)
        self.assertEqual(len(self.manager.reply(serials[1])[0]), 1)

    def test_session_of_another_user_is_looked_at_and_ended(self):
        theirs = self.manager.session(self.session.id)
        self.assertEqual(theirs.get("Id"), self.session.id)
        theirs.call("DetachAll")
        self.assert_runs_free(self.traced)
        theirs.close()
        self.assertEqual(self.manager.list_sessions(), {})

    def test_nobody_else_does(self):
        mine = self.session_of(NEWS, lifetime="persistent")
        other = self.service.connect_as(GAMES).session(mine.id)
        self.assertEqual(list(other.client.list_sessions()), [self.session.id])
        self.assert_error(ASK_ME, other.close)
        mine.close()

    def test_caller_that_leaves_meanwhile_leaves_nothing(self):
        os.kill(self.service.polkit.pid, signal.SIGSTOP)
        try:
            for _ in range(20):
                one = self.service.connect_as(NEWS)
                one.call(client.ROOT, client.INTROSPECTABLE, "Introspect") # it is known
                for _ in range(3):
                    one.session(self.session.id).send("Close")
                one.call(client.ROOT, client.INTROSPECTABLE, "Introspect") # polkit is asked
                one.close()
            self.assertEqual(list(self.connect().list_sessions()), [self.session.id])
        finally:
            os.kill(self.service.polkit.pid, signal.SIGCONT)
        self.manager.list_sessions()
        self.session.get("Id")


class Privilege(Policy):
    def gains(self, mode):
        tracee = self.tracee_of(GAMES, "executes", "executes")
        session = self.session_of(GAMES)
        session.attach(tracee.pid, stops=["exec"])
        tracee.say(self.program("gains", mode=mode))
        lost = session.events_until(lambda e: e.kind == "lost")
        self.assertEqual(lost[-1].details, {"reason": "privilege", "process": True})
        self.assertNotIn("exec", [e.kind for e in lost])
        self.assertEqual(tracee.listen(), "ready")
        self.assert_advances(lambda: tracee.ask()["progress"])
        self.assert_error("NotAttached", session.process(tracee.pid).interrupt)
        self.assert_runs_free(tracee)
        return tracee

    def test_set_user_id_program_runs_on_with_its_privileges_and_without_us(self):
        tracee = self.gains(0o4755)
        self.assertEqual(procfs.status(tracee.pid, "Uid").split()[1], "0")

    def test_unreadable_program_runs_on_without_us(self):
        self.gains(0o711)

    def test_process_that_is_replaced_while_polkit_thinks_is_not_traced(self):
        tracee = self.tracee_of(GAMES, "executes", "executes")
        session = self.session_of(GAMES)
        os.kill(self.service.polkit.pid, signal.SIGSTOP)
        try:
            serial = session.send("AttachProcess", "ua{sv}", tracee.pid, options())
            session.client.list_sessions()  # it has come along,
            self.new_session().attach(self.tracee_of(NEWS, "b").pid) # and what the keeper is asked first, too
            tracee.say(self.program("gains", mode=0o4755))
            self.assertEqual(tracee.listen(), "ready")
        finally:
            os.kill(self.service.polkit.pid, signal.SIGCONT)
        error = self.assert_error("NotPermitted", session.client.reply, serial)
        self.assertIn("by now", error.message)
        self.assert_wait(lambda: procfs.tracer_pid(tracee.pid) == 0, "it is let go")
        self.assert_advances(lambda: tracee.ask()["progress"])

    def test_program_of_another_user_that_gains_privilege_is_lost_too(self):
        tracee = self.tracee_of(NEWS, "allowed", "executes")
        session = self.session_of(GAMES)
        session.attach(tracee.pid)
        tracee.say(self.program("gains", mode=0o4755))
        self.assertEqual(session.events_until(lambda e: e.kind == "lost")[-1].details["reason"], "privilege")

    def test_next_program_of_another_user_is_lost(self):
        """polkit was asked about this one."""
        tracee = self.tracee_of(NEWS, "allowed", "executes")
        session = self.session_of(GAMES)
        session.attach(tracee.pid)
        tracee.say(self.program("another"))
        self.assertEqual(session.events_until(lambda e: e.kind == "lost")[-1].details["reason"], "privilege")
        self.assertEqual(tracee.listen(), "ready")


class WithTheExample(Policy):
    class service_class(Service):
        rules_file = os.path.join(os.environ.get("PTRACED_SOURCE_DIR", "."), "docs/examples/50-ptraced.rules")

    def test_rules_that_we_ship_are_understood(self):
        """They are of users and groups that this machine has not, so they leave all as it is."""
        self.assert_refused(self.session_of(GAMES), self.tracee_of(GAMES), ASK_ME)
        self.assertNotRegex(self.service.daemons.logs().get("polkit.log", ""), "(?i)error")


class WithoutPolkit(Policy):
    class service_class(Service):
        with_polkit = False

    def test_refusal_says_that_polkit_is_missing(self):
        tracee = self.tracee_of(GAMES)
        self.assertIn("polkit does not answer", self.assert_refused(self.session_of(GAMES), tracee))
        self.new_session().attach(tracee.pid)


class Proof(Policy):
    """Nobody is asked where the kernel has judged already: there is no polkit."""

    class service_class(Service):
        with_polkit = False

    def proof_of(self, user, pid, flags=os.O_RDWR):
        with polkit.acting_as(user):
            fd = os.open(f"/proc/{pid}/mem", flags | os.O_CLOEXEC)
        self.addCleanup(os.close, fd)
        return wire.Variant("h", fd)

    def test_own_process_is_traced_by_its_proof(self):
        tracee = self.tracee_of(GAMES)
        session = self.session_of(GAMES)
        process = session.attach(tracee.pid, proof=self.proof_of(GAMES, tracee.pid))
        process.interrupt()
        session.events_until(lambda e: e.kind == "stop")
        process.continue_()
        self.assert_error("NotPermitted", session.attach, tracee.pid)

    def test_who_gets_no_proof_has_none(self):
        tracee = self.tracee_of(NEWS)
        self.assertRaises(PermissionError, self.proof_of, GAMES, tracee.pid)

    def test_what_is_no_proof_of_this_process_is_refused(self):
        tracee, another = self.tracee_of(GAMES), self.tracee_of(GAMES, "another")
        memfd = os.memfd_create("mem", 0)
        self.addCleanup(os.close, memfd)
        for name, fd in (("of another", self.proof_of(GAMES, another.pid)), ("memfd", wire.Variant("h", memfd)),
                         ("for reading", self.proof_of(GAMES, tracee.pid, os.O_RDONLY)),
                         ("path", self.proof_of(GAMES, tracee.pid, os.O_PATH))):
            with self.subTest(name):
                message = self.assert_not_proved(tracee, proof=fd)
                self.assertIn(f"/proc/{tracee.pid}/mem", message)

    def assert_not_proved(self, tracee, **values):
        error = self.assert_error("NotPermitted", self.session_of(GAMES).attach, tracee.pid, **values)
        self.assert_runs_free(tracee)
        return error.message

    def test_reading_proves_observing(self):
        tracee = self.tracee_of(GAMES)
        fd = self.proof_of(GAMES, tracee.pid, os.O_RDONLY)
        process = self.session_of(GAMES).attach(tracee.pid, proof=fd, access="observe")
        self.assert_error("NotPermitted", process.kill)

    def test_proof_from_before_an_exec_is_none(self):
        tracee = self.tracee_of(GAMES, "executes", "executes")
        fd = self.proof_of(GAMES, tracee.pid)
        tracee.say(self.program("next"))
        self.assertEqual(tracee.listen(), "ready")
        self.assert_not_proved(tracee, proof=fd)
        self.session_of(GAMES).attach(tracee.pid, proof=self.proof_of(GAMES, tracee.pid))

    def test_program_that_gains_privilege_is_lost_all_the_same(self):
        tracee = self.tracee_of(GAMES, "executes", "executes")
        session = self.session_of(GAMES)
        session.attach(tracee.pid, proof=self.proof_of(GAMES, tracee.pid))
        tracee.say(self.program("gains", mode=0o4755))
        self.assertEqual(session.events_until(lambda e: e.kind == "lost")[-1].details["reason"], "privilege")

    def test_proof_of_a_program_without_privilege_is_none_of_one_with(self):
        tracee = self.tracee_of(GAMES, "executes", "executes")
        fd = self.proof_of(GAMES, tracee.pid)
        tracee.say(self.program("gains", mode=0o4755))
        self.assertEqual(tracee.listen(), "ready")
        self.assert_not_proved(tracee, proof=fd)


del Policy

if __name__ == "__main__":
    harness.main()
