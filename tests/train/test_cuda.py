"""Training on a GPU: what holds on a CPU holds there, for every kind of kernels."""

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from saltus.errors import Stopped
from saltus.files import read_json
from saltus.model.transformer import token_losses, unflatten
from saltus.train.engine import Engine
from saltus.train.job import batches_of, run_job
from saltus.train.schedule import Branch
from saltus.train.spec import Replica, TrainSpec
from saltus.train.state import Snapshot
from saltus.train.stop import Stop
from saltus.train.trainer import Trainer, fresh_snapshot

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning"),
]
MakeSpec = Callable[..., TrainSpec]
CUDA = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
THREE = (Replica("seed0", 11, 0.01), Replica("seed1", 12, 0.02), Replica("seed2", 13, 0.005))
KERNELS = ["written", "graphed", "compiled"]


def with_optimizer(spec: TrainSpec, name: str) -> TrainSpec:
    return dataclasses.replace(spec, optimizer=dataclasses.replace(spec.optimizer, name=name))


def trainer_of(spec: TrainSpec, shards: Path, kernels: str, **engine: Any) -> Trainer:
    wanted = Engine(kernels, len(spec.replicas), **engine)
    return Trainer(spec, batches_of(spec, shards), CUDA, wanted)


def run(trainer: Trainer, end: int, start: Snapshot | None = None) -> Snapshot:
    snapshot = fresh_snapshot(trainer.spec, CUDA) if start is None else start
    return trainer.run(snapshot, Branch(None, 0, end), lambda now: None)


def moved_apart(found: Snapshot, expected: Snapshot, start: torch.Tensor) -> float:
    """Return the distance of two ends, as a share of the way from the start."""
    a, b = found.optimizer.parameters, expected.optimizer.parameters
    return (torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b - start)).item()


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_replicas_trained_together_equal_each_alone_after_a_hundred_steps(
    name: str, kernels: str, make_spec: MakeSpec, shards: Path
) -> None:
    """Muon's products are in bfloat16 there, and their order follows the number of matrices."""
    spec = with_optimizer(make_spec(replicas=THREE), name)
    together = run(trainer_of(spec, shards, kernels), 100)
    start = fresh_snapshot(spec, CUDA).optimizer.parameters
    for r, replica in enumerate(THREE):
        own = with_optimizer(make_spec(replicas=(replica,)), name)
        alone = run(trainer_of(own, shards, kernels), 100)
        found, expected = together.optimizer.parameters[r], alone.optimizer.parameters[0]
        apart = torch.linalg.vector_norm(found - expected)
        moved = torch.linalg.vector_norm(expected - start[r])
        assert apart < (2e-3 if name == "adamw" else 0.1) * moved
        rtol = 1e-3 if name == "adamw" else 0.02
        losses = (together.curve[:, 1 + 4 * r], alone.curve[:, 1])
        torch.testing.assert_close(*losses, rtol=rtol, atol=rtol)


