# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the journal has of who traces what, and who can read it."""

import collections
import json
import os
import re

import cases
import wire
from machine import TRACEES
from users import ALICE, BOB, PROGRAM, Users

SOURCE = os.environ.get("PTRACED_SOURCE_DIR", os.path.join(os.path.dirname(__file__), "..", ".."))


def message_ids():
    """By kind: attach, release, ..."""
    with open(os.path.join(SOURCE, "bus-api/audit.h")) as f:
        return {kind.lower(): value for kind, value in re.findall(r"PTRACED_AUDIT_(\w+)_ID \"(\w+)\"", f.read())}


# What journalctl says to who may not read it.
HINT = r"(?i)not seeing messages|no journal files were opened|permission"


class Entries(cases.Case):
    """What the tests of it share."""

    def entries(self, kind, timeout=20):
        found = []

        # With a match of its own journalctl 252 skips the first entry behind a cursor.
        def look():
            found[:] = [entry for entry in self.journal() if entry.get("MESSAGE_ID") == message_ids()[kind]]
            return found
        self.assert_wait(look, f"an entry says {kind}", timeout)
        return found


class Journal(Entries):
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

    def test_long_path_is_not_cut(self):
        """Each of its bytes but the names' first is half of a character."""
        folder = "/var/tmp/" + "/".join("x" + "\u00e4" * 100 for _ in range(8))
        self.machine.run("mkdir", "-p", folder)
        self.addCleanup(self.machine.run, "rm", "-r", folder.split("/x")[0] + "/x" + "\u00e4" * 100)
        self.machine.run("cp", f"{TRACEES}/blocked-in-read", folder)
        tracee = self.tracee("blocked-in-read", program=folder + "/blocked-in-read")
        self.new_session().attach(tracee.inside)
        (attach,) = self.entries("attach")
        self.assertTrue(attach["MESSAGE"].endswith(f"traces process {tracee.inside} ({folder}/blocked-in-read)"))

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
        for options in ((), ("--no-legend",)):
            done = self.machine.try_run_as("nobody", "ptracectl", "--no-pager", *options, "log")
            self.assertRegex(done.stderr, HINT)

    def test_refusal_is_an_entry(self):
        session = self.new_session()
        done = self.machine.try_run_as("nobody", "busctl", "call", cases.NAME, session.path, cases.NAME + ".Session",
                                       "Close")
        self.assertNotEqual(done.returncode, 0)
        (entry,) = self.entries("refusal")
        self.assertEqual((entry["PTRACED_ACTION"], entry["PTRACED_COUNT"]), ("org.ptraced.Tracer1.manage", "1"))
        self.assertIn(f"Close of session {session.id}, which is not yours, takes the polkit action",
                      entry["PTRACED_REASON"])


JOURNALD_DROP_IN = "/etc/systemd/journald.conf.d/test.conf"


