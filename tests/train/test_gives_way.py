"""A whole job that runs short of memory on its way, and is killed after that."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from kills import KilledError, killed_after

from saltus.files import read_json
from saltus.train import engine as engine_module
from saltus.train import trainer as module
from saltus.train.engine import Engine
from saltus.train.job import run_job
from saltus.train.spec import TrainSpec


@pytest.mark.parametrize("kill", [5, 6, 12, 21])
def test_killed_after_giving_way(
    kill: int,
    shards: Path,
    make_spec: Callable[..., TrainSpec],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = make_spec((8, 20))
    monkeypatch.setattr("saltus.train.stop.LEAST_SECONDS", math.inf)
    monkeypatch.setattr("saltus.train.job.recorded_or_decided", recorded)
    real_step, real_losses = module.optimizer_step, module.written_losses
    at = {"step": 0, "left": math.inf}

    def small(named: Any, tokens: Any, *rest: Any) -> Any:
        if at["step"] >= 4 and tokens.shape[0] * tokens.shape[1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real_losses(named, tokens, *rest)

    def counted(state: Any, gradient: Any, losses: Any, rates: Any, step: int, *rest: Any) -> None:
        at["left"] -= 1
        if at["left"] < 0:
            raise KilledError
        real_step(state, gradient, losses, rates, step, *rest)
        at["step"] = step + 1

    monkeypatch.setattr(module, "written_losses", small)
    monkeypatch.setattr(module, "optimizer_step", counted)

    def go(name: str) -> Path:
        out = tmp_path / name / "out"
        at["step"] = 0
        run_job(spec, shards, out, tmp_path / name / "states", torch.device("cpu"), "code")
        return out

    whole = go("whole")
    at["left"] = kill
    with pytest.raises(KilledError):
        go("killed")
    at["left"] = math.inf
    killed = go("killed")
    assert read_json(whole / "status.json")["engine"]["micro_batches"] == 2
    for path in whole.glob("*.safetensors"):
        assert path.read_bytes() == (killed / path.name).read_bytes(), path.name


def recorded(
    state: Path, spec: TrainSpec, device: torch.device, kernels: str = "written"
) -> Engine:
    if engine_module.engine_file(state).exists():
        return Engine(**read_json(engine_module.engine_file(state)))
    engine_module.record(state, Engine(kernels, 2))
    return Engine(kernels, 2)


@pytest.mark.parametrize("kill", [5, 9, 21])
def test_a_step_that_cannot_be_recorded_is_taken_as_written(
    kill: int,
    shards: Path,
    make_spec: Callable[..., TrainSpec],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing here records: the recording fails as where a GPU's memory is short."""

    class Short:
        def __init__(self, *_: Any) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

    spec, cpu = make_spec((8, 20)), torch.device("cpu")
    monkeypatch.setattr(module, "GraphedStep", Short)

    def go(name: str, kernels: str) -> Path:
        decide = partial(recorded, kernels=kernels)
        monkeypatch.setattr("saltus.train.job.recorded_or_decided", decide)
        run_job(spec, shards, tmp_path / name / "out", tmp_path / name / "states", cpu, "code")
        return tmp_path / name / "out"

    written = go("written", "written")
    with killed_after(kill, monkeypatch):
        go("graphed", "graphed")
    assert capsys.readouterr().err.count("going on without a graph") == 1
    (state,) = (tmp_path / "graphed" / "states").iterdir()
    assert read_json(state / "engine.json")["kernels"] == "written"
    graphed = go("graphed", "graphed")
    for path in written.glob("*.safetensors"):
        assert path.read_bytes() == (graphed / path.name).read_bytes(), path.name
