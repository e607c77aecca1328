"""A whole study's grid of annealed points, ours against one peer run per point, on two cores each.

    python bench/grid.py [STUDY] [--sizes s1 s2] [--seeds 1] [--peer-model nanogpt]

Ours trains every (size, replica block) by the command that the Snakemake rule runs; horizons share
a trunk. The peer starts one process per size, seed and horizon, with a cosine decay to that
horizon. Both take the longest job first, two processes at a time, each on one core with one thread;
starting a process is counted. The peer's tokens are rows of the same mixture, written to one file a
seed beforehand; the losses are of the same held-out text, scored afterwards. Neither is counted.

Every job leaves a JSON file in the work folder and is not run again, so the bench can be stopped.
Writes bench/grid.csv (a row per size and horizon) and bench/grid-summary.csv, beside the rows of
other studies and peers.
"""

import argparse
import dataclasses
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import numpy as np
import pandas as pd
from peers import nanogpt

from saltus.code import code_hash
from saltus.data.batches import ARITHMETIC
from saltus.data.shards import load_shard
from saltus.law.criterion import Criterion
from saltus.law.runs import usable_runs
from saltus.law.summary import summarise_chinchilla
from saltus.model.count import count_parameters, flops_per_token
from saltus.plan import trained_tokens
from saltus.preflight import study_path
from saltus.probe.spec import ProbeSpec
from saltus.probe.text import windows_of
from saltus.study import Study, load_study
from saltus.train.job import batches_of, run_name
from saltus.train.spec import Replica, TrainSpec

STREAM_HORIZONS = 4
"""Length of the peer's token file in longest horizons: rows seldom come twice, as with ours."""


@dataclass(frozen=True)
class Task:
    """One process: its name, what it trains, its FLOPs, its command, and what it leaves."""

    name: str
    spec: TrainSpec
    flops: float
    command: tuple[str, ...]
    folder: Path

    @property
    def record(self) -> Path:
        """Return where the JSON of the finished process lies."""
        return self.folder / "record.json"

    @property
    def seconds(self) -> float:
        """Return the wall time of the finished process."""
        return float(json.loads(self.record.read_text())["seconds"])


def stage_train(spec: TrainSpec, shards: Path, folder: Path) -> Task:
    """Return a training job as the Snakemake rule starts it, its state in the job's own folder."""
    command = [sys.executable, "-m", "saltus", "stage", "train", "--spec", spec.to_json()]
    command += ["--code", code_hash("saltus.train.job"), "--shards", str(shards)]
    command += ["--states", str(folder / "state"), "--device", "cpu", "--out", str(folder / "out")]
    tokens = trained_tokens(spec) * len(spec.replicas)
    return Task(folder.name, spec, flops_per_token(spec.shape) * tokens, tuple(command), folder)


def our_tasks(study: Study, sizes: Sequence[str], shards: Path, work: Path) -> list[Task]:
    """Return the study's own jobs."""
    specs = [spec for spec in study.train_specs() if spec.size in sizes]
    return [stage_train(s, shards, work / "ours" / f"{s.size}-block{s.block}") for s in specs]


def points(study: Study, sizes: Sequence[str], seeds: int | None) -> list[TrainSpec]:
    """Return every annealed point as a job of one replica and one horizon."""
    found = []
    for spec in study.train_specs():
        for replica in spec.replicas if spec.size in sizes else ():
            one = dataclasses.replace(spec, replicas=(replica,))
            found += [dataclasses.replace(one, horizons=(h,)) for h in spec.horizons]
    numbers = sorted({spec.replicas[0].number for spec in found})[:seeds]
    return [spec for spec in found if spec.replicas[0].number in numbers]


def nanogpt_options(spec: TrainSpec, compiled: bool) -> nanogpt.Options:
    """Return the peer's run of a point: same shape, rate, warm-up, batch, decay and betas."""
    (replica,), (horizon,), shape = spec.replicas, spec.horizons, spec.shape
    return nanogpt.Options(
        width=shape.width,
        depth=shape.depth,
        heads=shape.heads,
        steps=spec.steps(horizon),
        vocabulary=shape.vocabulary,
        context=shape.context,
        batch=spec.batch_tokens,
        rate=replica.rate,
        warmup=spec.warmup_steps,
        beta1=spec.optimizer.beta1,
        beta2=spec.optimizer.beta2,
        decay=spec.optimizer.decay,
        clip=spec.optimizer.clip,
        stride=shape.context + 1,
        compiled=compiled,
        seed=replica.number,
    )


