# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every option of every method refuses every type but its own, by its name, and what is refused changes nothing."""

import os

import harness
import procfs
import wire
from client import options

FILTER = {"stops": "as", "events": "as", "exit": "s", "syscalls": "at", "results": "ai", "pass-signals": "ai",
          "captures": "a(uussuu)"}
ATTACH = {**FILTER, "threads": "s", "children": "s", "stop": "b", "all-stop": "b", "access": "s", "proof": "h"}
RESUME = {"mode": "s", "range": "(tt)", "signal": "i", "suppress": "b"}
SNAPSHOT = {"registers": "as", "stack": "u"}
BREAKPOINT = {"temporary": "b", "ignore": "t", "report-only": "b", "condition": "(stust)", "thread": "u", "size": "u"}
SESSION = {"name": "s", "queue": "b", "lifetime": "s"}

VALUES = [("s", "x"), ("b", True), ("u", 1), ("i", 1), ("t", 1), ("d", 1.5), ("as", ["x"]), ("at", [1]), ("ay", b"x"),
          ("(tt)", (1, 2)), ("(s)", ("x",)), ("v", wire.Variant("s", "x")), ("a{sv}", {}), ("o", "/"), ("g", "s")]


class Types:
    def refuse(self, session, names, call):
        """call: makes one with these options."""
        for key, own in names.items():
            for signature, value in VALUES:
                if signature != own:
                    with self.subTest(option=key, type=signature):
                        error = self.assert_error("InvalidOption", call, {key: wire.Variant(signature, value)})
                        self.assertIn(key, error.message)
            if own != "h":
                with self.subTest(option=key, type="h"):
                    self.assert_descriptor_refused(key, call)

    def assert_descriptor_refused(self, key, call):
        """Where a method takes none at all, it is said so."""
        null = os.open(os.devnull, os.O_RDONLY)
        try:
            with self.assertRaises(wire.Error) as caught:
                call({key: wire.Variant("h", null)})
        finally:
            os.close(null)
        self.assertRegex(caught.exception.message, f"{key}|takes no descriptor")

    def test_options_of_attach(self):
        tracee = self.tracee("busy-loop")
        session = self.new_session()
        self.refuse(session, ATTACH, lambda given: session.call("AttachProcess", "ua{sv}", tracee.pid, given))
        self.refuse(session, ATTACH, lambda given: session.call("AttachThread", "ua{sv}", tracee.threads()[-1], given))
        pidfd = os.pidfd_open(tracee.pid)
        self.addCleanup(os.close, pidfd)
        self.refuse(session, ATTACH, lambda given: session.call("AttachProcessFD", "ha{sv}", pidfd, given))
        self.assertEqual(procfs.tracer_pid(tracee.pid), 0)
        session.attach(tracee.pid)

    def test_options_of_a_session(self):
        manager = self.connect().manager
        self.refuse(None, SESSION, lambda given: manager.call("CreateSession", "a{sv}", given))
        self.assertEqual(manager.client.list_sessions(), {})

    def test_options_of_what_is_traced(self):
        tracee = self.tracee("busy-loop")
        session = self.new_session()
        process = session.attach(tracee.pid)
        thread = process.thread(tracee.pid)
        process.interrupt()
        self.assert_all_stopped(tracee)
        self.refuse(session, FILTER, lambda given: process.call("SetEventFilter", "a{sv}", given))
        for one in (session, process, thread):
            self.refuse(session, RESUME, lambda given, one=one: one.call("Continue", "a{sv}", given))
        self.refuse(session, {key: RESUME[key] for key in ("range", "signal", "suppress")},
                    lambda given: thread.call("Step", "a{sv}", given))
        self.refuse(session, SNAPSHOT, lambda given: process.call("Snapshot", "a{sv}", given))
        self.refuse(session, BREAKPOINT,
                    lambda given: process.call("AddBreakpoint", "tsa{sv}", 4096, "write", given))
        self.assert_all_stopped(tracee)
        self.assertEqual(process.list_breakpoints(), [])

    def test_option_of_no_string(self):
        """A key that is none, and one with what a terminal would take for a command."""
        session = self.new_session()
        for key in ("", "a\nb", "\x1b[2J", "\u202e", "x" * 1000):
            error = self.assert_error("InvalidOption", session.client.create_session, **{key: True})
            self.assertNotRegex(error.message, "[\x00-\x1f\u202e]")

    def test_name_of_a_session_is_shown_escaped(self):
        client = self.connect()
        for name, shown in (("a\nb", "a\\x0ab"), ("\x1b[2J", "\\x1b[2J"), ("\u202eb", "\\xe2\\x80\\xaeb")):
            session = client.create_session(name=name)
            self.assertEqual(session.get("Name"), shown)
            self.assertEqual(client.list_sessions()[session.id][1], shown)
            session.close()


class TypesOnTheBus(Types, harness.OnTheBus):
    def test_options_of_authorizing(self):
        tracee = self.tracee("busy-loop")
        session = self.new_session(lifetime="persistent")
        session.attach(tracee.pid)
        self.refuse(session, {"access": "s", "proof": "h"},
                    lambda given: session.call("AuthorizeProcess", "ua{sv}", tracee.pid, given))
        session.call("AuthorizeProcess", "ua{sv}", tracee.pid, options())


class TypesEmbedded(Types, harness.Embedded):
    pass


if __name__ == "__main__":
    harness.main()
