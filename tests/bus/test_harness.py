# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a program of tests says of itself, which is what tools/check counts."""

import os
import subprocess
import sys
import tempfile
import unittest

import harness

HEAD = """
import sys, unittest
sys.path.insert(0, sys.argv.pop(1))
import harness

class Test(unittest.TestCase):
"""
SKIPS = """
    def test_skips(self):
        self.skipTest("it may not")
"""
SKIPS_ALL = """
    @classmethod
    def setUpClass(cls):
        raise unittest.SkipTest("none may")
"""
PASSES = """
    def test_passes(self):
        pass
"""
FAILS = """
    def test_fails(self):
        self.fail()
"""
TAIL = """
harness.main()
"""


class Verdict(unittest.TestCase):
    def run_tests(self, *parts, args=()):
        """(exit status, what the line says that is counted)."""
        with tempfile.NamedTemporaryFile("w", prefix="ptraced-test-", suffix=".py") as program:
            program.write("".join((HEAD, *parts, TAIL)))
            program.flush()
            done = subprocess.run([sys.executable, program.name, os.path.dirname(harness.__file__), *args],
                                  capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout.strip()

    def test_all_were_skipped(self):
        self.assertEqual(self.run_tests(SKIPS), (77, "0 passed, 0 failed, 1 skipped"))

    def test_class_was_skipped_before_any_had_run(self):
        self.assertEqual(self.run_tests(SKIPS_ALL, PASSES), (77, "0 passed, 0 failed, 1 skipped"))

    def test_some_were_skipped(self):
        self.assertEqual(self.run_tests(SKIPS, PASSES), (0, "1 passed, 0 failed, 1 skipped"))

    def test_one_failed(self):
        self.assertEqual(self.run_tests(SKIPS, PASSES, FAILS), (1, "1 passed, 1 failed, 1 skipped"))

    def test_there_was_none(self):
        self.assertEqual(self.run_tests(PASSES, args=["-k", "other"]), (1, "0 passed, 0 failed, 0 skipped"))


if __name__ == "__main__":
    harness.main()