def peer_tasks(
    study: Study, given: argparse.Namespace, shards: Path, work: Path
) -> tuple[list[Task], str]:
    """Return one task per point, and the name of the peer."""
    tasks = []
    peer = given.peer_model + ("-compiled" if given.peer_compile else "")
    for spec in points(study, given.sizes, given.seeds):
        (replica,), (horizon,) = spec.replicas, spec.horizons
        folder = work / f"peer-{peer}" / run_name(spec, replica, horizon)
        if given.peer_model == "ours":
            tasks.append(stage_train(spec, shards, folder))
            continue
        options = nanogpt_options(spec, given.peer_compile)
        command = [sys.executable, str(Path(nanogpt.__file__))]
        command += ["--data", str(stream_file(work, replica)), "--save", str(folder / "model.pt")]
        for name, value in dataclasses.asdict(options).items():
            flag = f"--{name.replace('_', '-')}"
            if not isinstance(value, bool):
                command += [flag, str(value)]
            elif value:
                command.append(flag)
        flops = float(nanogpt.flops_per_token(options)) * horizon
        tasks.append(Task(folder.name, spec, flops, tuple(command), folder))
    return tasks, peer


def stream_file(work: Path, replica: Replica) -> Path:
    """Return the peer's token file of a seed."""
    return work / f"stream-seed{replica.number}.bin"


def write_streams(specs: Sequence[TrainSpec], shards: Path, work: Path) -> None:
    """Write one file of rows a seed, as our batches make them: every row T + 1 tokens."""
    by_seed = {spec.replicas[0].number: spec for spec in specs}
    for spec in by_seed.values():
        path = stream_file(work, spec.replicas[0])
        if path.exists():
            continue
        batches = batches_of(spec, shards)
        steps = STREAM_HORIZONS * max(each.steps(each.horizons[0]) for each in specs)
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as stream:
            for step in range(steps):
                stream.write(batches.batch(step)[0].astype("<u2").tobytes())
        temporary.rename(path)


