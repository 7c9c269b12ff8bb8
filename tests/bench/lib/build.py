# SPDX-License-Identifier: LGPL-2.1-or-later
"""The build tree whose programs are measured."""

import json
import os
import pathlib

from lib.process import BenchError

SOURCE = pathlib.Path(__file__).resolve().parents[3]
HELPERS = pathlib.Path("tests/bench")


class Build:
    """A build tree with the programs of tests/bench in it."""

    def __init__(self, path):
        self.path = pathlib.Path(path).resolve()
        for helper in ("bench-target", "bench-raw", "bench-engine"):
            if not self.helper(helper).exists():
                raise BenchError(f"{self.path} has no {HELPERS}/{helper}: build it with "
                                 f"'meson setup {self.path} && ninja -C {self.path}'")

    def helper(self, name):
        """Where a program of tests/bench is."""
        return self.path / HELPERS / name

    @property
    def has_ours(self):
        """Whether there is something of ours to measure."""
        return self.helper("bench-ours").exists()

    def describe(self):
        """What matters of how it was built."""
        options = self._options()
        sanitize = options.get("b_sanitize", "none")
        remark = f", b_sanitize={sanitize}: the figures mean nothing" if sanitize != "none" else ""
        return f"build {self.path} ({options.get('buildtype', 'unknown')}{remark})"

    def _options(self):
        try:
            with open(self.path / "meson-info/intro-buildoptions.json", encoding="utf-8") as f:
                return {option["name"]: option["value"] for option in json.load(f)}
        except (OSError, ValueError, KeyError):
            return {}


def find_build(path):
    """The build tree that was named, or meson's own, or the newest in the source tree."""
    if path:
        return Build(path)
    if root := os.environ.get("MESON_BUILD_ROOT"):
        return Build(root)
    found = [p.parents[2] for p in SOURCE.glob(f"build*/{HELPERS}/bench-raw")]
    if not found:
        raise BenchError(f"no build tree in {SOURCE}: name one with --build=DIR, or build one "
                         f"with 'meson setup build && ninja -C build'")
    return Build(max(found, key=lambda p: p.stat().st_mtime))
