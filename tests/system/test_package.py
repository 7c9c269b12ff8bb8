# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Debian package: built, looked at by lintian, installed on a fresh system, used there by who is not root,
upgraded under a live session, and removed."""

import glob
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import cases
import client
import procfs
import wire
from cases import BROKER, KEEPER, SOCKET, Shared
from machine import Inside, Machine, Unavailable
from service import wait_until
from test_idle_exit import DROP_IN as IDLE_DROP_IN
from test_journal import message_ids
from users import ALICE, ASK_ME, BOB, NOT_PERMITTED, PROGRAM, Users

SOURCE = os.environ.get("PTRACED_SOURCE_DIR", os.path.join(os.path.dirname(__file__), "..", ".."))
DROP_IN = "/etc/ptraced/ptraced.conf.d/50-test.conf"
NAMES = ("libptraced0", "ptraced", "libptraced-dev")
TOP = ("LICENSE", "README.md", "bus-api", "client", "daemon", "debian", "docs", "meson.build", "meson_options.txt",
       "tests", "tools", "units")


class Packaged(unittest.TestCase):
    """The packages are built once."""

    folder = None
    missing = None

    @classmethod
    def setUpClass(cls):
        for program in ("dpkg-buildpackage", "dh", "lintian"):
            if not shutil.which(program):
                Packaged.missing = f"{program} is not installed"
                return
        if not Packaged.folder:
            Packaged.folder = tempfile.mkdtemp(prefix="ptraced-package-")
            unittest.addModuleCleanup(shutil.rmtree, cls.folder)
            cls.build()

    def setUp(self):
        """Each is skipped, and counted."""
        if self.missing:
            self.skipTest(self.missing)
        super().setUp()

    @classmethod
    def build(cls):
        tree = os.path.join(cls.folder, "ptraced")
        os.mkdir(tree)
        for name in TOP:
            path = os.path.join(SOURCE, name)
            copy = shutil.copytree if os.path.isdir(path) else shutil.copy2
            copy(path, os.path.join(tree, name))
        done = subprocess.run(["dpkg-buildpackage", "--build=binary", "--no-sign"], cwd=tree, capture_output=True,
                              text=True, timeout=900, check=False)
        if done.returncode != 0:
            raise AssertionError(f"dpkg-buildpackage: {done.stdout[-4000:]}{done.stderr[-4000:]}")

    def package(self, name):
        (path,) = glob.glob(os.path.join(self.folder, name + "_*.deb"))
        return path

    def boot_bare(self):
        """A system that has the packages' files, and a build of nothing else."""
        try:
            machine = Machine(with_build=False)
        except Unavailable as e:
            self.skipTest(f"no system can be booted: {e}")
        for name in NAMES:
            shutil.copy2(self.package(name), machine.root + f"/opt/{name}.deb")
        return machine

    @staticmethod
    def install(machine):
        machine.run("dpkg", "--install", *(f"/opt/{name}.deb" for name in NAMES), timeout=60)


