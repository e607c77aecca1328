"""`saltus figures DIR`: redraw figures and report of a folder from its tables alone. No torch."""

import argparse
from pathlib import Path

import pandas as pd

from saltus.calibrate.summary import summarise_calibration
from saltus.emerge.scores import RUN_COLUMNS, score_table
from saltus.errors import TableError
from saltus.figure import other_models
from saltus.figure.catalogue import draw_all
from saltus.figure.style import save
from saltus.figure.tables import load_tables
from saltus.files import read_table, write_text
from saltus.report.render import render

MODEL_TABLES = ("runs", "items", "tokens")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("directory", type=Path, help="results/NAME or results/reference/NAME")
    parser.add_argument("--only", nargs="+", metavar="FIGURE", help="these figures alone")
    parser.add_argument(
        "--models",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="folders of `saltus probe --model`, to draw beside the family as `other-models`",
    )
    parser.add_argument("--out", type=Path, help="where to draw (default: DIR/figures)")


def run(options: argparse.Namespace) -> None:
    """Draw, and write the report when all figures were drawn in their place."""
    tables = load_tables(options.directory)
    out = options.out or options.directory / "figures"
    beside = None if options.models is None else _beside(options.models)
    only = options.only
    if beside is not None and only is not None:  # with models their figure is drawn in any case
        only = [name for name in only if name != other_models.NAME]
    for path in draw_all(tables, out, only=only):
        print(path)
    if beside is not None:
        for path in save(other_models.draw(tables, *beside), out, other_models.NAME):
            print(path)
    if options.only is None and options.out is None:
        report = options.directory / "report.html"
        write_text(report, render(tables, out))
        print(report)


def _beside(folders: list[Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the scores and the calibration of models probed. Raises `TableError` in one line."""
    scores, calibration = [], []
    for folder in folders:
        absent = [name for name in MODEL_TABLES if not (folder / f"{name}.parquet").is_file()]
        if absent:
            raise TableError(
                f"--models: {folder}: no {absent[0]}.parquet; `saltus probe --model` writes it"
            )
        runs, items, tokens = (read_table(folder / f"{name}.parquet") for name in MODEL_TABLES)
        trained = [name for name in RUN_COLUMNS if name not in runs.columns]  # not by us: null
        runs = runs.assign(**dict.fromkeys(trained, float("nan")))
        scores.append(score_table(items, runs))
        calibration.append(summarise_calibration(tokens, items, runs))
    return pd.concat(scores, ignore_index=True), pd.concat(calibration, ignore_index=True)
