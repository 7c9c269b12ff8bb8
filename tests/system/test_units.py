# SPDX-License-Identifier: LGPL-2.1-or-later
"""The installed service: how it is started, as whom it runs, who may call it, what it tells."""

import os
import re
import resource
import signal

import cases
import procfs
import wire
from cases import BROKER, KEEPER, MANAGER, NAME, ROOT, SOCKET

PROPERTIES = "org.freedesktop.DBus.Properties"
# By their numbers in linux/capability.h.
CAPABILITIES = {"CAP_DAC_OVERRIDE": 1, "CAP_KILL": 5, "CAP_SYS_PTRACE": 19, "CAP_SYS_NICE": 23,
                "CAP_CHECKPOINT_RESTORE": 40}
NOBODY = "nobody"


class Case(cases.Case):
    def ask_version(self):
        """What activates the service where it does not run."""
        return self.call(ROOT, PROPERTIES, "Get", "ss", MANAGER, "Version")


class Loading(Case):
    def test_loaded_without_a_word(self):
        for unit in (BROKER, KEEPER, SOCKET):
            self.assertEqual(self.machine.show(unit, "LoadState"), "loaded")
        self.ask_version()
        said = [entry["MESSAGE"] for entry in self.machine.journal("--boot", "--priority=notice", "_PID=1")
                if "ptraced" in entry["MESSAGE"]]
        self.assertEqual(said, [])

    def test_bus_takes_the_policy_without_a_word(self):
        self.machine.run("systemctl", "reload", "dbus")
        said = [entry["MESSAGE"] for entry in self.journal("--unit=dbus.service", "_COMM=dbus-daemon")]
        self.assertEqual([text for text in said if "Reloaded configuration" not in text], [])

    def test_completions_and_manual_pages_are_installed(self):
        for path in ("/usr/share/bash-completion/completions/ptracectl", "/usr/share/zsh/site-functions/_ptracectl",
                     "/usr/share/fish/vendor_completions.d/ptracectl.fish", "/usr/share/man/man8/ptraced.service.8",
                     "/usr/share/dbus-1/interfaces/org.ptraced.Tracer1.Manager.xml"):
            self.assertTrue(os.path.exists(self.machine.root + path), path)


