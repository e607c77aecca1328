"""One replica on two processes: as on one, for DDP and FSDP2, and from each other's snapshots."""

import dataclasses
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from saltus.errors import SaltusError
from saltus.model.initialise import initial_parameters
from saltus.model.module import Decoder, split_row
from saltus.model.shape import layout
from saltus.model.transformer import token_losses, unflatten
from saltus.train.engine import Engine
from saltus.train.job import batches_of
from saltus.train.schedule import Branch
from saltus.train.sharded import check_shardable
from saltus.train.spec import Replica, TrainSpec
from saltus.train.state import Snapshot, load_snapshot, save_snapshot
from saltus.train.trainer import Trainer, fresh_snapshot

MakeSpec = Callable[..., TrainSpec]
CPU = torch.device("cpu")
ONE = (Replica("seed0", 11, 0.01),)
TRUNK, ANNEAL = Branch(None, 0, 20), Branch(30 * 64, 20, 30)
BEGUN = Branch(None, 0, 12)
WORKER = Path(__file__).with_name("sharded_worker.py")


def as_list(branch: Branch) -> list[int | None]:
    """Return the branch as the worker reads it."""
    return [branch.horizon, branch.start, branch.end]


def trained(spec: TrainSpec, shards: Path, start: Snapshot, *branches: Branch) -> Snapshot:
    """Return where a single process ends."""
    trainer = Trainer(spec, batches_of(spec, shards), CPU, Engine("written", 1))
    for branch in branches:
        start = trainer.run(start, branch, lambda snapshot: None)
    return start


@dataclasses.dataclass
class Launch:
    """What one launch of two processes left behind."""

    folder: Path
    spec: TrainSpec
    low: TrainSpec
    shards: Path

    def end(self, case: str) -> Snapshot:
        """Return the snapshot that process 0 saved."""
        return load_snapshot(self.folder / f"{case}.safetensors", CPU)


@pytest.fixture(scope="module")
def launch(
    make_spec: MakeSpec,
    shards: Path,
    no_compiler: str | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Launch:
    """Run every case in one launch: a start of two processes takes seconds."""
    folder = tmp_path_factory.mktemp("sharded")
    spec = make_spec(replicas=ONE)
    low = dataclasses.replace(spec, precision="bf16")
    odd = dataclasses.replace(spec, batch_tokens=48)
    six = dataclasses.replace(spec, batch_tokens=96)
    fresh = fresh_snapshot(spec, CPU)
    save_snapshot(folder / "fresh", fresh)
    bad = fresh_snapshot(spec, CPU)
    bad.optimizer.parameters[0, 5] = math.nan
    save_snapshot(folder / "bad", bad)
    save_snapshot(folder / "begun", trained(spec, shards, fresh, BEGUN))
    whole = {"start": "fresh", "branches": [as_list(TRUNK), as_list(ANNEAL)]}
    short = {"start": "fresh", "branches": [as_list(BEGUN)]}
    cases = []
    for sharding in ("ddp", "fsdp"):
        plain = {"sharding": sharding, "spec": spec.to_json()}
        cases += [
            plain | whole | {"name": sharding},
            plain | whole | {"name": f"{sharding}-micro", "micro_batches": 2},
            plain | whole | {"name": f"{sharding}-resumed", "start": "begun"},
            plain | short | {"name": f"{sharding}-begun"},
            plain | short | {"name": f"{sharding}-saving", "snapshot_seconds": 0.0},
            plain | short | {"name": f"{sharding}-bf16", "spec": low.to_json()},
            plain | short | {"name": f"{sharding}-bad", "start": "bad"},
            plain | short | {"name": f"{sharding}-late", "out_of_time": True},
            plain | short | {"name": f"{sharding}-odd", "spec": odd.to_json()},
            plain
            | short
            | {"name": f"{sharding}-uneven", "spec": six.to_json(), "micro_batches": 2},
        ]
        if no_compiler is None:
            cases.append(plain | whole | {"name": f"{sharding}-native", "kernels": "native"})
    (folder / "cases.json").write_text(json.dumps(cases))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(WORKER), str(folder), str(shards)]
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return Launch(folder, spec, low, shards)


def assert_same(found: Snapshot, expected: Snapshot, tolerance: float = 1e-4) -> None:
    """Compare what was moved, not only where it lies, and the whole curve."""
    assert found.step == expected.step
    assert found.optimizer.alive.tolist() == expected.optimizer.alive.tolist()
    for name in ("parameters", "first", "second"):
        ours, theirs = getattr(found.optimizer, name), getattr(expected.optimizer, name)
        assert ours.shape == theirs.shape
        assert torch.linalg.vector_norm(ours - theirs) < tolerance * torch.linalg.vector_norm(
            theirs
        )
    torch.testing.assert_close(
        found.curve, expected.curve, rtol=tolerance, atol=tolerance, equal_nan=True
    )


SHARDINGS = pytest.mark.parametrize("sharding", ["ddp", "fsdp"])


@SHARDINGS
@pytest.mark.parametrize("way", ["", "-micro", "-native", "-resumed"])
def test_two_processes_train_as_one(
    sharding: str, way: str, launch: Launch, request: pytest.FixtureRequest
) -> None:
    if way == "-native":
        request.getfixturevalue("c_compiler")
    fresh = fresh_snapshot(launch.spec, CPU)
    assert_same(
        launch.end(f"{sharding}{way}-1"),
        trained(launch.spec, launch.shards, fresh, TRUNK, ANNEAL),
    )


