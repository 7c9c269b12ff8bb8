# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is wrong is refused by a documented error that says why; nothing is lost, nothing leaks."""

import os
import pwd
import socket
import subprocess

import harness
import procfs
import wire
from client import FOREVER, MANAGER, NAME, PROCESS, ROOT, SESSION, THREAD, options
from service import UNPRIVILEGED, SystemService, wait_until
from wire import Variant

INVALID_ARGS = "org.freedesktop.DBus.Error.InvalidArgs"
UNKNOWN_METHOD = "org.freedesktop.DBus.Error.UnknownMethod"
UNKNOWN_OBJECT = "org.freedesktop.DBus.Error.UnknownObject"
UNUSED_PID = 4194303  # the highest that the kernel can be told to give


class BadInput:
    def test_unknown_pid(self):
        session = self.new_session()
        error = self.assert_error("NoSuchProcess", session.attach, UNUSED_PID)
        self.assertIn(str(UNUSED_PID), error.message)
        for pid in (0, 2**32 - 1, 2**31):
            with self.subTest(pid=pid):
                error = self.assert_error(INVALID_ARGS, session.attach, pid)
                self.assertIn(str(pid), error.message)

    def test_unknown_tid(self):
        session = self.new_session()
        self.assert_error("NoSuchThread", session.attach_thread, UNUSED_PID)
        for tid in (0, 2**32 - 1):
            with self.subTest(tid=tid):
                self.assert_error(INVALID_ARGS, session.attach_thread, tid)

    def test_tid_that_is_no_pid(self):
        tracee = self.tracee("many-threads", 2)
        self.assert_error("NoSuchProcess", self.new_session().attach, tracee.threads()[1])

    def test_kernel_thread(self):
        pid = procfs.kernel_thread()
        if pid is None:
            self.skipTest("no kernel thread can be seen here")
        error = self.assert_error("NotSupported", self.new_session().attach, pid)
        self.assertIn("kernel thread", error.message)

    def test_our_own_processes(self):
        tracee = self.tracee("many-threads", 2)
        session = self.new_session()
        session.attach(tracee.pid)
        for name in ("ptraced", "ptraced-keeper", "ptraced-tracer"):
            for pid in self.service.daemons.running(name):
                with self.subTest(name=name):
                    self.assert_error("NotPermitted", session.attach, pid)
                    self.assert_error("NotPermitted", session.attach_thread, pid)
        self.assertEqual(len(session.client.manager.call("ListTracees")), 1)

    def test_process_that_another_tracer_has(self):
        tracee = self.tracee("ptraced-by-another")
        tracer, pid = tracee.pid, int(tracee.words[1])
        tracee.ending = True
        session = self.new_session()
        error = self.assert_error("AlreadyTraced", session.attach, pid)
        self.assertIn(str(tracer), error.message)
        self.assertIn(str(pid), error.message)
        self.assertEqual(procfs.tracer_pid(pid), tracer)
        self.assertEqual(session.client.manager.call("ListTracees"), [])

    def test_zombie(self):
        tracee = self.tracee("exits-with", 3, "wait")
        tracee.quit()
        self.assertTrue(wait_until(lambda: tracee.state() == "Z"))
        self.assert_error("NoSuchProcess", self.new_session().attach, tracee.pid)
        self.assertEqual(tracee.wait(), 3)

    def test_unknown_options_are_named(self):
        tracee = self.tracee("many-threads", 2)
        session = self.new_session(queue=True)
        process = session.attach(tracee.pid)
        thread = process.thread(tracee.pid)
        for function in (session.client.create_session, session.continue_, process.continue_, thread.continue_,
                         process.set_event_filter,
                         lambda **values: session.attach(tracee.pid, **values),
                         lambda **values: session.attach_thread(tracee.pid, **values)):
            error = self.assert_error("InvalidOption", function, misspelt=True)
            self.assertIn("misspelt", error.message)

    def test_options_of_wrong_type_or_value_are_named(self):
        tracee = self.tracee("many-threads", 2)
        session = self.new_session()
        for key, value in (("threads", True), ("threads", "sometimes"), ("children", "quiet"), ("children", 7),
                           ("stop", "yes"), ("stop", 1), ("events", "stop"), ("events", ["nonsense"]),
                           ("stops", True), ("stops", ["clone", ""]), ("events", Variant("av", []))):
            with self.subTest(key=key, value=value):
                error = self.assert_error("InvalidOption", session.attach, tracee.pid, **{key: value})
                self.assertIn(key, error.message)
        for key, value in (("name", 5), ("queue", "yes"), ("lifetime", "long"), ("lifetime", True)):
            with self.subTest(key=key, value=value):
                error = self.assert_error("InvalidOption", session.client.create_session, **{key: value})
                self.assertIn(key, error.message)
        self.assertEqual(procfs.tracer_pid(tracee.pid), 0, "a refused attach has attached")
        self.assertEqual(len(session.client.list_sessions()), 1)

    def test_wrong_signatures(self):
        tracee = self.tracee("many-threads", 2)
        session = self.new_session()
        process = session.attach(tracee.pid)
        client = session.client
        for path, interface, member, signature, arguments in (
                (ROOT, MANAGER, "CreateSession", "", ()),
                (ROOT, MANAGER, "GetSession", "u", (1,)),
                (session.path, SESSION, "AttachProcess", "u", (tracee.pid,)),
                (session.path, SESSION, "AttachProcess", "ia{sv}", (-1, {})),
                (session.path, SESSION, "GetEvent", "u", (0,)),
                (process.path, PROCESS, "Continue", "", ()),
                (process.path, PROCESS, "Detach", "b", (True,)),
                (process.path, PROCESS, "Signal", "u", (9,)),
                (process.thread(tracee.pid).path, THREAD, "Continue", "s", ("run",))):
            with self.subTest(member=member, signature=signature):
                self.assert_error(INVALID_ARGS, client.call, path, interface, member, signature, *arguments)

    def test_unknown_methods(self):
        tracee = self.tracee("many-threads", 2)
        session = self.new_session()
        process = session.attach(tracee.pid)
        for path, interface in ((ROOT, MANAGER), (session.path, SESSION), (process.path, PROCESS),
                                (process.thread(tracee.pid).path, THREAD)):
            with self.subTest(path=path):
                self.assert_error(UNKNOWN_METHOD, session.client.call, path, interface, "Nonsense")

    def test_paths_of_nothing(self):
        tracee = self.tracee("many-threads", 2)
        session = self.new_session()
        session.attach(tracee.pid)
        client = session.client
        for path, interface, member, name in (
                ("/org/ptraced/Tracer1/session/nosuch", SESSION, "DetachAll", "NoSuchSession"),
                ("/org/ptraced/Tracer1/session/nosuch/process/1", PROCESS, "Detach", "NoSuchSession"),
                (session.path + "/process/1", PROCESS, "Detach", "NotAttached"),
                (session.path + f"/process/{tracee.pid}/thread/1", THREAD, "Interrupt", "NoSuchThread"),
                (session.path + "/process/1/thread/1", THREAD, "Interrupt", "NotAttached")):
            with self.subTest(path=path):
                self.assert_error(name, client.call, path, interface, member)
        for path in ("/", "/org", "/org/ptraced/Tracer1/session", session.path + "/process/01",
                     session.path + "/process/x", session.path + "/process/99999999999",
                     session.path + f"/process/{tracee.pid}/thread/{tracee.pid}/more"):
            with self.subTest(path=path), self.assertRaises(wire.Error) as caught:
                client.call(path, PROCESS, "Detach")
            self.assertIn(caught.exception.name, (UNKNOWN_OBJECT, UNKNOWN_METHOD), path)
        self.assertTrue(procfs.tracer_pid(tracee.pid))

    def test_unknown_session_ids(self):
        client = self.connect()
        for session_id in ("nosuch", "", "../..", "s" * 300, "é"):
            with self.subTest(id=session_id):
                self.assert_error("NoSuchSession", client.manager.call, "GetSession", "s", session_id)

    def test_second_close(self):
        session = self.new_session(queue=True)
        session.close()
        self.assert_error("NoSuchSession", session.close)
        self.assert_error("NoSuchSession", session.get_event, 0)
        self.assert_error("NoSuchSession", session.attach, os.getpid())

    def test_second_detach(self):
        tracee = self.tracee("many-threads", 2)
        session = self.new_session()
        process = session.attach(tracee.pid)
        thread = process.thread(tracee.threads()[1])
        self.assertTrue(thread.detach())
        self.assertFalse(thread.detach(), "it was not attached any more")
        process.detach()
        self.assert_error("NotAttached", process.detach)
        self.assert_error("NotAttached", process.interrupt)
        self.assert_error("NotAttached", process.list_threads)
        self.assert_error("NotAttached", process.get, "Pid")

    def test_calls_after_the_process_has_gone(self):
        tracee = self.tracee("many-threads", 2)
        session = self.new_session()
        process = session.attach(tracee.pid)
        thread = process.thread(tracee.threads()[1])
        tracee.quit()
        self.assertEqual(tracee.wait(), 0)
        session.events_until(lambda e: e.kind == "exited" and e.tid == tracee.pid)
        self.assert_wait(lambda: session.client.manager.call("ListTracees") == [], "it has left")
        for function in (process.interrupt, process.continue_, process.list_threads, process.detach,
                         lambda: process.call("Kill"), lambda: process.call("Signal", "i", 1),
                         lambda: process.get_all(), thread.interrupt, thread.continue_):
            self.assert_error("NotAttached", function)
        self.assert_error("NoSuchProcess", session.attach, tracee.pid)
        session.call("DetachAll")
        session.interrupt()
        session.continue_()

    def test_calls_after_a_thread_has_gone(self):
        tracee = self.tracee("threads-come-and-go", 1, 3000)
        session = self.new_session()
        process = session.attach(tracee.pid)
        gone = session.events_until(lambda e: e.kind == "exited")[-1].tid
        for function in (process.thread(gone).interrupt, process.thread(gone).continue_):
            self.assert_error("NoSuchThread", function)

    def test_bad_signals(self):
        tracee = self.tracee("many-threads", 2)
        process = self.new_session().attach(tracee.pid)
        for signo in (-1, 65, 1000, 2**31 - 1):
            with self.subTest(signo=signo):
                self.assert_error(INVALID_ARGS, process.call, "Signal", "i", signo)

    def test_descriptor_that_is_no_pidfd(self):
        session = self.new_session()
        ends = socket.socketpair()
        try:
            with open("/dev/null", "rb") as null:
                for fd in (null.fileno(), ends[0].fileno()):
                    with self.subTest(fd=os.readlink(f"/proc/self/fd/{fd}")):
                        self.assert_error(INVALID_ARGS, session.attach_fd, fd)
        finally:
            for end in ends:
                end.close()

    def test_names_that_are_odd(self):
        client = self.connect()
        for name in ("", "a b", "é", "x" * 64):
            session = client.create_session(name=name)
            self.assertEqual(session.get("Name"), name)
            session.close()
        self.assert_error("InvalidOption", client.create_session, name="x" * 5000)

    def test_nothing_leaks(self):
        """Descriptors of all our processes are the same after many refusals as before."""
        tracee = self.tracee("many-threads", 2)
        other = self.tracee("ptraced-by-another")
        other.ending = True
        session = self.new_session(queue=True)
        session.attach(tracee.pid)
        self.assert_wait(lambda: len(self.service.daemons.tracers()) == 2, "the next tracer is ready")

        def refuse(times):
            for _ in range(times):
                for pid in (UNUSED_PID, int(other.words[1]), self.service.keeper.pid):
                    with self.assertRaises(wire.Error):
                        session.attach(pid)
                with open("/dev/null", "rb") as null, self.assertRaises(wire.Error):
                    session.attach_fd(null.fileno())
                with self.assertRaises(wire.Error):
                    session.attach(tracee.pid, misspelt=True)
                pidfd = os.pidfd_open(tracee.pid)
                with self.assertRaises(wire.Error):
                    session.attach_fd(pidfd, misspelt=True)
                os.close(pidfd)
            return {pid: procfs.descriptors(pid) for pid in
                    (self.service.broker.pid, self.service.keeper.pid, self.service.tracer_of(tracee.pid))}

        before = refuse(3)
        for pid, n in refuse(harness.rounds(0.25)).items():
            self.assertLessEqual(n, before[pid] + 1, procfs.executable(pid))