class Activation(Case):
    def test_nothing_runs_before_it_is_called(self):
        self.assertEqual([self.machine.show(unit, "ActiveState") for unit in (BROKER, KEEPER, SOCKET)],
                         ["inactive"] * 3)

    def test_busctl_activates_it(self):
        self.assertRegex(self.ask_version(), r'^v s "[0-9.]+"$')
        self.assertEqual(self.machine.show(BROKER, "ActiveState"), "active")
        self.assertEqual(self.machine.show(SOCKET, "ActiveState"), "active")

    def test_ptracectl_activates_it(self):
        self.assertRegex(self.machine.run("ptracectl", "status"), r"^ptraced [0-9.]+ \(system\): 0 sessions")
        self.assertEqual(self.machine.show(BROKER, "ActiveState"), "active")

    def test_it_is_ready_when_systemctl_start_returns(self):
        self.machine.run("systemctl", "start", BROKER)
        owner = self.machine.run("busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                 "org.freedesktop.DBus", "NameHasOwner", "s", NAME)
        self.assertEqual(owner.strip(), "b true")


class Identity(Case):
    def capabilities(self, pid):
        return {kind: int(procfs.status(pid, "Cap" + kind), 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")}

    def assert_confined(self, pid):
        self.assertEqual(procfs.status(pid, "NoNewPrivs"), "1")
        self.assertEqual(procfs.status(pid, "Seccomp"), "2")
        # A network of its own, in which there is nothing.
        self.assertNotEqual(os.readlink(f"/proc/{pid}/ns/net"), os.readlink(f"/proc/{self.machine.leader}/ns/net"))

    def test_broker_is_a_user_of_its_own_without_capabilities(self):
        self.ask_version()
        pid = self.only("ptraced")
        uid = self.machine.run("id", "-u", "ptraced").strip()
        self.assertNotEqual(uid, "0")
        self.assertEqual(procfs.status(pid, "Uid").split(), [uid] * 4)
        self.assertEqual(set(self.capabilities(pid).values()), {0})
        self.assert_confined(pid)

    def test_broker_sees_no_other_process(self):
        self.ask_version()
        pid = self.machine.inside(self.only("ptraced"))
        shown = self.machine.run("nsenter", "--mount", f"--target={pid}", "setpriv", "--reuid=ptraced",
                                 "--regid=ptraced", "--clear-groups", "ls", "/proc").split()
        self.assertIn("self", shown)
        self.assertEqual(len([name for name in shown if name.isdigit()]), 1, "more than ls itself")

    def test_keeper_and_tracers_have_five_capabilities(self):
        self.ask_version()
        self.assert_wait(lambda: self.machine.running("ptraced-tracer"), "a tracer is made ready")
        wanted = sum(1 << number for number in CAPABILITIES.values())
        tracers = self.machine.running("ptraced-tracer")
        for pid in [self.only("ptraced-keeper"), *tracers]:
            self.assertEqual(self.capabilities(pid), {"Inh": 0, "Prm": wanted, "Eff": wanted, "Bnd": wanted, "Amb": 0})
            self.assert_confined(pid)
        for pid in tracers:
            with open(f"/proc/{pid}/cgroup") as f:
                self.assertIn(KEEPER, f.read())

    def test_both_may_have_many_descriptors(self):
        """They raise the limit themselves: the sandbox lets them."""
        self.ask_version()
        for program in ("ptraced", "ptraced-keeper"):
            soft, hard = resource.prlimit(self.only(program), resource.RLIMIT_NOFILE)
            self.assertEqual(soft, hard, program)

    def test_files_are_read_only_for_both(self):
        self.ask_version()
        for program in ("ptraced", "ptraced-keeper"):
            pid = self.only(program)
            done = self.machine.try_run("nsenter", "--mount", "--target", self.machine.inside(pid), "touch", "/etc/x")
            self.assertIn("Read-only file system", done.stderr)


class Sandbox(Case):
    """As systemd has taken it from the units, which says nothing of what it does not know."""

    BOTH = {"MemoryDenyWriteExecute": "yes", "NoNewPrivileges": "yes", "PrivateDevices": "yes", "PrivateNetwork": "yes",
            "PrivateTmp": "yes", "ProtectHome": "yes", "ProtectSystem": "strict", "RestrictAddressFamilies": "AF_UNIX",
            "RestrictNamespaces": "yes", "RestrictSUIDSGID": "yes", "Type": "notify"}
    # Who ends whom: the tracers are the keeper's to end, and one that is killed for memory ends no other.
    OF_EACH = {BROKER: {"CapabilityBoundingSet": "", "KillMode": "control-group", "Restart": "on-failure"},
               KEEPER: {"KillMode": "process", "OOMPolicy": "continue", "Restart": "no"}}

    def test_settings_are_what_the_page_of_the_architecture_says(self):
        for unit, own in self.OF_EACH.items():
            for name, value in {**self.BOTH, **own}.items():
                with self.subTest(unit=unit, setting=name):
                    self.assertEqual(self.machine.show(unit, name), value)

    def calls(self, unit):
        """Those that are allowed."""
        words = self.machine.show(unit, "SystemCallFilter").split()
        self.assertGreater(len(words), 100, "it is a list of calls")
        self.assertNotIn("~", words[0], "what is not in it is refused")
        return set(words)

    def test_ptrace_is_the_keepers_alone(self):
        broker, keeper = self.calls(BROKER), self.calls(KEEPER)
        only = {"ptrace", "pidfd_getfd", "sched_setscheduler", "sched_setaffinity"}
        self.assertEqual((broker & only, keeper & only), (set(), only))
        self.assertLess(broker, keeper)
        for name in ("mount", "init_module", "reboot", "swapon", "setuid", "kexec_load"):
            self.assertNotIn(name, keeper)

    def test_users_keeper_has_the_same_calls(self):
        found = [re.findall(r"(?m)^SystemCall.*", self.machine.run("cat", f"/usr/lib/systemd/{kind}/{KEEPER}"))
                 for kind in ("system", "user")]
        self.assertTrue(found[0])
        self.assertEqual(*found)


class Access(Case):
    def test_everybody_activates_it_and_has_sessions(self):
        for arguments in (("busctl", "call", NAME, ROOT, MANAGER, "ListSessions"),
                          ("busctl", "call", NAME, ROOT, MANAGER, "CreateSession", "a{sv}", "0"),
                          ("busctl", "get-property", NAME, ROOT, MANAGER, "Version"),
                          ("busctl", "introspect", NAME, ROOT), ("busctl", "tree", NAME), ("ptracectl", "status")):
            done = self.machine.try_run_as(NOBODY, *arguments)
            self.assertEqual(done.returncode, 0, (arguments, done.stderr))

    def test_bus_keeps_others_from_what_is_roots(self):
        """How it logs; what sd-bus answers by itself, without anybody counting it; and what names no interface."""
        self.ask_version()
        level = ("/org/freedesktop/LogControl1", "org.freedesktop.LogControl1")
        for arguments in (("set-property", NAME, *level, "LogLevel", "s", "debug"),
                          ("call", NAME, ROOT, "org.freedesktop.DBus.Peer", "Ping"),
                          ("call", NAME, ROOT, "org.freedesktop.DBus.Peer", "GetMachineId")):
            done = self.machine.try_run_as(NOBODY, "busctl", *arguments)
            self.assertNotEqual(done.returncode, 0, done.stdout)
            self.assertIn("Access denied", done.stderr)
        nameless = self.machine.connect_as(NOBODY)
        self.addCleanup(nameless.close)
        with self.assertRaises(wire.Error) as caught:
            nameless.call(NAME, ROOT, None, "ListSessions")
        self.assertIn("AccessDenied", caught.exception.name)

    def test_nobody_but_the_broker_takes_its_name(self):
        for user, said in ((NOBODY, "Permission denied|Access denied"), ("root", "Permission denied|Access denied")):
            done = self.machine.try_run_as(user, "busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                           "org.freedesktop.DBus", "RequestName", "su", NAME, "0")
            self.assertNotEqual(done.returncode, 0)
            self.assertRegex(done.stderr, said + "|not allowed to own")

    def test_others_do_not_reach_the_keeper(self):
        self.ask_version()
        path = "/run/ptraced/keeper"
        status = os.stat(self.machine.root + path)
        self.assertEqual((status.st_mode & 0o777, str(status.st_uid)),
                         (0o600, self.machine.run("id", "-u", "ptraced").strip()))


class Logging(Case):
    def log_level(self):
        return self.machine.run("systemctl", "service-log-level", BROKER).strip()

    def test_log_level_and_target_can_be_changed(self):
        self.ask_version()
        self.assertEqual(self.log_level(), "info")
        self.machine.run("systemctl", "service-log-level", BROKER, "debug")
        self.assertEqual(self.log_level(), "debug")
        self.assertEqual(self.machine.run("systemctl", "service-log-target", BROKER).strip(), "journal")
        self.machine.run("systemctl", "service-log-target", BROKER, "null")
        self.assertEqual(self.machine.run("systemctl", "service-log-target", BROKER).strip(), "null")

    def test_journal_has_the_lines_of_both(self):
        self.ask_version()
        self.assert_wait(lambda: self.machine.running("ptraced-tracer"), "a tracer is made ready")
        os.kill(self.only("ptraced-keeper"), signal.SIGKILL)
        self.assert_wait(lambda: self.lines("ptraced", "The keeper has ended"), "the broker tells it")
        tracee = self.tracee("blocked-in-read")
        self.machine.run("ptracectl", "attach", tracee.inside)
        self.machine.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", BROKER)
        self.machine.run("systemctl", "stop", BROKER)
        self.assert_wait(lambda: self.lines("ptraced-keeper", "No broker has come back"), "the keeper tells it", 15)
        self.machine.run("systemctl", "reset-failed")

    def lines(self, program, text):
        """Of a unit, by its own words, with a priority."""
        return [entry for entry in self.journal(f"--unit={program}.service")
                if re.search(text, entry["MESSAGE"]) and entry["PRIORITY"] in "45" and
                entry["SYSLOG_IDENTIFIER"] == program]


class Watchdog(Case):
    """Three minutes are too long for a test: it is one second here."""

    def shorten(self, unit, *more):
        path = f"/run/systemd/system/{unit}.d/test.conf"
        self.machine.write(path, "\n".join(["[Service]", "WatchdogSec=1s", *more, ""]))
        self.machine.run("systemctl", "daemon-reload")
        self.addCleanup(self.machine.run, "systemctl", "daemon-reload")
        self.addCleanup(self.machine.remove, path)

    def test_both_are_watched(self):
        self.ask_version()
        for unit in (BROKER, KEEPER):
            self.assertEqual(self.machine.show(unit, "WatchdogUSec"), "3min")

    def test_both_feed_it(self):
        self.shorten(BROKER)
        self.shorten(KEEPER)
        self.ask_version()
        pids = [self.only("ptraced"), self.only("ptraced-keeper")]
        self.assertFalse(cases.wait_until(lambda: [self.only("ptraced"), self.only("ptraced-keeper")] != pids, 2.5))

    def test_broker_that_hangs_is_replaced(self):
        self.shorten(BROKER)
        tracee = self.tracee("computes", 2)
        self.machine.run("ptracectl", "attach", tracee.inside)
        hung = self.only("ptraced")
        os.kill(hung, signal.SIGSTOP)
        self.assert_wait(lambda: self.machine.running("ptraced") not in ([], [hung]), "another one is started")
        self.assert_wait(lambda: self.machine.show(BROKER, "ActiveState") == "active", "it serves")
        self.assertRegex(self.machine.run("ptracectl", "status"), "1 session, 1 tracee, 3 threads")

    def test_keeper_that_hangs_is_killed_and_its_tracers_let_go_in_order(self):
        self.shorten(KEEPER, "TimeoutStopSec=3s")
        tracee = self.tracee("computes", 2)
        session = self.new_session()
        process = session.attach(tracee.inside)
        addresses = {key: int(value) for key, _, value in (word.partition("=") for word in tracee.words[1:])}
        process.add_breakpoint(addresses["target"])
        self.assertTrue(procfs.changed_text(tracee.pid))
        hung = self.only("ptraced-keeper")
        os.kill(hung, signal.SIGSTOP)
        self.assert_wait(lambda: hung not in self.machine.running("ptraced-keeper"), "it is killed")
        self.assert_wait(lambda: not tracee.complaints(), "the tracee is let go")
        self.assert_computes(tracee)
        self.machine.try_run("systemctl", "reset-failed")


if __name__ == "__main__":
    cases.main()
