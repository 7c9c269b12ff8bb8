# SPDX-License-Identifier: LGPL-2.1-or-later
"""The tracee runs-in-circles, whose threads can be told to stand or to run by what they count."""

import os
import struct
import time


class Circles:
    def __init__(self, tracee):
        _, start, end, counts, *tids = tracee.words
        self.tracee = tracee
        self.pid = tracee.pid
        self.start, self.end, self.counts = (int(word, 16) for word in (start, end, counts))
        self.tids = [int(tid) for tid in tids]

    def __contains__(self, pc):
        return self.start <= pc < self.end

    def read_counts(self):
        """How often each thread has left its circle, read past ptraced."""
        size = struct.calcsize("L")
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as f:
            data = os.pread(f.fileno(), size * len(self.tids), self.counts)
        return dict(zip(self.tids, struct.unpack(f"{len(self.tids)}L", data)))

    def who_moves(self, at_least=(), timeout=10):
        """The threads that have run meanwhile: a moment, or as long as some have not who should have."""
        before = self.read_counts()
        deadline = time.monotonic() + timeout
        while True:
            time.sleep(0.03)
            moved = {tid for tid, count in self.read_counts().items() if count != before[tid]}
            if moved.issuperset(at_least) or time.monotonic() > deadline:
                return moved
