"""`saltus prepare [STUDY]`: corpora, tokenizer and shards, without Snakemake."""

import argparse
from pathlib import Path

from saltus.cli import stages
from saltus.cli.options import RESULTS, add_study, results_of, study_of
from saltus.files import read_json, sha256_of, write_json
from saltus.preflight import check_machine, check_texts
from saltus.workflow import Jobs

PREPARED = "prepared.json"
"""In a study's results: what this command made the shards from, and which shards they are."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_study(parser)


def asked(jobs: Jobs) -> list[str]:
    """Return what corpora, tokenizer and shards are made from."""
    return [*map(jobs.corpus, jobs.domains), jobs.tokenizer(), jobs.shards()]


def made_from(root: Path) -> list[str] | None:
    """Return what this command made the shards under `root` from; None if it did not make them."""
    path = root / PREPARED
    if not path.exists():
        return None
    made = read_json(path)
    manifest = root / "shards" / "manifest.json"
    return list(made["asked"]) if made["manifest"] == sha256_of(manifest) else None


def run(options: argparse.Namespace) -> None:
    """Build everything, from cached archives where there are any; the shards come last."""
    study = study_of(options)
    check_machine(study, RESULTS)
    check_texts(study)
    jobs, root = Jobs(study), results_of(study)
    folders = {domain: root / "corpus" / domain for domain in jobs.domains}
    for domain, folder in folders.items():
        stages.call(stages.corpus, folder, jobs.corpus(domain), cache=RESULTS / ".cache")
    training = [folders[domain] for domain in jobs.training_domains]
    tokenizer = root / "tokenizer"
    stages.call(stages.tokenizer, tokenizer, jobs.tokenizer(), input=training)
    shards, inputs = root / "shards", [*folders.values(), tokenizer]
    stages.call(stages.shards, shards, jobs.shards(), input=inputs)
    made = {"asked": asked(jobs), "manifest": sha256_of(shards / "manifest.json")}
    write_json(root / PREPARED, made)
    print(shards)
