# SPDX-License-Identifier: LGPL-2.1-or-later
"""A service that nobody needs ends, and is there again when it is called."""

import cases
import client
from cases import BROKER, KEEPER, MANAGER, ROOT

DROP_IN = f"/run/systemd/system/{BROKER}.d/soon.conf"
SECONDS = 1


class IdleExit(cases.Case):
    def setUp(self):
        super().setUp()
        command = self.machine.run("systemctl", "show", "--property=ExecStart", "--value", BROKER)
        self.assertIn("--idle-exit=30", command)
        self.machine.write(DROP_IN, "[Service]\nExecStart=\n"
                                    f"ExecStart=/usr/libexec/ptraced/ptraced --system --idle-exit={SECONDS}\n")
        self.machine.run("systemctl", "daemon-reload")
        self.addCleanup(self.restore)

    def restore(self):
        self.machine.remove(DROP_IN)
        self.machine.run("systemctl", "daemon-reload")

    def ask_version(self):
        return self.call(ROOT, client.PROPERTIES, "Get", "ss", MANAGER, "Version")

    def assert_ends(self):
        self.assert_wait(lambda: self.machine.show(BROKER, "ActiveState") == "inactive", "it ends")
        self.assertEqual(self.machine.show(BROKER, "Result"), "success")

    def test_ends_and_is_started_by_the_next_call(self):
        for _ in range(3):
            self.ask_version()
            self.assert_ends()
        self.assertEqual(self.machine.show(KEEPER, "ActiveState"), "active")

    def test_stays_for_a_session_and_for_what_it_traces(self):
        tracee = self.tracee("blocked-in-read")
        session = self.new_session(lifetime="persistent")
        session.attach(tracee.inside)
        session.client.close()
        self.clients.remove(session.client)
        self.machine.run("sleep", str(3 * SECONDS))
        self.assertEqual(self.machine.show(BROKER, "ActiveState"), "active")
        again = self.connect()
        again.session(session.id).close()
        again.close()
        self.clients.remove(again)
        self.assert_ends()

    def test_calls_in_the_moment_of_its_end_are_answered(self):
        """Each is sent about when it ends: by it, or by the next one."""
        self.ask_version()
        for i in range(8):
            self.machine.run("sleep", f"{SECONDS + 0.13 * i:.2f}")
            self.assertRegex(self.ask_version(), r'^v s "[0-9.]+"$')


if __name__ == "__main__":
    cases.main()
