#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tells in few lines what a run of `meson test` has found.

    results.py TESTLOG TALLY

Reads meson's testlog.json, prints a line for each suite, for each case that was skipped, and for each
that failed, with the end of what a failed test said. Cases are counted one by one where the test
says how many there are: cmocka, TAP, and the tests in Python, which close with "N passed, N failed,
N skipped". What fails otherwise (by a signal, a time-out, a sanitizer) counts as one more failure.
The three sums are added to the file TALLY as a line.
"""

import json
import re
import sys

CLOSING = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", re.MULTILINE)
CMOCKA = re.compile(r"^\[  (PASSED |FAILED |SKIPPED)\s*\] (\d+) test\(s\)", re.MULTILINE)
TAP = re.compile(r"^(not )?ok \d+\b(?: - )?([^#\n]*)(# SKIP)?", re.MULTILINE)
# What a case is called where it failed or was skipped.
FAILED = re.compile(r"^(?:FAIL|ERROR): (\S+ \(\S+\))|^\[  FAILED  \] (?!\d+ test)(\S+)", re.MULTILINE)
SKIPPED = re.compile(r"^(\w+ \(\S+\)).* skipped (['\"].*['\"])$|^\[  SKIPPED \] (?!\d+ test)(\S+)", re.MULTILINE)
# What says nothing once it is known which cases failed.
NOISE = re.compile(r"^\[ RUN      \]|^\[       OK \]|^\w+ \(\S+\).* ok$")
TAIL = 40
FEW = 5


def count(output):
    """Passed, failed, skipped, or None where the output does not say."""
    if closing := CLOSING.findall(output):
        return [int(n) for n in closing[-1]]
    if cmocka := CMOCKA.findall(output):
        return [sum(int(n) for what, n in cmocka if what.startswith(word)) for word in ("PASSED", "FAILED", "SKIPPED")]
    if tap := TAP.findall(output):
        failed = sum(bool(bad) and not skip for bad, _, skip in tap)
        skipped = sum(bool(skip) for _, _, skip in tap)
        return [len(tap) - failed - skipped, failed, skipped]
    return None


def short(case):
    """'test_x (__main__.Class.test_x)' as 'Class.test_x'."""
    return case.partition(" (__main__.")[2].rstrip(")") or case


class Test:
    """One test of meson's, with its cases."""

    def __init__(self, record):
        self.suite, _, self.name = record["name"].partition(":")[2].rpartition(" / ")
        self.result = record["result"]
        self.seconds = record["duration"]
        self.output = record.get("stdout", "") + record.get("stderr", "")
        counts = count(self.output)
        if counts is None:
            counts = {"OK": [1, 0, 0], "SKIP": [0, 0, 1]}.get(self.result, [0, 1, 0])
        elif self.result not in ("OK", "SKIP") and counts[1] == 0:
            counts[1] = 1
        self.passed, self.failed, self.skipped = counts

    def describe_failure(self):
        cases = sorted({short(a or b) for a, b in FAILED.findall(self.output)})
        lines = [f"  failed: {self.name} ({self.result.lower()})" + "".join(f"\n    {case}" for case in cases)]
        told = [line for line in self.output.splitlines() if not NOISE.match(line)]
        return lines + ["    | " + line for line in told[-TAIL:]]

    def describe_skips(self):
        """A line each, but one line for many with the same reason."""
        reasons = {}
        for case, why, other in set(SKIPPED.findall(self.output)):
            reasons.setdefault(why.strip("'\""), []).append(short(case or other))
        if not reasons:
            reasons = {(self.output.strip().splitlines() or ["no reason given"])[-1]: [""]}
        for why, cases in sorted(reasons.items()):
            names = sorted(cases) if len(cases) <= FEW else [f"{len(cases)} cases"]
            yield from (f"  skipped: {self.name}: " + ": ".join(filter(None, (name, why))) for name in names)


def describe_suite(suite, tests):
    passed, failed, skipped = (sum(getattr(t, what) for t in tests) for what in ("passed", "failed", "skipped"))
    print(f"  {suite:12} {passed:5} passed, {failed} failed, {skipped} skipped"
          f"   ({len(tests)} program{'s' * (len(tests) != 1)}, {sum(t.seconds for t in tests):.1f} s)")
    for test in tests:
        if test.skipped:
            print("\n".join(test.describe_skips()))
    for test in tests:
        if test.failed:
            print("\n".join(test.describe_failure()))
    return passed, failed, skipped


def main():
    log, tally = sys.argv[1:]
    with open(log, encoding="utf-8", errors="replace") as f:
        tests = [Test(json.loads(line)) for line in f]
    sums = [describe_suite(suite, [t for t in tests if t.suite == suite]) for suite in sorted({t.suite for t in tests})]
    with open(tally, "a", encoding="utf-8") as f:
        print(*(sum(column) for column in zip(*sums)), file=f)


if __name__ == "__main__":
    main()
