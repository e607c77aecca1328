"""What the side-by-side measurements share: workers that take turns, ratios, and our own engine.

Each side runs in a process of its own, pinned to one core, with one thread; while one side trains,
the others wait on a pipe. Rounds go A B A B, so that a slow minute of the machine meets both.
`ours` alone knows how the package's training engine is called.
"""

import argparse
import csv
import dataclasses
import hashlib
import io
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from saltus.files import write_text
from saltus.study import Study, load_study, parse_study
from saltus.train.spec import TrainSpec

if TYPE_CHECKING:
    from saltus.train.trainer import Trainer

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
KERNELS = {"native": "native", "eager": "written", "compiled": "compiled", "graphed": "graphed"}
"""What a mode of both sides is called in our engine."""
Advance = Callable[[int], None]


# ---------------------------------------------------------------------------- our side


def trainer_of(spec: TrainSpec, batches: Any, kernels: str, device: str = "cpu") -> "Trainer":
    """Return what trains the block `spec`.

    `kernels` is one of `KERNELS`, or `decided`: what a job would take. The engine's other choices
    are those of a job.
    """
    import torch

    from saltus.train.engine import decide
    from saltus.train.trainer import Trainer

    place = torch.device(device)
    engine = decide(spec, place)
    if kernels != "decided":
        engine = dataclasses.replace(engine, kernels=KERNELS[kernels])
    return Trainer(spec, batches, place, engine)


def steps_of(trainer: "Trainer") -> Advance:
    """Return a function that trains for so many more steps and waits for the device."""
    from saltus.train.schedule import Branch
    from saltus.train.trainer import fresh_snapshot

    snapshot = fresh_snapshot(trainer.spec, trainer.device)

    def advance(steps: int) -> None:
        nonlocal snapshot
        snapshot = trainer.run(snapshot, Branch(None, 0, snapshot.step + steps), lambda _: None)

    return advance


def ours(spec: TrainSpec, batches: Any, kernels: str, device: str = "cpu") -> Advance:
    """Return `steps_of` a block's trainer."""
    return steps_of(trainer_of(spec, batches, kernels, device))


def timed(advance: Advance, steps: int) -> float:
    """Return the seconds of so many steps."""
    begun = time.perf_counter()
    advance(steps)
    return time.perf_counter() - begun


def bench_study(
    sizes: Mapping[str, Mapping[str, Any]],
    *,
    batch_tokens: int,
    vocabulary: int = 512,
    context: int = 64,
    precision: str = "fp32",
    horizon: int | None = None,
) -> Study:
    """Return the default study with other sizes, on a generated language that needs no network.

    Drills, mixture, optimizer and rule of the rate are those of `config.yaml`. Without a `horizon`
    in tokens the trunk never comes to an anneal.
    """
    raw = load_study(ROOT / "config.yaml").model_dump(mode="json", exclude_none=True)
    corpus = {"kind": "synthetic", "documents": 4000, "document_words": 96, "seed": 0}
    corpus["vocabulary_words"] = 2000
    raw["name"] = "bench"
    raw["text"]["domains"] = {"markov": {"corpus": corpus, "share": 0.4}}
    raw["tokenizer"]["vocabulary"] = vocabulary
    raw["family"] = {"context": context, "blocks": [[0]], "sizes": dict(sizes)}
    raw["training"] |= {"batch_tokens": batch_tokens, "precision": precision}
    raw["training"]["horizons"] = [horizon or batch_tokens << 20]
    return parse_study(raw)


def prepare(study: Study, work: Path) -> Path:
    """Return the folder of a study's shards under `work`, made by `saltus prepare` if missing."""
    shards = work / "results" / study.name / "shards"
    if not (shards / "manifest.json").exists():
        work.mkdir(parents=True, exist_ok=True)
        file = work / f"{study.name}.yaml"
        file.write_text(yaml.safe_dump(study.model_dump(mode="json", exclude_none=True)))
        command = [sys.executable, "-m", "saltus", "prepare", file.name]
        subprocess.run(command, cwd=work, check=True, stdout=subprocess.DEVNULL)
    return shards


def bench_shards(work: Path) -> Path:
    """Return the folder of the generated language's shards, which all sizes share."""
    tiny = {"s": {"width": 8, "depth": 1, "heads": 1}}
    return prepare(bench_study(tiny, batch_tokens=512), work)


# ---------------------------------------------------------------------------- workers


def pin(core: int) -> None:
    """Keep this process on one core, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


def set_threads(allocator: str) -> None:
    """Set one thread; `kept` keeps freed memory as our jobs do, `default` is the C library's."""
    import torch

    from saltus.device import use_one_thread

    torch.set_num_threads(1)
    if allocator == "kept":
        use_one_thread()


class Turns:
    """The worker's end of the pipe: how many steps to do, and how long they took.

    Whatever the code under test prints goes to standard error.
    """

    def __init__(self) -> None:
        self.answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self.begun = float("nan")

    def next(self) -> int:
        """Wait for a turn, start the clock, return its steps; 0 when there is no more."""
        line = sys.stdin.readline()
        self.begun = time.perf_counter()
        return int(line or 0)

    def done(self, units: int) -> None:
        """Tell the seconds of the turn and what was done in them, in tokens or FLOPs."""
        answer = {"seconds": time.perf_counter() - self.begun, "units": units}
        print(json.dumps(answer), file=self.answers, flush=True)


def enter() -> tuple[dict[str, Any], Turns]:
    """Be a worker: set core and threads; return the point asked for, and its turns."""
    turns = Turns()
    point = json.loads(sys.argv[2])
    pin(point["core"])
    set_threads(point["allocator"])
    return point, turns


