#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads a program's memory through the service in embedded mode, and beside it with bare system calls.

    bench-reading.py BUILD PID ADDRESS MIB

prints {"descriptor":RATE,"descriptor-raw":RATE,...} in MiB/s, ours and raw for each way. Descriptor and
sealed file move so many bytes in a call that what Python costs does not show; with messages it does."""

import json
import mmap
import os
import sys
import tempfile
import time

MIB = 1 << 20
CHUNK = MIB // 4
ROUNDS = 3

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bus"))


def read_all(fd, address, size, buffer):
    """A raw loop; stops where memory does."""
    at = 0
    while at < size:
        n = os.preadv(fd, [buffer], address + at)
        at += n if n > 0 else size
    return at


def copy_to_memfd(fd, address, size, buffer):
    """What a sealed file takes at the least."""
    memfd = os.memfd_create("bench", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    at = 0
    while at < size:
        n = os.preadv(fd, [buffer], address + at)
        os.write(memfd, buffer)
        at += n if n > 0 else size
    os.close(memfd)
    return at


def read_sealed(process, address, size):
    """One request."""
    memfd = process.call("ReadMemoryFD", "a(tt)", [(address, size)])
    n = os.fstat(memfd).st_size
    os.close(memfd)
    return n


def read_messages(process, address, size):
    """A request a MiB."""
    return sum(len(process.call("ReadMemory", "tt", address + at, MIB)) for at in range(0, size, MIB))


def rate(size, function, *arguments):
    """MiB/s."""
    begin = time.monotonic()
    if function(*arguments) != size:
        raise SystemExit(f"bench-reading: {function.__name__} has not read all of it")
    return size / MIB / (time.monotonic() - begin)


def measure_once(process, own, given, address, size):
    """All ways, one after another."""
    buffer = mmap.mmap(-1, CHUNK)
    raw = rate(size, read_all, own, address, size, buffer)
    return {
        "descriptor-raw": raw,
        "descriptor": rate(size, read_all, given, address, size, buffer),
        "sealed-file-raw": rate(size, copy_to_memfd, own, address, size, buffer),
        "sealed-file": rate(size, read_sealed, process, address, size),
        "messages-raw": raw,
        "messages": rate(size, read_messages, process, address, size),
    }


def measure(process, pid, address, size):
    """Each way's best: what else the machine does seldom hits one way each time."""
    own = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    given = process.call("OpenMemory", "s", "read")
    rounds = [measure_once(process, own, given, address, size) for _ in range(ROUNDS)]
    return {way: max(one[way] for one in rounds) for way in rounds[0]}


def main():
    """Prints one line."""
    os.environ["PTRACED_BUILD_DIR"] = sys.argv[1]
    pid, address, size = int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]) * MIB
    from service import EmbeddedService  # what it imports reads the environment

    with tempfile.TemporaryDirectory(prefix="ptraced-bench-") as scratch:
        os.mkdir(os.path.join(scratch, "tmp"))
        service = EmbeddedService(scratch)
        try:
            process = service.connect().create_session().attach(pid)
            print(json.dumps(measure(process, pid, address, size)), flush=True)
        finally:
            service.stop()


if __name__ == "__main__":
    main()