class OfUsers(Entries, Users):
    """Who may trace what is their own."""

    def setUp(self):
        super().setUp()
        self.rules(f'if (["{cases.NAME}.control", "{cases.NAME}.observe"].indexOf(action.id) >= 0) '
                   'return polkit.Result.YES;')

    def test_program_that_gains_privilege_is_a_loss(self):
        self.addCleanup(self.machine.remove, self.machine.copy_tracee(PROGRAM, "/usr/local/bin/gains", 0o4755))
        tracee = self.tracee("executes", user=ALICE)
        session = self.client_of(ALICE).create_session()
        session.attach(tracee.inside)
        tracee.say("/usr/local/bin/gains")
        self.assertEqual(tracee.listen(), "ready")
        (entry,) = self.entries("loss")
        self.assertEqual({key: entry[key] for key in ("PTRACED_UID", "PTRACED_SESSION", "PTRACED_PID", "PTRACED_ACCESS",
                                                      "PTRACED_REASON")},
                         {"PTRACED_UID": str(self.machine.account(ALICE).uid), "PTRACED_SESSION": session.id,
                          "PTRACED_PID": str(tracee.inside), "PTRACED_ACCESS": "control", "PTRACED_REASON": "privilege"})
        self.assertIn("executes", entry["PTRACED_EXECUTABLE"])
        self.assertGreater(int(entry["PTRACED_USEC"]), 0)
        self.assertIn(f"has lost process {tracee.inside} ", self.machine.run("ptracectl", "--no-pager", "log"))

    def test_followed_children_have_entries_and_beyond_some_hundred_are_counted(self):
        uid = str(self.machine.account(ALICE).uid)
        tracee = self.tracee("spawns-grandchildren", 1, 700, user=ALICE)
        session = self.client_of(ALICE).create_session()
        session.attach(tracee.inside, children="follow", events=[])
        self.assertEqual(tracee.ask("grow", timeout=60)["processes"], 700)
        session.close()
        # Where it has taken more than a minute more of them have entries.
        self.assert_wait(lambda: self.children(uid) == 700, "each is written or counted", 30)
        kinds = self.kinds_of(session)
        self.assertGreaterEqual(kinds["attach"], 601)
        self.assertEqual(kinds["attach"], kinds["release"])
        self.assertGreater(len(self.entries("children")), 0)

    def test_catalog_explains_every_kind(self):
        """With what an entry of the kind has: where it lacks a field, journalctl shows the field's name."""
        self.make_one_of_each_kind()
        for kind, number in message_ids().items():
            with self.subTest(kind=kind):
                text = self.machine.run("journalctl", "--dump-catalog", number)
                self.assertIn("Defined-By: ptraced", text)
                if kind in ("refusals", "permits", "children"): # which may be of several users
                    self.assertNotIn("@PTRACED_UID@", text)
                entries = self.entries(kind, 60) # what is counted is written after ten seconds
                shown = self.machine.run("journalctl", "--catalog", "--no-pager", "MESSAGE_ID=" + number)
                for line in re.findall("^.*@.*$", text, re.MULTILINE):
                    for entry in entries:
                        self.assertIn(re.sub("@(.*?)@", lambda field: entry[field[1]], line), shown)

        log = self.machine.run("ptracectl", "--json=short", "log").splitlines()
        self.assertEqual({json.loads(line)["MESSAGE_ID"] for line in log}, set(message_ids().values()))

    def make_one_of_each_kind(self):
        self.rules(f'if (["{cases.NAME}.control", "{cases.NAME}.list-other"].indexOf(action.id) >= 0) '
                   'return polkit.Result.YES;')
        self.addCleanup(self.machine.remove, self.machine.copy_tracee(PROGRAM, "/usr/local/bin/gains", 0o4755))
        gains, grows = self.tracee("executes", user=ALICE), self.tracee("spawns-grandchildren", 1, 700, user=ALICE)
        session = self.client_of(ALICE).create_session()
        session.attach(gains.inside)
        gains.say("/usr/local/bin/gains")
        self.assertEqual(gains.listen(), "ready")
        session.attach(grows.inside, children="follow", events=[])
        self.assertEqual(grows.ask("grow", timeout=60)["processes"], 700)
        bob = self.client_of(BOB)
        for _ in range(3):
            self.assertIn(session.id, bob.list_sessions())
            with self.assertRaises(wire.Error):
                bob.session(session.id).close()
        session.close()

    def children(self, uid):
        """Those that have entries, and those that were counted."""
        entries = [entry for entry in self.journal() if entry.get("PTRACED_UID") == uid]
        own = sum(entry["MESSAGE_ID"] == message_ids()["attach"] for entry in entries) - 1
        return own + sum(int(entry["PTRACED_COUNT"]) for entry in entries
                         if entry["MESSAGE_ID"] == message_ids()["children"])

    def test_refused_calls_have_their_fields_and_so_has_the_last_of_the_counted(self):
        session = self.client_of(ALICE).create_session()
        tracees = [self.tracee(PROGRAM, user=ALICE), self.tracee("blocked-in-read", user=ALICE)]
        processes = [session.attach(tracee.inside, access="observe") for tracee in tracees]
        for process in (processes[0], processes[0], processes[1]):
            with self.assertRaises(wire.Error):
                process.kill()
        (first,), (counted,) = self.entries("refusal"), self.entries("refusals", 60)
        self.assertEqual((first["PTRACED_ACTION"], first["PTRACED_ACCESS"]), ("Kill", "observe"))
        self.assertIn(PROGRAM, first["PTRACED_EXECUTABLE"])
        self.assertEqual({key: counted[key] for key in ("PTRACED_COUNT", "PTRACED_CALLER", "PTRACED_ACTION",
                                                        "PTRACED_SESSION", "PTRACED_PID")},
                         {"PTRACED_COUNT": "2", "PTRACED_CALLER": session.client.connection.name,
                          "PTRACED_ACTION": "Kill", "PTRACED_SESSION": session.id,
                          "PTRACED_PID": str(tracees[1].inside)})
        self.assertIn("blocked-in-read", counted["PTRACED_EXECUTABLE"])

    def test_next_program_that_is_refused_has_its_reason(self):
        self.rules(f'if (action.id == "{cases.NAME}.control-other" && '
                   'action.lookup("executable").indexOf("executes") >= 0) return polkit.Result.YES;')
        tracee = self.tracee("executes", user=BOB)
        session = self.client_of(ALICE).create_session()
        session.attach(tracee.inside)
        tracee.say(f"{TRACEES}/blocked-in-read")
        (entry,) = self.entries("refusal")
        self.assertEqual({key: entry.get(key) for key in ("PTRACED_SESSION", "PTRACED_PID", "PTRACED_EXECUTABLE",
                                                          "PTRACED_REASON")},
                         {"PTRACED_SESSION": session.id, "PTRACED_PID": str(tracee.inside),
                          "PTRACED_EXECUTABLE": f"{TRACEES}/blocked-in-read",
                          "PTRACED_REASON": f"polkit refuses {cases.NAME}.control-other"})

    def test_limit_that_is_reached_is_named(self):
        session = self.client_of(ALICE).create_session()
        process = session.attach(self.tracee(PROGRAM, user=ALICE).inside)
        with self.assertRaises(wire.Error):
            process.read_memory(4096, 1 << 30)
        (entry,) = self.entries("refusal")
        self.assertEqual((entry["PTRACED_ACTION"], entry["PTRACED_UID"]),
                         ("ReadMemory", str(self.machine.account(ALICE).uid)))
        self.assertIn("The limit MemoryMessageMax is reached", entry["PTRACED_REASON"])

    def test_lists_that_follow_closely_are_counted(self):
        self.rules(f'if (action.id == "{cases.NAME}.list-other") return polkit.Result.YES;')
        session = self.client_of(ALICE).create_session()
        bob = self.client_of(BOB)
        for _ in range(20):
            self.assertIn(session.id, bob.list_sessions())
        self.assert_wait(lambda: [entry for entry in self.journal() if entry.get("MESSAGE_ID") == message_ids()["permits"]],
                         "they are counted", 20)
        (grant,), (counted,) = self.entries("grant"), self.entries("permits")
        self.assertEqual((grant["PTRACED_ACTION"], counted["PTRACED_COUNT"]), (cases.NAME + ".list-other", "19"))
        self.assertIn("was permitted something 19 more times", self.machine.run("ptracectl", "--no-pager", "log"))

    def test_who_may_read_his_own_journal_alone_is_told_so(self):
        """It opens, and has nothing of the service's."""
        self.machine.try_run_as(ALICE, "logger", "hers")
        self.new_session().attach(self.tracee("blocked-in-read").inside)
        self.entries("attach")
        hers = self.machine.try_run_as(ALICE, "journalctl", "--no-pager", "--quiet")
        self.assertIn("hers", hers.stdout)
        for options in ((), ("--no-legend",)):
            done = self.machine.try_run_as(ALICE, "ptracectl", "--no-pager", *options, "log")
            self.assertNotIn("traces process", done.stdout)
            self.assertRegex(done.stderr, HINT)

    def kinds_of(self, session):
        names = {number: kind for kind, number in message_ids().items()}
        return collections.Counter(names.get(entry.get("MESSAGE_ID")) for entry in self.journal()
                                   if entry.get("PTRACED_SESSION") == session.id)

    def limit_the_journal(self):
        """It takes some hundred entries of a service within a minute, but for services that have it otherwise."""
        self.machine.write(JOURNALD_DROP_IN, "[Journal]\nRateLimitIntervalSec=60s\nRateLimitBurst=50\n")
        self.machine.run("systemctl", "restart", "systemd-journald.service")
        self.addCleanup(self.machine.run, "systemctl", "restart", "systemd-journald.service")
        self.addCleanup(self.machine.remove, JOURNALD_DROP_IN)
        self.machine.run("systemd-run", "--quiet", "--wait", "--unit=noise", "sh", "-c",
                         "seq --format 'noise %g' 5000")
        self.assertLess(sum(str(entry["MESSAGE"]).startswith("noise ") for entry in self.journal()), 1000)

    def test_burst_is_written_to_the_last_entry(self):
        self.limit_the_journal()
        sessions = {user: self.client_of(user).create_session() for user in (ALICE, BOB)}
        tracees = {user: self.tracee(PROGRAM, user=user).inside for user in (ALICE, BOB)}
        roots = self.new_session()
        for _ in range(200):
            for user, session in sessions.items():
                session.attach(tracees[user]).detach()
                roots.attach(tracees[user]).detach()
        grants = collections.Counter(entry["PTRACED_UID"] for entry in self.entries("grant"))
        self.assertEqual(grants, {str(self.machine.account(user).uid): 200 for user in sessions})
        for session in sessions.values():
            self.assertEqual(self.kinds_of(session), {"attach": 200, "release": 200})
        self.assertEqual(self.kinds_of(roots), {"attach": 400, "release": 400})


del Users

if __name__ == "__main__":
    cases.main()
