"""`saltus figures DIR`: redraw figures and report of a folder from its tables alone. No torch."""

import argparse
from pathlib import Path

from saltus.figure.catalogue import draw_all
from saltus.figure.tables import load_tables
from saltus.files import write_text
from saltus.report.render import render


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("directory", type=Path, help="results/NAME or results/reference/NAME")
    parser.add_argument("--only", nargs="+", metavar="FIGURE", help="these figures alone")
    parser.add_argument("--out", type=Path, help="where to draw (default: DIR/figures)")


def run(options: argparse.Namespace) -> None:
    """Draw, and write the report when all figures were drawn in their place."""
    tables = load_tables(options.directory)
    out = options.out or options.directory / "figures"
    for path in draw_all(tables, out, only=options.only):
        print(path)
    if options.only is None and options.out is None:
        report = options.directory / "report.html"
        write_text(report, render(tables, out))
        print(report)
