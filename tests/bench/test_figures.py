#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The format of the figures, on which other programs rely, and the choice of cases."""

import json
import os
import sys
import time
import unittest
from types import SimpleNamespace
from unittest import mock

sys.dont_write_bytecode = True

import benches  # noqa: E402
from lib.cases import ThreadCase, select  # noqa: E402
from lib.context import Context  # noqa: E402
from lib.figure import Figure, figure_of  # noqa: E402
from lib import jobs, processor  # noqa: E402
from lib.process import BenchError, NotYet  # noqa: E402


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


class FakeJob:
    """Gives its values one after the other; an exception among them is raised."""

    def __init__(self, name, *values, runs=9):
        self.name = name
        self.runs = runs
        self._values = list(values)

    def take(self):
        """The next."""
        value = self._values.pop(0)
        if isinstance(value, Exception):
            raise value
        return value


class Jobs(unittest.TestCase):
    """What the benches of the engine make of their tools."""

    def setUp(self):
        self.order = []
        self.said = []
        self.context = Context(None, None, SimpleNamespace(no_peers=True, pin=None, runs=3,
                                                           json=True))
        self.context.say = self.said.append
        patch = mock.patch.object(jobs, "_measure", self._measure)
        patch.start()
        self.addCleanup(patch.stop)

    def _measure(self, _context, _act, job):
        self.order.append(job.name)
        return job.take()

    def take(self, *fakes):
        """The values of these."""
        return jobs.take_values(self.context, "act", fakes)

    def test_everyone_is_first_once(self):
        self.take(FakeJob("ours", 1, 2, 3), FakeJob("raw", 1, 2, 3), FakeJob("gdb", 1, 2, 3))
        self.assertEqual(self.order[0::3], ["ours", "raw", "gdb"])

    def test_peer_has_enough_earlier(self):
        values = self.take(FakeJob("ours", 1, 2, 3), FakeJob("gdb", 4, runs=1))
        self.assertEqual(values, {"ours": [1, 2, 3], "gdb": [4]})

    def test_ours_cannot_do_it_yet(self):
        values = self.take(FakeJob("ours", NotYet("cannot")), FakeJob("raw", 1, 2, 3))
        line = json.loads(figure_of("b", "c", "hits/s", values).to_json())
        self.assertEqual((line["ours"], line["raw"], line["ratio"]), (None, 2, None))
        self.assertFalse(self.context.failed)
        self.assertEqual(len(self.said), 1)

    def test_ours_fails(self):
        values = self.take(FakeJob("ours", 1, BenchError("broken")), FakeJob("raw", 1, 2, 3))
        self.assertEqual(values, {"ours": [], "raw": [1, 2, 3]})
        self.assertTrue(self.context.failed)

    def test_peer_fails(self):
        self.take(FakeJob("ours", 1, 2, 3), FakeJob("gdb", BenchError("broken")))
        self.assertFalse(self.context.failed)


class Processor(unittest.TestCase):
    """The time of those who share one."""

    def measure(self, idle, pids):
        """Seconds while this process works for 20 ms, and others leave so much idle."""
        with mock.patch.object(processor, "_idle", side_effect=[7.0, 7.0 + idle]):
            clock = processor.ProcessorTime(0, pids)
            end = time.process_time() + 0.02
            while time.process_time() < end:
                pass
            return clock.seconds()

    def test_their_work_counts(self):
        self.assertAlmostEqual(self.measure(0.0, [os.getpid()]), 0.02, delta=0.01)

    def test_work_of_others_does_not(self):
        self.assertEqual(self.measure(0.0, []), 0.0)

    def test_idle_time_does(self):
        self.assertAlmostEqual(self.measure(0.5, []), 0.5)

    def test_process_that_is_gone(self):
        self.assertEqual(self.measure(0.0, [2 ** 22 + 1]), 0.0)


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

    def test_no_bench_has_the_name_of_another(self):
        names = [bench.NAME for bench in benches.ALL]
        self.assertEqual(len(names), len(set(names)))

    def test_no_comma_in_a_name(self):
        for bench in benches.ALL:
            for case in bench.CASES + bench.SLOW:
                self.assertNotIn(",", case)


if __name__ == "__main__":
    unittest.main()
