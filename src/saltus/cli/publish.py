"""`saltus publish [STUDY]`: copy a finished study's small tables and figures to results/reference.

No rule reads or writes there: the reference is what a paper or a README quotes.
"""

import argparse
import shutil
from pathlib import Path

from saltus.cli.options import RESULTS, add_study, results_of, study_of
from saltus.errors import TableError
from saltus.figure.tables import load_tables

MAX_TABLE_BYTES = 3_000_000
TABLES = (
    "runs",
    "losses",
    "curves",
    "scores",
    "thresholds",
    "calibration",
    "calibration_shift",
    "calibration_deltas",
    "reliability",
    "calibration_sizes",
    "reliability_curves",
    "risk_curves",
    "rates",
    "foretold",
    "seeds",
    "breakdown",
)
DOCUMENTS = (
    "laws.json", "prediction.json", "emergence.json", "calibration.json", "study.json",
    "machine.json", "rates.json",
)  # fmt: skip
OPTIONAL = ("rates", "rates.json", "prediction.json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_study(parser)


def run(options: argparse.Namespace) -> None:
    """Copy everything beside its final place, then put it there at once."""
    study = study_of(options)
    source, target = results_of(study), RESULTS / "reference" / study.name
    names = [f"tables/{name}.parquet" for name in TABLES] + list(DOCUMENTS)
    optional = {f"tables/{name}.parquet" for name in OPTIONAL} | set(OPTIONAL)
    missing = [name for name in names if not (source / name).exists() and name not in optional]
    if missing:
        raise TableError(f"{source / missing[0]}: missing; finish the study first (make run)")
    present = [name for name in names if (source / name).exists()]
    large = [
        name
        for name in present
        if name.startswith("tables/") and (source / name).stat().st_size > MAX_TABLE_BYTES
    ]
    if large:
        size = (source / large[0]).stat().st_size
        raise TableError(
            f"{source / large[0]}: found {size / 1e6:.1f} MB, expected at most "
            f"{MAX_TABLE_BYTES / 1e6:.0f} MB in the reference"
        )
    load_tables(source)
    figures = sorted(path.relative_to(source) for path in (source / "figures").glob("*.*g"))
    if not figures:
        raise TableError(f"{source / 'figures'}: no figures; finish the study first (make run)")
    temporary = target.with_name(f".{target.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    for name in [*map(Path, present), *figures]:
        (temporary / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, temporary / name)
    _replace(target, temporary)
    print(f"{target}: {len(present)} tables and documents, {len(figures)} figure files")


def _replace(target: Path, new: Path) -> None:
    """Put the folder `new` in the place of `target`; a failure leaves the old one there."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    try:
        new.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
