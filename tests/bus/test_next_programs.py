# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a process of another user executes is asked about anew, without a dialog, while it stands."""

import contextlib
import os
import signal
import time

import client
import harness
import polkit
import procfs
import wire
from client import options
from policy import GAMES, NEWS, Policy, Service


class Watching(Service):
    rules = Service.rules + """
    if (action.id == "org.ptraced.Tracer1.open-memory-other")
        return polkit.Result.YES;
    if (action.id == "org.ptraced.Tracer1.observe-other" && (action.lookup("executable").indexOf("/allowed") >= 0 ||
                                                             action.lookup("executable").indexOf("/observed") >= 0))
        return polkit.Result.YES;
    if (action.id == "org.ptraced.Tracer1.control-other" && action.lookup("executable").indexOf("/by-requester") >= 0 &&
        action.lookup("requester").indexOf("python") == 0)
        return polkit.Result.YES;
    if (action.id == "org.ptraced.Tracer1.control-other" && action.lookup("executable").indexOf("/for-one") >= 0) {
        var allowed = typeof wasAllowed === "undefined";
        wasAllowed = true; // is global
        return allowed ? polkit.Result.YES : polkit.Result.NO;
    }
    """


class Case(Policy):
    service_class = Watching

    def setUp(self):
        super().setUp()
        self.watched = self.tracee_of(NEWS, "allowed", "executes")

    def attach(self, session=None, **kwargs):
        session = session or self.session_of(GAMES)
        return session, session.attach(self.watched.pid, **kwargs)

    def execute(self, name, source="busy-loop", mode=0o755):
        path = self.program(name, source, mode)
        self.watched.say(path)
        return path

    def next_exec(self, session):
        return session.events_until(lambda e: e.kind in ("exec", "lost"))[-1]

    def assert_runs_on_without_us(self):
        self.assertEqual(self.watched.listen(), "ready")
        self.assert_advances(lambda: self.watched.ask()["progress"])
        self.assert_runs_free(self.watched)

    @contextlib.contextmanager
    def silent_polkit(self):
        os.kill(self.service.polkit.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.service.polkit.pid, signal.SIGCONT)

    def assert_asked_about(self, process):
        """It stands, and its tracer knows: what it executes next is out of reach."""
        self.assert_stands()
        self.assert_wait(lambda: self.is_refused(process.list_threads), "polkit is asked")

    def is_refused(self, call):
        try:
            call()
        except wire.Error as e:
            self.assertEqual(e.name, client.ERROR + "NotPermitted")
            return True
        return False

    def assert_stands(self):
        """In its exec stop: the new program says nothing."""
        self.assert_wait(lambda: procfs.status(self.watched.pid, "State").startswith("t"), "it stands")


class Allowed(Case):
    def test_session_goes_on(self):
        session, process = self.attach()
        path = self.execute("allowed-too")
        event = self.next_exec(session)
        self.assertEqual((event.kind, event.details["path"]), ("exec", path))
        self.assertEqual(self.watched.listen(), "ready")
        told = f"may still control process {self.watched.pid}, which has executed {path}"
        self.assert_wait(lambda: told in self.service.daemons.logs().get("broker.log", ""), "the journal is told")
        process.interrupt()
        session.events_until(lambda e: e.kind == "stop")
        self.assertTrue(process.thread(self.watched.pid).registers())
        session.close()
        self.assert_advances(lambda: self.watched.ask()["progress"])

    def test_rule_is_told_who_asks(self):
        session, _ = self.attach()
        self.execute("by-requester")
        self.assertEqual(self.next_exec(session).kind, "exec")
        self.assertEqual(self.watched.listen(), "ready")

    def test_each_of_many_is_asked_about_and_told(self):
        session, _ = self.attach()
        for i in range(harness.rounds()):
            path = self.execute(f"allowed-{i % 2}", "executes")
            event = self.next_exec(session)
            self.assertEqual((event.kind, event.details["path"]), ("exec", path), f"round {i}")
            self.assertEqual(self.watched.listen(), "ready")

    def test_exec_that_stops_is_held(self):
        session, process = self.attach(stops=["exec"])
        self.execute("allowed-too")
        event = self.next_exec(session)
        self.assertEqual((event.kind, event.stopped), ("exec", True))
        self.assert_stands()
        process.continue_()
        self.assertEqual(self.watched.listen(), "ready")

    def test_session_that_observes_goes_on_observing(self):
        session, process = self.attach(access="observe")
        self.execute("allowed-too")
        self.assertEqual(self.next_exec(session).kind, "exec")
        self.assertEqual(self.watched.listen(), "ready")
        self.assertTrue(process.list_threads())
        self.assert_error("NotPermitted", process.kill)

    def test_child_that_is_followed_goes_on_too(self):
        """A shell that executes what it reads."""
        session, _ = self.attach(children="follow")
        self.execute("allowed-shell", "/bin/sh")
        self.assertEqual(self.next_exec(session).pid, self.watched.pid)
        path = self.execute("allowed-too")
        event = self.next_exec(session)
        self.assertEqual((event.kind, event.details["path"]), ("exec", path))
        self.assertNotEqual(event.pid, self.watched.pid)
        self.assertEqual(self.watched.listen(), "ready")


