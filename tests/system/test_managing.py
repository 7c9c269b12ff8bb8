# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who manages the installed service without being root, with a password at a terminal: ends what others
trace, and sets limits."""

import cases
import client
import wire
from cases import BROKER, NAME
from test_journal import message_ids
from users import ALICE, BOB, PROGRAM, Users

PASSWORD = "open, sesame"
NOT_PERMITTED = 4 # ptracectl's exit code


class Managing(Users):
    """alice may, with her own password; bob traces."""

    def setUp(self):
        super().setUp()
        self.set_password(ALICE, PASSWORD)
        self.rules(f'if (action.id == "{NAME}.manage" && subject.user == "{ALICE}") return polkit.Result.AUTH_SELF;\n'
                   f'if (action.id == "{NAME}.control" && subject.user == "{BOB}") return polkit.Result.YES;')
        self.bob = self.client_of(BOB)
        self.traced = self.tracee(PROGRAM, user=BOB)
        self.session = self.bob.create_session(lifetime="persistent", name="of bob")
        self.session.attach(self.traced.inside)

    def answer(self, password, *command):
        """The terminal, after a question was answered."""
        terminal = self.at_terminal(ALICE, "ptracectl", *command)
        terminal.read_until("Password: ")
        self.assertIn(f"AUTHENTICATING FOR {NAME}.manage", terminal.text)
        terminal.type(password + "\n")
        return terminal

    def entries(self, kind):
        return [entry for entry in self.journal() if entry.get("MESSAGE_ID") == message_ids()[kind] and
                entry.get("PTRACED_ACTION") == NAME + ".manage"]

    def is_traced(self):
        return cases.harness.procfs.tracer_pid(self.traced.pid) != 0

    def test_right_password_ends_a_session_of_another_user(self):
        terminal = self.answer(PASSWORD, "close", self.session.id)
        self.assertEqual(terminal.end(), 0, terminal.text)
        self.assertIn(f"end the tracing of user {self.machine.account(BOB).uid} in session {self.session.id}",
                      terminal.text)
        self.assert_wait(lambda: not self.is_traced(), "it runs free")
        self.assertEqual(self.bob.list_sessions(), {})
        (grant,) = self.entries("grant")
        self.assertEqual((grant["PTRACED_UID"], grant["PTRACED_SESSION"]),
                         (str(self.machine.account(ALICE).uid), self.session.id))

    def test_wrong_password_does_not(self):
        terminal = self.answer("guessed", "close", self.session.id)
        self.assertEqual(terminal.end(), NOT_PERMITTED, terminal.text)
        self.assertIn(f"polkit action {NAME}.manage, which polkit refuses", terminal.text)
        self.assertTrue(self.is_traced())
        self.assertEqual(len(self.entries("refusal")), 1)

    def test_session_is_shown(self):
        terminal = self.answer(PASSWORD, "--no-pager", "status", self.session.id)
        self.assertEqual(terminal.end(), 0, terminal.text)
        self.assertIn(f"Session {self.session.id} (uid {self.machine.account(BOB).uid}) of bob\n", terminal.text)

    def test_limit_holds_until_the_service_is_restarted(self):
        terminal = self.answer(PASSWORD, "limits", "SessionsMax=1")
        self.assertEqual(terminal.end(), 0, terminal.text)
        with self.assertRaises(wire.Error) as caught:
            self.bob.create_session()
        self.assertEqual(caught.exception.name, client.ERROR + "LimitExceeded")
        (grant,) = self.entries("grant")
        self.assertEqual((grant["PTRACED_UID"], grant["PTRACED_LIMIT"], grant["PTRACED_VALUE"]),
                         (str(self.machine.account(ALICE).uid), "SessionsMax", "1"))
        self.machine.run("systemctl", "restart", BROKER)
        self.assertEqual(self.connect().manager.get("SessionsMax"), 64)
        self.assertTrue(self.is_traced())


if __name__ == "__main__":
    cases.main()
