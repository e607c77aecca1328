"""`saltus prepare [STUDY]`: corpora, tokenizer and shards, without Snakemake."""

import argparse

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
        stages.call(stages.corpus, folder, jobs.corpus(domain), cache=RESULTS / ".cache")
    training = [folders[domain] for domain in jobs.training_domains]
    tokenizer = root / "tokenizer"
    stages.call(stages.tokenizer, tokenizer, jobs.tokenizer(), input=training)
    shards, inputs = root / "shards", [*folders.values(), tokenizer]
    stages.call(stages.shards, shards, jobs.shards(), input=inputs)
    print(shards)
