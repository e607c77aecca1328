"""Fit the coefficients of `saltus plan` on this machine's CPU, and print their errors.

    python bench/plan.py [--seconds 8] [--quick]

Each shape trains for some seconds in a process of its own (a process's peak memory never falls),
through the same job as `saltus train`, stopped by its time limit. The rate is that of the second
half: the first pays for warm-up. Coefficients are non-negative least squares of relative errors;
those printed go to `CPU_COSTS` and `MEMORY_COSTS` of `src/saltus/plan.py`. One core must be free.
What annealed ends hold (`horizon_copies`) is counted, not fitted.
"""

import argparse
import dataclasses
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from saltus.plan import (
    CPU_COSTS,
    MEMORY_COSTS,
    CpuCosts,
    MemoryCosts,
    cpu_terms,
    measured_flops,
    memory_terms,
    peak_memory,
    planned_engine,
    seconds_per_token,
)
from saltus.train.spec import TrainSpec

VOCABULARY, CONTEXT = 512, 64
TASKS = ("add_1", "add_2", "add_3", "chain_2", "chain_3")
"""As in the laptop study: enumerated spaces take memory of their own."""
SHAPES = (
    # width, depth, heads, vocabulary, replicas, batch tokens
    (8, 2, 1, 512, 5, 512),
    (16, 2, 2, 512, 5, 512),
    (32, 2, 4, 512, 1, 512),
    (32, 2, 4, 512, 5, 512),
    (48, 2, 4, 2048, 5, 512),
    (64, 3, 4, 512, 5, 512),
    (128, 4, 8, 1024, 3, 1024),
    (128, 4, 8, 1024, 1, 1024),
    (256, 4, 8, 1024, 2, 1024),
)
QUICK = (1, 5, 6)


def study_of(index: int) -> dict[str, Any]:
    """Return the study file of one shape, its longest horizon out of reach."""
    width, depth, heads, vocabulary, replicas, batch = SHAPES[index]
    return {
        "name": f"plan{index}",
        "text": {
            "domains": {"markov": {"corpus": {"kind": "synthetic"}, "share": 0.4}},
            "split": {"train": 0.8, "validation": 0.1, "test": 0.1},
        },
        "tokenizer": {"vocabulary": vocabulary},
        "arithmetic": {"share": 0.6, "drills": [{"task": task} for task in TASKS]},
        "family": {
            "context": CONTEXT,
            "blocks": [list(range(replicas))],
            "sizes": {"s1": {"width": width, "depth": depth, "heads": heads}},
        },
        "training": {
            "batch_tokens": batch,
            "horizons": [batch << 26],
            "rate": {"coefficient": 0.005, "reference": 10000, "exponent": -0.3, "ceiling": 0.01},
        },
    }


def spec_of(index: int) -> TrainSpec:
    """Return the job of one shape."""
    from saltus.study import parse_study

    return parse_study(study_of(index)).train_spec("s1", 0)


def build_shards(folder: Path) -> Path:
    """Write a small generated language; ids below `VOCABULARY` serve every larger vocabulary."""
    from saltus.cli import stages
    from saltus.study import parse_study
    from saltus.workflow import Jobs

    raw = study_of(0) | {"tokenizer": {"vocabulary": VOCABULARY}}
    jobs = Jobs(parse_study(raw))
    stages.call(stages.corpus, folder / "markov", jobs.corpus("markov"), cache=folder / "cache")
    corpora, tokenizer = [folder / "markov"], folder / "tokenizer"
    stages.call(stages.tokenizer, tokenizer, jobs.tokenizer(), input=corpora)
    stages.call(stages.shards, folder / "shards", jobs.shards(), input=[*corpora, tokenizer])
    return folder / "shards"


def child(index: int, seconds: float, shards: Path) -> None:
    """Train one shape twice for half the time; print the second half's rate and the peak."""
    import pandas as pd
    import torch

    from saltus.errors import Stopped
    from saltus.files import write_table
    from saltus.train.job import run_job
    from saltus.train.memory import peak_memory_bytes
    from saltus.train.state import load_snapshot
    from saltus.train.stop import Stop

    spec, cpu = spec_of(index), torch.device("cpu")
    stands = []
    with tempfile.TemporaryDirectory() as folder:
        states = Path(folder)
        for _ in range(2):
            try:
                stop = Stop(time.monotonic() + seconds / 2)
                run_job(spec, shards, states / "out", states, cpu, "bench", stop)
            except Stopped:
                (trunk,) = states.glob("*/trunk.safetensors")
                stands.append(load_snapshot(trunk, cpu))
        # A job that ends writes its curve: what that loads belongs to the process.
        write_table(states / "curve.parquet", pd.DataFrame({"step": [0]}))
    first, second = stands
    tokens = (second.step - first.step) * spec.batch_tokens * len(spec.replicas)
    rate = tokens / (second.seconds - first.seconds)
    print(json.dumps({"rate": rate, "peak": peak_memory_bytes(cpu)}))


