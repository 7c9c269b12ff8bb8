# SPDX-License-Identifier: LGPL-2.1-or-later
"""The test cases' base: a service of its own for each test, and after each the proof that no harm
was done. No tracee is left stopped, traced or gone, no process of ours is left, and no file.

    PTRACED_BUILD_DIR    the build tree
    PTRACED_SOURCE_DIR   the source tree
    PTRACED_TEST_ROUNDS  how often loops go round; the default, 200, suits a check of everything
"""

import contextlib
import os
import resource
import shutil
import sys
import tempfile
import time
import unittest

import procfs
import wire
from client import ERROR, brief
from programs import CTL, TRACEES, Busctl, Ctl, Tracee, run_ctl
from service import BUILD, DAEMONS, EmbeddedService, SystemService, sanitized, wait_until

ROUNDS = int(os.environ.get("PTRACED_TEST_ROUNDS", "200"))

# Where something of ours could be left behind.
PUBLIC_PLACES = ("/dev/shm", "/run", "/var/tmp")


def rounds(share=1.0):
    """How often a loop goes round that wants this share of PTRACED_TEST_ROUNDS."""
    return max(1, int(ROUNDS * share))


def left_in_public():
    return {os.path.join(place, name) for place in PUBLIC_PLACES if os.path.isdir(place)
            for name in os.listdir(place) if name.startswith(("ptraced", ".ptraced"))}


def missing():
    """In one line, what the tests would need and don't have; None where it is all there."""
    for name in DAEMONS:
        if not os.path.exists(os.path.join(BUILD, "daemon", name)):
            return f"daemon/{name} is not built"
    if not os.path.exists(CTL):
        return "client/ctl/ptracectl is not built"
    if not os.path.exists(os.path.join(TRACEES, "busy-loop")):
        return "the tracees are not built"
    return None


def missing_for_bus():
    if os.geteuid() != 0:
        return "not root: the keeper of a system service needs to be"
    for program in ("dbus-daemon", "busctl", "setpriv", "unshare", "bash"):
        if not shutil.which(program):
            return f"{program} is not installed"
    return None


