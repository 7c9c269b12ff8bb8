# SPDX-License-Identifier: LGPL-2.1-or-later
"""Services that are restarted and stopped: what is traced stays so, or is released in order."""

import os
import signal
import time

import cases
import client
import procfs
import wire
from cases import BROKER, KEEPER, SOCKET
from machine import Inside, Machine

STOP_SECONDS = 15  # the keeper's time-out


class Case(cases.Case):
    def start(self, **values):
        """A persistent session with a breakpoint in the tracee "computes", whose threads go on."""
        tracee = self.tracee("computes", 2)
        at = {key: int(value) for key, _, value in (word.partition("=") for word in tracee.words[1:])}
        session = self.new_session(lifetime="persistent", **values)
        process = session.attach(tracee.inside)
        process.add_breakpoint(at["target"])
        self.assertTrue(procfs.changed_text(tracee.pid))
        return tracee, session, process

    def assert_still_held(self, tracee, session, tracer):
        """By the same tracer, for the same session, with its breakpoint."""
        self.assertEqual(procfs.tracer_pid(tracee.pid), tracer)
        again = self.connect()
        self.assertEqual(list(again.list_sessions()), [session.id])
        same = again.session(session.id)
        same.call("Subscribe")
        tracee.say("call 1")
        event = same.events_until(lambda e: e.kind == "breakpoint")[-1]
        same.process(tracee.inside).thread(event.tid).continue_()
        self.assertEqual(tracee.read_pairs(), {"sum": 1})

    def assert_released(self, tracee):
        self.assertEqual(tracee.runs_free(), [])
        self.assert_computes(tracee)

    def attach_again(self, session, tracee):
        """The broker may hear of the former tracer's end a moment after the tracee has been let go."""
        def attach():
            try:
                return session.attach(tracee.inside)
            except wire.Error as e:
                if e.name != client.ERROR + "TracerGone":
                    raise
                return None
        self.assert_wait(attach, "it is attached again")

    def ours(self):
        return [pid for name in ("ptraced", "ptraced-keeper", "ptraced-tracer") for pid in self.machine.running(name)]


class Restart(Case):
    def test_restart_of_the_broker_keeps_a_persistent_session(self):
        tracee, session, _ = self.start()
        tracer, keeper = procfs.tracer_pid(tracee.pid), self.only("ptraced-keeper")
        for _ in range(3):
            before = self.only("ptraced")
            self.machine.run("systemctl", "restart", BROKER)
            self.assertNotEqual(self.only("ptraced"), before)
            self.assert_still_held(tracee, session, tracer)
        self.assertEqual(self.only("ptraced-keeper"), keeper)

    def test_release_after_a_restart_tells_program_and_time(self):
        tracee, session, _ = self.start()
        self.machine.run("systemctl", "restart", BROKER)
        self.connect().session(session.id).close()

        def find():
            return [entry for entry in self.journal() if entry.get("PTRACED_REASON") == "closed"]
        self.assert_wait(find, "an entry says so")
        (entry,) = find()
        self.assertEqual(entry["PTRACED_PID"], str(tracee.inside))
        self.assertIn("computes", entry["PTRACED_EXECUTABLE"])
        self.assertGreater(int(entry["PTRACED_USEC"]), 0)

    def test_restart_keeps_what_stands_standing(self):
        tracee, session, process = self.start()
        process.interrupt()
        self.machine.run("systemctl", "restart", BROKER)
        self.assertEqual({procfs.state(tracee.pid, tid) for tid in tracee.threads()}, {"t"})
        again = self.connect().session(session.id)
        self.assertEqual(len(again.list_stopped()), 3)
        again.continue_()
        self.assert_computes_under_tracing(tracee)

    def assert_computes_under_tracing(self, tracee):
        before = tracee.ask()["progress"]
        self.assert_wait(lambda: tracee.ask()["progress"] > before, "it gets on")

    def test_broker_that_is_killed_comes_back(self):
        tracee, session, _ = self.start()
        tracer, before = procfs.tracer_pid(tracee.pid), self.only("ptraced")
        os.kill(before, signal.SIGKILL)
        self.assert_wait(lambda: self.machine.running("ptraced") not in ([], [before]), "systemd starts it anew")
        self.assert_still_held(tracee, session, tracer)

    def test_clients_see_the_name_go_and_come(self):
        self.start()
        watcher = self.connect()
        watcher.connection.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "AddMatch",
                                "s", f"type='signal',member='NameOwnerChanged',arg0='{client.NAME}'")
        self.machine.run("systemctl", "restart", BROKER)
        watcher.connection.pump(5)
        self.assert_wait(lambda: self.name_changes(watcher) == [True, False, False, True], "both are told")

    @staticmethod
    def name_changes(watcher):
        """Whether there is an owner, before and after each change."""
        watcher.connection.pump(0.1)
        watcher.sort()
        return [bool(owner) for _, member, body in watcher.signals if member == "NameOwnerChanged"
                for owner in body[1:]]


