"""One training job from start to finish, resumable anywhere: trunk, anneals, declared outputs.

Everything lives in the state directory; the outputs are copies, written last.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from saltus.data.batches import ARITHMETIC, Batches
from saltus.data.shards import load_shard
from saltus.data.writing import Alphabet
from saltus.device import gpu_slot, is_launched_by_torchrun, use_one_thread
from saltus.files import read_json, sha256_of, write_json, write_table
from saltus.train.checkpoint import save_checkpoint
from saltus.train.engine import record, recorded_or_decided
from saltus.train.memory import begin_measuring, peak_memory_bytes
from saltus.train.schedule import Branch, rate_factor
from saltus.train.session import Session, note_session, noted_session
from saltus.train.spec import Replica, TrainSpec, state_key
from saltus.train.state import (
    Snapshot,
    anneal_file,
    finished,
    load_snapshot,
    locked,
    save_snapshot,
    trunk_file,
    trunk_steps,
)
from saltus.train.stop import Stop
from saltus.train.trainer import Trainer, Watch, fresh_snapshot

STATUS, CURVE = "status.json", "curve.parquet"


def checkpoint_name(replica: Replica, horizon: int) -> str:
    """Return the file name of the annealed checkpoint of a replica at a horizon."""
    return f"{replica.name}-h{horizon}.safetensors"


def has_outputs(spec: TrainSpec, out: Path, code: str, key: str) -> bool:
    """Tell whether all outputs of just this job stand under `out`."""
    names = [checkpoint_name(each, horizon) for each in spec.replicas for horizon in spec.horizons]
    if not all((out / name).exists() for name in (STATUS, CURVE, *names)):
        return False
    found = read_json(out / STATUS)
    wanted = {"spec": json.loads(spec.to_json()), "state": key, "code": code}
    return {name: found.get(name) for name in wanted} == wanted


def run_name(spec: TrainSpec, replica: Replica, horizon: int) -> str:
    """Return the name of a run: size, replica and horizon."""
    return f"{spec.size}-{replica.name}-h{horizon}"


def load_alphabet(shards: Path) -> Alphabet:
    """Return the token ids of arithmetic that the shards were written with."""
    raw = read_json(shards / "alphabet.json")
    return Alphabet(tuple(raw["symbols"]), raw["relations"], raw["separator"])


def data_identity(spec: TrainSpec, shards: Path) -> str:
    """Return the hashes of what this job reads: a domain that is only held out changes nothing."""
    domains = read_json(shards / "manifest.json")["domains"]
    trained = {
        name: domains[name]["train"]["sha256"] for name in spec.mixture.shares if name != ARITHMETIC
    }
    return json.dumps([trained, sha256_of(shards / "alphabet.json")], sort_keys=True)


@dataclass
class Job:
    """A training job bound to its data and state directory; snapshots are loaded to `home`."""

    spec: TrainSpec
    shards: Path
    state: Path
    trainer: Trainer
    home: torch.device
    has_trained: bool = field(default=False, init=False)

    def finish(self, out: Path, code: str, key: str) -> None:
        """Train all horizons, write the outputs, and drop what no later call needs.

        A job that is finished, and whose outputs are there, is left as it is.
        """
        done = finished(self.state, self.spec) == list(self.spec.horizons)
        if not (done and has_outputs(self.spec, out, code, key)):
            self._train_and_write(out, code, key)
        (self.state / "trunk.safetensors").unlink(missing_ok=True)

    def _train_and_write(self, out: Path, code: str, key: str) -> None:
        horizons = {horizon: self.anneal(horizon) for horizon in self.spec.horizons}
        alive = horizons[max(horizons)].optimizer.alive.tolist()
        for replica, lives in zip(self.spec.replicas, alive, strict=True):
            if not lives:
                print(f"{self.spec.size} {replica.name}: diverged and frozen", file=sys.stderr)
        self.write_outputs(out, horizons, code, key)

    def trunk(self, step: int) -> Snapshot:
        """Return the trunk at `step`, from the nearest earlier snapshot on."""
        path = trunk_file(self.state, step)
        if path.exists():
            return load_snapshot(path, self.home)
        branch = Branch(None, 0, step)
        rolling = self.state / f"{branch.name}.safetensors"
        start = self._nearest(step, rolling)
        snapshot = self._train(start, branch, rolling)
        save_snapshot(path, snapshot)
        return snapshot

    def _train(self, start: Snapshot, branch: Branch, path: Path) -> Snapshot:
        """Return the end of a branch, saved to `path` on the way.

        How it was trained is noted before each snapshot: what a finished job needs is never absent.
        """

        def save(now: Snapshot) -> None:
            self._note()
            save_snapshot(path, now)

        if start.step == branch.end:
            return start
        self.has_trained = True
        ended = self.trainer.run(start, branch, save)
        self._note()
        return ended

    def _note(self) -> None:
        device = self.trainer.device
        peak = peak_memory_bytes(device)
        note_session(self.state, Session(self.trainer.describe(), device_name(device), peak))

    def _nearest(self, step: int, rolling: Path) -> Snapshot:
        earlier = [at for at in trunk_steps(self.state) if at <= step]
        found = load_snapshot(trunk_file(self.state, earlier[-1]), self.home) if earlier else None
        if rolling.exists():
            on_the_way = load_snapshot(rolling, self.home)
            if on_the_way.step <= step and (found is None or on_the_way.step > found.step):
                return on_the_way
        return found or fresh_snapshot(self.spec, self.home)

    def anneal(self, horizon: int) -> Snapshot:
        """Return the annealed end of a horizon, training what is missing of it."""
        branch = Branch(horizon, self.spec.anneal_start(horizon), self.spec.steps(horizon))
        path = anneal_file(self.state, horizon)
        snapshot = load_snapshot(path, self.home) if path.exists() else self.trunk(branch.start)
        if snapshot.step < branch.end:
            snapshot = self._train(snapshot, branch, path)
            save_snapshot(path, snapshot)
        return snapshot

    def write_outputs(self, out: Path, horizons: dict[int, Snapshot], code: str, key: str) -> None:
        """Write checkpoints, curve and status of all horizons.

        The status is taken away first and written last: where it stands, all is of one job.
        """
        spec = self.spec
        (out / STATUS).unlink(missing_ok=True)
        for horizon, snapshot in horizons.items():
            for row, replica in enumerate(spec.replicas):
                path = out / checkpoint_name(replica, horizon)
                save_checkpoint(path, snapshot.optimizer.parameters[row], spec.shape)
        write_table(out / CURVE, curve_table(spec, horizons))
        runs = [
            self._status_row(horizon, snapshot, row)
            for horizon, snapshot in horizons.items()
            for row in range(len(spec.replicas))
        ]
        if self.has_trained:
            self._note()
        session = noted_session(self.state)
        status = {
            "spec": json.loads(spec.to_json()),
            "state": key,
            "code": code,
            "torch": torch.__version__,
            **asdict(session),
            "seconds": self._seconds(horizons),
            "runs": runs,
        }
        write_json(out / STATUS, status)

    def _seconds(self, horizons: dict[int, Snapshot]) -> float:
        """Return the time of the whole job: the trunk once, and every anneal."""
        starts = {
            horizon: load_snapshot(
                trunk_file(self.state, self.spec.anneal_start(horizon)), self.home
            ).seconds
            for horizon in horizons
        }
        anneals = sum(horizons[horizon].seconds - starts[horizon] for horizon in horizons)
        return anneals + max(starts.values())

    def _status_row(self, horizon: int, snapshot: Snapshot, row: int) -> dict[str, Any]:
        spec, batches = self.spec, self.trainer.batches
        replica = spec.replicas[row]
        rows = batches.rows_before(spec.steps(horizon))
        context = spec.shape.context
        by_source = {
            name: int(count) * context for name, count in zip(batches.names, rows, strict=True)
        }
        text = sum(count for name, count in by_source.items() if name != ARITHMETIC)
        unique = sum(len(rows.tokens) for rows in batches.texts.values())
        return {
            "run": run_name(spec, replica, horizon),
            "replica": row,
            "name": replica.name,
            "horizon": horizon,
            "status": "ok" if bool(snapshot.optimizer.alive[row]) else "diverged",
            "seconds": snapshot.seconds / len(spec.replicas),
            "tokens_text": text,
            "tokens_arithmetic": by_source.get(ARITHMETIC, 0),
            "tokens_unique": min(text, unique),
            "epochs": text / unique,
            "checkpoint": checkpoint_name(replica, horizon),
        }


def curve_table(spec: TrainSpec, horizons: dict[int, Snapshot]) -> pd.DataFrame:
    """Return the training curves: the longest trunk once, and every anneal after its start."""
    parts = []
    longest = max(horizons)
    for horizon, snapshot in horizons.items():
        start = spec.anneal_start(horizon)
        trunk, anneal = Branch(None, 0, start), Branch(horizon, start, spec.steps(horizon))
        curve = snapshot.curve.double().numpy()
        for branch in (trunk, anneal):
            if branch is trunk and horizon != longest:
                continue
            chosen = curve[(curve[:, 0] > branch.start) & (curve[:, 0] <= branch.end)]
            steps = chosen[:, 0].astype(int)
            factors = [rate_factor(step - 1, branch, spec.warmup_steps) for step in steps]
            for row, replica in enumerate(spec.replicas):
                total, text, arithmetic, alive = chosen[:, 1 + 4 * row : 5 + 4 * row].T
                parts.append(
                    pd.DataFrame(
                        {
                            "size": spec.size,
                            "block": spec.block,
                            "replica": row,
                            "seed": replica.number,
                            "branch": "trunk" if branch is trunk else "anneal",
                            "horizon": pd.array([branch.horizon] * len(steps), dtype="Int64"),
                            "step": steps,
                            "tokens": steps * spec.batch_tokens,
                            "loss": total,
                            "loss_text": text,
                            "loss_arithmetic_rows": arithmetic,
                            "alive": alive > 0,
                            "learning_rate": [replica.rate * factor for factor in factors],
                        }
                    )
                )
    return pd.concat(parts, ignore_index=True)


def device_name(device: torch.device) -> str:
    """Return `cpu`, or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def batches_of(spec: TrainSpec, shards: Path) -> Batches:
    """Return the batches of a job, its texts mapped from the shards."""
    texts = {
        name: load_shard(shards, name, "train").tokens
        for name in spec.mixture.shares
        if name != ARITHMETIC
    }
    return Batches(
        spec.mixture,
        texts,
        load_alphabet(shards),
        seeds=tuple(replica.seed for replica in spec.replicas),
        rows=spec.rows,
        context=spec.shape.context,
    )


