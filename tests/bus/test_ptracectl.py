# SPDX-License-Identifier: LGPL-2.1-or-later
"""ptracectl as a person or a script uses it, on the bus and in embedded mode."""

import json
import os
import select
import signal
import subprocess

import client
import harness
import procfs
from client import ENDS
from programs import CTL, TRACEES
from service import InstalledService, wait_until

OK, FAILURE, USAGE, NOT_FOUND, NOT_PERMITTED, ALREADY_TRACED, UNREACHABLE = range(7)
CANNOT_EXECUTE, NO_PROGRAM = 126, 127
UNUSED_PID = 4194303
KEYS = ["serial", "usec", "pid", "tid", "event", "stopped", "details"]


def tracee_path(name):
    return os.path.join(TRACEES, name)


class Run:
    """`ptracectl run`: from the first instruction to the end."""

    def run_program(self, name, *args, options=(), text="", timeout=60):
        """Runs a tracee to its end; the exit status, its own lines and the events."""
        ctl = self.ctl("run", "-o", "-", *options, "--", tracee_path(name), *args, stdin=subprocess.PIPE)
        ctl.process.stdin.write(text.encode())
        ctl.process.stdin.close()
        status = ctl.finish(timeout)
        return status, ctl.other, ctl.events

    def assert_well_formed(self, events):
        for event in events:
            self.assertEqual(list(event), KEYS)
            self.assertIsInstance(event["stopped"], bool)
        for pid in {e["pid"] for e in events}:
            serials = [e["serial"] for e in events if e["pid"] == pid]
            self.assertEqual(serials, list(range(serials[0], serials[0] + len(serials))))
        times = [e["usec"] for e in events if e["pid"] == events[0]["pid"]]
        self.assertEqual(times, sorted(times))

    def test_every_thread_from_its_birth_to_its_end(self):
        ctl = self.ctl("run", "-o", "-", tracee_path("threads-come-and-go"), 3, 1500, stdin=subprocess.PIPE)
        ctl.wait_line("ready")
        while len(ctl.events) < 300:
            ctl.read(10)
        ctl.process.stdin.close()
        self.assertEqual(ctl.finish(), 0)
        events = ctl.events
        self.assert_well_formed(events)
        self.assertEqual((events[0]["event"], events[0]["serial"]), ("exec", 1))
        created = int(ctl.other[-1].split()[0].removeprefix("created="))
        clones = [e["details"]["child"] for e in events if e["event"] == "clone"]
        self.assertEqual(len(clones), created)
        ends = [e["tid"] for e in events if e["event"] in ENDS]
        self.assertEqual(sorted(ends), sorted(clones + [events[0]["pid"]]))
        self.assertEqual((events[-1]["event"], events[-1]["details"]), ("exited", {"status": 0}))

    def test_exit_status_is_the_programs(self):
        for status in (0, 1, 7, 255):
            with self.subTest(status=status):
                code, lines, events = self.run_program("exits-with", status)
                self.assertEqual((code, lines), (status, ["ready"]))
                self.assertEqual(events[-1]["details"], {"status": status})

    def test_exit_status_of_a_killed_program(self):
        for signo in (signal.SIGTERM, signal.SIGKILL, signal.SIGABRT):
            with self.subTest(signo=signo):
                code, _, events = self.run_program("killed-by", int(signo))
                self.assertEqual(code, 128 + signo)
                self.assertEqual((events[-1]["event"], events[-1]["details"]["signal"]), ("killed", signo))

    def test_exit_status_of_a_zombie_leader(self):
        for how in ("group", "last"):
            with self.subTest(how=how):
                code, _, events = self.run_program("zombie-leader", 6, how, text="go\n")
                self.assertEqual(code, 6)
                last = [e for e in events if e["tid"] == e["pid"]][-1]
                self.assertEqual((last["event"], last["details"]), ("exited", {"status": 6}))
                self.assert_well_formed(events)

    def test_exec_from_another_thread(self):
        code, lines, events = self.run_program("exec-from-other-thread", text="go\n")
        self.assertEqual(code, 0)
        execs = [e["details"]["old-tid"] for e in events if e["event"] == "exec"]
        self.assertEqual([f"old-tid={execs[1]}"], [line for line in lines if "=" in line])
        self.assert_well_formed(events)

    def test_children_too(self):
        code, lines, events = self.run_program("spawns-grandchildren", 2, 2, options=("-f",), text="go\n")
        self.assertEqual((code, lines), (0, ["ready", "processes=6 wrong=0"]))
        self.assertEqual(len([e for e in events if e["event"] == "fork"]), 6)
        self.assertEqual(len({e["pid"] for e in events}), 7)
        self.assert_well_formed(events)

    def test_children_are_let_alone_without_f(self):
        code, _, events = self.run_program("spawns-grandchildren", 2, 2, text="go\n")
        self.assertEqual(code, 0)
        self.assertEqual(len({e["pid"] for e in events}), 1)
        self.assertEqual(len([e for e in events if e["event"] == "fork"]), 2)

    def test_vfork_and_odd_clones(self):
        for kind, event, signals in (("vfork", "vfork", 1), ("clone", "clone", 1), ("silent", "clone", 0)):
            with self.subTest(kind=kind):
                code, lines, events = self.run_program("forks", kind, options=("-f",), text="go\n")
                (birth,) = [e for e in events if e["event"] == event]
                child = birth["details"]["child"]
                self.assertEqual((code, lines), (0, ["ready", f"child={child} status=5 signals={signals}"]))
                self.assertIn({"status": 5}, [e["details"] for e in events if e["pid"] == child])

    def test_programs_output_is_its_own(self):
        done = self.run_ctl("run", tracee_path("exits-with"), 3)
        self.assertEqual((done.returncode, done.stdout), (3, "ready\n"))
        self.assertTrue(all(line.startswith('{"serial":') for line in done.stderr.splitlines()), done.stderr)

    def test_events_into_a_file(self):
        path = os.path.join(self.scratch, "events")
        done = self.run_ctl("run", "-o", path, "-e", "exec,exited", tracee_path("exits-with"), 0)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "ready\n", ""))
        with open(path) as f:
            self.assertEqual([json.loads(line)["event"] for line in f], ["exec", "exited"])

    def test_no_such_program(self):
        done = self.run_ctl("run", "/nonexistent/program")
        self.assertEqual(done.returncode, NO_PROGRAM)
        self.assertIn("/nonexistent/program", done.stderr)
        self.assertEqual(self.run_ctl("run", "no-such-program-in-path").returncode, NO_PROGRAM)
        path = os.path.join(self.scratch, "no-interpreter")
        with open(path, "w") as f:
            f.write("#!/no/such/interpreter\n")
        os.chmod(path, 0o755)
        done = self.run_ctl("run", path)
        self.assertEqual(done.returncode, NO_PROGRAM)
        self.assertIn("interpreter", done.stderr.replace(path, ""))

    def test_program_that_cannot_be_executed(self):
        path = os.path.join(self.scratch, "no-program")
        with open(path, "w") as f:
            f.write("#!/bin/sh\n")
        os.chmod(path, 0o644)
        self.assertEqual(self.run_ctl("run", path).returncode, CANNOT_EXECUTE)
        self.assertEqual(self.run_ctl("run", self.scratch).returncode, CANNOT_EXECUTE)

    def test_people_read_it_without_json(self):
        done = self.run_ctl("run", tracee_path("exits-with"), 3, json_output=False)
        self.assertEqual(done.returncode, 3)
        self.assertIn("exec", done.stderr)
        self.assertIn("exited", done.stderr)


