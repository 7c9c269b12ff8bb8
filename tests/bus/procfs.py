# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests read from /proc: the truth about tracees, whatever ptraced says."""

import os


def stat_fields(path):
    """The fields behind the name, which may hold anything; None where the file is gone."""
    try:
        with open(path, "rb") as f:
            return f.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def status(pid, key, tid=None):
    """One line of /proc/PID/status, or of a thread's; None where it is gone."""
    path = f"/proc/{pid}/status" if tid is None else f"/proc/{pid}/task/{tid}/status"
    try:
        with open(path, "rb") as f:
            for line in f.read().splitlines():
                name, _, value = line.partition(b":")
                if name == key.encode():
                    return value.strip().decode()
    except (FileNotFoundError, ProcessLookupError):
        pass
    return None


def threads(pid):
    """All thread ids, zombies included; empty where the process is gone."""
    try:
        return sorted(int(tid) for tid in os.listdir(f"/proc/{pid}/task"))
    except (FileNotFoundError, ProcessLookupError):
        return []


def state(pid, tid=None):
    """The letter of State: R, S, D, T (job control), t (traced), Z, X; None where it is gone."""
    path = f"/proc/{pid}/stat" if tid is None else f"/proc/{pid}/task/{tid}/stat"
    fields = stat_fields(path)
    return fields[0].decode() if fields else None


def tracer_pid(pid, tid=None):
    return int(status(pid, "TracerPid", tid) or 0)


def comm(pid):
    with open(f"/proc/{pid}/comm") as f:
        return f.read()[:-1]


def set_comm(name):
    """Of the thread that calls it: the process's own name where that is its first one."""
    with open("/proc/thread-self/comm", "w", newline="") as f:
        f.write(name)


def start_time(pid):
    """In clock ticks since boot: with the pid it names one process."""
    return int(stat_fields(f"/proc/{pid}/stat")[19])


def parent(pid):
    return int(status(pid, "PPid") or 0)


def cpu_ticks(pid, tid=None):
    path = f"/proc/{pid}/stat" if tid is None else f"/proc/{pid}/task/{tid}/stat"
    fields = stat_fields(path)
    return int(fields[11]) + int(fields[12]) if fields else 0


def context_switches(pid):
    """The sum over all threads: it grows whenever one of them wakes up."""
    return sum(int(status(pid, key, tid) or 0)
               for tid in threads(pid)
               for key in ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"))


def resident_kib(pid):
    return int((status(pid, "VmRSS") or "0").split()[0])


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def executable(pid):
    try:
        return os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
    except OSError:
        return None


def children(pid):
    found = []
    for tid in threads(pid):
        try:
            with open(f"/proc/{pid}/task/{tid}/children") as f:
                found += [int(child) for child in f.read().split()]
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def descendants(pid):
    found = []
    todo = [pid]
    while todo:
        for child in children(todo.pop()):
            found.append(child)
            todo.append(child)
    return found


def processes_running(executables):
    """The processes whose program is one of these paths, as {pid: path}; zombies have none."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            path = executable(int(name))
            if path in executables:
                found[int(name)] = path
    return found


def read_memory(pid, address, size):
    """As it is, with the breakpoints that are in it."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as f:
        f.seek(address)
        return f.read(size)


def mappings(pid):
    """(start, end, permissions, offset, path) of each."""
    with open(f"/proc/{pid}/maps") as f:
        for line in f.read().splitlines():
            area, permissions, offset, _, _, *path = line.split(maxsplit=5)
            start, _, end = area.partition("-")
            yield int(start, 16), int(end, 16), permissions, int(offset, 16), path[0] if path else ""


def vdso():
    """Our own, which is everybody's."""
    start, end = next((start, end) for start, end, _, _, path in mappings("self") if path == "[vdso]")
    return read_memory("self", start, end - start)


def changed_text(pid):
    """Addresses where a program's text is not what its files hold."""
    changed = []
    for start, end, permissions, offset, path in mappings(pid):
        if permissions[2] != "x" or not (path.startswith("/") or path == "[vdso]"):
            continue
        size = end - start
        if path == "[vdso]":
            original = vdso()
        else:
            with open(f"/proc/{pid}/root{path}", "rb") as f:
                f.seek(offset)
                original = f.read(size).ljust(size, b"\0")
        found = read_memory(pid, start, size)
        if found != original:
            changed += [start + i for i in range(size) if found[i] != original[i]]
    return changed


def kernel_thread():
    """The pid of a kernel thread, or None where none can be seen (in a container)."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = stat_fields(f"/proc/{name}/stat")
            if fields and int(fields[6]) & 0x00200000:
                return int(name)
    return None


def complaints(pid, expected="RSDI"):
    """What is wrong with a process that nobody should trace or hold: a list of sentences."""
    wrong = []
    if not threads(pid):
        return [f"process {pid} is gone"]
    for tid in threads(pid):
        letter, tracer = state(pid, tid), tracer_pid(pid, tid)
        if letter in (None, "X") or (letter == "Z" and tid == pid):
            continue
        if letter not in expected:
            wrong.append(f"thread {tid} of process {pid} is in state {letter}")
        if tracer:
            wrong.append(f"thread {tid} of process {pid} is traced by {tracer} ({executable(tracer)})")
    return wrong
