"""Peak memory: of a job, not of all that the process did before."""

from pathlib import Path

import pytest
import torch

from saltus.train import memory
from saltus.train.memory import begin_measuring, peak_memory_bytes

CPU = torch.device("cpu")
LARGE = 300_000_000


def use(size: int) -> int:
    """Touch memory, free it, and return the peak."""
    block = torch.ones(size, dtype=torch.uint8)
    assert int(block[-1]) == 1
    del block
    return peak_memory_bytes(CPU)


def can_reset() -> bool:
    try:
        memory.CLEAR.write_text(memory.RESET_PEAK)
    except OSError:
        return False
    return True


@pytest.mark.skipif(not can_reset(), reason="the peak cannot be reset here (/proc/self/clear_refs)")
def test_the_peak_is_of_the_job_and_not_of_those_before() -> None:
    begin_measuring(CPU)
    large = use(LARGE)
    assert use(1000) >= large, "it does not fall by itself"
    begin_measuring(CPU)
    small = use(1000)
    assert small < large - 0.8 * LARGE
    assert use(LARGE) > small + 0.8 * LARGE


def test_where_nothing_can_be_reset_it_is_of_the_process_so_far(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory, "CLEAR", tmp_path / "no folder" / "clear_refs")
    monkeypatch.setattr(memory, "STATUS", tmp_path / "status")
    large = use(LARGE)
    begin_measuring(CPU)
    assert use(1000) == large
    assert large >= LARGE
