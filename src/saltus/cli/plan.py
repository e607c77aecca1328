"""`saltus plan [STUDY]`: each job's parameters, tokens, FLOPs, estimated time and memory.

It runs nothing and imports no torch. A time is of training alone: what probing takes was never
recorded, so it is left out.
"""

import argparse
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from saltus.cli.options import add_study, results_of, study_of
from saltus.cli.parser import whole
from saltus.device import gpu_is_there
from saltus.errors import SaltusError, StudyError, nearest
from saltus.files import read_json
from saltus.limits import memory_limit_bytes, num_cores
from saltus.plan import (
    GPUS,
    MAX_EPOCHS,
    Gpu,
    Machine,
    PlannedJob,
    makespan,
    measured_flops,
    plan,
    text_epochs,
)
from saltus.preflight import check_texts
from saltus.study import Study

ASSUMED_GPU = "h100"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_study(parser)
    parser.add_argument("--cores", type=whole(1), default=num_cores())
    parser.add_argument("--gpu", help=f"plan for a GPU that is elsewhere: {', '.join(GPUS)}")


def run(options: argparse.Namespace) -> None:
    """Print the plan."""
    study = study_of(options)
    results = results_of(study)
    machine, is_here = _machine(study, options.gpu)
    rates = _measured_rates(results, study, machine) if is_here else {}
    jobs = plan(study, machine, rates)
    _print_table(jobs, machine)
    _print_totals(study, jobs, machine, options.cores)
    _print_done(study, results)
    _print_epochs(study, results)
    if not all(job.measured for job in jobs):
        _print_doubt(study, machine, is_here)


def _print_table(jobs: Sequence[PlannedJob], machine: Machine) -> None:
    print(f"{'size':<8}{'block':>6}{'seeds':>7}{'parameters':>13}{'non-emb.':>13}", end="")
    print(f"{'tokens':>11}{'FLOPs':>10}{'seconds':>9}{'':<3}{'memory':>10}{'share':>7}")
    for job in jobs:
        share = job.memory_bytes / machine.memory_bytes
        print(
            f"{job.size:<8}{job.block:>6}{job.replicas:>7}{job.params_total:>13,}"
            f"{job.params_nonembedding:>13,}{job.tokens / 1e6:>10.2f}M{job.flops:>10.2e}"
            f"{job.seconds:>9.0f}{'' if job.measured else ' ~':<3}"
            f"{job.memory_bytes / 1e6:>7,.0f} MB{share:>7.1%}{' !' if share > 1 else ''}"
        )


def _print_totals(study: Study, jobs: list[PlannedJob], machine: Machine, cores: int) -> None:
    horizons = ", ".join(f"{horizon:,}" for horizon in study.training.horizons)
    print(
        f"\nhorizons {horizons} tokens; each trunk is trained once, each horizon annealed from it"
    )
    seconds = sum(job.seconds for job in jobs)
    if machine.gpu:
        longest = max(job.seconds for job in jobs)
        time = (
            f"about {seconds / 60:.1f} minutes of training on one {machine.gpu.name}, the longest "
            f"job {longest / 60:.1f}"
        )
    else:
        time = (
            f"{seconds:,.0f} core-seconds; about {makespan(jobs, cores) / 60:.1f} minutes of "
            f"training on {cores} core{'s' if cores > 1 else ''}"
        )
    print(
        f"total {sum(job.tokens for job in jobs) / 1e6:.1f}M tokens, "
        f"{sum(job.flops for job in jobs):.2e} FLOPs, {time}"
    )
    together = 1 if machine.gpu else min(cores, len(jobs))
    largest = sum(sorted((job.memory_bytes for job in jobs), reverse=True)[:together])
    what = "the largest job" if together == 1 else f"the {together} largest jobs together"
    print(
        f"memory {_size(largest)} for {what}, of {machine.memory_bytes / 1e9:.1f} GB; "
        f"states and checkpoints {_size(sum(job.disk_bytes for job in jobs))} on disk; "
        "probes, fits and figures are not counted"
    )
    if any(job.memory_bytes > machine.memory_bytes for job in jobs):
        print("! does not fit: fewer seeds in a block, or smaller training.batch_tokens")
    elif largest > machine.memory_bytes:
        print(f"these do not fit together: run fewer at a time than {cores}")


