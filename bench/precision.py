"""Is bf16 a choice that a study may take on this machine? Its speed, and its losses beside fp32's.

    python bench/precision.py [--sizes n15k n40k] [--seeds 5] [--tokens 196608]

Speed: one block of seeds trains in both precisions, a process each, in turns as in bench/rate.py.
Losses: the same block, with the same data order and initial weights, is trained to its annealed end
in each precision by the command of the Snakemake rule, and scored in fp32 on the same held-out
text. What is judged is the difference of a seed to itself, against the spread between seeds: a
study's seeds differ by that spread anyway. Writes bench/precision.csv, a row per size.

Without bfloat16 products in the processor, bf16 is several times slower than fp32, and its products
are emulated: the losses are those of this machine.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import common
import grid
import numpy as np
import rate
from scipy import stats

from saltus.model.count import count_parameters
from saltus.study import Study
from saltus.train.job import batches_of

PRECISIONS = ("fp32", "bf16")
TOKENS = 196_608
"""A horizon of the default study, at which these sizes have left the unigram loss behind."""


def study_of(size: str, precision: str, given: argparse.Namespace) -> Study:
    """Return the study of one size in one precision; nothing else differs between the two."""
    return rate.study_of(size, precision, given.seeds, given.tokens)


# ---------------------------------------------------------------------------- statistics


def judge_losses(fp32: Sequence[float], bf16: Sequence[float]) -> dict[str, Any]:
    """Return the mean paired difference bf16 - fp32 of losses (n,), its error, and the verdict.

    A loss of a seed that diverged is NaN; its pair is left out and counted. The interval is a 95 %
    t-interval over the `pairs` left. `equal_within_seed_spread` asks that all of it lies within
    one standard deviation of the fp32 seeds, and that no seed diverged in bf16 alone.
    """
    full, low = np.asarray(fp32, dtype=float), np.asarray(bf16, dtype=float)
    lost = {"fp32_diverged": np.isnan(full), "bf16_diverged": np.isnan(low)}
    kept = ~lost["fp32_diverged"] & ~lost["bf16_diverged"]
    n = int(kept.sum())
    nan = math.nan
    mean = error = half = spread = low_spread = nan
    if n > 1:
        differences = (low - full)[kept]
        mean = float(differences.mean())
        error = float(differences.std(ddof=1)) / math.sqrt(n)
        half = float(stats.t.ppf(0.975, n - 1)) * error
        spread, low_spread = (float(side[kept].std(ddof=1)) for side in (full, low))
    only_low = bool((lost["bf16_diverged"] & ~lost["fp32_diverged"]).any())
    return {
        "pairs": n,
        **{name: int(seeds.sum()) for name, seeds in lost.items()},
        "fp32_loss_mean": float(full[kept].mean()) if n else nan,
        "bf16_loss_mean": float(low[kept].mean()) if n else nan,
        "fp32_loss_std": spread,
        "bf16_loss_std": low_spread,
        "difference": mean,
        "difference_error": error,
        "difference_low": mean - half,
        "difference_high": mean + half,
        "difference_in_spreads": mean / spread if spread > 0 else nan,
        "equal_within_seed_spread": abs(mean) + half <= spread and not only_low,
    }


def pays(compared: dict[str, float]) -> bool:
    """Tell whether the whole interval of bf16's rate over fp32's lies above 1."""
    return compared["ratio_low"] > 1


# ---------------------------------------------------------------------------- measurements


def bf16_support() -> dict[str, Any]:
    """Return what PyTorch says of bfloat16 on this processor, `unknown` where it cannot say."""
    import torch

    def said(ask: Callable[[], bool]) -> bool | str:
        try:
            return ask()
        except (AttributeError, RuntimeError):  # internal to PyTorch, and not in every build
            return "unknown"

    return {
        "avx512_bf16": said(lambda: torch.cpu._is_avx512_bf16_supported()),
        "mkldnn_bf16": said(lambda: torch.ops.mkldnn._is_mkldnn_bf16_supported()),
    }


def make(point: dict[str, Any]) -> tuple[common.Advance, int]:
    """Return the step function of a worker and the tokens of a step, all seeds together."""
    study = rate.study_of(point["size"], point["side"], point["seeds"])
    spec = study.train_spec(point["size"], 0)
    advance = common.ours(spec, batches_of(spec, Path(point["shards"])), "decided")
    return advance, spec.batch_tokens * len(spec.replicas)


def losses_of(study: Study, size: str, shards: Path) -> tuple[list[float], float]:
    """Train a block to its annealed end; return the seeds' held-out losses and the seconds.

    The job's live line goes to standard error. A seed that diverged has a loss of NaN.
    """
    with tempfile.TemporaryDirectory() as folder:
        task = grid.stage_train(study.train_spec(size, 0), shards, Path(folder))
        begun = time.perf_counter()
        subprocess.run(task.command, check=True, env=os.environ | common.ENVIRONMENT)
        seconds = time.perf_counter() - begun
        runs = grid.our_losses([task], study, "markov", shards)
    fine = runs["status"] == "ok"
    return list(runs["loss_text"].where(fine)), seconds


def measure(size: str, shards: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Return the row of one size."""
    point = {"size": size, "shards": str(shards), "seeds": given.seeds, "allocator": "kept"}
    print(f"{size}: {given.rounds} rounds of both precisions in turns", flush=True)
    workers = common.take_turns(__file__, dict.fromkeys(PRECISIONS, point), given)
    rates = {side: worker.rates for side, worker in workers.items()}
    compared = common.compare(rates["bf16"], rates["fp32"])
    losses, seconds = {}, {}
    for side in PRECISIONS:
        print(f"{size}: {given.seeds} seeds in {side}, {given.tokens:,} tokens each", flush=True)
        losses[side], seconds[side] = losses_of(study_of(size, side, given), size, shards)
    study = study_of(size, "fp32", given)
    spec = study.train_spec(size, 0)
    return {
        "size": size,
        "width": spec.shape.width,
        "depth": spec.shape.depth,
        "heads": spec.shape.heads,
        "params_nonembedding": count_parameters(spec.shape).nonembedding,
        "seeds": len(spec.replicas),
        "batch_tokens": spec.batch_tokens,
        **{f"{side}_tokens_per_second": float(np.median(rates[side])) for side in PRECISIONS},
        **compared,
        "pays": pays(compared),
        "tokens": spec.horizons[0],
        "anneal": spec.anneal,
        "held_out_tokens": study.probe.text_tokens,
        **judge_losses(losses["fp32"], losses["bf16"]),
        **{f"{s}_losses": " ".join(f"{loss:.6f}" for loss in losses[s]) for s in PRECISIONS},
        **{f"{side}_seconds": seconds[side] for side in PRECISIONS},
        "turn_seconds": given.turn_seconds,
        **bf16_support(),
        **common.surroundings(),
    }