class Case(unittest.TestCase):
    """Without a service; OnTheBus and Embedded below have one."""

    service_class = None

    def setUp(self):
        if reason := missing():
            self.skipTest(reason)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        self.public_before = left_in_public()
        self.scratch = tempfile.mkdtemp(prefix="ptraced-test-")
        os.chmod(self.scratch, 0o755)
        self.temporary = os.path.join(self.scratch, "tmp")
        os.mkdir(self.temporary)
        os.chmod(self.temporary, 0o1777)
        self.tracees = []
        self.ctls = []
        self.service = None
        try:
            self.start_service()
        except BaseException:
            self.tearDown()
            raise

    def start_service(self):
        if self.service_class:
            self.service = self.service_class(self.scratch)

    def tearDown(self):
        """Looks before it cleans up; cleans up whatever it sees; then says what it saw."""
        problems = []
        for ctl in self.ctls:
            ctl.close()
        if self.service:
            self.close_sessions(problems)
            problems += self.tracee_complaints("after the last session's end")
            problems += self.service.stop()
        problems += self.tracee_complaints("after the service's end")
        for tracee in self.tracees:
            tracee.kill()
        left = left_in_public() - self.public_before
        left |= {os.path.join(self.temporary, name) for name in os.listdir(self.temporary)}
        problems += [f"{path} is left" for path in sorted(left)]
        if problems or self.has_failed():
            self.show_logs()
        shutil.rmtree(self.scratch)
        self.assertEqual(problems, [])

    def close_sessions(self, problems):
        """Client sessions end with their connections; a persistent one has to be closed."""
        if self.service.mode == "embedded" or not self.service.broker or self.service.broker.poll() is not None:
            self.service.close_clients()
            return
        self.service.close_clients()
        try:
            closer = self.service.connect()
            for path in [entry[3] for entry in closer.manager.call("ListSessions")]:
                self.close_quietly(closer, path)
        except (wire.Error, TimeoutError, ConnectionError) as e:
            problems.append(f"closing the sessions: {e}")
        self.service.close_clients()

    @staticmethod
    def close_quietly(closer, path):
        try:
            closer.session(path).close()
        except wire.Error as e:
            # It may have been a client session that was just ending.
            if e.name != ERROR + "NoSuchSession":
                raise

    def tracee_complaints(self, when):
        return [f"{when}: {text}" for tracee in self.tracees for text in tracee.runs_free()]

    def has_failed(self):
        # unittest has no public way to ask from tearDown().
        return not getattr(getattr(self, "_outcome", None), "success", True)

    def show_logs(self):
        if self.service:
            for name, text in self.service.daemons.logs().items():
                print(f"--- {self.id()}: {name}:\n{text[-4000:]}", file=sys.stderr)

    # What tests call.

    @contextlib.contextmanager
    def round(self, i):
        """A round of a loop, whose failure tells which it was."""
        try:
            yield
        except Exception as e:
            e.add_note(f"in round {i}")
            raise

    def tracee(self, name, *args, **kwargs):
        tracee = Tracee(name, *args, **kwargs)
        self.tracees.append(tracee)
        return tracee

    def connect(self):
        return self.service.connect()

    def new_session(self, **values):
        """A session on a connection; the tests of embedded mode share its only one."""
        return self.connect().create_session(**values)

    def ctl(self, *args, transport=None, **kwargs):
        """A ptracectl that goes on."""
        if self.service and self.service.mode == "system":
            kwargs.setdefault("address", self.service.address)
        ctl = Ctl(transport or self.ctl_transport(), *args, **kwargs)
        self.ctls.append(ctl)
        return ctl

    def run_ctl(self, *args, transport=None, **kwargs):
        """A ptracectl that ends by itself."""
        if self.service and self.service.mode == "system":
            kwargs.setdefault("address", self.service.address)
        return run_ctl(transport or self.ctl_transport(), *args, **kwargs)

    def ctl_transport(self):
        return "--system" if self.service and self.service.mode == "system" else "--embedded"

    def assert_error(self, name, function, /, *args, **kwargs):
        """The call fails with an error of ours, or one whose whole name is given; returns it."""
        with self.assertRaises(wire.Error) as caught:
            function(*args, **kwargs)
        wanted = name if "." in name else ERROR + name
        self.assertEqual(caught.exception.name, wanted, caught.exception.message)
        self.assertTrue(caught.exception.message, "an error without a word")
        return caught.exception

    def assert_runs_free(self, *tracees):
        for tracee in tracees:
            self.assertEqual(tracee.runs_free(), [])

    def assert_all_stopped(self, tracee):
        """Every thread, a zombie leader aside, stands in a trace stop; on a loaded machine one that waits for
        a processor may come to that later."""
        def running():
            return [tid for tid in tracee.threads()
                    if not (tid == tracee.pid and tracee.state(tid) == "Z") and tracee.state(tid) != "t"]
        self.assert_wait(lambda: running() == [], f"all threads of {tracee} stand")

    def assert_contiguous(self, events):
        """One attachment's serials count up by one: nothing was lost, nothing came twice."""
        for i, (one, next_one) in enumerate(zip(events, events[1:])):
            if next_one.serial != one.serial + 1:
                self.fail(f"serial {one.serial} is followed by {next_one.serial}: {brief(events[i - 3:i + 5])}")

    def assert_advances(self, counter, timeout=5):
        """A number that only a running tracee makes grow does grow."""
        before = counter()
        self.assertTrue(wait_until(lambda: counter() > before, timeout), f"it stays at {before}")

    def assert_wait(self, condition, what, timeout=10):
        self.assertTrue(wait_until(condition, timeout), f"in {timeout} s it did not happen that {what}")


class OnTheBus(Case):
    service_class = SystemService

    def setUp(self):
        if reason := missing_for_bus():
            self.skipTest(reason)
        super().setUp()
        self.busctl = Busctl(self.service.address, "org.ptraced.Tracer1")


class Embedded(Case):
    service_class = EmbeddedService

    def setUp(self):
        try:
            with open("/proc/sys/kernel/yama/ptrace_scope") as f:
                restricted = int(f.read()) > 0
        except FileNotFoundError:
            restricted = False
        if restricted and os.geteuid() != 0:
            self.skipTest("not root, and Yama lets nobody attach to a process that is no child")
        super().setUp()


class CtlOnly(Case):
    """ptracectl --embedded brings its own service."""

    def tearDown(self):
        problems = []
        for ctl in self.ctls:
            ctl.close()
        ours = [os.path.join(BUILD, "daemon", name) for name in DAEMONS]
        wait_until(lambda: not procfs.processes_running(ours))
        for pid, path in procfs.processes_running(ours).items():
            problems.append(f"process {pid} ({path}) is left")
        super().tearDown()
        self.assertEqual(problems, [])


def main():
    """Runs the tests of the calling file; 77 tells meson that all of them were skipped."""
    started = time.monotonic()
    result = unittest.main(exit=False, verbosity=2).result
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    skipped = len(result.skipped)
    # A test can fail twice, its clean-up too.
    passed = max(result.testsRun - failed - skipped, 0)
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    print(f"in {time.monotonic() - started:.1f} s{', with sanitizers' if sanitized() else ''}", file=sys.stderr)
    if passed + failed + skipped == 0:
        sys.exit("there is no such test")
    # A class that is skipped as a whole has run none.
    sys.exit(1 if failed else 0 if passed else 77)