class BadInputOnTheBus(BadInput, harness.OnTheBus):
    def test_other_users_are_refused(self):
        """What is root's is not theirs; test_policy has what they may."""
        tracee = self.tracee("many-threads", 2)
        session = self.new_session()
        user = pwd.getpwnam(UNPRIVILEGED)
        for arguments in ((ROOT, MANAGER, "GetSession", "s", session.id),
                          (session.path, SESSION, "Subscribe"),
                          (session.path, SESSION, "AttachProcess", "ua{sv}", str(tracee.pid), "0"),
                          (session.path, SESSION, "Close")):
            with self.subTest(method=arguments[2]):
                done = subprocess.run(["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups",
                                       "busctl", "--address=" + self.service.address, "call", NAME, *arguments],
                                      capture_output=True, text=True, timeout=20, check=False)
                self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertEqual(len(session.client.list_sessions()), 1)

    def test_broker_has_no_capability(self):
        pid = self.service.broker.pid
        for key in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
            self.assertEqual(int(procfs.status(pid, key), 16), 0)

    def test_calls_to_sessions_of_others_that_have_gone(self):
        first, second = self.connect(), self.connect()
        session = first.create_session(queue=True)
        waiter = second.session(session.id).send("GetEvent", "t", FOREVER)
        first.close()
        self.assert_error("NoSuchSession", second.reply, waiter)

    def test_many_requests_at_once(self):
        """More than a turn's worth of requests, none of which is forgotten."""
        session = self.new_session()
        serials = [session.send("AttachProcess", "ua{sv}", UNUSED_PID, options()) for _ in range(500)]
        for serial in serials:
            self.assert_error("NoSuchProcess", session.client.reply, serial)


class StingyBus(SystemService):
    bus_limits = {"max_match_rules_per_connection": 6}


class OnAStingyBus(harness.OnTheBus):
    service_class = StingyBus

    def test_clients_that_the_bus_does_not_let_us_watch_are_answered(self):
        """With an error, since their sessions would outlive them; not with silence."""
        answers = []
        for _ in range(10):
            try:
                answers.append(self.connect().create_session())
            except wire.Error as e:
                answers.append(e.name)
        self.assertIn("org.freedesktop.DBus.Error.AccessDenied", answers)
        self.assertEqual(len([a for a in answers if isinstance(a, str)]), 10 - len(self.sessions()))

    def sessions(self):
        return self.service.clients[0].list_sessions()

    def close_sessions(self, problems):
        self.service.close_clients()


class BadInputEmbedded(BadInput, harness.Embedded):
    pass


if __name__ == "__main__":
    harness.main()
