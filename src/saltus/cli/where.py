"""`saltus where [STUDY]`: where the figures and the report of a finished study are."""

import argparse

from saltus.cli.options import add_study, results_of, study_of
from saltus.errors import TableError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_study(parser)


def run(options: argparse.Namespace) -> None:
    """Print the two places."""
    results = results_of(study_of(options))
    report = results / "report.html"
    if not report.exists():
        raise TableError(f"{report}: not there yet; run the study first (make run)")
    print(f"figures  {(results / 'figures').resolve()}")
    print(f"report   {report.resolve()}")
