"""`saltus law TABLE`: a law of anybody's runs, with its certificate and its doubt. No torch.

Reads a table or a finished study's folder; writes only where it is told to.
"""

import argparse
from pathlib import Path
from typing import Any

from saltus.cli.foreign import files_of, read_foreign, study_law
from saltus.cli.law_text import told
from saltus.cli.outputs import check_outputs, check_picture, write_numbers, write_picture
from saltus.cli.parser import number, whole
from saltus.errors import SaltusError, TableError, nearest
from saltus.law.columns import ROLE_OF, ROLES, parse_columns, parse_counts
from saltus.law.conventions import conventions
from saltus.law.criterion import LOSSES, RESIDUALS, Criterion
from saltus.law.describe import describe
from saltus.law.doubt import INTERVALS, Interval, choose_interval
from saltus.law.forms import FORMS, ONE_VARIABLE, Form
from saltus.law.plain import plain
from saltus.law.table import Rows, read_rows

RANGE = (1e-9, 1e9)  # of Huber's delta and of the asymmetric factor
RESAMPLES = (100, 100_000)
NUM_RESAMPLES = 4000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add(
        "table",
        type=Path,
        metavar="TABLE",
        help="a .csv, .parquet or .jsonl (.csv.gz, .jsonl.gz), or a study's folder",
    )
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
    add("--delta", type=number(*RANGE), help="Huber's delta (default: 0.001, or the study's)")
    add(
        "--over",
        type=number(*RANGE),
        help="how often the asymmetric loss counts over-prediction (default: 10)",
    )
    add("--residual", default="log", metavar="log|raw", help="of log loss or of the loss itself")
    add(
        "--interval",
        metavar="|".join(INTERVALS),
        help="default: jackknife where sizes have seeds, else a bootstrap of rows",
    )
    add("--bootstrap", type=whole(*RESAMPLES), metavar="NUM", help="resamples (default: 4000)")
    add("--cluster", metavar="COLUMN", help="rows that belong together, for any interval")
    add("--seed", type=whole(0), default=0, help="of starts and resamples (default: 0)")
    add(
        "--conventions",
        action="store_true",
        help="how exponents move with what N and C count (total, non-embedding, exact, 6ND)",
    )
    add(
        "--counts",
        metavar="ROLE=COLUMN,...",
        help="further columns of N and C for --conventions, as in params=N_ne,flops=C_6nd",
    )
    add("--json", type=Path, metavar="OUT.json", help="write all numbers there")
    add("--figure", type=Path, metavar="OUT.svg|OUT.png", help="draw the law and its residuals")


def run(options: argparse.Namespace) -> None:
    """Fit, write what was asked for, print. Raises `SaltusError` in one line."""
    form = _form(options)
    minimum_tokens, delta = study_law(options.table)
    criterion = _criterion(options, delta)
    if options.interval is not None:
        _one_of("--interval", options.interval, INTERVALS)
    if options.conventions and not {"N", "D"} <= set(form.variables):
        raise SaltusError(f"--conventions: found --form {form.name}, expected one in N and D")
    if options.counts is not None and not options.conventions:
        raise SaltusError(f"--counts: found '{options.counts}', expected it with --conventions")
    counts = parse_counts(options.counts)
    check_picture(options.figure)
    check_outputs({"--json": options.json, "--figure": options.figure}, files_of(options.table))
    frame = read_foreign(options.table)
    try:
        rows = read_rows(
            frame,
            form,
            columns=parse_columns(options.columns),
            where=options.where,
            cluster=options.cluster,
            minimum_tokens=minimum_tokens,
        )
        interval = _interval(options, rows)
        moved = (
            conventions(rows, counts=counts, criterion=criterion, seed=options.seed)
            if options.conventions
            else None
        )
    except TableError as error:
        raise TableError(f"{options.table}: {error}") from error
    found, fitted, doubt = describe(
        rows,
        form,
        criterion=criterion,
        interval=interval,
        num=options.bootstrap or NUM_RESAMPLES,
        seed=options.seed,
    )
    if moved is not None:
        found["conventions"] = moved
    if options.json is not None:
        write_numbers(options.json, plain(found))
    if options.figure is not None:
        from saltus.figure import law_table

        write_picture(law_table.draw(rows, fitted, doubt, found["lack_of_fit"]), options.figure)
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


def _criterion(options: argparse.Namespace, delta: float | None) -> Criterion:
    """Return what is minimised, `delta` being a study's; refuses an option that it would ignore."""
    _one_of("--loss", options.loss, LOSSES)
    _one_of("--residual", options.residual, RESIDUALS)
    for option, loss in (("delta", "huber"), ("over", "asymmetric")):
        value = getattr(options, option)
        if value is not None and options.loss != loss:
            raise SaltusError(
                f"--{option}: found {value:g}, which --loss {options.loss} ignores; expected it "
                f"with --loss {loss}"
            )
    given = {"delta": options.delta or delta, "over": options.over}
    chosen = {name: value for name, value in given.items() if value is not None}
    return Criterion(loss=options.loss, residual=options.residual, **chosen)


def _interval(options: argparse.Namespace, rows: Rows) -> Interval:
    """Return the interval's kind; refuses a number of resamples where nothing is resampled."""
    interval = choose_interval(rows, options.interval)
    if options.bootstrap is not None and interval != "bootstrap":
        raise SaltusError(
            f"--bootstrap: found {options.bootstrap}, which the interval of these rows, a "
            f"{interval}, ignores; expected it with --interval bootstrap"
        )
    return interval


def _one_of(option: str, value: str, choices: Any) -> None:
    if value not in choices:
        raise SaltusError(
            f"{option}: found '{value}', expected {', '.join(choices)}{nearest(value, choices)}"
        )