def measure(index: int, seconds: float, shards: Path) -> dict[str, float]:
    """Return tokens/s (all replicas) and peak bytes of one shape, from a process of its own."""
    command = [sys.executable, __file__, "--child", str(index), "--seconds", str(seconds)]
    done = subprocess.run([*command, "--shards", str(shards)], check=True, stdout=subprocess.PIPE)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def relative_fit(terms: np.ndarray, values: np.ndarray) -> list[float]:
    """Return the non-negative coefficients that minimise the squares of relative errors."""
    return [float(each) for each in nnls(terms / values[:, None], np.ones(len(values)))[0]]


def fit_cpu(specs: list[TrainSpec], rates: np.ndarray, flops: float) -> CpuCosts:
    """Return the time's coefficients."""
    steps = [spec.batch_tokens * len(spec.replicas) for spec in specs]
    pairs = zip(specs, steps, strict=True)
    terms = np.array([cpu_terms(spec.shape, step) for spec, step in pairs])
    products, elementwise, softmax, calls = relative_fit(terms, 1 / rates)
    efficiency = 1 / (products * flops) if products > 0 else math.inf
    return dataclasses.replace(
        CPU_COSTS,
        matrix_flops=flops,
        matrix_efficiency=efficiency,
        elementwise_seconds=elementwise,
        softmax_seconds=softmax,
        layer_seconds=calls,
    )


def fit_memory(specs: list[TrainSpec], peaks: np.ndarray) -> MemoryCosts:
    """Return the memory's coefficients."""
    terms = [(1.0, *memory_terms(spec, planned_engine(spec, None))) for spec in specs]
    process, copies, share = relative_fit(np.array(terms), peaks)
    return dataclasses.replace(
        MEMORY_COSTS, process_bytes=process, step_copies=copies, activation_share=share
    )


def main() -> None:
    """Measure, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of training for each shape")
    parser.add_argument("--quick", action="store_true", help="three shapes: errors, no fit")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--shards", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        child(options.child, options.seconds, options.shards)
        return

    flops = measured_flops()
    chosen = QUICK if options.quick else range(len(SHAPES))
    with tempfile.TemporaryDirectory() as folder:
        shards = build_shards(Path(folder))
        found = [measure(index, options.seconds, shards) for index in chosen]
    specs = [spec_of(index) for index in chosen]
    rates = np.array([row["rate"] for row in found])
    peaks = np.array([row["peak"] for row in found])
    cpu, memory = CPU_COSTS, MEMORY_COSTS
    if not options.quick:
        cpu, memory = fit_cpu(specs, rates, flops), fit_memory(specs, peaks)
    print(f"matrix product: {flops / 1e9:.0f} GFLOP/s\n{cpu}\n{memory}\n")
    print(f"{'width':>6}{'depth':>6}{'vocab.':>7}{'seeds':>6}{'tokens/s':>10}", end="")
    print(f"{'model':>10}{'error':>8}{'as is':>8}{'MB':>7}{'model':>7}{'error':>8}{'as is':>8}")
    for spec, rate, peak in zip(specs, rates, peaks, strict=True):
        shape, step = spec.shape, spec.batch_tokens * len(spec.replicas)
        alone = dataclasses.replace(spec, horizons=())
        now, before = (1 / seconds_per_token(shape, step, flops, c) for c in (cpu, CPU_COSTS))
        held, held_before = (peak_memory(alone, None, c) for c in (memory, MEMORY_COSTS))
        print(
            f"{shape.width:>6}{shape.depth:>6}{shape.vocabulary:>7}{len(spec.replicas):>6}"
            f"{rate:>10,.0f}{now:>10,.0f}{now / rate - 1:>+8.0%}{before / rate - 1:>+8.0%}"
            f"{peak / 1e6:>7,.0f}{held / 1e6:>7,.0f}{held / peak - 1:>+8.0%}"
            f"{held_before / peak - 1:>+8.0%}"
        )


if __name__ == "__main__":
    main()