@contextmanager
def training_device(device: torch.device) -> Iterator[torch.device]:
    """Yield this process's device for all of its jobs; under torchrun, join the others."""
    if not is_launched_by_torchrun():
        yield device
        return
    from saltus.train.launch import process_group

    with gpu_slot(device) as slot, process_group(slot) as own:
        yield own


def run_job(
    spec: TrainSpec,
    shards: Path,
    out: Path,
    states: Path,
    device: torch.device,
    code: str,
    stop: Stop | None = None,
    watch: Watch | None = None,
) -> None:
    """Train all horizons of `spec` and write its outputs to `out`.

    `states` is the folder of all states; `code` the hash of this stage's modules; `stop` may end
    the job early, saved, with `Stopped`, and while it trains signals are heeded; `watch` makes who
    is told how it goes. Under torchrun every process calls this, within `process_group`, and
    process 0 alone reads and writes. Raises `SaltusError` if another process trains the same job.
    """
    stop = stop or Stop()
    if device.type == "cpu":
        use_one_thread()
    key = state_key(
        spec,
        data=data_identity(spec, shards),
        code=code,
        torch=torch.__version__,
        device=device.type,
    )
    state, batches = states / key, batches_of(spec, shards)
    if is_launched_by_torchrun():
        from saltus.train.launch import led_or_followed

        begin_measuring(device)
        heeded = stop.heeding_signals()
        with heeded, led_or_followed(spec, state, batches, device, stop, watch) as led:
            if led is not None:
                Job(spec, shards, state, led, torch.device("cpu")).finish(out, code, key)
        return
    with locked(state, spec), gpu_slot(device) as slot:
        if slot.index is not None:
            torch.cuda.set_device(slot)
        begin_measuring(slot)
        trainer = Trainer(
            spec,
            batches,
            slot,
            recorded_or_decided(state, spec, slot),
            stop=stop,
            watcher=watch and watch(spec, slot, 1, finished(state, spec)),
            changed=partial(record, state),
        )
        with stop.heeding_signals():
            Job(spec, shards, state, trainer, slot).finish(out, code, key)
        stopped = stop.asked()
        if stopped and stop.signal:
            raise stopped
