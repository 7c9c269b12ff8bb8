# SPDX-License-Identifier: LGPL-2.1-or-later
"""The service of one user, on the session bus, with that user's own rights."""

import cases
import procfs

USER = "developer"


class SessionBus(cases.Case):
    def setUp(self):
        super().setUp()
        if self.machine.try_run("id", USER).returncode != 0:
            self.machine.run("useradd", "--create-home", USER)
        self.uid = self.machine.run("id", "-u", USER).strip()
        # Its service manager, without a log-in.
        self.machine.run("systemctl", "start", f"user@{self.uid}.service")
        self.addCleanup(self.machine.run, "systemctl", "stop", f"user@{self.uid}.service")

    def run_as_user(self, *args):
        runtime = f"/run/user/{self.uid}"
        done = self.machine.try_run_as(USER, f"--setenv=XDG_RUNTIME_DIR={runtime}",
                                       f"--setenv=DBUS_SESSION_BUS_ADDRESS=unix:path={runtime}/bus", *args)
        self.assertEqual(done.returncode, 0, f"{args}: {done.stdout}{done.stderr}")
        return done.stdout

    def test_user_traces_a_program_of_theirs(self):
        tracee = self.tracee("computes", 2, user=USER)
        session = self.run_as_user("ptracectl", "--user", "attach", str(tracee.inside)).strip()
        self.assertIn("1 session, 1 tracee, 3 threads", self.run_as_user("ptracectl", "--user", "status"))
        for program in ("ptraced", "ptraced-keeper"):
            pid = self.only(program)
            self.assertEqual(procfs.status(pid, "Uid").split(), [self.uid] * 4)
            self.assertEqual((procfs.status(pid, "NoNewPrivs"), procfs.status(pid, "Seccomp")), ("1", "2"))
        self.run_as_user("ptracectl", "--user", "interrupt", str(tracee.inside))
        self.assertEqual({procfs.state(tracee.pid, tid) for tid in tracee.threads()}, {"t"})
        self.run_as_user("ptracectl", "--user", "close", session)
        self.assertEqual(tracee.runs_free(), [])
        self.assert_computes(tracee)

    def test_end_of_the_users_manager_lets_go(self):
        tracee = self.tracee("computes", 2, user=USER)
        self.run_as_user("ptracectl", "--user", "attach", str(tracee.inside))
        self.assertTrue(procfs.tracer_pid(tracee.pid))
        self.machine.run("systemctl", "stop", f"user@{self.uid}.service")
        self.assertEqual(tracee.runs_free(), [])
        self.assert_computes(tracee)


if __name__ == "__main__":
    cases.main()
