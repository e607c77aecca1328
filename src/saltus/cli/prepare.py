"""`saltus prepare [STUDY]`: corpora, tokenizer and shards, without Snakemake."""

import argparse
import json
from pathlib import Path
from types import SimpleNamespace

from saltus.cli import stages
from saltus.cli.options import RESULTS, add_study, results_of, study_of
from saltus.preflight import check_machine
from saltus.workflow import Jobs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_study(parser)


def run(options: argparse.Namespace) -> None:
    """Build everything, from cached archives where there are any; the shards come last."""
    study = study_of(options)
    check_machine(study, RESULTS)
    jobs, root = Jobs(study), results_of(study)
    folders = {domain: root / "corpus" / domain for domain in jobs.domains}
    for domain, folder in folders.items():
        _call(stages.corpus, jobs.corpus(domain), folder, cache=RESULTS / ".cache")
    training = [folders[domain] for domain in jobs.training_domains]
    tokenizer = root / "tokenizer"
    _call(stages.tokenizer, jobs.tokenizer(), tokenizer, input=training)
    _call(stages.shards, jobs.shards(), root / "shards", input=[*folders.values(), tokenizer])
    print(root / "shards")


def _call(stage: object, spec: str, out: Path, **options: object) -> None:
    assert callable(stage)
    stage(SimpleNamespace(spec=json.loads(spec), out=out, **options))