def serve(advance: Advance, units: int, turns: Turns) -> None:
    """Do turns of a step function until there are no more; `units` are of one step."""
    while steps := turns.next():
        advance(steps)
        turns.done(units * steps)


def peak_work(precision: str) -> tuple[Advance, int]:
    """Return a matrix product of the shape that is fastest here, and its FLOPs."""
    import torch

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    pairs = {n: torch.randn(2, n, n).to(dtype).unbind() for n in (384, 512, 768, 1024, 1536)}

    def timed(n: int) -> float:
        left, right = pairs[n]
        begun = time.perf_counter()
        left @ right
        return (time.perf_counter() - begun) / n**3

    best = min(pairs, key=lambda n: min(timed(n) for _ in range(8)))
    left, right = pairs[best]

    def advance(steps: int) -> None:
        for _ in range(steps):
            left @ right

    return advance, 2 * best**3


class Worker:
    """One side of a comparison, in a process of its own."""

    def __init__(self, script: str, **point: Any) -> None:
        self.point = point
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, script, "--worker", json.dumps(point)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | ENVIRONMENT,
        )
        self.turn = 1
        self.rates: list[float] = []
        self.first_seconds = float("nan")

    def run(self, steps: int) -> tuple[float, int]:
        """Train so many steps; return the seconds and the units done."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"bench: the worker {self.point} ended early")
        answer = json.loads(line)
        return answer["seconds"], answer["units"]

    def start(self) -> "Worker":
        """Do the first step, and keep how long that took from the start of the process on."""
        self.run(1)
        self.first_seconds = time.perf_counter() - self.started
        return self

    def warm_up(self, turn_seconds: float, steps: int) -> None:
        """Do some steps, then choose how many make a turn."""
        self.run(steps)
        seconds, _ = self.run(steps)
        self.turn = max(1, round(turn_seconds * steps / seconds))

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def add_options(parser: argparse.ArgumentParser, script: str) -> None:
    """Declare what every bench that takes turns is told."""
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--turn-seconds", type=float, default=2.0)
    parser.add_argument("--warm-up", type=int, default=5, help="steps before the first turn")
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--work", type=Path, default=ROOT / "results" / "bench")
    parser.add_argument("--out", type=Path, default=Path(script).with_suffix(".csv"))


def take_turns(
    script: str, sides: Mapping[str, Mapping[str, Any]], given: argparse.Namespace
) -> dict[str, Worker]:
    """Start a worker of `script` per side and let each do a turn per round; fill in the `rates`.

    They share a core, so they start one after the other; `first_seconds` is not disturbed.
    """
    workers: dict[str, Worker] = {}
    try:
        for side, point in sides.items():
            workers[side] = Worker(script, side=side, core=given.core, **point).start()
        for worker in workers.values():
            worker.warm_up(given.turn_seconds, given.warm_up)
        for _ in range(given.rounds):
            for worker in workers.values():
                seconds, units = worker.run(worker.turn)
                worker.rates.append(units / seconds)
    finally:
        for worker in workers.values():
            worker.close()
    return workers


def peak_now() -> float:
    """Return the rate of one-thread single-precision matrix products at this moment, in FLOP/s."""
    set_threads("kept")
    advance, flops = peak_work("fp32")
    begun = time.perf_counter()
    advance(50)
    return 50 * flops / (time.perf_counter() - begun)


# ---------------------------------------------------------------------------- results


def compare(a: Sequence[float], b: Sequence[float], draws: int = 4000) -> dict[str, float]:
    """Return the ratio of the medians of paired rates (n,), and how sure it is.

    `ratio_low` and `ratio_high` are a 95 % bootstrap interval over rounds; `ratio_min` and
    `ratio_max` the extremes of the single rounds.
    """
    left, right = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    picks = np.random.default_rng(0).integers(len(left), size=(draws, len(left)))
    drawn = np.median(left[picks], axis=1) / np.median(right[picks], axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {
        "ratio": float(np.median(left) / np.median(right)),
        "ratio_low": float(low),
        "ratio_high": float(high),
        "ratio_min": float(np.min(left / right)),
        "ratio_max": float(np.max(left / right)),
        "rounds": len(left),
    }


def surroundings() -> dict[str, str]:
    """Return what every row is marked with: machine, versions, the hash of the training code."""
    import torch

    from saltus.cli.machine import processor
    from saltus.code import code_hash

    return {
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "code": code_hash("saltus.train.job"),
        "date": time.strftime("%Y-%m-%d"),
    }


def shown(value: Any) -> Any:
    """Return a value as it stands in a table: five digits are enough."""
    return f"{value:.5g}" if isinstance(value, float) else value


def read_csv(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a table as text, none if there is no table yet."""
    if not path.exists():
        return []
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def rows_of(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the rows of a table by size and mode."""
    return {(row["size"], row["mode"]): row for row in read_csv(path)}


def provenance(script: str, *roots: str) -> dict[str, str]:
    """Return what rows of a simulation are marked with: code, versions, date.

    `code` hashes the bench's own `script` and the modules that its `roots` import, as text. Tables
    beside them do not count: the table written may be one.
    """
    import scipy

    import saltus
    from saltus.code import stage_modules

    source = Path(saltus.__file__).parents[1]
    digest = hashlib.sha256(Path(script).read_bytes())
    for name in sorted({module for root in roots for module in stage_modules(root)}):
        path = source.joinpath(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        digest.update(path.read_bytes())
    return {
        "code": digest.hexdigest()[:12],
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows with the same keys as a table, whole or not at all."""
    rows = list(rows)
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: shown(value) for key, value in row.items()} for row in rows)
    write_text(path, stream.getvalue())
