# SPDX-License-Identifier: LGPL-2.1-or-later
"""The programs that tests run: tracees, ptracectl and busctl."""

import json
import os
import select
import signal
import subprocess
import time

import procfs
from service import BUILD

CTL = os.path.join(BUILD, "client", "ctl", "ptracectl")
TRACEES = os.path.join(BUILD, "tests", "tracees")


# Without folders that the user may not look into, which would make a missing program an unreadable one.
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def ctl_environment(address):
    environment = {**os.environ, "PATH": SEARCH_PATH}
    if address:
        environment["DBUS_SYSTEM_BUS_ADDRESS"] = address
    return environment


class Lines:
    """Lines of a pipe, each with a time limit."""

    def __init__(self, pipe):
        self.fd = pipe.fileno()
        self.pipe = pipe
        self.buffer = b""

    def next(self, timeout):
        """One line; None at the end; TimeoutError where neither came."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self.buffer:
            if not select.select([self.fd], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise TimeoutError(f"no line within {timeout} s; there is {self.buffer!r}")
            data = os.read(self.fd, 65536)
            if not data:
                return None
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.decode(errors="surrogateescape")

    def rest(self, timeout):
        lines = []
        while (line := self.next(timeout)) is not None:
            lines.append(line)
        return lines


class Tracee:
    """A program of tests/tracees, started and said to be ready."""

    def __init__(self, name, *args, environment=None, ready=True, folder=TRACEES, user=None):
        self.name = name
        self.program = os.path.realpath(os.path.join(folder, name))
        credentials = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
        # A process group of its own, beside its parent's in one session, is not orphaned, whatever
        # started the test: an orphaned one ignores SIGTSTP.
        self.process = subprocess.Popen([os.path.join(folder, name), *map(str, args)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0,
                                        env={**os.environ, **(environment or {})}, **credentials)
        self.pid = self.process.pid
        self.lines = Lines(self.process.stdout)
        self.status = None
        self.ending = False
        self.job_control_stopped = False
        self.words = self.listen().split() if ready else []

    def __str__(self):
        return f"{self.name} ({self.pid})"

    def listen(self, timeout=10):
        line = self.lines.next(timeout)
        if line is None:
            raise AssertionError(f"{self} has closed its output, and is {self.wait(5)}")
        return line

    def say(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, line="report", timeout=20):
        """Says a line, and reads the answer's KEY=N pairs."""
        self.say(line)
        return self.read_pairs(timeout)

    def read_pairs(self, timeout=20):
        return {key: int(value) for key, _, value in
                (word.partition("=") for word in self.listen(timeout).split())}

    def threads(self):
        return procfs.threads(self.pid)

    def state(self, tid=None):
        return procfs.state(self.pid, tid)

    def signal(self, signo):
        os.kill(self.pid, signo)

    def quit(self):
        """The end of its input, which ends most tracees."""
        self.ending = True
        self.process.stdin.close()

    def changes(self, n, timeout=10):
        """What a parent sees through waitid(): the next n changes, as (code, status)."""
        found = []
        deadline = time.monotonic() + timeout
        while len(found) < n:
            change = os.waitid(os.P_PID, self.pid,
                               os.WEXITED | os.WSTOPPED | os.WCONTINUED | os.WNOHANG)
            if change is None:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{self} changed {len(found)} times, not {n}: {found}")
                time.sleep(0.002)
                continue
            found.append((change.si_code, change.si_status))
            if change.si_code in (os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED):
                self.took_status(change)
                break
        return found

    def pending_change(self):
        """A change that waits to be seen, which stays there; None where there is none."""
        return os.waitid(os.P_PID, self.pid,
                         os.WEXITED | os.WSTOPPED | os.WCONTINUED | os.WNOHANG | os.WNOWAIT)

    def took_status(self, change):
        self.ending = True
        self.status = change.si_status if change.si_code == os.CLD_EXITED else -change.si_status
        self.process.returncode = self.status

    def wait(self, timeout=10):
        """The exit status, or minus the signal that killed it."""
        self.ending = True
        if self.status is None:
            self.status = self.process.wait(timeout)
        return self.status

    def kill(self):
        """Ends it and its descendants, whatever state they are in."""
        self.ending = True
        if self.status is None and self.process.returncode is None:
            for pid in [self.pid] + procfs.descendants(self.pid):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.status = self.process.wait(10)
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                pipe.close()
            except BrokenPipeError:
                pass

    def complaints(self):
        """What is wrong with it and its descendants while nobody should trace it."""
        if self.ending:
            return []
        expected = "T" if self.job_control_stopped else "RSDI"
        wrong = procfs.complaints(self.pid, expected)
        for pid in procfs.descendants(self.pid):
            # They may come and go by themselves; they may not be held or traced.
            wrong += [text for text in procfs.complaints(pid) if "is gone" not in text]
        return [f"{self}: {text}" for text in wrong]

    def runs_free(self, timeout=15):
        """Waits until nobody traces or holds it; the complaints that are left."""
        deadline = time.monotonic() + timeout
        while (wrong := self.complaints()) and time.monotonic() < deadline:
            time.sleep(0.005)
        return wrong


