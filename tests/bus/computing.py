# SPDX-License-Identifier: LGPL-2.1-or-later
"""The tracee "computes", whose results tell whether it has noticed anything."""

import os
import platform
import signal

import harness
import procfs
import wire
from client import Client
from service import wait_until

# The first argument of a function, and a register that is too wide.
FIRST, WIDE = {"x86_64": ("rdi", "xmm0"), "aarch64": ("x0", "v0")}.get(platform.machine(), (None, None))


def total(n):
    """What the tracee's function returns for 0 to n - 1, added up."""
    return sum(3 * i + 1 for i in range(n))


class Program:
    """The tracee "computes", and where things are in it."""

    def start(self, threads=0, session=None, **values):
        tracee = self.tracee("computes", threads)
        at = self.addresses(tracee.words)
        session = session or self.new_session()
        return tracee, at, session, session.attach(tracee.pid, **values)

    @staticmethod
    def addresses(words):
        return {key: int(value) for key, _, value in (word.partition("=") for word in words[1:])}

    def points(self, at, process):
        """The instructions that its threads execute all the time."""
        data = process.read_memory(at["points"], 8 * at["n"])
        return [int.from_bytes(data[i:i + 8], "little") for i in range(0, len(data), 8)]

    def wait_hit(self, session, kind="breakpoint", timeout=10):
        return session.events_until(lambda e: e.kind == kind, timeout)[-1]

    def assert_hits(self, tracee, session, process, n):
        """So many calls are so many hits; returns the events."""
        tracee.say(f"call {n}")
        events = []
        for _ in range(n):
            events.append(self.wait_hit(session))
            process.thread(events[-1].tid).continue_()
        self.assert_sum(tracee, n)
        self.assertEqual(session.events_for(0.05), [])
        return events

    def assert_calls(self, tracee, n):
        tracee.say(f"call {n}")
        self.assert_sum(tracee, n)

    def assert_sum(self, tracee, n):
        self.assertEqual(tracee.read_pairs(), {"sum": total(n)})

    def assert_text_clean(self, tracee):
        """At once where nobody traces it; else a thread may be on its way through the copy of an instruction,
        and get no processor to come out of it."""
        if procfs.tracer_pid(tracee.pid):
            wait_until(lambda: not procfs.changed_text(tracee.pid))
        self.assertEqual([hex(address) for address in procfs.changed_text(tracee.pid)], [])

    def assert_computes(self, tracee):
        """Its threads get on, with results that are right, in text that is their own."""
        self.assert_advances(lambda: tracee.ask()["progress"], timeout=20)
        self.assertEqual(tracee.ask()["wrong"], 0)
        self.assert_text_clean(tracee)

    def read_first(self, session, event):
        """The number with which the function was called, where it stands at its beginning."""
        return session.process(event.pid).thread(event.tid).registers()[FIRST]


class OnTheBus(harness.OnTheBus):
    def run_client(self, work):
        """A client that is another process, to be killed; returns its pid when its work has begun."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                client = Client(wire.Connection.open(self.service.bus_socket))
                process = work(client.create_session())
                os.write(writer, b"x")
                while True:
                    process.continue_()
            finally:
                os._exit(1)
        os.close(writer)
        begun = os.read(reader, 1)
        os.close(reader)
        self.assertEqual(begun, b"x", "the client has failed")
        return pid

    def kill_client(self, pid):
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        self.assertTrue(os.WIFSIGNALED(status), "it had ended by itself")