@pytest.mark.parametrize(
    "engine", [{}, {"micro_batches": 2, "checkpointing": True}], ids=["whole", "in parts"]
)
def test_a_recorded_step_is_the_step_and_repeats_bit_for_bit(
    engine: dict[str, Any], make_spec: MakeSpec, shards: Path
) -> None:
    spec = make_spec(replicas=THREE)
    written, graphed, again = (
        run(trainer_of(spec, shards, kernels, **engine), 40)
        for kernels in ("written", "graphed", "graphed")
    )
    assert torch.equal(graphed.optimizer.parameters, again.optimizer.parameters)
    assert torch.equal(graphed.curve.nan_to_num(-1), again.curve.nan_to_num(-1))
    start = fresh_snapshot(spec, CUDA).optimizer.parameters
    assert moved_apart(graphed, written, start) < 1e-3
    torch.testing.assert_close(graphed.curve, written.curve, rtol=1e-4, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kernels", ["written", "compiled"])
def test_losses_and_gradient_are_those_of_float64(
    kernels: str, precision: str, make_spec: MakeSpec, shards: Path
) -> None:
    spec = make_spec(replicas=THREE, precision=precision)
    trainer = trainer_of(spec, shards, kernels)
    flat = fresh_snapshot(spec, torch.device("cpu")).optimizer.parameters
    flat = flat + 0.05 * torch.randn(flat.shape, generator=torch.Generator().manual_seed(3))
    tokens = torch.from_numpy(trainer.batches.batch(0))
    found, gradient = trainer.gradient(flat.to(CUDA), tokens.to(CUDA))
    leaf = flat.double().requires_grad_()
    losses = token_losses(unflatten(leaf, spec.shape), tokens, spec.shape).mean(2)
    (slope,) = torch.autograd.grad(losses.mean(1).sum(), leaf)
    share = 1e-5 if precision == "fp32" else 0.03
    torch.testing.assert_close(found.cpu().double(), losses, rtol=share, atol=share)
    apart = torch.linalg.vector_norm(gradient.cpu().double() - slope, dim=1)
    assert (apart < 2 * share * torch.linalg.vector_norm(slope, dim=1)).all()


@pytest.mark.parametrize("cause", ["rate", "nan"])
def test_a_diverged_replica_is_frozen_and_the_others_go_on(
    cause: str, make_spec: MakeSpec, shards: Path
) -> None:
    rate = 1e30 if cause == "rate" else THREE[1].rate
    spec = make_spec(replicas=(THREE[0], dataclasses.replace(THREE[1], rate=rate), THREE[2]))
    trainer = trainer_of(spec, shards, "graphed")
    middle = run(trainer, 10)
    if cause == "nan":  # after the step was recorded
        middle.optimizer.parameters[1, 5] = math.nan
    ended = run(trainer, 20, middle)
    assert ended.optimizer.alive.tolist() == [True, False, True]
    whole = run(trainer_of(make_spec(replicas=THREE), shards, "graphed"), 20)
    for r in (0, 2):
        torch.testing.assert_close(
            ended.optimizer.parameters[r], whole.optimizer.parameters[r], rtol=1e-4, atol=1e-5
        )


def test_recorded_branches_of_a_job_are_those_of_written_kernels(
    make_spec: MakeSpec, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trunk, anneal, trunk, anneal: each snapshot that is loaded has a recording of its own."""
    spec = make_spec((40, 80), replicas=THREE)

    def go(kernels: str) -> Path:
        engine = Engine(kernels, len(THREE))
        monkeypatch.setattr("saltus.train.job.recorded_or_decided", lambda *_: engine)
        out, states = tmp_path / kernels, tmp_path / f"{kernels}-states"
        run_job(spec, shards, out, states, torch.device("cuda"), "code")
        return out

    written, graphed = go("written"), go("graphed")
    assert read_json(graphed / "status.json")["engine"]["kernels"] == "graphed"
    for path in written.glob("*.safetensors"):
        one, other = load_file(path), load_file(graphed / path.name)
        for name, tensor in one.items():
            torch.testing.assert_close(other[name], tensor, rtol=1e-3, atol=1e-4)


def test_too_large_a_step_is_made_in_smaller_passes(make_spec: MakeSpec, shards: Path) -> None:
    """A real lack of memory: the process may take about an eighth of what the step needs."""
    spec = make_spec(
        replicas=THREE[:2],
        batch_tokens=1 << 21,
        shape=dataclasses.replace(make_spec().shape, width=64, feedforward=128),
    )
    spec = dataclasses.replace(spec, horizons=(12 << 21,))
    trainer = trainer_of(spec, shards, "written")
    total = torch.cuda.get_device_properties(CUDA).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, 6e9 / total))
    try:
        ended = run(trainer, 2)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    assert trainer.engine != Engine("written", 2) and ended.optimizer.alive.all()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_job_in_slices_ends_as_a_whole_one(
    precision: str, make_spec: MakeSpec, shards: Path, tmp_path: Path
) -> None:
    spec = make_spec((40, 80), precision=precision)

    def go(name: str, limit: float) -> Path:
        out, states = tmp_path / name, tmp_path / f"{name}-states"
        stop = Stop(time.monotonic() + limit)
        run_job(spec, shards, out, states, torch.device("cuda"), "code", stop)
        return out

    whole = go("whole", math.inf)
    for _ in range(400):
        try:
            parts = go("parts", 0.05)
            break
        except Stopped:
            continue
    status = read_json(parts / "status.json")
    assert status["device"] == torch.cuda.get_device_name() and status["peak_memory_bytes"] > 0
    for path in whole.glob("*.safetensors"):
        one, other = load_file(path), load_file(parts / path.name)
        for name, tensor in one.items():
            torch.testing.assert_close(other[name], tensor, rtol=1e-3, atol=1e-4)