def _print_done(study: Study, results: Path) -> None:
    """Print how many of the jobs were trained with the spec that they have now."""
    specs = study.train_specs()
    done = 0
    for spec in specs:
        path = results / "train" / spec.size / f"block{spec.block}" / "status.json"
        done += path.exists() and read_json(path)["spec"] == json.loads(spec.to_json())
    if done:
        print(
            f"{done} of these {len(specs)} jobs were trained with these settings before; whether "
            "of this text and code, snakemake -n says"
        )


def _size(num_bytes: float) -> str:
    """Return bytes as MB, or as GB from one on."""
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.0f} MB"


def _print_epochs(study: Study, results: Path) -> None:
    """Print how often each horizon sees its text, once shards tell how long that is."""
    manifest = results / "shards" / "manifest.json"
    if not manifest.exists():
        try:
            check_texts(study)
        except StudyError as error:
            print(f"not to be run yet: {error}")
        print("epochs of text: not known before saltus prepare")
        return
    domains = read_json(manifest)["domains"]
    trained = {
        name: domains[name]["train"]["tokens"]
        for name, domain in study.text.domains.items()
        if domain.share > 0 and name in domains and "train" in domains[name]
    }
    if not trained:
        print("epochs of text: the shards are of another study; run saltus prepare again")
        return
    epochs = text_epochs(study, trained)
    print("epochs of text: " + ", ".join(f"{h:,} tokens {n:.2g}" for h, n in epochs.items()))
    if max(epochs.values()) > MAX_EPOCHS:
        print(
            f"warning: text is seen {max(epochs.values()):.1f} times; above {MAX_EPOCHS:g} the law "
            "needs its data-constrained form, or more text, a lower share, shorter horizons"
        )


def _print_doubt(study: Study, machine: Machine, is_here: bool) -> None:
    if machine.gpu:
        where = "" if is_here else "which is not here; "
        print(
            f"~ estimated for an {machine.gpu.name}, {where}from its data sheet and assumed shares "
            "of it: no GPU has been timed, expect a factor of two either way"
        )
        return
    print(
        f"~ estimated from a matrix product timed here ({machine.matrix_flops / 1e9:.0f} "
        "GFLOP/s); expect it to be off by up to a third"
    )
    if study.training.precision == "bf16":
        print("bf16 on a CPU is estimated as if it were fp32")


def _machine(study: Study, wanted: str | None) -> tuple[Machine, bool]:
    """Return what the study would run on, and whether it is this machine."""
    if wanted is not None:
        if wanted not in GPUS:
            raise SaltusError(
                f"--gpu: found '{wanted}', expected one of {', '.join(GPUS)}{nearest(wanted, GPUS)}"
            )
        return _with_gpu(GPUS[wanted]), False
    device = study.training.device
    if device == "cpu" or (device == "auto" and not gpu_is_there()):
        return Machine(measured_flops(), memory_limit_bytes()), True
    if not gpu_is_there():
        return _with_gpu(GPUS[ASSUMED_GPU]), False
    return _with_gpu(_gpu_here()), True


def _with_gpu(gpu: Gpu) -> Machine:
    return Machine(matrix_flops=0.0, memory_bytes=gpu.memory_bytes, gpu=gpu)


def _gpu_here() -> Gpu:
    """Return the data sheet of the first GPU here. Raises `SaltusError` for an unknown one."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise SaltusError(
            f"nvidia-smi does not say which GPU this is ({error}); name one like it: "
            f"--gpu {'|'.join(GPUS)}"
        ) from error
    name = said.splitlines()[0].strip()
    for part, gpu in GPUS.items():
        if part in name.lower():
            return gpu
    raise SaltusError(
        f"GPU: found '{name}', whose data sheet is not known; name one like it: "
        f"--gpu {'|'.join(GPUS)}"
    )


def _measured_rates(results: Path, study: Study, machine: Machine) -> dict[str, float]:
    """Return the tokens/s (all replicas together) of the sizes that were trained here before.

    A size counts if its architecture and the kind of device are those planned for.
    """
    rates = {}
    for size in study.family.sizes:
        path = results / "train" / size / "block0" / "status.json"
        if not path.exists():
            continue
        status = read_json(path)
        same_device = (status["device"] == "cpu") == (machine.gpu is None)
        if same_device and status["spec"]["shape"] == study.resolved_shape(size):
            longest = max(status["runs"], key=lambda run: run["horizon"])
            rates[size] = longest["horizon"] / longest["seconds"]
    return rates
