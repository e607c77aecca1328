"""A step's passes: pieces of unequal size, and compiled layers, give the same step."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from saltus.model.compiled import Parts
from saltus.model.native.library import NoCompilerError, library_file
from saltus.train import trainer as module
from saltus.train.engine import Engine
from saltus.train.job import batches_of
from saltus.train.schedule import Branch
from saltus.train.spec import Replica, TrainSpec
from saltus.train.trainer import Trainer, fresh_snapshot

MakeSpec = Callable[..., TrainSpec]
CPU = torch.device("cpu")
THREE = (Replica("seed0", 11, 0.01), Replica("seed1", 12, 0.02), Replica("seed2", 13, 0.005))
FIVE_ROWS = 5 * 16
COMPILER = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None,
    reason="torch.compile needs a C++ compiler on a CPU",
)


def has_library() -> bool:
    try:
        return library_file().exists()
    except NoCompilerError:
        return False


C_COMPILER = pytest.mark.skipif(not has_library(), reason="native kernels need a C compiler")


@pytest.fixture
def step_of(shards: Path, make_spec: MakeSpec) -> Callable[[Engine], tuple[Tensor, Tensor]]:
    """Return what computes the row losses and gradients of one step of three replicas."""

    def step(engine: Engine) -> tuple[Tensor, Tensor]:
        spec = make_spec(replicas=THREE, batch_tokens=FIVE_ROWS)
        trainer = Trainer(spec, batches_of(spec, shards), CPU, engine)
        start = fresh_snapshot(spec, CPU).optimizer.parameters
        start += 0.05 * torch.randn(start.shape, generator=torch.Generator().manual_seed(3))
        return trainer.gradient(start, torch.from_numpy(trainer.batches.batch(0)))

    return step


Step = Callable[[Engine], tuple[Tensor, Tensor]]


@pytest.mark.parametrize("kernels", [pytest.param("native", marks=C_COMPILER), "written"])
@pytest.mark.parametrize("pieces", [2, 3, 4])
def test_pieces_of_unequal_size_weigh_their_rows_alike(
    pieces: int, kernels: str, step_of: Step
) -> None:
    sizes = [len(piece) for piece in torch.arange(5).chunk(pieces)]
    assert pieces == 4 or len(set(sizes)) > 1
    whole, slope = step_of(Engine(kernels, 3))
    losses, gradient = step_of(Engine(kernels, 2, micro_batches=pieces))
    assert losses.shape == (3, 5)
    torch.testing.assert_close(losses, whole, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, slope, rtol=1e-3, atol=1e-6)


@COMPILER
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:torch", "ignore:The .grad attribute:UserWarning"
)
def test_compiled_layers_take_the_same_step(step_of: Step) -> None:
    whole, slope = step_of(Engine("written", 3))
    losses, gradient = step_of(Engine("compiled", 3, micro_batches=5, checkpointing=True))
    torch.testing.assert_close(losses, whole, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, slope, rtol=1e-3, atol=1e-6)


def test_compiled_layers_give_way_to_checkpointing(
    make_spec: MakeSpec, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last way down must change something; the layer here is as it stands, not compiled."""
    compiled = []

    def compile_parts() -> Parts:
        compiled.append(1)
        return Parts()

    real = module.compiled_losses

    def of_a_small_device(parts: Any, named: Any, tokens: Tensor, *options: Any) -> Tensor:
        if tokens.shape[:2] != (1, 1) or not options[-1]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(parts, named, tokens, *options)

    spec = make_spec()
    start = fresh_snapshot(spec, CPU)
    monkeypatch.setattr(module, "compile_parts", compile_parts)
    whole = Trainer(spec, batches_of(spec, shards), CPU, Engine("compiled", 2))
    expected = whole.run(start, Branch(None, 0, 3), lambda now: None)
    monkeypatch.setattr(module, "compiled_losses", of_a_small_device)
    compiled.clear()
    trainer = Trainer(spec, batches_of(spec, shards), CPU, Engine("compiled", 2))
    found = trainer.run(fresh_snapshot(spec, CPU), Branch(None, 0, 3), lambda now: None)
    assert trainer.engine == Engine("compiled", 1, spec.rows, checkpointing=True)
    assert len(compiled) == 5, "at the start, and for each engine that gave way"
    torch.testing.assert_close(found.curve, expected.curve, rtol=1e-4, atol=1e-4, equal_nan=True)