class Package(Packaged):
    def boot(self):
        machine = self.boot_bare()
        self.addCleanup(lambda: self.assertEqual(machine.end(), []))
        machine.run("useradd", "--create-home", ALICE)
        return machine

    def test_lintian_finds_no_error(self):
        (changes,) = glob.glob(os.path.join(self.folder, "*.changes"))
        done = subprocess.run(["lintian", "--allow-root", "--no-tag-display-limit", changes], capture_output=True,
                              text=True, timeout=300, check=False)
        self.assertEqual([line for line in done.stdout.splitlines() if line.startswith("E:")], [], done.stderr)

    @staticmethod
    def version(machine):
        return machine.run("dpkg-query", "--show", "--showformat=${Version}", "ptraced")

    def raise_version(self, machine):
        """The same packages in the next version; returns that."""
        old = self.version(machine)
        new = old + "+1"
        for name in NAMES:
            tree = os.path.join(self.folder, "next-" + name)
            subprocess.run(["dpkg-deb", "--raw-extract", self.package(name), tree], timeout=60, check=True)
            self.addCleanup(shutil.rmtree, tree)
            path = os.path.join(tree, "DEBIAN", "control")
            with open(path) as f:
                control = f.read().replace(f"Version: {old}\n", f"Version: {new}\n")
                control = control.replace(f"(= {old})", f"(= {new})")
            with open(path, "w") as f:
                f.write(control)
            subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, machine.root + f"/opt/{name}.deb"],
                           stdout=subprocess.DEVNULL, timeout=60, check=True)
        return new

    def run_as_alice(self, machine, *command, status=0):
        done = machine.try_run_as(ALICE, *map(str, command))
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout

    def assert_wait(self, condition, what, timeout=10):
        self.assertTrue(wait_until(condition, timeout, 0.02), f"in {timeout} s it did not happen that {what}")

    def left(self, machine):
        """Files of ours, without what dpkg and systemd know of packages and users."""
        return machine.run("find", "/", "/run", "-xdev", "(", "-path", "/proc", "-o", "-path", "/opt", "-o",
                           "-path", "/var/lib/dpkg", "-o", "-path", "/var/log", ")", "-prune", "-o",
                           "-name", "*ptrace[cd]*", "-print").split()

    def test_needs_what_it_asks(self):
        """Who wants no recommended packages has polkit all the same, without which nobody could be asked."""
        depends = subprocess.run(["dpkg-deb", "--field", self.package("ptraced"), "Depends"], capture_output=True,
                                 text=True, timeout=60, check=True).stdout
        names = {one.split()[0] for one in depends.split(", ")}
        self.assertLessEqual({"polkitd", "systemd", "default-dbus-system-bus"}, names)

    def test_works_when_it_is_installed_and_leaves_nothing(self):
        machine = self.boot()
        self.assertEqual(self.left(machine), [])
        self.install(machine)
        self.assertEqual(machine.run("stat", "--format=%A %U %G", "/run/ptraced"), "drwxr-xr-x root root\n")
        self.assertRegex(machine.run("ptracectl", "status"), r"^ptraced [0-9.]+ \(system\): 0 sessions")
        self.assertEqual(machine.run("stat", "--format=%A %U", "/run/ptraced/keeper"), "srw------- ptraced\n")
        tracee = Inside(machine, "computes", 2)
        self.addCleanup(tracee.kill)
        machine.run("ptracectl", "attach", tracee.inside)
        self.assertNotEqual(procfs.tracer_pid(tracee.pid), 0)
        machine.write("/run/ptraced/ptraced.conf.d/test.conf", "[Limits]\n")
        machine.run("dpkg", "--purge", *NAMES, timeout=60)
        self.assertEqual(tracee.runs_free(), [])
        self.assert_wait(lambda: not any(machine.running(name) for name in
                                         ("ptraced", "ptraced-keeper", "ptraced-tracer")), "all has ended")
        self.assertEqual(self.left(machine), [])
        self.assertEqual(machine.run("systemctl", "list-units", "--failed", "--plain", "--no-legend"), "")

    def test_removed_it_keeps_its_configuration_alone_and_purged_nothing(self):
        machine = self.boot()
        self.install(machine)
        tracee = Inside(machine, "computes", 2)
        self.addCleanup(tracee.kill)
        machine.run("ptracectl", "attach", tracee.inside)
        conffiles = machine.run("dpkg-query", "--show", "--showformat=${Conffiles}", "ptraced").split()[::2]
        self.assertEqual(conffiles, ["/etc/ptraced/ptraced.conf"])
        machine.run("dpkg", "--remove", "libptraced-dev", "ptraced", "libptraced0", timeout=60)
        self.assertEqual(tracee.runs_free(), [])
        self.assert_wait(lambda: not any(machine.running(name) for name in
                                         ("ptraced", "ptraced-keeper", "ptraced-tracer")), "all has ended")
        uid = machine.account("ptraced").uid
        for unit in (BROKER, KEEPER, SOCKET):
            self.assertEqual((machine.show(unit, "LoadState"), machine.show(unit, "ActiveState")),
                             ("not-found", "inactive"), unit)
        names = machine.run("busctl", "--list", "--no-legend", "--acquired", "--activatable")
        self.assertIn("org.freedesktop.systemd1", names)
        self.assertNotIn("ptraced", names)
        for path in conffiles:
            self.assertIn("[Limits]", machine.run("cat", path))
        self.assertEqual(set(self.left(machine)), {"/etc/ptraced", *conffiles})
        machine.run("dpkg", "--purge", *NAMES, timeout=60)
        self.assertEqual(self.left(machine), [])
        # The user stays, locked, so that nobody else comes to what bears its id.
        self.assertEqual(machine.account("ptraced").uid, uid)
        self.assertEqual(machine.run("passwd", "--status", "ptraced").split()[1], "L")
        self.assertEqual(machine.run("systemctl", "list-units", "--failed", "--plain", "--no-legend"), "")

    def test_user_traces_what_the_kernel_would_let_him(self):
        """Nothing is configured, and nobody is asked. Each call is another connection of hers."""
        machine = self.boot()
        self.install(machine)
        tracee = Inside(machine, "computes", 2, user=ALICE)
        self.addCleanup(tracee.kill)
        session = self.run_as_alice(machine, "ptracectl", "attach", tracee.inside).strip()
        self.run_as_alice(machine, "ptracectl", "interrupt", tracee.inside)
        self.assert_wait(lambda: {procfs.state(tracee.pid, tid) for tid in tracee.threads()} == {"t"}, "it stands")
        self.assertIn(f"{tracee.inside} stopped by an interrupt", self.run_as_alice(machine, "ptracectl", "status"))
        self.run_as_alice(machine, "ptracectl", "continue", tracee.inside)
        self.run_as_alice(machine, "ptracectl", "close", session)
        self.assertEqual(tracee.runs_free(), [])
        lines = self.run_as_alice(machine, "ptracectl", "--system", "--json=short", "run", "-o", "-", "--",
                                  "/opt/tracees/exits-with", 7, status=7).splitlines()
        kinds = [json.loads(line)["event"] for line in lines if line.startswith("{")]
        self.assertEqual((kinds[0], kinds[-1]), ("exec", "exited"), lines)

        others = Inside(machine, "computes", 2)
        self.addCleanup(others.kill)
        self.run_as_alice(machine, "ptracectl", "--no-ask-password", "attach", others.inside, status=4)
        self.assertEqual(others.runs_free(), [])

    def test_ends_when_nobody_needs_it_and_is_there_again(self):
        """Half a minute is too long for a test: the one setting is shorter."""
        machine = self.boot()
        self.install(machine)
        command = machine.run("systemctl", "show", "--property=ExecStart", "--value", BROKER)
        (words,) = re.findall(r"argv\[\]=(.*? --idle-exit=)30 ", command)
        machine.write(IDLE_DROP_IN, f"[Service]\nExecStart=\nExecStart={words}1\n")
        machine.run("systemctl", "daemon-reload")
        for _ in range(2):
            self.run_as_alice(machine, "ptracectl", "status")
            self.assert_wait(lambda: machine.show(BROKER, "ActiveState") == "inactive", "it ends")
            self.assertEqual(machine.show(BROKER, "Result"), "success")

    def test_journal_explains_what_it_has(self):
        """The catalog is the journal's without a further step."""
        machine = self.boot()
        self.install(machine)
        tracee = Inside(machine, "computes", 2, user=ALICE)
        self.addCleanup(tracee.kill)
        session = self.run_as_alice(machine, "ptracectl", "attach", tracee.inside).strip()
        self.run_as_alice(machine, "ptracectl", "close", session)
        uid = machine.account(ALICE).uid
        said = {"attach": f"Session {session} of user {uid} traces the process from now on",
                "release": f"Subject: Process {tracee.inside} is traced no more"}
        for kind, words in said.items():
            shown = []

            def look(kind=kind, shown=shown):
                machine.run("journalctl", "--sync")
                shown[:] = [machine.run("journalctl", "-x", "--no-pager", "MESSAGE_ID=" + message_ids()[kind])]
                return "Defined-By: ptraced" in shown[0]
            self.assert_wait(look, f"the {kind} is explained")
            self.assertIn(words, shown[0])

    def test_program_is_built_with_the_development_files(self):
        """With what pkg-config says of them, and nothing of the source tree but the example."""
        tree = os.path.join(self.folder, "development")
        self.addCleanup(shutil.rmtree, tree)
        for name in ("libptraced0", "libptraced-dev"):
            subprocess.run(["dpkg-deb", "--extract", self.package(name), tree], timeout=60, check=True)
        (folder,) = glob.glob(os.path.join(tree, "usr/lib/*/pkgconfig"))
        environment = {**os.environ, "PKG_CONFIG_SYSROOT_DIR": tree, "PKG_CONFIG_LIBDIR": folder}
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "libptraced"], capture_output=True, text=True,
                               timeout=60, check=True, env=environment).stdout.split()
        self.assertTrue(any(tree in flag for flag in flags), flags)
        program = os.path.join(tree, "follow")
        built = subprocess.run(["cc", "-Wall", "-Werror", "-o", program,
                                os.path.join(SOURCE, "docs/examples/follow.c"), *flags], capture_output=True,
                               text=True, timeout=60, check=False)
        self.assertEqual((built.returncode, built.stderr), (0, ""))

        machine = self.boot()
        self.install(machine)
        shutil.copy2(program, machine.root + "/opt/follow")
        kinds = [line.split()[-1] for line in
                 self.run_as_alice(machine, "/opt/follow", "/bin/true").splitlines()]
        self.assertEqual((kinds[0], kinds[-1]), ("exec", "exited"))
        mapped = machine.run("env", "LD_TRACE_LOADED_OBJECTS=1", "/opt/follow")
        self.assertRegex(mapped, r"libptraced\.so\.0 => /(usr/)?lib/[^/]+/libptraced\.so\.0")

    def test_manual_pages_and_completions_are_there(self):
        machine = self.boot()
        self.install(machine)
        for page in ("man1/ptracectl.1", "man5/ptraced.conf.5", "man5/org.ptraced.Tracer1.5", "man8/ptraced.service.8",
                     "man8/ptraced-keeper.8", "man3/libptraced.3", "man3/ptraced_attach.3", "man3/ptraced_ref.3"):
            # A further name of a page is a link to it, or a line that names it.
            text = machine.run("zcat", f"/usr/share/man/{page}.gz")
            self.assertRegex(text, r"(?m)^\.(TH|so) ", page)
        verbs = machine.run("bash", "-c", ". /usr/share/bash-completion/completions/ptracectl; "
                                          "_init_completion() { cur=c words=(ptracectl c) cword=1; }; "
                                          '_ptracectl; echo "${COMPREPLY[@]}"')
        self.assertEqual(verbs, "continue close\n")
        for path in ("/usr/share/zsh/vendor-completions/_ptracectl",
                     "/usr/share/fish/vendor_completions.d/ptracectl.fish"):
            self.assertIn("ptracectl", machine.run("cat", path))

    def test_live_sessions_outlive_an_upgrade(self):
        """Root's and a user's, who goes on with hers; and what was configured stays."""
        machine = self.boot()
        self.install(machine)
        machine.write("/etc/ptraced/ptraced.conf", "[Limits]\nSessionsMax=7\n")
        tracees = [Inside(machine, "computes", 2, user=user) for user in (None, ALICE)]
        for tracee in tracees:
            self.addCleanup(tracee.kill)
        roots = machine.run("ptracectl", "attach", tracees[0].inside).strip()
        alices = self.run_as_alice(machine, "ptracectl", "attach", tracees[1].inside).strip()
        tracers, (broker,) = [procfs.tracer_pid(tracee.pid) for tracee in tracees], machine.running("ptraced")
        new = self.raise_version(machine)
        self.install(machine)
        self.assertEqual(self.version(machine), new)
        self.assert_wait(lambda: machine.is_active(BROKER) and machine.running("ptraced") not in ([], [broker]),
                         "another broker runs")
        self.assertEqual([procfs.tracer_pid(tracee.pid) for tracee in tracees], tracers)
        self.assertTrue(machine.is_active(KEEPER))
        self.run_as_alice(machine, "ptracectl", "interrupt", tracees[1].inside)
        self.run_as_alice(machine, "ptracectl", "close", alices)
        one = client.Client(machine.connect())
        try:
            self.assertEqual(list(one.list_sessions()), [roots])
            self.assertEqual(one.manager.get("SessionsMax"), 7)
            one.session(roots).close()
        finally:
            one.close()
        for tracee in tracees:
            self.assertEqual(tracee.runs_free(), [])