class Ctl:
    """A ptracectl that goes on, its events read as they come."""

    def __init__(self, transport, *args, address=None, stdin=subprocess.DEVNULL):
        options = [transport] if transport else []
        self.process = subprocess.Popen([CTL, *options, "--json=short", *map(str, args)], stdin=stdin,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env=ctl_environment(address))
        self.lines = Lines(self.process.stdout)
        self.errors = Lines(self.process.stderr)
        self.events = []
        self.other = []

    @property
    def pid(self):
        return self.process.pid

    def read(self, timeout):
        """One line: an event, or a string that the program itself wrote; None at the end."""
        line = self.lines.next(timeout)
        if line is None:
            return None
        if line.startswith('{"serial":'):
            self.events.append(json.loads(line))
            return self.events[-1]
        self.other.append(line)
        return line

    def wait_event(self, predicate, timeout=20):
        deadline = time.monotonic() + timeout
        while (line := self.read(deadline - time.monotonic())) is not None:
            if isinstance(line, dict) and predicate(line):
                return line
        raise AssertionError(f"ptracectl ended: {self.errors.rest(5)}; its events: {self.events[-20:]}")

    def wait_line(self, text, timeout=20):
        deadline = time.monotonic() + timeout
        while (line := self.read(deadline - time.monotonic())) is not None:
            if line == text:
                return
        raise AssertionError(f"ptracectl ended without saying {text!r}: {self.errors.rest(5)}")

    def finish(self, timeout=60):
        """Reads to the end; the exit status."""
        deadline = time.monotonic() + timeout
        while self.read(deadline - time.monotonic()) is not None:
            pass
        self.error_text = "\n".join(self.errors.rest(10))
        return self.process.wait(10)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()


def run_ctl(transport, *args, address=None, timeout=30, json_output=True):
    """A ptracectl that ends by itself."""
    options = ([transport] if transport else []) + (["--json=short"] if json_output else [])
    return subprocess.run([CTL, *options, *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=timeout, env=ctl_environment(address), check=False)


class Busctl:
    """busctl on a private bus; each call is a connection of its own."""

    def __init__(self, address, service):
        self.address = address
        self.service = service

    def run(self, *args, timeout=20):
        return subprocess.run(["busctl", "--address=" + self.address, *map(str, args)], capture_output=True,
                              text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL)

    def call(self, path, interface, member, *args, timeout=20):
        """The data of the reply; AssertionError with busctl's words where it fails."""
        done = self.run("--json=short", "call", self.service, path, interface, member, *args, timeout=timeout)
        if done.returncode != 0:
            raise AssertionError(f"busctl call {member}: {done.stderr.strip()}")
        return json.loads(done.stdout)["data"] if done.stdout.strip() else None

    def fails(self, path, interface, member, *args):
        """What busctl says about a call that has to fail."""
        done = self.run("call", self.service, path, interface, member, *args)
        if done.returncode == 0:
            raise AssertionError(f"busctl call {member} succeeded: {done.stdout}")
        return done.stderr.strip()
