"""Training rate on one core against the nanoGPT-style loop, and the share of the matrix peak.

    python bench/rate.py [--sizes n15k n40k] [--modes eager compiled] [--rounds 9]

Both sides train models of the same width, depth and heads on the same tokens per step and model;
ours trains the study's replicas at once, the peer one model. Ours reads shards and writes its
arithmetic as it goes; the peer reads a memory-mapped file. Each side is a process of its own on the
same core with one thread, in turns. Writes bench/rate.csv after every point; rows of points that
are not asked for stay.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import common
import numpy as np
from peers import nanogpt

from saltus.model.count import count_parameters, flops_per_token
from saltus.study import Study
from saltus.train.job import batches_of
from saltus.train.spec import TrainSpec

SIZES: dict[str, dict[str, int]] = {
    "n15k": {"width": 24, "depth": 2, "heads": 2, "replicas": 5, "batch": 512},
    "n40k": {"width": 40, "depth": 2, "heads": 2, "replicas": 5, "batch": 512},
    "n37k": {"width": 32, "depth": 3, "heads": 2, "replicas": 5, "batch": 512},
    "n180k": {"width": 64, "depth": 4, "heads": 4, "replicas": 5, "batch": 512},
    "n900k": {"width": 160, "depth": 3, "heads": 5, "replicas": 3, "batch": 1024},
    "n3m": {"width": 256, "depth": 4, "heads": 8, "replicas": 2, "batch": 1024},
}
LARGE = ("n900k", "n3m")
SMALL = ("n15k", "n37k", "n40k")

MODES = {  # kernels of ours and of the peer, precision of ours and of the peer
    "native": ("native", "eager", "fp32", "fp32"),
    "native/compiled": ("native", "compiled", "fp32", "fp32"),
    "eager": ("eager", "eager", "fp32", "fp32"),
    "eager/compiled": ("eager", "compiled", "fp32", "fp32"),
    "compiled": ("compiled", "compiled", "fp32", "fp32"),
    "bf16/fp32": ("eager", "eager", "bf16", "fp32"),
    "bf16/bf16": ("eager", "eager", "bf16", "bf16"),
}
"""Ours before the stroke, the peer after it. A CPU job of ours is native where there is a C
compiler, else eager; none is compiled by PyTorch, which costs more than it gives."""
USUAL = ("native", "native/compiled", "eager")
"""What any processor is measured in; bf16 is for those that have such products."""


def study_of(
    size: str, precision: str, replicas: int | None = None, horizon: int | None = None
) -> Study:
    """Return the study of our one block of a size."""
    asked = SIZES[size]
    shape = {name: asked[name] for name in ("width", "depth", "heads")}
    sizes = {size: {**shape, "blocks": [list(range(replicas or asked["replicas"]))]}}
    return common.bench_study(
        sizes, batch_tokens=asked["batch"], precision=precision, horizon=horizon
    )


def spec_of(size: str, precision: str) -> TrainSpec:
    """Return our block of a size."""
    return study_of(size, precision).train_spec(size, 0)


def options_of(size: str, precision: str, kernels: str) -> nanogpt.Options:
    """Return the peer's model of a size: as wide, as deep, as many heads and tokens a step."""
    spec = spec_of(size, "fp32")
    shape = spec.shape
    return nanogpt.Options(
        width=shape.width,
        depth=shape.depth,
        heads=shape.heads,
        steps=1 << 20,
        vocabulary=shape.vocabulary,
        context=shape.context,
        batch=spec.batch_tokens,
        rate=spec.replicas[0].rate,
        warmup=spec.warmup_steps,
        precision=precision,
        compiled=kernels == "compiled",
    )


