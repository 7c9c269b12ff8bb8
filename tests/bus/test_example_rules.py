# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rules that we ship as an example are understood, and each does what it says."""

import html
import os
import pwd
import re
import unittest

import harness
from policy import ASK_ME, GAMES, NEWS, Policy
from polkit import PolkitService

EXAMPLE = os.path.join(os.environ.get("PTRACED_SOURCE_DIR", "."), "docs/examples/50-ptraced.rules")
MANUAL = os.path.join(os.environ.get("PTRACED_SOURCE_DIR", "."), "docs/man/ptraced.service.xml")


class Manual(unittest.TestCase):
    def test_rules_that_it_shows_are_those_of_the_example(self):
        with open(MANUAL) as f:
            shown = re.findall(r"polkit\.addRule\(.*?^\}\);", html.unescape(f.read()), re.S | re.M)
        with open(EXAMPLE) as f:
            text = f.read()
        self.assertEqual(len(shown), 3)
        for rule in shown:
            self.assertIn(rule, text)


class ExampleService(PolkitService):
    """The file as it is, but for who and what it is about: a test says which name in it is another
    here. Every user has a group of that name."""

    names = {}

    def start_polkit(self):
        with open(EXAMPLE) as f:
            text = f.read()
        places = {"/usr/sbin/exampled": self.path("exampled"), "/usr/bin/gpg-agent": self.path("gpg-agent"),
                  '"998"': f'"{pwd.getpwnam(NEWS).pw_uid}"'}
        for name, other in {**places, **{f'"{name}"': f'"{other}"' for name, other in self.names.items()}}.items():
            assert name in text, f"the example does not speak of {name}"
            text = text.replace(name, other)
        self.rules_file = self.path("example.rules")
        with open(self.rules_file, "w") as f:
            f.write(text)
        super().start_polkit()


class Example(Policy):
    service_class = ExampleService

    def tearDown(self):
        try:
            self.assertNotRegex(self.service.daemons.logs().get("polkit.log", ""), "(?i)error")
        finally:
            super().tearDown()

    def assert_asks(self, user, tracee, **values):
        self.assert_refused(self.session_of(user), tracee, ASK_ME, **values)

    def assert_forbidden(self, user, tracee, **values):
        self.assertIn("polkit refuses", self.assert_refused(self.session_of(user), tracee, **values))

    def attach(self, user, tracee, **values):
        return self.session_of(user).attach(tracee.pid, **values)


class Nobody(Example):
    """Whom none of the rules names."""

    def test_all_is_as_without_them(self):
        tracee = self.tracee_of(NEWS)
        for user in (GAMES, NEWS):
            for access in ("control", "observe"):
                self.assert_asks(user, tracee, access=access)

    def test_key_agent_is_nobodys_to_control(self):
        agent = self.tracee_of(NEWS, "gpg-agent")
        for user in (GAMES, NEWS):
            for access in ("control", "observe"):
                self.assert_forbidden(user, agent, access=access)


class Debuggers(Example):
    class service_class(ExampleService):
        names = {"debuggers": NEWS}

    def test_they_control_what_is_their_own(self):
        self.attach(NEWS, self.tracee_of(NEWS)).interrupt()
        self.assert_asks(NEWS, self.tracee_of(GAMES, "others"))
        self.assert_asks(NEWS, self.tracee_of(NEWS, "looked-at"), access="observe")
        self.assert_asks(GAMES, self.tracee_of(GAMES, "theirs"))

    def test_key_agent_is_not_theirs_to_control(self):
        self.assert_forbidden(NEWS, self.tracee_of(NEWS, "gpg-agent"))

    def test_memory_is_opened_for_reading_and_not_for_writing(self):
        process = self.attach(NEWS, self.tracee_of(NEWS))
        os.close(process.call("OpenMemory", "s", "read"))
        os.close(process.call("OpenMaps"))
        error = self.assert_error("org.freedesktop.DBus.Error.AccessDenied", process.call, "OpenMemory", "s", "read-write")
        self.assertIn("polkit refuses", error.message)


class Support(Example):
    class service_class(ExampleService):
        names = {"support": NEWS}

    def test_they_look_at_everybodys_processes_and_control_none(self):
        for owner in (GAMES, NEWS):
            tracee = self.tracee_of(owner, "of-" + owner)
            self.assertTrue(self.attach(NEWS, tracee, access="observe").list_threads())
            session = self.session_of(NEWS)
            error = self.assert_error("NotPermitted", session.attach, tracee.pid)
            self.assertIn("polkit refuses", error.message)
        self.assert_asks(GAMES, self.tracee_of(NEWS, "b"), access="observe")

    def test_key_agent_is_not_theirs_to_look_at(self):
        self.assert_forbidden(NEWS, self.tracee_of(GAMES, "gpg-agent"), access="observe")


class Monitor(Example):
    class service_class(ExampleService):
        names = {"monitor": GAMES}

    def test_it_observes_the_one_service(self):
        service = self.tracee_of(NEWS, "exampled")
        self.assertTrue(self.attach(GAMES, service, access="observe").list_threads())
        self.assert_error(ASK_ME, self.session_of(GAMES).attach, service.pid)
        self.assert_error(ASK_ME, self.session_of("man").attach, service.pid, access="observe")

    def test_and_nothing_else(self):
        self.assert_asks(GAMES, self.tracee_of(NEWS, "exampled-too"), access="observe")
        self.assert_asks(GAMES, self.tracee_of(GAMES, "its-own"), access="observe")
        self.assert_asks(GAMES, self.tracee_of("man", "exampled"), access="observe")


class Wheel(Example):
    class service_class(ExampleService):
        names = {"wheel": NEWS}

    def setUp(self):
        super().setUp()
        self.session = self.session_of(GAMES, lifetime="persistent")
        self.other = self.session_of("man", lifetime="persistent")

    def test_they_see_what_everybody_traces_and_end_it(self):
        one = self.service.connect_as(NEWS)
        self.assertEqual(set(one.list_sessions()), {self.session.id, self.other.id})
        one.session(self.session.id).close()
        self.assertEqual(set(one.list_sessions()), {self.other.id})

    def test_others_do_not(self):
        one = self.service.connect_as(GAMES)
        self.assertEqual(set(one.list_sessions()), {self.session.id})
        self.assert_error(ASK_ME, one.session(self.other.id).close)


del Policy, Example

if __name__ == "__main__":
    harness.main()
