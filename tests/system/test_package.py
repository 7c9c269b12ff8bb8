# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Debian package: built, looked at by lintian, installed on a fresh system, upgraded under a live session,
and removed."""

import glob
import os
import shutil
import subprocess
import tempfile
import unittest

import cases
import client
import procfs
from cases import BROKER, KEEPER
from machine import Inside, Machine, Unavailable
from service import wait_until

SOURCE = os.environ.get("PTRACED_SOURCE_DIR", os.path.join(os.path.dirname(__file__), "..", ".."))
TOP = ("LICENSE", "README.md", "bus-api", "client", "daemon", "debian", "docs", "meson.build", "meson_options.txt",
       "tests", "tools", "units")


class Package(unittest.TestCase):
    folder = None

    @classmethod
    def setUpClass(cls):
        for program in ("dpkg-buildpackage", "dh", "lintian"):
            if not shutil.which(program):
                raise unittest.SkipTest(f"{program} is not installed")
        cls.folder = tempfile.mkdtemp(prefix="ptraced-package-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.build()

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

    def test_lintian_finds_no_error(self):
        (changes,) = glob.glob(os.path.join(self.folder, "*.changes"))
        done = subprocess.run(["lintian", "--allow-root", "--no-tag-display-limit", changes], capture_output=True,
                              text=True, timeout=300, check=False)
        self.assertEqual([line for line in done.stdout.splitlines() if line.startswith("E:")], [], done.stderr)

    def boot(self):
        try:
            machine = Machine(with_build=False)
        except Unavailable as e:
            self.skipTest(f"no system can be booted: {e}")
        self.addCleanup(lambda: self.assertEqual(machine.end(), []))
        for name in ("libptraced0", "ptraced"):
            shutil.copy2(self.package(name), machine.root + f"/opt/{name}.deb")
        return machine

    @staticmethod
    def install(machine):
        machine.run("dpkg", "--install", "/opt/libptraced0.deb", "/opt/ptraced.deb", timeout=60)

    def assert_wait(self, condition, what, timeout=10):
        self.assertTrue(wait_until(condition, timeout, 0.02), f"in {timeout} s it did not happen that {what}")

    def left(self, machine):
        """Files of ours, without what dpkg and systemd know of packages and users."""
        return machine.run("find", "/", "/run", "-xdev", "(", "-path", "/proc", "-o", "-path", "/opt", "-o", "-path",
                           "/var/lib/dpkg", "-o", "-path", "/var/log", ")", "-prune", "-o", "-name", "*ptrace[cd]*",
                           "-print").split()

    def test_works_when_it_is_installed_and_leaves_nothing(self):
        machine = self.boot()
        self.assertEqual(self.left(machine), [])
        self.install(machine)
        self.assertEqual(machine.run("stat", "--format=%A %U %G", "/run/ptraced"), "drwxr-xr-x root root\n")
        self.assertRegex(machine.run("ptracectl", "status"), r"^ptraced [0-9.]+ \(system\): 0 sessions")
        self.assertEqual(machine.run("stat", "--format=%A %U %G", "/run/ptraced/keeper"), "srw------- ptraced ptraced\n")
        tracee = Inside(machine, "computes", 2)
        self.addCleanup(tracee.kill)
        machine.run("ptracectl", "attach", tracee.inside)
        self.assertNotEqual(procfs.tracer_pid(tracee.pid), 0)
        machine.write("/run/ptraced/ptraced.conf.d/test.conf", "[Limits]\n")
        machine.run("dpkg", "--purge", "ptraced", "libptraced0", timeout=60)
        self.assertEqual(tracee.runs_free(), [])
        self.assert_wait(lambda: not any(machine.running(name) for name in
                                         ("ptraced", "ptraced-keeper", "ptraced-tracer")), "all has ended")
        self.assertEqual(self.left(machine), [])
        self.assertEqual(machine.run("systemctl", "list-units", "--failed", "--plain", "--no-legend"), "")

    def test_live_session_outlives_an_upgrade(self):
        machine = self.boot()
        self.install(machine)
        tracee = Inside(machine, "computes", 2)
        self.addCleanup(tracee.kill)
        session = machine.run("ptracectl", "attach", tracee.inside).split()[-1]
        tracer, (broker,) = procfs.tracer_pid(tracee.pid), machine.running("ptraced")
        self.install(machine)
        self.assert_wait(lambda: machine.is_active(BROKER) and machine.running("ptraced") not in ([], [broker]),
                         "another broker runs")
        self.assertEqual(procfs.tracer_pid(tracee.pid), tracer)
        self.assertTrue(machine.is_active(KEEPER))
        one = client.Client(machine.connect())
        try:
            self.assertEqual(list(one.list_sessions()), [session])
            one.session(session).close()
        finally:
            one.close()
        self.assertEqual(tracee.runs_free(), [])


if __name__ == "__main__":
    cases.main()