class Events:
    """`ptracectl events -p`."""

    def test_events_until_the_process_ends(self):
        tracee = self.tracee("exits-with", 4, "wait")
        ctl = self.ctl("events", "-p", tracee.pid)
        self.assert_wait(lambda: procfs.tracer_pid(tracee.pid), "it is attached")
        tracee.quit()
        self.assertEqual(ctl.finish(), OK)
        self.assertEqual([e["event"] for e in ctl.events], ["exit", "exited"])
        self.assertEqual(ctl.events[-1]["details"], {"status": 4})
        self.assertEqual(tracee.wait(), 4)

    def test_interrupt_key_detaches_cleanly(self):
        tracee = self.tracee("threads-come-and-go", 2, 1000)
        for signo in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(signo=signo):
                ctl = self.ctl("events", "-p", tracee.pid)
                ctl.wait_event(lambda e: e["event"] == "clone")
                ctl.process.send_signal(signo)
                self.assertEqual(ctl.finish(), OK)
                self.assert_runs_free(tracee)

    def test_several_processes(self):
        tracees = [self.tracee("threads-come-and-go", 1, 2000) for _ in range(2)]
        ctl = self.ctl("events", *[word for t in tracees for word in ("-p", t.pid)])
        for tracee in tracees:
            ctl.wait_event(lambda e, pid=tracee.pid: e["pid"] == pid)
        ctl.process.send_signal(signal.SIGINT)
        self.assertEqual(ctl.finish(), OK)
        self.assertEqual({e["pid"] for e in ctl.events}, {t.pid for t in tracees})
        self.assert_runs_free(*tracees)

    def test_number_of_events(self):
        tracee = self.tracee("threads-come-and-go", 1, 2000)
        done = self.run_ctl("events", "-p", tracee.pid, "-n", 40)
        self.assertEqual(done.returncode, OK, done.stderr)
        self.assertEqual(len(done.stdout.splitlines()), 40)
        self.assert_runs_free(tracee)

    def test_kinds(self):
        tracee = self.tracee("threads-come-and-go", 1, 2000)
        done = self.run_ctl("events", "-p", tracee.pid, "-n", 10, "-e", "clone")
        self.assertEqual({json.loads(line)["event"] for line in done.stdout.splitlines()}, {"clone"})

    def test_reader_that_goes_away(self):
        tracee = self.tracee("threads-come-and-go", 2, 500)
        ctl = self.ctl("events", "-p", tracee.pid)
        ctl.wait_event(lambda e: e["event"] == "clone")
        ctl.process.stdout.close()
        self.assertTrue(wait_until(lambda: ctl.process.poll() is not None, 20), "it does not end")
        self.assert_runs_free(tracee)

    def test_reader_that_goes_away_while_nothing_happens(self):
        tracee = self.tracee("many-threads", 2)
        ctl = self.ctl("events", "-p", tracee.pid)
        self.assertTrue(wait_until(lambda: procfs.tracer_pid(tracee.pid) != 0))
        ctl.process.stdout.close()
        self.assertTrue(wait_until(lambda: ctl.process.poll() is not None, 5), "it waits for an event")
        self.assertEqual(ctl.process.returncode, -signal.SIGPIPE)
        self.assert_runs_free(tracee)

    def test_thread_instead_of_its_process(self):
        tracee = self.tracee("many-threads", 2)
        done = self.run_ctl("events", "-p", max(procfs.threads(tracee.pid)))
        self.assertEqual(done.returncode, NOT_FOUND, done.stderr)
        self.assertIn(f"process {tracee.pid}:", done.stderr)

    def test_bad_input(self):
        other = self.tracee("ptraced-by-another")
        other.ending = True
        for arguments, code, words in (
                (("events", "-p", UNUSED_PID), NOT_FOUND, (str(UNUSED_PID),)),
                (("events", "-p", other.words[1]), ALREADY_TRACED, (other.words[1], str(other.pid))),
                (("events", "-p", "0"), USAGE, ("0",)),
                (("events", "-p", "-1"), USAGE, ("-1",)),
                (("events", "-p", "x"), USAGE, ("x",)),
                (("events", "-p", "99999999999"), USAGE, ("99999999999",)),
                (("events",), USAGE, ()),
                (("events", "-p", "1", "-e", "nonsense"), USAGE, ("nonsense",)),
                (("--misspelt", "events"), USAGE, ("misspelt",)),
                (("-qx", "sessions"), USAGE, ("'-qx'",)),
                (("-xq", "sessions"), USAGE, ("'-xq'",)),
                (("--folow", "events"), USAGE, ("'--folow'", "'--follow'")),
                (("--st", "events"), USAGE, ("'--st'", "'--stop")),
                (("interrupt", "1:x"), USAGE, ("'1:x'", "PID:TID")),
                (("nonsense",), USAGE, ("nonsense",)),
                ((), USAGE, ()),
                (("--json=nonsense", "sessions"), USAGE, ("nonsense",))):
            with self.subTest(arguments=arguments):
                done = self.run_ctl(*arguments)
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertTrue(done.stderr, "it says nothing")
                for word in words:
                    self.assertIn(word, done.stderr)
                self.assertEqual(done.stdout, "")

    def test_help_and_version(self):
        self.assertIn("Exit codes", self.run_ctl("--help").stdout)
        self.assertRegex(self.run_ctl("--version").stdout, r"^ptracectl \d+\.\d+")
        for verb in ("run", "events", "attach", "sessions", "status", "threads", "interrupt", "continue", "detach",
                     "close"):
            self.assertIn(verb, self.run_ctl(verb, "--help").stdout)


