"""What lies on disk: snapshots and checkpoints bit for bit, and a lock that one process holds."""

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from saltus.errors import SaltusError
from saltus.model.initialise import initial_parameters
from saltus.model.shape import Shape
from saltus.train.checkpoint import load_checkpoint, load_stacked, save_checkpoint
from saltus.train.optimizer import OptimizerState
from saltus.train.spec import TrainSpec
from saltus.train.state import (
    Snapshot,
    load_snapshot,
    locked,
    save_snapshot,
    trunk_file,
    trunk_steps,
)

MakeSpec = Callable[..., TrainSpec]
CPU = torch.device("cpu")
SHAPE = Shape(20, width=6, depth=2, heads=1, feedforward=8, context=8)

HOLD = """
import fcntl, os, sys, time
stream = open(sys.argv[1], "a+")
fcntl.flock(stream, fcntl.LOCK_EX)
stream.truncate(0)
stream.write(str(os.getpid()))
stream.flush()
print("held", flush=True)
time.sleep(60)
"""


def test_a_snapshot_comes_back_bit_for_bit(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(3, 50, generator=generator) for _ in range(3)]
    tensors[0][1, 7] = math.nan
    tensors[1][2, 3] = 1e-42
    curve = torch.randn(4, 13, generator=generator)
    curve[2, 3] = math.nan
    snapshot = Snapshot(
        123, OptimizerState(*tensors, torch.tensor([True, False, True])), curve, seconds=1 / 3
    )
    save_snapshot(tmp_path / "deep" / "a.safetensors", snapshot)
    again = load_snapshot(tmp_path / "deep" / "a.safetensors", CPU)
    assert (again.step, again.seconds) == (123, 1 / 3)
    for name in ("parameters", "first", "second"):
        ours, theirs = getattr(snapshot.optimizer, name), getattr(again.optimizer, name)
        assert torch.equal(ours.view(torch.int32), theirs.view(torch.int32))
    assert torch.equal(again.optimizer.alive, snapshot.optimizer.alive)
    assert torch.equal(again.curve.view(torch.int32), curve.view(torch.int32))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.safetensors"]


def test_trunk_snapshots_are_found_in_the_order_of_steps(tmp_path: Path) -> None:
    for step in (100, 20, 3):
        trunk_file(tmp_path, step).write_bytes(b"")
    # What a process killed while writing leaves is no snapshot, nor is an anneal or the trunk.
    for name in (".at-7.safetensors.0123abcd.part", "anneal-5.safetensors", "trunk.safetensors"):
        (tmp_path / name).write_bytes(b"")
    assert trunk_steps(tmp_path) == [3, 20, 100]


def test_a_checkpoint_comes_back_with_its_shape(tmp_path: Path) -> None:
    rows = initial_parameters(SHAPE, [1, 2])
    for index, row in enumerate(rows):
        save_checkpoint(tmp_path / f"{index}.safetensors", row, SHAPE)
    row, shape = load_checkpoint(tmp_path / "1.safetensors")
    assert torch.equal(row, rows[1]) and shape == SHAPE
    stacked, shape = load_stacked([tmp_path / "1.safetensors", tmp_path / "0.safetensors"])
    assert torch.equal(stacked, rows[[1, 0]]) and shape == SHAPE


def test_a_checkpoint_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    row = initial_parameters(SHAPE, [1])[0]
    for name in ("a", "b"):
        save_checkpoint(tmp_path / name, row, SHAPE)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_lock_refuses_another_process_and_ends_with_its_holder(
    tmp_path: Path, make_spec: MakeSpec
) -> None:
    spec = make_spec()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(SaltusError) as raised, locked(tmp_path, spec):
            raise AssertionError("two processes hold the lock")
        message = str(raised.value)
        assert len(message.splitlines()) == 1
        for part in ("tiny", "s1", "block 0", str(holder.pid), str(tmp_path / "lock")):
            assert part in message
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert holder.stdout is not None
        holder.stdout.close()
    with locked(tmp_path, spec):
        assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_a_lock_can_be_taken_again_after_an_error(tmp_path: Path, make_spec: MakeSpec) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path, make_spec()):
        raise ZeroDivisionError
    with locked(tmp_path, make_spec()), pytest.raises(SaltusError), locked(tmp_path, make_spec()):
        pass


def test_the_spec_stands_beside_the_state(tmp_path: Path, make_spec: MakeSpec) -> None:
    spec = make_spec()
    with locked(tmp_path / "new", spec):
        pass
    text = (tmp_path / "new" / "spec.json").read_text()
    assert '"width": 8' in text and "horizons" not in text
