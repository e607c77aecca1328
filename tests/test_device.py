"""A GPU of its own for every job, by file locks; nothing here needs a GPU."""

from pathlib import Path

import pytest
import torch

from saltus.cli.main import main
from saltus.device import gpu_slot
from saltus.errors import ProcessError, SaltusError
from saltus.train.launch import process_group

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.fixture(autouse=True)
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that there are two GPUs, with locks of their own."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("saltus.device.tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def launched(monkeypatch: pytest.MonkeyPatch, rank: int, processes: int) -> None:
    for name, value in {
        "TORCHELASTIC_RUN_ID": "some",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(processes),
    }.items():
        monkeypatch.setenv(name, value)


def test_each_job_takes_a_free_gpu_and_the_last_one_shares(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with gpu_slot(CUDA) as first, gpu_slot(CUDA) as second:
        assert (first.index, second.index) == (0, 1)
        assert not capsys.readouterr().err
        with gpu_slot(CUDA) as third:
            assert third.index == 0
        assert "every GPU is taken; sharing the first" in capsys.readouterr().err
    with gpu_slot(CUDA) as again:
        assert again.index == 0


def test_a_gpu_that_was_chosen_and_a_cpu_pass_through(monkeypatch: pytest.MonkeyPatch) -> None:
    with gpu_slot(CPU) as slot, gpu_slot(CPU) as other:
        assert slot == other == CPU
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with gpu_slot(CUDA) as slot, gpu_slot(CUDA) as other:
        assert slot == other == CUDA


def test_processes_of_one_launch_never_share(monkeypatch: pytest.MonkeyPatch) -> None:
    launched(monkeypatch, 2, 3)
    expected = "process 2 found every GPU taken, of 2; expected a free one for each of 3 processes"
    with (
        gpu_slot(CUDA),
        gpu_slot(CUDA),
        pytest.raises(ProcessError, match=expected),
        gpu_slot(CUDA),
    ):
        pass


def test_fewer_visible_gpus_than_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    launched(monkeypatch, 2, 3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with (
        pytest.raises(ProcessError, match="found 2 GPUs, expected one for each of 3 processes"),
        gpu_slot(CUDA) as slot,
        process_group(slot),
    ):
        pass


@pytest.mark.parametrize(("error", "says"), [(SaltusError, False), (ProcessError, True)])
def test_what_one_process_alone_has_met_it_says_itself(
    error: type[SaltusError],
    says: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def raising(options: object) -> None:
        raise error("a cause")

    launched(monkeypatch, 1, 2)
    monkeypatch.setattr("saltus.cli.schema.run", raising)
    assert main(["schema"]) == 2
    assert ("a cause" in capsys.readouterr().err) is says
