"""What of this machine a process may use; in a container or a batch job that is less than all."""

import os
from pathlib import Path

CGROUPS, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def num_cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_limit_bytes() -> int:
    """Return the machine's memory, or less if a control group of this process allows less.

    Of version 2 (`memory.max`) and 1 (`memory.limit_in_bytes`), its own and those above it
    (Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst).
    """
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if not OWN_CGROUP.exists():
        return machine
    limits = [machine]
    for line in OWN_CGROUP.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            limits += _limits(CGROUPS, path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits(CGROUPS / "memory", path, "memory.limit_in_bytes")
    return min(limits)


def _limits(root: Path, path: str, name: str) -> list[int]:
    """Return the limits of a group and of all above it; `max` is none."""
    group = root / path.lstrip("/")
    files = [each / name for each in (group, *group.parents) if each.is_relative_to(root)]
    texts = [file.read_text().strip() for file in files if os.access(file, os.R_OK)]
    return [int(text) for text in texts if text.isdecimal()]
