"""One GPU: share of its bf16 peak at 124M parameters, and replicas fused against one by one.

    python bench/gpu.py [--points 124m 100k 1m 10m] [--kernels compiled] [--rounds 9]

`124m` is the shape of GPT-2 small (12 layers of width 768, context 1,024, vocabulary 50,304). The
others train 16, 8 and 4 replicas as one program, and one replica alone in turns with it: R runs one
after the other make tokens at the rate of one. All in bf16 on random tokens; the peak is that of a
large bf16 matrix product, timed in the same rounds. Writes bench/gpu.csv.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import common
import numpy as np

from saltus.data.batches import Batches, Mixture
from saltus.data.writing import Alphabet
from saltus.model.count import count_parameters, flops_per_token
from saltus.train.spec import TrainSpec

POINTS: dict[str, dict[str, Any]] = {
    "124m": {"shape": (768, 12, 12), "replicas": 1, "context": 1024, "vocabulary": 50304},
    "100k": {"shape": (64, 2, 4), "replicas": 16, "context": 256, "vocabulary": 512, "target": 10},
    "1m": {"shape": (160, 3, 5), "replicas": 8, "context": 256, "vocabulary": 512, "target": 5},
    "10m": {"shape": (384, 6, 6), "replicas": 4, "context": 256, "vocabulary": 512, "target": 2},
}
BATCH_TOKENS = {"124m": 32768, "100k": 4096, "1m": 8192, "10m": 16384}
PEAK_SHARE_TARGET = 0.45
MATRIX_WIDTH = 8192


def spec_of(name: str, replicas: int) -> TrainSpec:
    """Return the block of a point with so many replicas, on text alone."""
    point = POINTS[name]
    width, depth, heads = point["shape"]
    blocks = [list(range(replicas))]
    study = common.bench_study(
        {name: {"width": width, "depth": depth, "heads": heads, "blocks": blocks}},
        batch_tokens=BATCH_TOKENS[name],
        vocabulary=point["vocabulary"],
        context=point["context"],
        precision="bf16",
    )
    mixture = Mixture({"random": 1.0}, (), 0.0, "")
    return dataclasses.replace(study.train_spec(name, 0), mixture=mixture)


def session(spec: TrainSpec, kernels: str) -> common.Advance:
    """Return a function that trains so many steps on the GPU and waits for them."""
    tokens = np.random.default_rng(0).integers(spec.shape.vocabulary, size=1 << 24, dtype=np.uint16)
    batches = Batches(
        spec.mixture,
        {"random": tokens},
        Alphabet((), {}, 0),
        seeds=tuple(replica.seed for replica in spec.replicas),
        rows=spec.rows,
        context=spec.shape.context,
    )
    return common.ours(spec, batches, kernels, "cuda")


def peak() -> common.Advance:
    """Return a function that does so many large bf16 matrix products and waits for them."""
    import torch

    shape = (MATRIX_WIDTH, MATRIX_WIDTH)
    left, right = (torch.randn(shape, device="cuda", dtype=torch.bfloat16) for _ in range(2))

    def advance(steps: int) -> None:
        for _ in range(steps):
            left @ right
        torch.cuda.synchronize()

    return advance


def measure(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """Return the row of one point."""
    import torch

    replicas = POINTS[name]["replicas"]
    spec = spec_of(name, replicas)
    sides: dict[str, tuple[common.Advance, float]] = {
        "fused": (session(spec, given.kernels), spec.batch_tokens * replicas),
        "peak": (peak(), 2.0 * MATRIX_WIDTH**3),
    }
    if replicas > 1:
        sides["alone"] = (session(spec_of(name, 1), given.kernels), spec.batch_tokens)
    steps = {}
    for side, (advance, _) in sides.items():
        common.timed(advance, given.warm_up)
        each = common.timed(advance, given.warm_up) / given.warm_up
        steps[side] = max(1, round(given.turn_seconds / each))
    rates: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(given.rounds):
        for side, (advance, units) in sides.items():
            rates[side].append(units * steps[side] / common.timed(advance, steps[side]))
    fused, best = float(np.median(rates["fused"])), float(np.median(rates["peak"]))
    share = fused * flops_per_token(spec.shape) / best
    row: dict[str, Any] = {
        "point": name,
        "kernels": given.kernels,
        "params_total": count_parameters(spec.shape).total,
        "params_nonembedding": count_parameters(spec.shape).nonembedding,
        "replicas": replicas,
        "batch_tokens": spec.batch_tokens,
        "context": spec.shape.context,
        "fused_tokens_per_second": fused,
        "alone_tokens_per_second": float(np.median(rates["alone"])) if replicas > 1 else None,
        "peak_share": share,
        "peak_share_target": PEAK_SHARE_TARGET if name == "124m" else None,
        "peak_bf16_flops": best,
        "ratio_target": POINTS[name].get("target"),
        "gpu": torch.cuda.get_device_name(),
        "peak_memory_bytes": torch.cuda.max_memory_allocated(),
    }
    names = ("ratio", "ratio_low", "ratio_high", "ratio_min", "ratio_max")
    nothing: dict[str, Any] = dict.fromkeys(names) | {"rounds": given.rounds}
    compared = common.compare(rates["fused"], rates["alone"]) if replicas > 1 else nothing
    return {**row, **compared, **common.surroundings()}


def main() -> None:
    """Measure every point and write the table; refuse where no GPU is."""
    parser = argparse.ArgumentParser(description="Share of the peak, and fused replicas.")
    parser.add_argument("--points", nargs="+", choices=POINTS, default=list(POINTS))
    parser.add_argument("--kernels", choices=["decided", *common.KERNELS], default="decided")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--turn-seconds", type=float, default=1.0)
    parser.add_argument("--warm-up", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    given = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("bench: gpu.py needs CUDA, and PyTorch sees none here")
    rows = []
    for name in given.points:
        torch.cuda.reset_peak_memory_stats()
        rows.append(measure(name, given))
        common.write_csv(given.out, rows)
        row = rows[-1]
        ratio = "" if row["ratio"] is None else f"  fused / one by one {row['ratio']:.1f}"
        print(
            f"{name:5} {row['fused_tokens_per_second']:12,.0f} tokens/s  "
            f"share of bf16 peak {row['peak_share']:.2f}{ratio}",
            flush=True,
        )


if __name__ == "__main__":
    main()