@SHARDINGS
def test_pieces_of_unequal_size_weigh_their_rows_alike(sharding: str, launch: Launch) -> None:
    """Three rows a process, in pieces of two and one."""
    six = dataclasses.replace(launch.spec, batch_tokens=96)
    alone = trained(six, launch.shards, fresh_snapshot(six, CPU), BEGUN)
    assert_same(launch.end(f"{sharding}-uneven-0"), alone)


@SHARDINGS
def test_one_process_goes_on_where_two_stopped(sharding: str, launch: Launch) -> None:
    fresh = fresh_snapshot(launch.spec, CPU)
    alone = trained(launch.spec, launch.shards, fresh, TRUNK, ANNEAL)
    begun = launch.end(f"{sharding}-begun-0")
    assert begun.step == 12
    assert_same(trained(launch.spec, launch.shards, begun, TRUNK, ANNEAL), alone)


@SHARDINGS
def test_saving_on_the_way_changes_nothing(sharding: str, launch: Launch) -> None:
    saved, ended = (launch.end(f"{sharding}-saving-{which}") for which in ("saved", "0"))
    untouched = launch.end(f"{sharding}-begun-0")
    for snapshot in (saved, ended):
        assert_same(snapshot, untouched, 1e-7)


@SHARDINGS
def test_half_precision_is_that_of_one_process(sharding: str, launch: Launch) -> None:
    alone = trained(launch.low, launch.shards, fresh_snapshot(launch.spec, CPU), BEGUN)
    found = launch.end(f"{sharding}-bf16-0")
    assert found.optimizer.parameters.dtype == torch.float32
    torch.testing.assert_close(found.curve, alone.curve, rtol=0.01, atol=0.0, equal_nan=True)
    full = launch.end(f"{sharding}-begun-0")
    assert not torch.equal(found.optimizer.parameters, full.optimizer.parameters)


@SHARDINGS
def test_a_replica_that_is_not_finite_is_frozen_on_all(sharding: str, launch: Launch) -> None:
    start = load_snapshot(launch.folder / "bad", CPU)
    found = launch.end(f"{sharding}-bad-0")
    assert found.optimizer.alive.tolist() == [False]
    assert found.step == 12 and found.curve.shape == (12, 5)
    assert not found.curve[:, 4].any()
    for name in ("parameters", "first", "second"):
        before, after = getattr(start.optimizer, name), getattr(found.optimizer, name)
        assert torch.equal(before.nan_to_num(7), after.nan_to_num(7))


@SHARDINGS
def test_the_deadline_stops_all_and_saves(sharding: str, launch: Launch) -> None:
    saved = launch.end(f"{sharding}-late-saved")
    assert saved.step == 1 and saved.seconds > 0
    expected = trained(
        launch.spec, launch.shards, fresh_snapshot(launch.spec, CPU), Branch(None, 0, 1)
    )
    assert_same(saved, expected)
    for rank in range(2):
        told = (launch.folder / f"{sharding}-late-{rank}.txt").read_text()
        assert told == "Stopped: time is up after it was saved\n", "all leave together"


def test_a_world_that_does_not_divide_the_rows_is_refused_in_one_line(launch: Launch) -> None:
    for rank in range(2):
        assert (launch.folder / f"ddp-odd-{rank}.txt").read_text() == (
            "SaltusError: s1 block 0: torchrun with 2 processes do not divide the 3 rows of a "
            "batch (try 1 or 3)\n"
        )


@pytest.mark.parametrize(
    ("changes", "processes", "words"),
    [
        ({}, 3, "do not divide the 4 rows of a batch \\(try 2 or 4\\)"),
        ({}, 8, "do not divide the 4 rows of a batch \\(try 4\\)"),
        ({"replicas": (*ONE, Replica("seed1", 12, 0.02))}, 2, "found 2 replicas, expected 1"),
        ({"name": "muon"}, 2, "found optimizer muon, expected adamw"),
    ],
)
def test_what_cannot_be_sharded_is_refused(
    changes: dict[str, object], processes: int, words: str, make_spec: MakeSpec
) -> None:
    spec = make_spec(**({"replicas": ONE} | {k: v for k, v in changes.items() if k != "name"}))
    if "name" in changes:
        optimizer = dataclasses.replace(spec.optimizer, name="muon")
        spec = dataclasses.replace(spec, optimizer=optimizer)
    with pytest.raises(SaltusError, match=words):
        check_shardable(spec, processes)
    check_shardable(make_spec(replicas=ONE), 4)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_module_is_the_shared_definition(checkpointing: bool, make_spec: MakeSpec) -> None:
    shape = make_spec().shape
    row = initial_parameters(shape, [5])[0]
    row += 0.1 * torch.randn(row.shape, generator=torch.Generator().manual_seed(1))
    module = Decoder(shape, CPU, checkpointing=checkpointing)
    named = dict(module.named_parameters())
    assert named.keys() == {entry.name for entry in layout(shape)}
    module.load_state_dict(split_row(row, shape))
    back = torch.empty_like(row)
    for name, piece in split_row(back, shape).items():
        piece.copy_(named[name].detach())
    assert torch.equal(back, row)

    tokens = torch.randint(280, (3, 17), generator=torch.Generator().manual_seed(2))
    flat = row[None].clone().requires_grad_()
    expected = token_losses(unflatten(flat, shape), tokens[None], shape)[0].mean(1)
    found = module(tokens)
    torch.testing.assert_close(found, expected)
    expected.sum().backward()
    found.sum().backward()
    assert flat.grad is not None
    for name, gradient in split_row(flat.grad[0], shape).items():
        torch.testing.assert_close(named[name].grad, gradient, rtol=1e-4, atol=1e-5)
