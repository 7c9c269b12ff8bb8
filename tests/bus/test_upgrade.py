# SPDX-License-Identifier: LGPL-2.1-or-later
"""An upgrade puts other programs in the place of those that run, and restarts the broker."""

import os
import shutil

import harness
import procfs
from service import BUILD, SystemService

OURS, THEIRS = b"org.ptraced.Internal3", b"org.ptraced.Internal2"


class FormerService(SystemService):
    """Speaks the version before, as far as its name goes."""

    def start_keeper(self):
        if not self.keeper:
            for path in self.daemons.paths.values():
                self.replace(path, lambda program: program.replace(OURS, THEIRS))
        super().start_keeper()

    @staticmethod
    def replace(path, change):
        """The way dpkg does: what runs keeps the former file."""
        with open(path, "rb") as f:
            program = f.read()
        changed = change(program)
        assert changed != program, path
        with open(path + ".new", "wb") as f:
            f.write(changed)
        shutil.copymode(path, path + ".new")
        os.rename(path + ".new", path)

    def upgrade(self):
        for path in self.daemons.paths.values():
            self.replace(path, lambda program: program.replace(THEIRS, OURS))
        self.broker.terminate()
        self.broker.wait()
        self.start_broker()


class ToAnotherVersion(harness.OnTheBus):
    service_class = FormerService

    def test_former_keeper_releases_and_ends(self):
        tracee = self.tracee("runs-in-circles")
        self.new_session(lifetime="persistent").attach(tracee.pid, stop=True)
        self.service.upgrade()
        session = self.new_session()
        self.assert_error("TracerGone", session.attach, self.tracee("busy-loop").pid)
        self.assertEqual(self.service.keeper.wait(20), 0)
        self.assertIn("another version", self.service.daemons.logs()["broker.log"])
        self.assert_runs_free(tracee)
        self.service.start_keeper()
        session.attach(tracee.pid, stop=True)
        session.process(tracee.pid).continue_()


class ToTheSameVersion(harness.OnTheBus):
    service_class = SystemService

    def test_keeper_goes_on_with_tracers_of_its_own_build(self):
        path = self.service.daemons.paths["ptraced-tracer"]
        session = self.new_session()
        FormerService.replace(path, lambda program: b"#!/bin/false\n")
        for _ in range(3):  # one was ready
            tracee = self.tracee("busy-loop")
            session.attach(tracee.pid)
            self.assertIn("(deleted)", os.readlink(f"/proc/{procfs.tracer_pid(tracee.pid)}/exe"))
        shutil.copy2(os.path.join(BUILD, "daemon/tracer/ptraced-tracer"), path)


if __name__ == "__main__":
    harness.main()