class Refused(Case):
    def test_program_runs_on_without_the_session(self):
        session, process = self.attach(stops=["exec"])
        self.execute("another")
        seen = session.events_until(lambda e: e.kind == "lost")
        self.assertNotIn("exec", [e.kind for e in seen])
        self.assertEqual(seen[-1].details, {"reason": "privilege", "process": True})
        self.assert_error("NotAttached", process.interrupt)
        self.assert_runs_on_without_us()

    def test_privilege_that_is_gained_is_not_even_asked_about(self):
        session, _ = self.attach()
        self.execute("allowed-too", mode=0o4755)
        self.assertEqual(self.next_exec(session).kind, "lost")
        self.assert_runs_on_without_us()


class WithAnAgent(Case):
    """Somebody sits there who could be asked, and the caller lets himself be."""

    def setUp(self):
        super().setUp()
        self.agent = polkit.Agent(polkit.Listener.open(self.service.bus_socket),
                                  wire.Connection.open(self.service.bus_socket), polkit.ourselves(GAMES))
        self.addCleanup(self.agent.close)
        self.session = self.session_of(GAMES)
        self.session.client.flags |= wire.ALLOW_INTERACTION

    def assert_no_dialog(self):
        """Though one is shown where the same is asked for otherwise."""
        other = self.tracee_of(NEWS, "asked-about")
        serial = self.session.send("AttachProcess", "ua{sv}", other.pid, options())
        question = self.agent.next_question()
        self.assertEqual(question.action, "org.ptraced.Tracer1.control-other")
        self.assertIn("/asked-about", question.message)
        self.agent.dismiss(question)
        self.assert_error("NotPermitted", self.session.client.reply, serial)
        self.assertEqual(list(self.agent.bus.calls), [])

    def test_program_that_a_rule_would_ask_about_is_lost_without_a_dialog(self):
        self.attach(self.session)
        self.execute("another")
        self.assertEqual(self.next_exec(self.session).kind, "lost")
        self.assert_runs_on_without_us()
        self.assert_no_dialog()

    def test_answer_about_the_former_program_gives_nothing_of_the_next(self):
        """An observer asks for control, and is told yes when the process executes something else."""
        watched = self.tracee_of(NEWS, "observed", "executes")
        process = self.session.attach(watched.pid, access="observe")
        serial = self.session.send("AttachProcess", "ua{sv}", watched.pid, options())
        question = self.agent.next_question()
        watched.say(self.program("observed-too"))
        self.assertEqual(self.next_exec(self.session).kind, "exec")
        self.assertEqual(watched.listen(), "ready")
        self.agent.agree(question)
        error = self.assert_error("NotPermitted", self.session.client.reply, serial)
        self.assertIn("executes another program", error.message)
        self.assertIn("only observe", self.assert_error("NotPermitted", process.kill).message)
        self.assertTrue(process.list_threads())

    def test_program_that_a_rule_allows_is_kept_without_a_dialog(self):
        self.attach(self.session)
        self.execute("allowed-too")
        self.assertEqual(self.next_exec(self.session).kind, "exec")
        self.assertEqual(self.watched.listen(), "ready")
        self.assert_no_dialog()


