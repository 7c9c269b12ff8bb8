# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs that gain privilege while somebody without it traces them on a booted system: whatever gives it to
them, the user loses them before they have begun, and they run on with it."""

import os
import struct
from typing import NamedTuple

import cases
import wire
from cases import NAME
from test_journal import message_ids
from users import ALICE, BOB, Users

CAP_CHOWN = 1 << 0


class Gain(NamedTuple):
    mode: int
    owner: str = "root"
    capabilities: int = 0


GAINS = {
    "set-user-id of root": Gain(0o4755),
    "set-user-id of another user": Gain(0o4755, BOB),
    "set-group-id": Gain(0o2755),
    "file capabilities": Gain(0o755, capabilities=CAP_CHOWN),
    "not to be read": Gain(0o711),
}


class Exec(Users):
    def setUp(self):
        super().setUp()
        self.rules(f'if (action.id == "{NAME}.control") return polkit.Result.YES;')
        self.who = self.client_of(ALICE)

    def make(self, name):
        """The program, as chown, chmod and setcap make it."""
        gain = GAINS[name]
        program = self.machine.copy_tracee("keeps-a-secret", "/usr/local/bin/" + name.replace(" ", "-"), 0o600)
        path = self.machine.root + program
        self.addCleanup(self.machine.remove, program)
        account = self.machine.account(gain.owner)
        os.chown(path, account.uid, account.gid)
        os.chmod(path, gain.mode)
        if gain.capabilities:
            os.setxattr(path, "security.capability", struct.pack("<5I", 0x02000001, gain.capabilities, 0, 0, 0))
        return program

    def credentials(self, tracee):
        """(user, group, capabilities), all of them effective."""
        status = cases.harness.procfs.status
        return (int(status(tracee.pid, "Uid").split()[1]), int(status(tracee.pid, "Gid").split()[1]),
                int(status(tracee.pid, "CapEff"), 16))

    def assert_has(self, tracee, gain):
        alice, owner = self.machine.account(ALICE), self.machine.account(gain.owner)
        uid, gid, capabilities = self.credentials(tracee)
        self.assertEqual(uid, owner.uid if gain.mode & 0o4000 else alice.uid)
        self.assertEqual(gid, owner.gid if gain.mode & 0o2000 else alice.gid)
        if uid == 0:
            self.assertTrue(capabilities & CAP_CHOWN)
        else:
            self.assertEqual(capabilities, gain.capabilities)

    def execute(self, program):
        """(the tracee, which executes it, and the session that has traced it until then)."""
        tracee = self.tracee("executes", user=ALICE)
        session = self.who.create_session()
        session.attach(tracee.inside, stops=["exec"])
        tracee.say(program)
        return tracee, session

    def assert_lost(self, tracee, session):
        events = session.events_until(lambda event: event.kind == "lost")
        self.assertEqual(events[-1].details, {"reason": "privilege", "process": True})
        self.assertNotIn("exec", [event.kind for event in events])
        with self.assertRaises(wire.Error) as caught:
            session.process(tracee.inside).read_memory(0x10000000, 8)
        self.assertEqual(caught.exception.name, NAME + ".Error.NotAttached")
        self.assertEqual(self.who.manager.call("ListTracees"), [])

    def assert_entry(self, tracee, session):
        def entries():
            return [entry for entry in self.journal() if entry.get("MESSAGE_ID") == message_ids()["loss"] and
                    entry["PTRACED_SESSION"] == session.id]
        self.assert_wait(entries, "the loss is written")
        (entry,) = entries()
        wanted = {"PTRACED_REASON": "privilege", "PTRACED_PID": str(tracee.inside), "PTRACED_CALLER":
                  self.who.connection.name, "PTRACED_UID": str(self.who.connection.uid), "PTRACED_ACCESS": "control",
                  "PTRACED_EXECUTABLE": "/opt/tracees/executes"}
        self.assertEqual({key: entry.get(key) for key in wanted}, wanted)

    def test_what_gains_privilege_is_lost_and_runs_on_with_it(self):
        for name, gain in GAINS.items():
            with self.subTest(name):
                tracee, session = self.execute(self.make(name))
                self.assert_lost(tracee, session)
                self.assertEqual(tracee.listen(), "gained")
                self.assert_has(tracee, gain)
                self.assertEqual(tracee.runs_free(), [])
                tracee.say("end")
                told = tracee.read_pairs()
                self.assertEqual(told["euid"], self.machine.account(gain.owner if gain.mode & 0o4000 else ALICE).uid)
                self.assertEqual((told["changes"], told["signals"]), (0, 0))
                self.assertEqual(tracee.wait(), 0)
                self.assert_entry(tracee, session)
                session.close()


if __name__ == "__main__":
    cases.main()
