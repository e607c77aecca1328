"""Cores and memory: a control group that allows less than the machine has."""

import os
from pathlib import Path

import pytest

from saltus import limits
from saltus.limits import memory_limit_bytes, num_cores

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
CASES = {
    "no groups": (None, {}, MACHINE),
    "own, version 2": ("0::/job/step", {"job/step/memory.max": "4096"}, 4096),
    "the one above is tighter": (
        "0::/job/step",
        {"job/step/memory.max": "9999", "job/memory.max": "4096", "memory.max": "max"},
        4096,
    ),
    "no limit": ("0::/", {"memory.max": "max"}, MACHINE),
    "more than there is": ("0::/", {"memory.max": str(1 << 62)}, MACHINE),
    "version 1": (
        "3:cpu,cpuacct:/job\n2:memory:/job\n0::/",
        {"memory/job/memory.limit_in_bytes": "8192", "cpu/job/memory.limit_in_bytes": "1"},
        8192,
    ),
    "a group of another namespace": ("0::/../../job", {"memory.max": "4096"}, 4096),
}


@pytest.mark.parametrize("name", CASES)
def test_memory_is_what_the_tightest_group_allows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, files, expected = CASES[name]
    monkeypatch.setattr(limits, "CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(limits, "OWN_CGROUP", tmp_path / "own")
    if own is not None:
        (tmp_path / "own").write_text(own + "\n")
    for path, text in files.items():
        file = tmp_path / "groups" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    assert memory_limit_bytes() == expected


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity on this system")
def test_cores_are_those_of_this_process() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert num_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