class ForOneOfTwo(Case):
    """Two connections of a user were authorised for what a persistent session traces."""

    def test_other_one_has_nothing_of_it_any_more(self):
        session, process = self.attach(self.session_of(GAMES, lifetime="persistent"))
        session.call("Subscribe")
        again = self.service.connect_as(GAMES).session(session.path)
        again.call("AuthorizeProcess", "ua{sv}", self.watched.pid, options())
        again.call("Subscribe")
        waiting = again.send("GetEvent", "t", 2**64 - 1)
        path = self.execute("for-one")
        self.assert_error("NotPermitted", again.client.reply, waiting)
        self.assertEqual(self.next_exec(session).details["path"], path)
        self.assertEqual(self.watched.listen(), "ready")
        self.assertTrue(process.list_threads())
        self.assert_error("NotPermitted", again.process(self.watched.pid).list_threads)
        self.assertEqual(again.events_for(0.1), [])

    def test_calls_that_came_meanwhile_are_not_made_good(self):
        session, _ = self.attach(self.session_of(GAMES, lifetime="persistent"))
        session.call("Subscribe")
        again = self.service.connect_as(GAMES).session(session.path)
        again.call("AuthorizeProcess", "ua{sv}", self.watched.pid, options())
        theirs = again.process(self.watched.pid)
        with self.silent_polkit():
            self.execute("for-one")
            self.assert_asked_about(theirs)
            serials = [theirs.send("GetCommandLine"), theirs.send("Kill"), theirs.send("Interrupt")]
            again.get("Lifetime")  # they have come along
        self.assertEqual(self.next_exec(session).kind, "exec")
        for serial in serials:
            self.assert_error("NotPermitted", again.client.reply, serial)
        self.assertEqual(self.watched.listen(), "ready")