def run_tasks(tasks: Sequence[Task], cores: Sequence[int]) -> float | None:
    """Run what is not done yet, the longest first, one process a core.

    Returns the wall time, or None if some had been done before.
    """
    waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
    missing = [task for task in in_order(tasks) if not task.record.exists()]
    for task in missing:
        waiting.put(task)
    failures: list[str] = []

    def work_on(core: int) -> None:
        common.pin(core)  # of this thread; a process that it starts inherits it
        while not failures:
            try:
                task = waiting.get_nowait()
            except queue.Empty:
                return
            shutil.rmtree(task.folder, ignore_errors=True)  # an interrupted job starts anew
            task.folder.mkdir(parents=True)
            begun = time.perf_counter()
            with (task.folder / "log").open("w") as log:
                environment = os.environ | common.ENVIRONMENT
                code = subprocess.call(task.command, stdout=log, stderr=log, env=environment)
            seconds = time.perf_counter() - begun
            if code:
                failures.append(f"{task.name}: exit code {code}, see {task.folder / 'log'}")
                return
            task.record.write_text(json.dumps({"seconds": seconds, "core": core}))
            print(f"{task.folder.parent.name} {task.name}: {seconds:.1f} s", flush=True)

    begun = time.perf_counter()
    threads = [threading.Thread(target=work_on, args=(core,)) for core in cores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise SystemExit(f"bench: {failures[0]}")
    return time.perf_counter() - begun if len(missing) == len(tasks) else None


def in_order(tasks: Sequence[Task]) -> list[Task]:
    """Return the tasks, the longest by its FLOPs first."""
    return sorted(tasks, key=lambda task: -task.flops)


def makespan(tasks: Sequence[Task], cores: int, copies: float = 1.0) -> float:
    """Return the wall time of tasks started in order on so many cores, from their own times.

    `copies` above 1 stands for seeds that were not run: every task is taken so many times.
    """
    busy = [0.0] * cores
    for index, task in enumerate(in_order(tasks)):
        # Whole copies, spread so that their number is right over the list.
        for _ in range(round((index + 1) * copies) - round(index * copies)):
            busy[busy.index(min(busy))] += task.seconds
    return max(busy)


def our_losses(tasks: Sequence[Task], study: Study, domain: str, shards: Path) -> pd.DataFrame:
    """Return the text losses of checkpoints of ours: size, seed, tokens, loss_text, status, …"""
    probe = study.probe
    asked = ProbeSpec(10, probe.text_tokens, 1024, 50, study.seed, (domain,), (domain,))
    rows = []
    for task in tasks:
        out, trained = task.folder / "probe", task.folder / "out"
        if not (out / "losses.parquet").exists():
            spec = {"train": json.loads(task.spec.to_json()), "probe": json.loads(asked.to_json())}
            command = [sys.executable, "-m", "saltus", "stage", "probe", "--spec", json.dumps(spec)]
            command += ["--shards", str(shards), "--out", str(out)]
            command += ["--input", str(trained), str(shards.parent / "tokenizer")]
            environment = os.environ | common.ENVIRONMENT
            subprocess.run([*command, "--device", "cpu"], check=True, env=environment)
        losses = pd.read_parquet(out / "losses.parquet")
        losses = losses[losses["split"] == "test"].set_index("run")["loss"]
        statuses = json.loads((trained / "status.json").read_text())["runs"]
        total = count_parameters(task.spec.shape).total
        flops = flops_per_token(task.spec.shape)
        for run in statuses:
            replica = task.spec.replicas[run["replica"]]
            loss = float(losses[run["run"]])
            rows.append(_row(task, replica, run["horizon"], total, flops, loss, run["status"]))
    return pd.DataFrame(rows)


def nanogpt_losses(tasks: Sequence[Task], held_out: Path) -> pd.DataFrame:
    """Return the text losses of the peer's models, in the same columns."""
    rows = []
    for task in tasks:
        model, options = nanogpt.load(task.folder / "model.pt")
        loss = nanogpt.held_out_loss(model, held_out, options.context)
        total = sum(parameter.numel() for parameter in model.parameters())
        flops = nanogpt.flops_per_token(options)
        status = "ok" if np.isfinite(loss) else "diverged"
        (replica,), (horizon,) = task.spec.replicas, task.spec.horizons
        rows.append(_row(task, replica, horizon, total, flops, loss, status))
    return pd.DataFrame(rows)


def _row(
    task: Task, replica: Replica, horizon: int, total: int, flops: int, loss: float, status: str
) -> dict[str, Any]:
    return {
        "run": run_name(task.spec, replica, horizon),
        "size": task.spec.size,
        "seed": replica.number,
        "horizon": horizon,
        "params_total": total,
        "tokens": horizon,
        "flops_exact": float(flops) * horizon,
        "loss_text": loss,
        "status": status,
    }


def law_columns(runs: pd.DataFrame, study: Study, side: str) -> dict[str, Any]:
    """Return the exponents of the law of one side's runs, with their intervals."""
    kept, dropped = usable_runs(runs, study.law.minimum_tokens)
    law, _ = summarise_chinchilla(kept, dropped, Criterion(delta=study.law.delta), study.seed)
    columns: dict[str, Any] = {f"{side}_law": law["status"]}
    for name in ("alpha", "beta"):
        low, high = (law.get("intervals") or {}).get(name) or (None, None)
        columns[f"{side}_{name}"] = law.get("parameters", {}).get(name)
        columns |= {f"{side}_{name}_low": low, f"{side}_{name}_high": high}
    return columns


def side_by_side(ours: pd.DataFrame, peer: pd.DataFrame) -> pd.DataFrame:
    """Return mean loss and spread over seeds of both sides, a row per size and horizon."""
    both = []
    for side, runs in (("ours", ours), ("peer", peer)):
        fine = runs[runs["status"] == "ok"]
        groups = fine.groupby(["size", "horizon"], sort=False)["loss_text"]
        table = groups.agg(["mean", "std", "count"])
        both.append(table.rename(columns=lambda name, side=side: f"{side}_loss_{name}"))
    table = both[0].join(both[1]).reset_index()
    table["difference"] = table["ours_loss_mean"] - table["peer_loss_mean"]
    pooled = np.sqrt((table["ours_loss_std"] ** 2 + table["peer_loss_std"] ** 2) / 2)
    table["difference_in_spreads"] = table["difference"] / pooled
    return table.rename(columns={"ours_loss_count": "ours_n", "peer_loss_count": "peer_n"})


def write_beside(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows of one study and peer to a table, in the place of older ones of the two alone."""
    pair = (rows[0]["study"], rows[0]["peer"])
    kept = [row for row in common.read_csv(path) if (row["study"], row["peer"]) != pair]
    common.write_csv(path, [*kept, *rows])


def main() -> None:
    """Run both sides, score them, and write both tables."""
    parser = argparse.ArgumentParser(description="A study's whole grid against a run per point.")
    parser.add_argument("study", nargs="?", help="a name in studies/, or a .yaml file")
    parser.add_argument("--sizes", nargs="+", help="these alone, on both sides (default: all)")
    parser.add_argument("--seeds", type=int, help="so many of the peer's seeds (default: all)")
    parser.add_argument("--peer-model", choices=["nanogpt", "ours"], default="nanogpt")
    parser.add_argument("--peer-compile", action="store_true", help="torch.compile in the peer")
    parser.add_argument("--cores", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--work", type=Path, default=common.ROOT / "results" / "bench")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    study = load_study(study_path(given.study, common.ROOT))
    given.sizes = given.sizes or list(study.family.sizes)
    domains = [name for name in study.mixture().shares if name != ARITHMETIC]
    if len(domains) != 1 or study.tokenizer.vocabulary > 1 << 16:
        raise SystemExit("bench: expected a study of one training domain and uint16 tokens")
    work = given.work.resolve() / f"grid-{study.name}"
    work.mkdir(parents=True, exist_ok=True)
    shards = common.prepare(study, work)

    ours = our_tasks(study, given.sizes, shards, work)
    peers, peer = peer_tasks(study, given, shards, work)
    held_out = work / "held-out.bin"
    shard = load_shard(shards, domains[0], "test")
    count = len(windows_of(shard, study.probe.text_tokens, study.family.context))
    np.asarray(shard.tokens[: count * study.family.context + 1], dtype="<u2").tofile(held_out)
    if given.peer_model == "nanogpt":
        write_streams([task.spec for task in peers], shards, work)

    peaks = [common.peak_now()]
    walls = []
    for tasks in (ours, peers):
        walls.append(run_tasks(tasks, given.cores))
        peaks.append(common.peak_now())

    our_runs = our_losses(ours, study, domains[0], shards)
    if given.peer_model == "ours":
        peer_runs = our_losses(peers, study, domains[0], shards)
    else:
        peer_runs = nanogpt_losses(peers, held_out)
    all_points = len(points(study, given.sizes, None))
    copies = all_points / len(peers)
    our_span = makespan(ours, len(given.cores))
    peer_span = makespan(peers, len(given.cores), copies)
    seeds = len(peer_runs["seed"].unique())
    surroundings = common.surroundings()
    table = side_by_side(our_runs, peer_runs)
    table.insert(0, "study", study.name)
    table.insert(1, "peer", peer)
    write_beside(given.out / "grid.csv", table.to_dict("records"))
    whole = set(given.sizes) == set(study.family.sizes)
    summary = {
        "study": study.name,
        "peer": peer,
        "sizes": "all" if whole else " ".join(given.sizes),
        "points": all_points,
        "peer_points_run": len(peers),
        "peer_time": "measured" if copies == 1 else f"extrapolated from {seeds} seed(s)",
        "cores": len(given.cores),
        "ours_wall_seconds": our_span,
        "peer_wall_seconds": peer_span,
        "ratio": peer_span / our_span,
        "target": 4.0,
        "ours_wall_clock_seconds": walls[0],
        "peer_wall_clock_seconds": walls[1],
        "ours_core_seconds": sum(task.seconds for task in ours),
        "peer_core_seconds": copies * sum(task.seconds for task in peers),
        "ours_processes": len(ours),
        "peer_processes": all_points,
        **law_columns(our_runs, study, "ours"),
        **law_columns(peer_runs, study, "peer"),
        "peak_before_flops": peaks[0],
        "peak_between_flops": peaks[1],
        "peak_after_flops": peaks[2],
        **{key: value for key, value in surroundings.items() if key != "cores"},
    }
    write_beside(given.out / "grid-summary.csv", [summary])
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    print("\n".join(f"{key:26} {common.shown(value)}" for key, value in summary.items()))


if __name__ == "__main__":
    main()
