"""What several commands share: how a study is named, and where its results lie."""

import argparse
from pathlib import Path

from saltus.errors import SaltusError
from saltus.preflight import study_path
from saltus.study import Study, load_study

RESULTS = Path("results")


def add_study(parser: argparse.ArgumentParser) -> None:
    """Declare the positional study: a name of `studies/`, a path, or nothing for config.yaml."""
    parser.add_argument(
        "study", nargs="?", help="a name in studies/, or a .yaml file (default: config.yaml)"
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Declare `--device`."""
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), help="where to run (default: the study's)"
    )


def listed(option: str, text: str | None) -> list[str]:
    """Return the names of a comma-separated list, each once; none if it was not given."""
    names = [part.strip() for part in (text or "").split(",") if part.strip()]
    if text is not None and not names:
        raise SaltusError(f"{option}: found '{text}', expected names of columns, as in a,b")
    return list(dict.fromkeys(names))


def study_of(options: argparse.Namespace) -> Study:
    """Return the validated study that the options name."""
    return load_study(study_path(options.study, Path()))


def results_of(study: Study) -> Path:
    """Return the folder of a study's results."""
    return RESULTS / study.name
