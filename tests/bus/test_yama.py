# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where kernel.yama.ptrace_scope leaves tracing to administrators, what is one's own is nothing else than what is
another user's."""


import harness
from policy import ASK_ME, GAMES, Policy, YamaService


class AdministratorsService(YamaService):
    scope = 2
    rules = YamaService.rules + """
    if (action.id == "org.ptraced.Tracer1.open-memory" || action.id == "org.ptraced.Tracer1.control")
        return polkit.Result.YES;
    """


class Administrators(Policy):
    service_class = AdministratorsService

    def setUp(self):
        super().setUp()
        self.mine = self.tracee_of(GAMES, "allowed", "executes")
        self.session = self.session_of(GAMES)
        self.process = self.session.attach(self.mine.pid)

    def next_exec(self):
        return self.session.events_until(lambda e: e.kind in ("exec", "lost"))[-1]

    def execute(self, name):
        self.mine.say(self.program(name))

    def test_own_process_is_not_attached_by_a_rule_for_what_is_ones_own(self):
        tracee = self.tracee_of(GAMES)
        error = self.assert_error(ASK_ME, self.session.attach, tracee.pid)
        self.assertIn("control-other", error.message)

    def test_memory_of_it_is_not_opened_by_such_a_rule_either(self):
        error = self.assert_error(ASK_ME, self.process.call, "OpenMemory", "s", "read")
        self.assertIn("open-memory-other", error.message)
        error = self.assert_error(ASK_ME, self.process.call, "OpenMaps")
        self.assertIn("open-memory-other", error.message)

    def test_what_it_executes_is_asked_about_anew(self):
        self.execute("allowed-too")
        self.assertEqual(self.next_exec().kind, "exec")
        self.assertEqual(self.mine.listen(), "ready")

    def test_what_no_rule_permits_is_lost_with_its_exec(self):
        self.execute("another")
        event = self.next_exec()
        self.assertEqual((event.kind, event.details["reason"]), ("lost", "privilege"))
        self.assertEqual(self.mine.listen(), "ready")
        self.assert_advances(lambda: self.mine.ask()["progress"])
        self.assert_runs_free(self.mine)


del Policy

if __name__ == "__main__":
    harness.main()
