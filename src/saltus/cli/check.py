"""`saltus check [STUDY]`: validate a study file and this machine; say what it is."""

import argparse

from saltus.cli.options import RESULTS, add_study, study_of
from saltus.preflight import check_machine, check_texts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_study(parser)


def run(options: argparse.Namespace) -> None:
    """Print one line if all is well; errors are raised."""
    study = study_of(options)
    check_machine(study, RESULTS)
    check_texts(study)
    runs = len(study.training.horizons) * sum(len(spec.replicas) for spec in study.train_specs())
    print(
        f"{study.name}: {len(study.family.sizes)} sizes, {len(study.train_specs())} jobs, "
        f"{runs} annealed models; nothing is wrong with it"
    )
