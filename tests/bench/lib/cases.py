# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which programs are traced: how many threads, and how many of them spin."""

import dataclasses
import fnmatch


@dataclasses.dataclass(frozen=True)
class ThreadCase:
    """A program of so many threads, all blocked, or half of them spinning. Deep: with much of each
    stack in use. Pin: all of it on that processor."""

    threads: int
    spinning: bool
    deep: bool = False
    pin: int | None = None

    def __str__(self):
        return f"{self.threads} {'spinning' if self.spinning else 'blocked'}"

    @classmethod
    def parse(cls, name):
        """The case that shows as that name."""
        threads, _, how = name.partition(" ")
        return cls(int(threads), {"blocked": False, "spinning": True}[how])

    @property
    def spinners(self):
        """How many spin. Two threads never do: the one that measures and the one that obeys."""
        return min(self.threads // 2, self.threads - 2) if self.spinning else 0

    @property
    def starves(self):
        """Whether a tool of the normal class takes minutes to get its turns."""
        return self.spinning and self.threads > 100

    @property
    def runs(self):
        """How often it is measured unless told: short times are noisy and cheap."""
        return 11 if self.threads <= 100 else 7 if self.threads <= 1000 else 5


BLOCKED = tuple(ThreadCase(n, False) for n in (10, 100, 1000, 5000))
SPINNING = tuple(ThreadCase(n, True) for n in (10, 100, 1000))

SLOW = (ThreadCase(5000, True),)


def select(names, patterns):
    """Those of the names that a pattern of the shell's kind matches; all without patterns."""
    if not patterns:
        return list(names)
    return [n for n in names if any(fnmatch.fnmatchcase(n, p) for p in patterns)]