class OnTheBus(Run, Events, harness.OnTheBus):
    def lines(self, *arguments):
        """A list verb's JSON."""
        done = self.run_ctl(*arguments)
        self.assertEqual(done.returncode, OK, done.stderr)
        return json.loads(done.stdout)

    def succeeds(self, *arguments):
        done = self.run_ctl(*arguments)
        self.assertEqual((done.returncode, done.stderr), (OK, ""))
        return done.stdout

    def test_main_job_on_a_persistent_session(self):
        tracee = self.tracee("many-threads", 4)
        session = json.loads(self.succeeds("attach", tracee.pid, "--name", "from a test"))["session"]
        self.assertEqual(self.lines("sessions"),
                         [{"id": session, "uid": 0, "tracees": 1, "name": "from a test"}])
        self.assertEqual([(t["session"], t["tid"], t["state"]) for t in self.lines("threads")],
                         [(session, tid, "running") for tid in tracee.threads()])

        self.succeeds("interrupt", tracee.pid)
        self.assert_all_stopped(tracee)
        (status,) = self.lines("status", session)["sessions"]
        self.assertEqual([e["event"] for e in status["tracees"][0]["stopped"]], ["stop"] * 4)
        self.succeeds("continue", tracee.pid)
        self.assertNotIn("t", {tracee.state(t) for t in tracee.threads()})

        tid = tracee.threads()[2]
        self.succeeds("interrupt", f"{tracee.pid}:{tid}")
        self.assert_wait(lambda: tracee.state(tid) == "t", "the thread stands")
        self.assertEqual([t["state"] for t in self.lines("threads", tracee.pid) if t["tid"] == tid], ["stopped"])
        self.succeeds("continue", f"{tracee.pid}:{tid}")

        self.succeeds("detach", tracee.pid)
        self.assertEqual(self.lines("threads"), [])
        self.assert_runs_free(tracee)
        self.succeeds("close", session)
        self.assertEqual(self.lines("sessions"), [])
        done = self.run_ctl("close", session)
        self.assertEqual(done.returncode, NOT_FOUND)
        self.assertIn(session, done.stderr)

    def test_events_of_a_session(self):
        tracee = self.tracee("many-threads", 3)
        session = json.loads(self.succeeds("attach", tracee.pid))["session"]
        ctl = self.ctl("events", "-s", session)
        connection = self.connect()
        process = connection.session(session).process(tracee.pid)
        def stop_and_look():
            """Until it has subscribed, at some moment, it prints nothing."""
            process.interrupt()
            process.continue_()
            return select.select([ctl.lines.fd], [], [], 0.02)[0]
        self.assert_wait(stop_and_look, "it follows")
        ctl.wait_event(lambda e: e["event"] == "stop")
        connection.session(session).close()
        self.assertEqual(ctl.finish(), OK)

    def test_unknown_things(self):
        tracee = self.tracee("many-threads", 2)
        for arguments in (("close", "nosuch"), ("events", "-s", "nosuch"), ("status", "nosuch"),
                          ("interrupt", tracee.pid), ("continue", tracee.pid), ("detach", tracee.pid),
                          ("threads", tracee.pid), ("attach", UNUSED_PID)):
            with self.subTest(arguments=arguments):
                done = self.run_ctl(*arguments)
                self.assertEqual(done.returncode, NOT_FOUND, done.stderr)
                self.assertIn(str(arguments[-1]), done.stderr)
        self.assertEqual(self.lines("sessions"), [], "a refused attach has left a session")

    def test_our_own_processes(self):
        for pid in (self.service.broker.pid, self.service.keeper.pid):
            done = self.run_ctl("attach", pid)
            self.assertEqual((done.returncode, len(done.stderr.splitlines())), (NOT_PERMITTED, 1), done.stderr)

    def test_name_that_cannot_be(self):
        tracee = self.tracee("many-threads", 2)
        done = self.run_ctl("attach", "--name=\udcff", tracee.pid)
        self.assertEqual(done.returncode, FAILURE)
        self.assertIn("UTF-8", done.stderr)

    def test_no_service(self):
        missing = "unix:path=" + os.path.join(self.scratch, "no-bus")
        done = self.run_ctl("sessions", address=missing)
        self.assertEqual(done.returncode, UNREACHABLE)
        self.assertTrue(done.stderr)
        self.service.broker.terminate()
        self.service.broker.wait(10)
        self.assertEqual(self.run_ctl("sessions").returncode, UNREACHABLE)
        self.service.start_broker()

    def test_bus_that_nothing_names(self):
        environment = {k: v for k, v in os.environ.items() if k not in ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR")}
        done = subprocess.run([CTL, "--user", "sessions"], capture_output=True, text=True, timeout=30,
                              env=environment, check=False)
        self.assertEqual(done.returncode, UNREACHABLE)
        self.assertIn("DBUS_SESSION_BUS_ADDRESS", done.stderr)

    def test_user_who_would_have_to_ask_polkit(self):
        for arguments in (("attach", "1"), ("events", "-p", "1")):
            with self.subTest(arguments=arguments):
                done = run_as_nobody(self, *arguments)
                self.assertEqual(done.returncode, NOT_PERMITTED, done.stderr)
                self.assertIn("org.ptraced.Tracer1.control-other", done.stderr)
        self.assertEqual(run_as_nobody(self, "status").returncode, 0)


def run_as_nobody(test, *arguments):
    environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": test.service.address}
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if subprocess.run([*nobody, "test", "-x", CTL], check=False).returncode != 0:
        test.skipTest("others cannot reach the build tree")
    return subprocess.run([*nobody, CTL, *arguments], capture_output=True, text=True, timeout=30, env=environment,
                          check=False)


class OnAnInstalledBus(harness.OnTheBus):
    service_class = InstalledService

    def test_everybody_is_let_in(self):
        self.assertEqual(run_as_nobody(self, "status").returncode, 0)


class ClosedService(InstalledService):
    """Where the administrator lets no users in."""

    def bus_policy(self):
        return super().bus_policy() + f"""
  <policy context="default"><deny send_destination="{client.NAME}"/></policy>
"""


class OnABusThatIsClosed(harness.OnTheBus):
    service_class = ClosedService

    def test_user_whom_the_bus_refuses(self):
        for arguments in (("attach", "1"), ("status",), ("events", "-p", "1")):
            with self.subTest(arguments=arguments):
                done = run_as_nobody(self, *arguments)
                self.assertEqual(done.returncode, NOT_PERMITTED, done.stderr)
                self.assertIn("The policy of the bus", done.stderr)
                self.assertEqual(len(done.stderr.splitlines()), 2, done.stderr)
                self.assertIn("--embedded", done.stderr)


class InEmbeddedMode(Run, Events, harness.CtlOnly):
    def test_attach_names_what_to_use(self):
        tracee = self.tracee("many-threads", 2)
        done = self.run_ctl("attach", tracee.pid)
        self.assertEqual(done.returncode, USAGE)
        self.assertIn("events -p", done.stderr)

    def test_fallback_is_said_once(self):
        environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=" + os.path.join(self.scratch, "no-bus")}
        done = subprocess.run([CTL, "--json=short", "run", "-o", "-", tracee_path("exits-with"), "5"],
                              capture_output=True, text=True, timeout=30, env=environment, check=False)
        self.assertEqual(done.returncode, 5, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn("--embedded", done.stderr)

    def test_tracee_outlives_a_killed_ptracectl(self):
        ctl = self.ctl("run", "-o", "-", "env", "TRACEE_OUTLIVES_PARENT=1", tracee_path("many-threads"), 4,
                       stdin=subprocess.PIPE)
        ctl.wait_line("ready")
        # The program's line does not wait for the events before it.
        pid = (ctl.events[0] if ctl.events else ctl.wait_event(lambda e: True))["pid"]
        keep = os.dup(ctl.process.stdin.fileno())
        try:
            ctl.process.kill()
            ctl.process.wait()
            self.assert_wait(lambda: procfs.complaints(pid) == [], "it runs free")
        finally:
            os.close(keep)
            ctl.process.stdin.close()
        self.assert_wait(lambda: not procfs.threads(pid) or procfs.state(pid) in "ZX",
                         "it ends when its input does")


if __name__ == "__main__":
    harness.main()