class Installed(Packaged, Users):
    """Who is not root, on what the packages have installed: rules, dialogs, limits and the bus are those of the
    system, and nothing else was set up."""

    def setUp(self):
        if not self.missing and not Shared.machine:
            Shared.machine = self.boot_bare()
            unittest.addModuleCleanup(Shared.end)
            self.install(Shared.machine)
        super().setUp()

    def assert_attaches(self, who, tracee, **values):
        session = self.attach(who, tracee, **values)
        self.assertNotEqual(procfs.tracer_pid(tracee.pid), 0)
        session.close()

    def test_bus_starts_it_for_a_user(self):
        self.assertFalse(self.machine.is_active(BROKER))
        self.assertEqual(list(self.client_of(ALICE).list_sessions()), [])
        self.assertTrue(self.machine.is_active(BROKER))

    def test_without_a_rule_nothing_is_permitted_unasked(self):
        who = self.client_of(ALICE)
        for user, suffix in ((ALICE, ""), (BOB, "-other"), (None, "-other")):
            tracee = self.tracee(PROGRAM, user=user)
            for access in ("observe", "control"):
                self.assertEqual(self.refusal(who, tracee, access=access), (ASK_ME, access + suffix))

    def test_rules_permit_and_forbid(self):
        self.rules(f'''
            if (action.id == "{cases.NAME}.control") return polkit.Result.YES;
            if (action.id == "{cases.NAME}.observe") return polkit.Result.NO;
            if (action.id == "{cases.NAME}.observe-other" && subject.user == "{BOB}") return polkit.Result.YES;''')
        who, mine, roots = self.client_of(ALICE), self.tracee(PROGRAM, user=ALICE), self.tracee(PROGRAM)
        self.assert_attaches(who, mine)
        self.assertEqual(self.refusal(who, mine, access="observe"), (NOT_PERMITTED, "observe"))
        self.assertEqual(self.refusal(who, roots, access="observe"), (ASK_ME, "observe-other"))
        self.assert_attaches(self.client_of(BOB), roots, access="observe")

    def test_dialog_asks_whom_it_should(self):
        who = self.at("at the seat")
        agent = self.agent(who)
        for user, action, asked in ((ALICE, "control", ALICE), (BOB, "control-other", "root")):
            tracee = self.tracee(PROGRAM, user=user)
            session = who.create_session()
            who.flags |= wire.ALLOW_INTERACTION
            serial = session.send("AttachProcess", "ua{sv}", tracee.inside, client.options())
            who.flags &= ~wire.ALLOW_INTERACTION
            agent.agree(self.dialog(agent, action, asked))
            who.reply(serial)
            self.assertNotEqual(procfs.tracer_pid(tracee.pid), 0)
            session.close()

    def test_limit_of_a_drop_in_is_kept(self):
        self.machine.write(DROP_IN, "[Limits]\nSessionsMax=1\n")
        self.addCleanup(self.machine.remove, DROP_IN)
        who = self.client_of(ALICE)
        who.create_session()
        with self.assertRaises(wire.Error) as caught:
            who.create_session()
        self.assertEqual(caught.exception.name, client.ERROR + "LimitExceeded")
        self.assertIn("SessionsMax", caught.exception.message)


del Users

if __name__ == "__main__":
    cases.main()
