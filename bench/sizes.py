"""The rate of every size of a study, by kernels, on this machine's CPU or GPU.

    python bench/sizes.py STUDY [--device cuda] [--kernels eager graphed compiled] [--sizes g1 g7]
                                [--profile 5]

The study's shards must be there (`saltus prepare STUDY`). Every row is the first block of a size,
its own data included: seconds to the first steps, milliseconds a step (the median of the rounds),
tokens a second, FLOP/s and peak memory. Those rates are what `saltus plan` should know of a
machine. `--profile` prints which operations take the time of so many further steps. Writes
sizes.csv.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import common

from saltus.errors import SaltusError, nearest
from saltus.model.count import count_parameters, flops_per_token
from saltus.preflight import study_path
from saltus.study import Study, load_study
from saltus.train.job import batches_of, device_name
from saltus.train.memory import begin_measuring, peak_memory_bytes
from saltus.train.trainer import STEPS_BEFORE_RECORDING

OPERATIONS = 14
"""Of a profile's table."""


def measure(study: Study, size: str, kernels: str, given: argparse.Namespace) -> dict[str, Any]:
    """Return the row of one size and kind of kernels; print its profile if asked for."""
    import torch

    device = torch.device(given.device)
    if device.type == "cpu":
        common.set_threads("kept")
    begin_measuring(device)
    spec = study.train_spec(size, 0)
    batches = batches_of(spec, given.results / study.name / "shards")
    began = time.perf_counter()
    trainer = common.trainer_of(spec, batches, kernels, given.device)
    advance = common.steps_of(trainer)
    advance(given.warm_up)
    first = time.perf_counter() - began
    turn = max(1, round(given.turn_seconds * given.warm_up / common.timed(advance, given.warm_up)))
    each = [common.timed(advance, turn) / turn for _ in range(given.rounds)]
    step = statistics.median(each)
    rate = spec.batch_tokens * len(spec.replicas) / step
    row = {
        "size": size,
        "kernels": trainer.engine.kernels,
        "engine": repr(trainer.engine),
        "params_nonembedding": count_parameters(spec.shape).nonembedding,
        "replicas": len(spec.replicas),
        "batch_tokens": spec.batch_tokens,
        "precision": spec.precision,
        "first_seconds": first,
        "step_ms": 1000 * step,
        "step_ms_min": 1000 * min(each),
        "step_ms_max": 1000 * max(each),
        "rounds": given.rounds,
        "tokens_per_second": rate,
        "flops": rate * flops_per_token(spec.shape),
        "peak_memory_bytes": peak_memory_bytes(device),
        "device": device_name(device),
    }
    if given.profile:
        activities = [torch.profiler.ProfilerActivity.CPU]
        if device.type == "cuda":
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        with torch.profiler.profile(activities=activities) as profile:
            advance(given.profile)
        order = f"self_{device.type}_time_total"
        print(profile.key_averages().table(sort_by=order, row_limit=OPERATIONS))
    return {**row, **common.surroundings()}


def main() -> None:
    """Measure every size with every kind of kernels and write the table."""
    parser = argparse.ArgumentParser(description="The rate of every size of a study.")
    parser.add_argument("study", help="a file, or the name of one under studies/")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--kernels", nargs="+", choices=["decided", *common.KERNELS])
    parser.add_argument("--sizes", nargs="+")
    parser.add_argument("--results", type=Path, default=common.ROOT / "results")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turn-seconds", type=float, default=1.0)
    parser.add_argument("--warm-up", type=int, default=6, help="steps before the first turn")
    parser.add_argument("--profile", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    given = parser.parse_args()
    import torch

    if given.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("bench: --device cuda, and PyTorch sees no GPU here")
    if given.warm_up <= STEPS_BEFORE_RECORDING:
        raise SystemExit(
            f"bench: --warm-up: found {given.warm_up}, expected more than "
            f"{STEPS_BEFORE_RECORDING}: no step is recorded before"
        )
    try:
        study = load_study(study_path(given.study, common.ROOT))
    except SaltusError as error:
        raise SystemExit(f"bench: {error}") from error
    shards = given.results / study.name / "shards"
    if not (shards / "manifest.json").exists():
        raise SystemExit(f"bench: {shards}: missing; run saltus prepare {given.study} first")
    if unknown := [size for size in given.sizes or () if size not in study.family.sizes]:
        hint = nearest(unknown[0], study.family.sizes)
        raise SystemExit(f"bench: --sizes: no size '{unknown[0]}'{hint}")
    rows: list[dict[str, Any]] = []
    for size in given.sizes or study.family.sizes:
        for kernels in given.kernels or ["decided"]:
            row = measure(study, size, kernels, given)
            first = next((each for each in rows if each["size"] == size), row)
            rows.append(row)
            common.write_csv(given.out, rows)
            print(
                f"{size:6} {row['kernels']:9} first {row['first_seconds']:5.1f} s, "
                f"step {row['step_ms']:8.2f} ms, {row['tokens_per_second']:11,.0f} tokens/s "
                f"({row['tokens_per_second'] / first['tokens_per_second']:5.2f} times "
                f"{first['kernels']}), {row['flops'] / 1e12:7.3f} TFLOP/s, "
                f"{row['peak_memory_bytes'] / 1e9:.1f} GB",
                flush=True,
            )


if __name__ == "__main__":
    main()
