"""`saltus run [STUDY]`: a whole study as a plain loop, without Snakemake; called again, it goes on.

Shards, then for each block, longest first, training and probing, then tables, laws and figures: the
steps of `saltus prepare`, `train`, `probe` and `analyse`. Whether a block is trained, its state
decides, as in `saltus train`. What was probed and analysed, and of what, stands in
`results/<study>/run.json`: a step whose entry is still true is not done again.
"""

import argparse
import hashlib
import math
import sys
import time
from pathlib import Path
from typing import Any

from saltus.cli import analyse, prepare, stages, train
from saltus.cli.options import add_device, add_study, results_of, study_of
from saltus.cli.parser import number
from saltus.code import code_hash
from saltus.errors import SaltusError
from saltus.files import read_json, write_json
from saltus.model.count import flops_per_token
from saltus.plan import trained_tokens
from saltus.say import say
from saltus.train.spec import TrainSpec
from saltus.train.stop import Stop
from saltus.workflow import ANALYSIS, Jobs, canonical, stage_code


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_study(parser)
    add_device(parser)
    parser.add_argument(
        "--time-limit",
        type=number(0, math.inf),
        default=math.inf,
        metavar="SECONDS",
        help="begin nothing and train nothing after that; exit code 3",
    )
    parser.add_argument(
        "--only-tables",
        action="store_true",
        help="stop when all is trained and probed; saltus analyse does the rest elsewhere",
    )


def run(options: argparse.Namespace) -> None:
    """Do what is not done yet, in order, until the time limit."""
    study = study_of(options)
    jobs, root = Jobs(study), results_of(study)
    records = Records(root / "run.json")
    stop = Stop(time.monotonic() + options.time_limit)
    for name, size in study.family.sizes.items():
        if size.processes > 1:
            raise SaltusError(
                f"family.sizes.{name}.processes: found {size.processes}, expected 1 for saltus run "
                "(try snakemake, or torchrun with saltus train)"
            )
    if not has_shards(jobs, root):
        prepare.run(options)
    for spec in sorted(study.train_specs(), key=_flops, reverse=True):
        train.run(_only(spec, max(0.0, stop.deadline - time.monotonic()), options))
        if stopped := stop.asked():
            raise stopped
        _probe(jobs, spec, root, records, options.device or study.training.device)
    if options.only_tables:
        return
    if stopped := stop.asked():
        raise stopped
    _analyse(jobs, root, records, options)


def has_shards(jobs: Jobs, root: Path) -> bool:
    """Tell whether the shards under `root` are there and were made from what the study asks for.

    `saltus prepare` says what it made them from; of shards that Snakemake made, and sees to, only
    vocabulary, domains and split are known.
    """
    study, path = jobs.study, root / "shards" / "manifest.json"
    if not path.exists():
        return False
    if (made := prepare.made_from(root)) is not None:
        return made == prepare.asked(jobs)
    found = read_json(path)
    split = study.text.split
    shares = {"validation": split.validation, "test": split.test}
    return (
        found["vocabulary"] == study.tokenizer.vocabulary
        and set(found["domains"]) == set(study.text.domains)
        and all(math.isclose(found["shares"][name], share) for name, share in shares.items())
    )


class Records:
    """What was done of what: a JSON file of one fingerprint per step."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[str, str] = read_json(path) if path.exists() else {}

    def holds(self, step: str, fingerprint: str) -> bool:
        """Tell whether a step was done with just this."""
        return self.entries.get(step) == fingerprint

    def note(self, step: str, fingerprint: str) -> None:
        """Record that a step is done, at once and on disk."""
        self.entries[step] = fingerprint
        write_json(self.path, self.entries)


def fingerprint(*parts: Any) -> str:
    """Return a short hash of plain data."""
    return hashlib.sha256(canonical(parts).encode()).hexdigest()[:20]


def _flops(spec: TrainSpec) -> float:
    return float(flops_per_token(spec.shape)) * trained_tokens(spec) * len(spec.replicas)


def _only(spec: TrainSpec, seconds: float, options: argparse.Namespace) -> argparse.Namespace:
    """Return the options of `saltus train` for one block."""
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    one = {"size": [spec.size], "block": spec.block, "time_limit": seconds}
    return argparse.Namespace(**(vars(parser.parse_args([])) | vars(options) | one))


def _probed_of(jobs: Jobs, spec: TrainSpec, root: Path) -> str:
    """Return what the probe of a block depends on: its state, its horizons, the questions."""
    part = f"{spec.size}/block{spec.block}"
    state = read_json(root / "train" / part / "status.json")["state"]
    questions = jobs.probe(spec.size, spec.block)
    return fingerprint(state, questions, code_hash("saltus.probe.job"))


def _probe(jobs: Jobs, spec: TrainSpec, root: Path, records: Records, device: str) -> None:
    """Probe one trained block unless that was done of the same state."""
    part = f"{spec.size}/block{spec.block}"
    out, wanted = root / "probe" / part, _probed_of(jobs, spec, root)
    if records.holds(f"probe {part}", wanted) and (out / "items.parquet").exists():
        return
    stages.call(
        stages.probe,
        out,
        jobs.probe(spec.size, spec.block),
        shards=root / "shards",
        input=[root / "train" / part, root / "tokenizer"],
        device=device,
    )
    records.note(f"probe {part}", wanted)
    say(str(out), sys.stdout)


def _analyse(jobs: Jobs, root: Path, records: Records, options: argparse.Namespace) -> None:
    """Make tables, laws, figures and report unless they are of these probes already."""
    probes = [_probed_of(jobs, spec, root) for spec in jobs.study.train_specs()]
    asked = [jobs.prediction(), jobs.tables(), jobs.laws(), jobs.calibration()]
    wanted = fingerprint(probes, asked, [stage_code(stage) for stage in ANALYSIS])
    if records.holds("analysis", wanted) and (root / "report.html").exists():
        print(root / "report.html")
        return
    analyse.run(options)
    records.note("analysis", wanted)
