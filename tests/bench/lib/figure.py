# SPDX-License-Identifier: LGPL-2.1-or-later
"""A figure: one line of the output, for people or for programs."""

import dataclasses
import json
import statistics


def _round(value):
    """Keeps four digits, as no measurement has more."""
    return None if value is None else float(f"{value:.4g}")


def _show(value):
    """The same without an exponent or a trailing .0."""
    rounded = _round(value)
    return f"{rounded:.0f}" if rounded == int(rounded) else f"{rounded}"


@dataclasses.dataclass(frozen=True)
class Figure:
    """What one bench says of one case. None: there is nothing to be measured there."""

    bench: str
    case: str
    unit: str
    ours: float | None
    raw: float | None = None
    peers: dict = dataclasses.field(default_factory=dict)
    noise: dict = dataclasses.field(default_factory=dict)

    @property
    def ratio(self):
        """1 is the raw loop; a time above it and a rate below it is worse."""
        if self.ours is None or not self.raw:
            return None
        return self.ours / self.raw

    def to_json(self):
        """One line; the order of the keys is part of the format."""
        return json.dumps({
            "bench": self.bench,
            "case": self.case,
            "unit": self.unit,
            "ours": _round(self.ours),
            "raw": _round(self.raw),
            "peers": {name: _round(value) for name, value in self.peers.items()},
            "ratio": _round(self.ratio),
            "noise": self.noise,
        }, separators=(",", ":"))

    def to_text(self):
        """One line for people."""
        parts = [f"{self.bench:<17} {self.case:<22}", self._ours_text()]
        if self.raw is not None:
            parts.append(f"raw {_show(self.raw):>7}")
        if self.ratio is not None:
            parts.append(f"x {self.ratio:<5.2f}")
        parts += [f"{name} {_show(value)}" for name, value in self.peers.items()]
        return "  ".join(parts)

    def _ours_text(self):
        if self.ours is None:
            return f"ours       - {self.unit}"
        return f"ours {_show(self.ours):>7} {self.unit}{self._spread_text():<14}"

    def _spread_text(self):
        noise = self.noise.get("ours", {})
        if noise.get("runs", 0) < 2:
            return ""
        return f" ({_show(noise['min'])}..{_show(noise['max'])})"


def noise_of(values):
    """How far the runs behind a median are apart."""
    return {"min": _round(min(values)), "max": _round(max(values)), "runs": len(values)}


def figure_of(bench, case, unit, values, extra_noise=None):
    """A figure from each tool's list of values: "ours", "raw" and the peers by name."""
    medians = {name: statistics.median(v) for name, v in values.items() if v}
    noise = {name: noise_of(v) for name, v in values.items() if v}
    return Figure(bench=bench, case=case, unit=unit,
                  ours=medians.pop("ours", None), raw=medians.pop("raw", None), peers=medians,
                  noise=noise | (extra_noise or {}))
