# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the figures depend on and a reader cannot guess."""

import os
import platform


def _cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as f:
        fields = [line.split(":", 1) for line in f if ":" in line]
    info = {key.strip(): value.strip() for key, value in fields}
    virtual = " (virtual)" if "hypervisor" in info.get("flags", "") else ""
    return info.get("model name", platform.machine()) + virtual


def describe_machine():
    """One line: kernel, processors, load."""
    load = " ".join(f"{x:.2f}" for x in os.getloadavg())
    return (f"Linux {platform.release()}, {len(os.sched_getaffinity(0))} x {_cpu_model()}, "
            f"load {load}")
