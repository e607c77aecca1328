"""The state of a training job on disk: snapshots that are whole or absent, and one lock.

`<state>/<branch>.safetensors` holds a branch as far as it got, `<state>/at-<step>.safetensors` the
trunk at the step where an anneal leaves it. Both carry parameters, moments, the mask of living
replicas and the curve so far, so that a job killed anywhere goes on bit for bit. (safetensors, not
pickles: a file from elsewhere runs no code.)
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from saltus.errors import SaltusError
from saltus.files import write_bytes, write_text
from saltus.train.optimizer import OptimizerState
from saltus.train.spec import TrainSpec


@dataclass
class Snapshot:
    """Where a branch stands after `step` steps.

    `curve` is (n, 1 + 4R): step, then per replica the loss (nats/token), the text rows' loss, the
    arithmetic rows' loss, and whether it was alive. `seconds` is the time spent so far.
    """

    step: int
    optimizer: OptimizerState
    curve: Tensor
    seconds: float


def save_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write a snapshot atomically."""
    held = snapshot.optimizer
    tensors = {
        "parameters": held.parameters,
        "first": held.first,
        "second": held.second,
        "alive": held.alive,
        "curve": snapshot.curve,
    }
    content = save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        metadata={"step": str(snapshot.step), "seconds": repr(snapshot.seconds)},
    )
    write_bytes(path, content)


def snapshot_step(path: Path) -> int:
    """Return the step of the snapshot at `path`, without its tensors."""
    with safe_open(path, framework="pt") as stored:
        return int(stored.metadata()["step"])


def load_snapshot(path: Path, device: torch.device) -> Snapshot:
    """Return the snapshot at `path`."""
    with safe_open(path, framework="pt", device=str(device)) as stored:
        metadata = stored.metadata()
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    curve = tensors.pop("curve").cpu()
    held = OptimizerState(**tensors)
    return Snapshot(int(metadata["step"]), held, curve, float(metadata["seconds"]))


def trunk_file(state: Path, step: int) -> Path:
    """Return where the trunk's snapshot at `step` lies."""
    return state / f"at-{step}.safetensors"


def anneal_file(state: Path, horizon: int) -> Path:
    """Return where an anneal is kept, as far as it got."""
    return state / f"anneal-{horizon}.safetensors"


def finished(state: Path, spec: TrainSpec) -> list[int]:
    """Return the horizons whose anneal is complete."""
    return [
        horizon
        for horizon in spec.horizons
        if anneal_file(state, horizon).exists()
        and snapshot_step(anneal_file(state, horizon)) == spec.steps(horizon)
    ]


def trunk_steps(state: Path) -> list[int]:
    """Return the steps of the trunk snapshots there are, ascending."""
    return sorted(int(path.stem.removeprefix("at-")) for path in state.glob("at-*.safetensors"))


@contextmanager
def locked(state: Path, spec: TrainSpec) -> Iterator[None]:
    """Hold the lock of a state directory; write its spec beside it on first use.

    The lock ends with the process, however it dies. Raises `SaltusError` if another process holds
    it (the child of a killed Snakemake lives on).
    """
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.seek(0)
            holder = stream.read().strip() or "unknown"
            raise SaltusError(
                f"{spec.study} {spec.size} block {spec.block}: process {holder} is training this "
                f"already (lock {state / 'lock'}); wait for it or end it"
            ) from error
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        if not (state / "spec.json").exists():
            write_text(
                state / "spec.json", json.dumps(json.loads(spec.identity()), indent=2) + "\n"
            )
        yield