def main() -> None:
    """Measure every size and write the table."""
    parser = argparse.ArgumentParser(description="bf16 beside fp32: speed and losses.")
    parser.add_argument("--sizes", nargs="+", choices=rate.SIZES, default=["n15k", "n40k"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=TOKENS, help="of each seed")
    common.add_options(parser, __file__)
    given = parser.parse_args()
    if given.seeds < 2:
        parser.error(f"--seeds: found {given.seeds}, expected 2 or more")
    for size in given.sizes:
        study_of(size, "bf16", given)  # raises before anything is measured
    common.pin(given.core)
    shards = common.bench_shards(given.work).resolve()
    rows = []
    for size in given.sizes:
        rows.append(row := measure(size, shards, given))
        common.write_csv(given.out, rows)
        print(
            f"{size:6} bf16 / fp32 rate {row['ratio']:.3f} "
            f"[{row['ratio_low']:.3f}, {row['ratio_high']:.3f}]  loss bf16 - fp32 "
            f"{row['difference']:+.5f} [{row['difference_low']:+.5f}, "
            f"{row['difference_high']:+.5f}] of a seed spread of {row['fp32_loss_std']:.5f}  "
            f"equal {row['equal_within_seed_spread']}, pays {row['pays']}",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        point, turns = common.enter()
        common.serve(*make(point), turns)
    else:
        main()