def make(point: dict[str, Any]) -> tuple[common.Advance, int]:
    """Return the step function of a worker and the tokens of a step, all replicas together."""
    if point["side"] == "peak":
        return common.peak_work(point["precision"])
    shards = Path(point["shards"])
    if point["side"] == "ours":
        spec = spec_of(point["size"], point["precision"])
        tokens = spec.batch_tokens * len(spec.replicas)
        return common.ours(spec, batches_of(spec, shards), point["kernels"]), tokens
    options = options_of(point["size"], point["precision"], point["kernels"])
    _, step_once = nanogpt.make_step(shards / "markov-train.bin", options)
    done = 0

    def advance(steps: int) -> None:
        nonlocal done
        for _ in range(steps):
            loss = step_once(done)
            if done % options.log_every == 0:
                loss.item()
            done += 1

    return advance, options.batch


def target(size: str, mode: str) -> float:
    """Return the ratio that is asked for."""
    if size in LARGE and "bf16" in mode:
        return 1.5
    return 1.3 if size in SMALL else 1.0


def measure(size: str, mode: str, shards: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Return the row of one size in one mode."""
    our_kernels, peer_kernels, our_precision, peer_precision = MODES[mode]
    shared = {"size": size, "shards": str(shards)}
    allocator = given.peer_allocator
    sides = {
        "ours": {**shared, "kernels": our_kernels, "precision": our_precision, "allocator": "kept"},
        "peer": {
            **shared,
            "kernels": peer_kernels,
            "precision": peer_precision,
            "allocator": allocator,
        },
        "peak": {"precision": "fp32", "allocator": "kept"},
    }
    workers = common.take_turns(__file__, sides, given)
    ours, peer, peak = (workers[side] for side in sides)
    spec, options = spec_of(size, our_precision), options_of(size, peer_precision, peer_kernels)
    flops = {"ours": flops_per_token(spec.shape), "peer": nanogpt.flops_per_token(options)}
    best = float(np.median(peak.rates))
    our_rate, peer_rate = float(np.median(ours.rates)), float(np.median(peer.rates))
    return {
        "size": size,
        "mode": mode,
        "width": spec.shape.width,
        "depth": spec.shape.depth,
        "heads": spec.shape.heads,
        "ours_params_nonembedding": count_parameters(spec.shape).nonembedding,
        "peer_params_nonembedding": nanogpt.num_parameters(options),
        "ours_replicas": len(spec.replicas),
        "batch_tokens": spec.batch_tokens,
        "ours_tokens_per_second": our_rate,
        "peer_tokens_per_second": peer_rate,
        **common.compare(ours.rates, peer.rates),
        "target": target(size, mode),
        "ours_peak_share": our_rate * flops["ours"] / best,
        "peer_peak_share": peer_rate * flops["peer"] / best,
        "peak_fp32_flops": best,
        "ours_start_seconds": ours.first_seconds,
        "peer_start_seconds": peer.first_seconds,
        "turn_seconds": given.turn_seconds,
        "ours_allocator": "kept",
        "peer_allocator": given.peer_allocator,
        **common.surroundings(),
    }


def in_order(point: tuple[str, str]) -> tuple[int, int]:
    """Return the place of a (size, mode) in the table."""
    return list(SIZES).index(point[0]), list(MODES).index(point[1])


def main() -> None:
    """Measure every size in every mode and write the table."""
    parser = argparse.ArgumentParser(description="Training rate on one core.")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(USUAL))
    common.add_options(parser, __file__)
    parser.add_argument("--peer-allocator", choices=["default", "kept"], default="default")
    given = parser.parse_args()
    shards = common.bench_shards(given.work)
    rows = common.rows_of(given.out)
    for size in given.sizes:
        for mode in given.modes:
            row = measure(size, mode, shards, given)
            rows[size, mode] = row
            common.write_csv(given.out, [rows[key] for key in sorted(rows, key=in_order)])
            print(
                f"{size:6} {mode:19} ours {row['ours_tokens_per_second']:9,.0f} "
                f"peer {row['peer_tokens_per_second']:9,.0f} tokens/s  ratio {row['ratio']:.2f} "
                f"[{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]  share of peak "
                f"{row['ours_peak_share']:.2f} {row['peer_peak_share']:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        point, turns = common.enter()
        common.serve(*make(point), turns)
    else:
        main()