class Meanwhile(Case):
    def test_nothing_is_known_before_the_answer(self):
        session, process = self.attach()
        roots = self.new_session()
        roots.attach(self.watched.pid)
        with self.silent_polkit():
            path = self.execute("allowed-too")
            event = roots.events_until(lambda e: e.kind == "exec")[-1]
            self.assertEqual(event.details["path"], path)
            self.assert_stands()
            for call in (process.list_threads, process.interrupt, process.kill,
                         process.thread(self.watched.pid).registers, lambda: process.read_memory(0, 1),
                         lambda: process.call("OpenMaps")):
                self.assertIn("try again", self.assert_error("NotPermitted", call).message)
            self.assertEqual(session.events_for(0.1), [])
            self.assert_stands()
        self.assertEqual(self.next_exec(session).kind, "exec")
        self.assertTrue(process.list_threads())
        self.assertEqual(self.watched.listen(), "ready")

    def test_interrupt_of_the_session_takes_effect_with_the_answer(self):
        session, process = self.attach()
        with self.silent_polkit():
            self.execute("allowed-too")
            self.assert_asked_about(process)
            serial = session.send("Interrupt")
            session.get("Lifetime")
        self.assertEqual(self.next_exec(session).kind, "exec")
        session.client.reply(serial)
        session.events_until(lambda e: e.kind == "stop")
        self.assert_stands()
        process.continue_()
        self.assertEqual(self.watched.listen(), "ready")

    def test_observer_holds_nothing_for_longer_than_it_may(self):
        session, _ = self.attach(access="observe")
        with self.silent_polkit():
            self.execute("allowed-too")
            self.assert_stands()
            started = time.monotonic()
            self.assertEqual(self.watched.listen(), "ready")
            self.assertLess(time.monotonic() - started, 1.8)  # where control would take two
        self.assertEqual(self.next_exec(session).kind, "lost")

    def test_permission_for_one_program_is_not_for_the_next(self):
        """It is asked for the memory of the former one, and answers when another is there."""
        session, process = self.attach()
        with self.silent_polkit():
            serial = process.send("OpenMemory", "s", "read")
            session.get("Lifetime")
            self.execute("allowed-too")
            self.assert_asked_about(process)
        self.assert_error("NotAttached", session.client.reply, serial)
        self.assertEqual(self.next_exec(session).kind, "exec")

    def test_more_of_them_than_polkit_is_asked_at_a_time(self):
        """A shell that executes what it reads."""
        session, _ = self.attach(children="follow", events=["exec"])
        self.execute("allowed-shell", "/bin/sh")
        self.next_exec(session)
        path = self.program("allowed-true", "/bin/true")
        self.watched.say(f"for i in {' '.join(map(str, range(60)))}; do {path} & done; wait; echo done")
        events = [session.events_until(lambda e: e.kind in ("exec", "lost"))[-1] for _ in range(60)]
        self.assertEqual({event.kind for event in events}, {"exec"})
        self.assertEqual(self.watched.listen(), "done")

    def test_polkit_that_does_not_answer_holds_nobody_up(self):
        session, _ = self.attach()
        with self.silent_polkit():
            self.execute("allowed-too")
            self.assertEqual(self.next_exec(session).kind, "lost")
            self.assert_runs_on_without_us()

    def test_detach_does_not_wait(self):
        session, process = self.attach()
        with self.silent_polkit():
            self.execute("allowed-too")
            self.assert_stands()
            process.detach()
            self.assert_runs_on_without_us()
        self.attach(session)  # as new as ever

    def test_close_does_not_wait(self):
        session, _ = self.attach()
        with self.silent_polkit():
            self.execute("allowed-too")
            self.assert_stands()
            session.close()
            self.assert_runs_on_without_us()

    def test_process_is_killed(self):
        session, process = self.attach()
        with self.silent_polkit():
            self.execute("allowed-too")
            self.assert_asked_about(process)
            os.kill(self.watched.pid, signal.SIGKILL)
            self.assertEqual(self.watched.wait(), -signal.SIGKILL)
            events = session.events_until(lambda e: e.kind in ("killed", "lost"))
        self.assertEqual([(e.kind, e.stopped) for e in events], [("exit", False), ("killed", False)])
        self.assertEqual(events[-1].details["signal"], signal.SIGKILL)
        self.assert_wait(lambda: not self.connect().manager.call("ListTracees"), "it is gone")
        self.assertEqual(session.events_for(0.1), [])

    def test_killed_process_is_nobodys_to_look_at_in_its_exit_stop(self):
        """In which somebody else holds it."""
        session, process = self.attach(stops=["exit"])
        roots = self.new_session()
        theirs = roots.attach(self.watched.pid, stops=["exit"])
        thread = process.thread(self.watched.pid)
        with self.silent_polkit():
            self.execute("allowed-too")
            self.assert_asked_about(process)
            os.kill(self.watched.pid, signal.SIGKILL)
            self.assertTrue(roots.events_until(lambda e: e.kind == "exit")[-1].stopped)
            for call in (process.list_threads, thread.registers, lambda: process.read_memory(0, 1)):
                self.assert_error("NotPermitted", call)
            session.call("Interrupt")
            session.call("Continue", "a{sv}", options())
        told = f"may still control process {self.watched.pid}, "
        self.assert_wait(lambda: told in self.service.daemons.logs().get("broker.log", ""), "polkit has answered")
        self.assert_error("NotPermitted", thread.registers)
        self.assertTrue(theirs.thread(self.watched.pid).registers())
        self.assertEqual([(e.kind, e.stopped) for e in session.events_for(0.1)], [("exit", False)])
        theirs.continue_()
        self.assertEqual(session.events_until(lambda e: e.kind != "exit")[-1].kind, "killed")
        self.assertEqual(self.watched.wait(), -signal.SIGKILL)

    def test_killed_process_is_let_go_by_its_session(self):
        session, process = self.attach()
        roots = self.new_session()
        theirs = roots.attach(self.watched.pid, stops=["exit"])
        with self.silent_polkit():
            self.execute("allowed-too")
            self.assert_asked_about(process)
            os.kill(self.watched.pid, signal.SIGKILL)
            roots.events_until(lambda e: e.kind == "exit")
            process.detach()
        theirs.continue_()
        self.assertEqual(roots.events_until(lambda e: e.kind == "killed")[-1].details["signal"], signal.SIGKILL)
        self.assertEqual(self.watched.wait(), -signal.SIGKILL)

    def test_caller_leaves(self):
        session, _ = self.attach()
        with self.silent_polkit():
            self.execute("allowed-too")
            self.assert_stands()
            session.client.close()
            self.assert_runs_on_without_us()

    def test_everybody_has_left_who_was_allowed_to(self):
        """There is nobody to ask polkit for."""
        session, _ = self.attach(self.session_of(GAMES, lifetime="persistent"))
        session.client.close()
        self.execute("allowed-too")
        self.assert_runs_on_without_us()

    def test_broker_dies(self):
        session, _ = self.attach()
        with self.silent_polkit():
            self.execute("allowed-too")
            self.assert_stands()
            self.service.broker.kill()
            self.service.broker.wait()
            self.assert_runs_on_without_us()


del Case, Policy

if __name__ == "__main__":
    harness.main()