class Stop(Case):
    def test_stop_of_both_releases_everything(self):
        tracee, _, process = self.start()
        process.interrupt()
        started = time.monotonic()
        self.machine.run("systemctl", "stop", BROKER, KEEPER)
        self.assertLess(time.monotonic() - started, STOP_SECONDS)
        self.assert_released(tracee)
        self.assertEqual(self.ours(), [])
        self.assertEqual([self.machine.show(unit, "ActiveState") for unit in (BROKER, KEEPER)], ["inactive"] * 2)
        # Nobody has called the socket meanwhile, which would have started the keeper again.
        self.assertFalse(cases.wait_until(self.ours, 0.5))

    def test_stop_of_both_ends_a_tracer_that_hangs(self):
        """It is killed, and repaired after; another one does not wait for that."""
        (held, _, _), (other, _, _) = self.start(), self.start()
        tracer = procfs.tracer_pid(held.pid)
        self.assertNotEqual(procfs.tracer_pid(other.pid), tracer)
        os.kill(tracer, signal.SIGSTOP)
        self.assert_wait(lambda: procfs.state(tracer) in ("t", "T"), "the tracer stands")
        started = time.monotonic()
        self.machine.run("systemctl", "stop", "--no-block", BROKER, KEEPER)
        self.assert_wait(lambda: not procfs.tracer_pid(other.pid), "the other one lets go")
        self.assertEqual(procfs.tracer_pid(held.pid), tracer)
        self.assert_released(other)
        self.machine.run("systemctl", "stop", BROKER, KEEPER)
        self.assertLess(time.monotonic() - started, STOP_SECONDS)
        self.assert_released(held)
        self.assertEqual(self.ours(), [])
        self.assertEqual([(self.machine.show(unit, "ActiveState"), self.machine.show(unit, "Result"))
                          for unit in (BROKER, KEEPER)], [("inactive", "success")] * 2)

    def test_stop_of_both_in_any_order(self):
        """A keeper that is stopped first leaves a broker that calls the socket for another one. It ends
        all the same; what has been started again is a keeper that nobody uses."""
        for units in ((BROKER, KEEPER), (KEEPER, BROKER), (SOCKET, BROKER, KEEPER)):
            for _ in range(8):
                tracee, _, _ = self.start()
                self.machine.run("systemctl", "stop", *units)
                self.assertEqual(self.machine.running("ptraced"), [])
                if units[0] != KEEPER:
                    self.assertFalse(cases.wait_until(self.ours, 0.1), units)
                self.assert_released(tracee)
                self.machine.run("systemctl", "stop", KEEPER)
                self.machine.run("systemctl", "reset-failed")
                tracee.kill()

    def test_stop_of_the_socket_stops_all(self):
        tracee, _, _ = self.start()
        self.machine.run("systemctl", "stop", SOCKET)
        self.assert_released(tracee)
        self.assertEqual(self.ours(), [])
        self.assertFalse(os.path.exists(self.machine.root + "/run/ptraced/keeper"))

    def test_broker_that_does_not_come_back(self):
        tracee, _, _ = self.start()
        self.machine.run("systemctl", "stop", BROKER)
        self.assertTrue(procfs.tracer_pid(tracee.pid))
        self.assert_wait(lambda: not procfs.tracer_pid(tracee.pid), "the keeper lets go", 10)
        self.assert_released(tracee)

    def test_keeper_that_is_killed(self):
        """Its tracers let go in order, and the next attach has another one."""
        tracee, session, _ = self.start()
        os.kill(self.only("ptraced-keeper"), signal.SIGKILL)
        self.assert_wait(lambda: not procfs.tracer_pid(tracee.pid), "it is let go")
        self.assert_released(tracee)
        self.attach_again(session, tracee)
        self.assertTrue(procfs.tracer_pid(tracee.pid))
        self.machine.try_run("systemctl", "reset-failed")

    def test_restart_of_the_keeper_lets_go_and_goes_on(self):
        tracee, session, _ = self.start()
        self.machine.run("systemctl", "restart", KEEPER)
        self.assert_released(tracee)
        self.attach_again(session, tracee)
        self.assertTrue(procfs.tracer_pid(tracee.pid))

    def test_shutdown_of_the_machine_waits_for_nobody(self):
        """Of another one, while all is in use."""
        machine = Machine()
        try:
            tracee = Inside(machine, "computes", 2)
            machine.run("ptracectl", "attach", tracee.inside)
            machine.run("ptracectl", "interrupt", tracee.inside)
        finally:
            started = time.monotonic()
            problems = machine.end()
        self.assertEqual(problems, [])
        self.assertLess(time.monotonic() - started, STOP_SECONDS)
        tracee.wait()
        tracee.kill()


if __name__ == "__main__":
    cases.main()
