"""`saltus plan [STUDY]`: each job's parameters, tokens, FLOPs and estimated time; runs nothing."""

import argparse
import os
from pathlib import Path

from saltus.cli.options import add_study, results_of, study_of
from saltus.files import read_json
from saltus.plan import makespan, measured_flops, plan
from saltus.study import Study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_study(parser)
    parser.add_argument("--cores", type=_count, default=os.cpu_count() or 1)


def _count(text: str) -> int:
    """Return a number of cores. Raises `ValueError`, which argparse turns into its own message."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def run(options: argparse.Namespace) -> None:
    """Print the plan."""
    study = study_of(options)
    matrix_flops = measured_flops()
    jobs = plan(study, matrix_flops, _measured_rates(results_of(study), study))
    print(f"{'size':<8}{'block':>6}{'seeds':>7}{'parameters':>12}{'non-emb.':>11}", end="")
    print(f"{'tokens':>11}{'FLOPs':>10}{'seconds':>10}")
    for job in jobs:
        print(
            f"{job.size:<8}{job.block:>6}{job.replicas:>7}{job.params_total:>12,}"
            f"{job.params_nonembedding:>11,}{job.tokens / 1e6:>10.2f}M{job.flops:>10.2e}"
            f"{job.seconds:>10.0f}{'' if job.measured else ' ~'}"
        )
    horizons = ", ".join(f"{horizon:,}" for horizon in study.training.horizons)
    print(
        f"\nhorizons {horizons} tokens; each trunk is trained once, each horizon annealed from it"
    )
    print(
        f"total {sum(job.tokens for job in jobs) / 1e6:.1f}M tokens, "
        f"{sum(job.flops for job in jobs):.2e} FLOPs, "
        f"{sum(job.seconds for job in jobs):,.0f} core-seconds; "
        f"about {makespan(jobs, options.cores) / 60:.1f} minutes of training on "
        f"{options.cores} cores"
    )
    if not all(job.measured for job in jobs):
        print(
            f"~ estimated from a matrix product timed here ({matrix_flops / 1e9:.0f} GFLOP/s); "
            "expect it to be off by up to a half"
        )


def _measured_rates(results: Path, study: Study) -> dict[str, float]:
    """Return the tokens/s (all replicas together) of the sizes that were trained here before."""
    rates = {}
    for size in study.family.sizes:
        path = results / "train" / size / "block0" / "status.json"
        if not path.exists():
            continue
        status = read_json(path)
        if status["spec"]["shape"] == study.resolved_shape(size):
            longest = max(status["runs"], key=lambda run: run["horizon"])
            rates[size] = longest["horizon"] / longest["seconds"]
    return rates
