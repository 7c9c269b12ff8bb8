# SPDX-License-Identifier: LGPL-2.1-or-later
"""The benches, one file each. A bench is a module with

    NAME            as on the command line
    WHAT            one line for people
    CASES           the names of its cases
    SLOW            those that only --all or their very name asks for
    measure(context, cases)    yields a Figure for each of the cases, which are names of the above
"""

from benches import attach, attach_per_thread, breakpoints, cold, freeze, idle, interrupt, memory
from benches import read_memory, reading, signals, snapshot, stop, syscalls, threads

SERVICE = (attach, freeze, attach_per_thread, cold, stop, reading, memory, idle)
ENGINE = (syscalls, breakpoints, signals, threads, read_memory, snapshot, interrupt)
ALL = SERVICE + ENGINE
