"""`saltus train [STUDY]`: train without Snakemake; called again, it goes on where it stopped."""

import argparse
import math
import sys
import time
from pathlib import Path

from saltus.cli.options import RESULTS, add_device, add_study, results_of, study_of
from saltus.cli.parser import number
from saltus.cli.progress import live_line
from saltus.code import code_hash
from saltus.device import is_first_process, resolve_device
from saltus.errors import SaltusError, nearest
from saltus.files import read_json
from saltus.preflight import check_machine
from saltus.say import say
from saltus.train.job import run_job, training_device
from saltus.train.stop import Stop


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_study(parser)
    parser.add_argument("--size", nargs="+", help="these sizes alone")
    parser.add_argument("--block", type=int, help="this replica block alone")
    add_device(parser)
    parser.add_argument(
        "--time-limit",
        type=number(0, math.inf),
        default=math.inf,
        metavar="SECONDS",
        help="stop and save then",
    )
    parser.add_argument("--tensorboard", type=Path, metavar="DIR", help="write its files there")


def run(options: argparse.Namespace) -> None:
    """Train every job that is not finished, the largest first."""
    study = study_of(options)
    for size in options.size or ():
        if size not in study.family.sizes:
            raise SaltusError(f"--size: no size '{size}'{nearest(size, study.family.sizes)}")
    root = results_of(study)
    if not (root / "shards" / "manifest.json").exists():
        raise SaltusError(f"{root / 'shards'}: missing; run saltus prepare first")
    check_machine(study, RESULTS)
    found = read_json(root / "shards" / "manifest.json")["vocabulary"]
    if found != study.tokenizer.vocabulary:
        raise SaltusError(
            f"{root / 'shards'}: found a vocabulary of {found}, expected the study's "
            f"{study.tokenizer.vocabulary}; run saltus prepare again"
        )
    blocks = {spec.block for spec in study.train_specs()}
    if options.block is not None and options.block not in blocks:
        raise SaltusError(f"--block: found {options.block}, expected 0 to {max(blocks)}")
    chosen = [
        spec
        for spec in reversed(study.train_specs())
        if (not options.size or spec.size in options.size) and options.block in (None, spec.block)
    ]
    code = code_hash("saltus.train.job")
    stop = Stop(time.monotonic() + options.time_limit)
    watch = live_line(options.tensorboard)
    with training_device(resolve_device(options.device or study.training.device)) as device:
        for spec in chosen:
            out = root / "train" / spec.size / f"block{spec.block}"
            states = RESULTS / ".state"
            run_job(spec, root / "shards", out, states, device, code, stop, watch)
            if is_first_process():
                say(str(out), sys.stdout)
