#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The format of the figures, on which other programs rely, and the choice of cases."""

import json
import sys
import unittest

sys.dont_write_bytecode = True

import benches  # noqa: E402
from lib.cases import ThreadCase, select  # noqa: E402
from lib.figure import Figure, figure_of  # noqa: E402


class Figures(unittest.TestCase):
    """One line each."""

    def test_keys_and_their_order(self):
        figure = figure_of("attach", "10 blocked", "ms", {"ours": [3.0], "raw": [2.0], "gdb": [9.0]})
        line = json.loads(figure.to_json())
        noise = line.pop("noise")
        self.assertEqual(list(line.items()), [
            ("bench", "attach"), ("case", "10 blocked"), ("unit", "ms"), ("ours", 3.0),
            ("raw", 2.0), ("peers", {"gdb": 9.0}), ("ratio", 1.5)])
        self.assertEqual(noise["raw"], {"min": 2.0, "max": 2.0, "runs": 1})

    def test_median_of_the_runs(self):
        figure = figure_of("b", "c", "ms", {"ours": [9.0, 1.0, 2.0], "raw": [1.0, 1.0, 5.0]})
        self.assertEqual((figure.ours, figure.raw, figure.ratio), (2.0, 1.0, 2.0))
        self.assertEqual(figure.noise["ours"], {"min": 1.0, "max": 9.0, "runs": 3})

    def test_nothing_measured(self):
        figure = figure_of("b", "c", "ms", {"ours": [], "raw": [1.0], "gdb": []})
        line = json.loads(figure.to_json())
        self.assertIsNone(line["ours"])
        self.assertIsNone(line["ratio"])
        self.assertEqual(line["peers"], {})
        self.assertIn("raw", figure.to_text())

    def test_no_raw_loop(self):
        figure = Figure("memory", "broker idle", "kB", 3000)
        self.assertIsNone(json.loads(figure.to_json())["ratio"])
        self.assertIn("3000 kB", figure.to_text())


class Cases(unittest.TestCase):
    """Their names are both shown and typed."""

    def test_names_go_both_ways(self):
        for name in ("10 blocked", "5000 spinning"):
            self.assertEqual(str(ThreadCase.parse(name)), name)

    def test_half_of_them_spin(self):
        self.assertEqual(ThreadCase(100, True).spinners, 50)
        self.assertEqual(ThreadCase(100, False).spinners, 0)

    def test_patterns(self):
        names = ["10 blocked", "10 spinning", "5000 blocked"]
        self.assertEqual(select(names, []), names)
        self.assertEqual(select(names, ["10 *"]), names[:2])
        self.assertEqual(select(names, ["5000 blocked", "nothing"]), names[2:])

    def test_no_comma_in_a_name(self):
        for bench in benches.ALL:
            for case in bench.CASES + bench.SLOW:
                self.assertNotIn(",", case)


if __name__ == "__main__":
    unittest.main()
