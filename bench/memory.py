"""Peak memory of a study's largest job, as the process that the Snakemake rule starts.

    python bench/memory.py [STUDY] [--steps 200]

The job is trained to its end, every snapshot and output written, unless `--steps` cuts its horizons
short; the peak is the system's own count of resident memory of that process, pages of memory-mapped
files included, and of the largest process it waited for. Writes bench/memory.csv.
"""

import argparse
import dataclasses
import os
import sys
import tempfile
import time
from pathlib import Path

import common

from saltus.code import code_hash
from saltus.model.count import count_parameters, flops_per_token
from saltus.plan import trained_tokens
from saltus.preflight import study_path
from saltus.study import Study, load_study
from saltus.train.spec import TrainSpec

TARGET_BYTES = 1_500_000_000


def largest(study: Study) -> TrainSpec:
    """Return the job of the most parameters, replicas counted."""
    specs = study.train_specs()
    return max(specs, key=lambda s: count_parameters(s.shape).total * len(s.replicas))


def cut(spec: TrainSpec, steps: int) -> TrainSpec:
    """Return the job with as many horizons, the longest of `steps` steps and none below 2."""
    share = steps / spec.steps(spec.horizons[-1])
    short = sorted({max(2, round(spec.steps(h) * share)) for h in spec.horizons})
    return dataclasses.replace(spec, horizons=tuple(s * spec.batch_tokens for s in short))


def peak_bytes(spec: TrainSpec, shards: Path, folder: Path) -> tuple[int, float]:
    """Return the peak resident memory and the seconds of a training process."""
    command = [sys.executable, "-m", "saltus", "stage", "train", "--spec", spec.to_json()]
    command += ["--code", code_hash("saltus.train.job"), "--shards", str(shards)]
    command += ["--states", str(folder / "state"), "--device", "cpu", "--out", str(folder / "out")]
    begun = time.perf_counter()
    process = os.posix_spawn(sys.executable, command, os.environ | common.ENVIRONMENT)
    _, status, usage = os.wait4(process, 0)
    if status:
        raise SystemExit(f"bench: the job ended with status {status}")
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return usage.ru_maxrss * unit, time.perf_counter() - begun


def main() -> None:
    """Train the largest job and write its peak."""
    parser = argparse.ArgumentParser(description="Peak memory of a study's largest job.")
    parser.add_argument("study", nargs="?", help="a name in studies/, or a .yaml file")
    parser.add_argument("--steps", type=int, help="cut the longest horizon to so many steps")
    parser.add_argument("--work", type=Path, default=common.ROOT / "results" / "bench")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    given = parser.parse_args()
    study = load_study(study_path(given.study, common.ROOT))
    shards = common.prepare(study, given.work / f"grid-{study.name}")
    spec = largest(study)
    if given.steps:
        spec = cut(spec, given.steps)
    with tempfile.TemporaryDirectory() as folder:
        peak, seconds = peak_bytes(spec, shards.resolve(), Path(folder))
    row = {
        "study": study.name,
        "size": spec.size,
        "replicas": len(spec.replicas),
        "params_total": count_parameters(spec.shape).total,
        "tokens": trained_tokens(spec),
        "flops": float(flops_per_token(spec.shape)) * trained_tokens(spec) * len(spec.replicas),
        "run": "whole job" if not given.steps else f"cut to {given.steps} steps",
        "peak_bytes": peak,
        "target_bytes": TARGET_BYTES,
        "seconds": seconds,
        **common.surroundings(),
    }
    common.write_csv(given.out, [row])
    print(f"{spec.size}, {row['run']}: peak {peak / 1e6:,.0f} MB of {TARGET_BYTES / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
