"""`saltus law TABLE`: a law of anybody's runs, with its certificate and its doubt. No torch.

Reads a table or a finished study's folder; writes only where it is told to.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from saltus.cli.foreign import check_picture, read_foreign
from saltus.cli.law_text import told
from saltus.errors import SaltusError, TableError, nearest
from saltus.files import write_bytes, write_json
from saltus.law.columns import ROLE_OF, ROLES, parse_columns
from saltus.law.conventions import conventions
from saltus.law.criterion import LOSSES, RESIDUALS, Criterion
from saltus.law.describe import describe
from saltus.law.doubt import INTERVALS
from saltus.law.forms import FORMS, ONE_VARIABLE, Form
from saltus.law.summary import plain
from saltus.law.table import Rows, read_rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("table", type=Path, metavar="TABLE", help="a .csv, .parquet or .jsonl, or a study's folder")
    add(
        "--columns",
        metavar="ROLE=COLUMN,...",
        help="which column is what: " + "; ".join(
            f"{role} (else {', '.join(names)})" for role, names in ROLES.items()
        ),
    )  # fmt: skip
    add("--where", metavar="CONDITION", help="rows to keep, as in \"mode == 'train'\"")
    add("--form", default="chinchilla", metavar="FORM", help=", ".join(FORMS))
    add("--variable", metavar="N|D|C", help="the variable of a form in one: N, D or C (default: C)")
    add("--loss", default="huber", metavar="LOSS", help=", ".join(LOSSES) + " (default: huber)")
    add("--delta", type=float, default=1e-3, help="Huber's delta (default: 0.001)")
    add(
        "--over",
        type=float,
        default=10.0,
        help="how often the asymmetric loss counts over-prediction (default: 10)",
    )
    add("--residual", default="log", metavar="log|raw", help="of log loss or of the loss itself")
    add(
        "--interval",
        metavar="|".join(INTERVALS),
        help="default: jackknife where sizes have seeds, else a bootstrap of rows",
    )
    add("--bootstrap", type=int, default=4000, metavar="NUM", help="resamples (default: 4000)")
    add("--cluster", metavar="COLUMN", help="rows that belong together, for any interval")
    add("--seed", type=int, default=0, help="of starts and resamples (default: 0)")
    add(
        "--conventions",
        action="store_true",
        help="how exponents move with what N and C count (total, non-embedding, exact, 6ND)",
    )
    add("--json", type=Path, metavar="OUT.json", help="write all numbers there")
    add("--figure", type=Path, metavar="OUT.svg|OUT.png", help="draw the law and its residuals")


def run(options: argparse.Namespace) -> None:
    """Fit, write what was asked for, print. Raises `SaltusError` in one line."""
    form, criterion = _form(options), _criterion(options)
    check_picture(options.figure)
    interval = options.interval
    if interval is not None:
        _one_of("--interval", interval, INTERVALS)
    if options.seed < 0:
        raise SaltusError(f"--seed: found {options.seed}, expected a whole number from 0 on")
    if options.bootstrap < 100:
        raise SaltusError(
            f"--bootstrap: found {options.bootstrap}, expected at least 100 resamples"
        )
    frame = read_foreign(options.table)
    try:
        rows = read_rows(
            frame,
            form,
            columns=parse_columns(options.columns),
            where=options.where,
            cluster=options.cluster,
        )
    except TableError as error:
        raise TableError(f"{options.table}: {error}") from error
    found, fitted, doubt = describe(
        rows, form, criterion=criterion, interval=interval, num=options.bootstrap, seed=options.seed
    )
    if options.conventions:
        try:
            found["conventions"] = conventions(rows, criterion=criterion, seed=options.seed)
        except (TableError, KeyError) as error:
            raise TableError(f"{options.table}: {error}") from error
    if options.json is not None:
        write_json(options.json, plain(found))
    if options.figure is not None:
        _draw(options.figure, rows, fitted, doubt)
    print("\n".join(told(str(options.table), rows, found)))


def _form(options: argparse.Namespace) -> Form:
    _one_of("--form", options.form, FORMS)
    if options.form in ONE_VARIABLE:
        variable = options.variable or "C"
        _one_of("--variable", variable, [name for name in ROLE_OF if name != "U"])
        return ONE_VARIABLE[options.form](variable)
    if options.variable is not None:
        raise SaltusError(
            f"--variable: found '{options.variable}', but {options.form} has its own; it is for "
            f"--form {' or '.join(ONE_VARIABLE)}"
        )
    return FORMS[options.form]


def _criterion(options: argparse.Namespace) -> Criterion:
    _one_of("--loss", options.loss, LOSSES)
    _one_of("--residual", options.residual, RESIDUALS)
    for name in ("delta", "over"):
        if not 0 < getattr(options, name) < float("inf"):
            raise SaltusError(
                f"--{name}: found {getattr(options, name):g}, expected a positive number"
            )
    return Criterion(options.loss, options.delta, options.residual, options.over)


def _one_of(option: str, value: str, choices: Any) -> None:
    if value not in choices:
        raise SaltusError(
            f"{option}: found '{value}', expected {', '.join(choices)}{nearest(value, choices)}"
        )


def _draw(out: Path, rows: Rows, fitted: Any, doubt: Any) -> None:
    """Write the figure in the one format that its name says."""
    from saltus.figure import law_table, style

    with tempfile.TemporaryDirectory() as folder:
        figure = law_table.draw(rows, fitted, doubt)
        for path in style.save(figure, Path(folder), "law"):
            if path.suffix == out.suffix:
                write_bytes(out, path.read_bytes())
