# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the journal has of who traces what, and who can read it."""

import json
import os
import re

import cases

SOURCE = os.environ.get("PTRACED_SOURCE_DIR", os.path.join(os.path.dirname(__file__), "..", ".."))


def message_ids():
    """By kind: attach, release, ..."""
    with open(os.path.join(SOURCE, "bus-api/audit.h")) as f:
        return {kind.lower(): value for kind, value in re.findall(r"PTRACED_AUDIT_(\w+)_ID \"(\w+)\"", f.read())}


class Journal(cases.Case):
    def entries(self, kind):
        found = []

        # With a match of its own journalctl 252 skips the first entry behind a cursor.
        def look():
            found[:] = [entry for entry in self.journal() if entry.get("MESSAGE_ID") == message_ids()[kind]]
            return found
        self.assert_wait(look, f"an entry says {kind}")
        return found

    def test_attach_and_release_are_entries_with_fields(self):
        tracee = self.tracee("blocked-in-read")
        session = self.new_session()
        session.attach(tracee.inside).detach()
        (attach,), (release,) = self.entries("attach"), self.entries("release")
        for entry in (attach, release):
            self.assertEqual({key: entry[key] for key in ("PTRACED_UID", "PTRACED_SESSION", "PTRACED_PID",
                                                          "PTRACED_ACCESS", "SYSLOG_IDENTIFIER")},
                             {"PTRACED_UID": "0", "PTRACED_SESSION": session.id,
                              "PTRACED_PID": str(tracee.inside), "PTRACED_ACCESS": "control",
                              "SYSLOG_IDENTIFIER": "ptraced"})
            self.assertRegex(entry["PTRACED_CALLER"], r"^:[0-9.]+$")
            self.assertIn("blocked-in-read", entry["PTRACED_EXECUTABLE"])
        self.assertEqual(release["PTRACED_REASON"], "detached")
        self.assertGreater(int(release["PTRACED_USEC"]), 0)

    def test_catalog_explains_every_kind(self):
        self.machine.run("journalctl", "--update-catalog")
        for kind, number in message_ids().items():
            with self.subTest(kind=kind):
                text = self.machine.run("journalctl", "--dump-catalog", number)
                self.assertIn("Defined-By: ptraced", text)
        self.new_session().attach(self.tracee("blocked-in-read").inside)
        entry = self.entries("attach")[0]
        shown = self.machine.run("journalctl", "--catalog", "--no-pager", "MESSAGE_ID=" + entry["MESSAGE_ID"])
        self.assertIn(f"Session {entry['PTRACED_SESSION']} of user 0 traces the process from now on", shown)

    def test_ptracectl_shows_it(self):
        tracee = self.tracee("blocked-in-read")
        session = self.new_session()
        session.attach(tracee.inside).detach()
        self.entries("release")
        self.assertRegex(self.machine.run("ptracectl", "--no-pager", "log", "--lines=2"),
                         rf"Session {session.id} of user 0 \(:[0-9.]+\) traces process {tracee.inside} ")
        last = self.machine.run("ptracectl", "--json=short", "log", "-n", "1")
        self.assertEqual(json.loads(last)["PTRACED_REASON"], "detached")

    def test_forged_entries_are_not_shown(self):
        self.machine.write("/opt/forged", f"MESSAGE_ID={message_ids()['grant']}\nMESSAGE=forged\n")
        self.machine.run("logger", "--journald=/opt/forged")
        self.machine.run("journalctl", "--sync")
        self.assertIn("forged", [entry["MESSAGE"] for entry in self.journal()])
        self.assertNotIn("forged", self.machine.run("ptracectl", "--no-pager", "log"))

    def test_who_may_not_read_the_journal_is_told_so(self):
        done = self.machine.try_run_as("nobody", "ptracectl", "--no-pager", "log")
        self.assertRegex(done.stdout + done.stderr, r"(?i)not seeing messages|no journal files were opened|permission")

    def test_refusal_is_an_entry(self):
        session = self.new_session()
        done = self.machine.try_run_as("nobody", "busctl", "call", cases.NAME, session.path, cases.NAME + ".Session",
                                       "Close")
        self.assertNotEqual(done.returncode, 0)
        (entry,) = self.entries("refusal")
        self.assertEqual((entry["PTRACED_ACTION"], entry["PTRACED_COUNT"]), ("org.ptraced.Tracer1.manage", "1"))


if __name__ == "__main__":
    cases.main()
