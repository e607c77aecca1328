"""`saltus emergence TABLE`: where an ability appears in anybody's table, and how sure. No torch.

Reads a table or a finished study's folder; writes only where it is told to.
"""

import argparse
from pathlib import Path

from saltus.cli.emergence_text import told
from saltus.cli.foreign import read_foreign, table_of
from saltus.cli.options import listed
from saltus.cli.outputs import check_outputs, check_picture, write_numbers, write_picture
from saltus.emerge.ability import judge_groups
from saltus.emerge.axis import Axis
from saltus.emerge.describe import describe
from saltus.emerge.table import Columns, read_groups
from saltus.errors import SaltusError, TableError
from saltus.law.plain import plain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("table", type=Path, metavar="TABLE", help="a .csv, .parquet or .jsonl, or a study's folder")
    add("--scale", metavar="COLUMN", help="parameters, tokens, FLOPs or a loss (with --falling)")
    add(
        "--falling",
        action="store_true",
        help="ability grows as the scale falls, as a loss; no verdict then",
    )
    add("--successes", metavar="COLUMN", help="right answers, whole numbers")
    add("--accuracy", metavar="COLUMN", help="their share, 0 to 1, instead of --successes")
    add("--trials", metavar="COLUMN|NUM", help="answers given")
    add("--group", metavar="COLUMN,...", help="one threshold for each, as in task,shots")
    add("--replica", metavar="COLUMN", help="what tells rows of one scale apart, as in seed")
    add("--chance", default="0", metavar="COLUMN|NUM", help="accuracy of guessing (default: 0)")
    add("--nll", metavar="COLUMN", help="mean negative log likelihood of the target, in nats")
    add("--where", metavar="CONDITION", help="rows to keep, as in \"op == 'addition'\"")
    add("--level", type=float, default=0.5, help="accuracy that counts as able (default: 0.5)")
    add("--seed", type=int, default=0, help="of simulated p-values (default: 0)")
    add("--json", type=Path, metavar="OUT.json", help="write all numbers there")
    add("--figure", type=Path, metavar="OUT.svg|OUT.png", help="draw accuracy against the scale")


def run(options: argparse.Namespace) -> None:
    """Fit, write what was asked for, print. Raises `SaltusError` in one line."""
    if not 0 < options.level < 1:
        raise SaltusError(f"--level: found {options.level:g}, expected a share between 0 and 1")
    if options.seed < 0:
        raise SaltusError(f"--seed: found {options.seed}, expected a whole number from 0 on")
    check_picture(options.figure)
    outputs = {"--json": options.json, "--figure": options.figure}
    check_outputs(outputs, [table_of(options.table, "scores")])
    columns = Columns(
        scale=options.scale,
        successes=options.successes,
        accuracy=options.accuracy,
        trials=options.trials,
        chance=options.chance,
        group=listed("--group", options.group),
        replica=options.replica,
        nll=options.nll,
    )
    frame = read_foreign(options.table, "scores")
    try:
        groups, dropped = read_groups(frame, columns, options.where)
    except TableError as error:
        raise TableError(f"{options.table}: {error}") from error
    axis = Axis("scale", "scales", falling=options.falling)
    answers = [describe(group, axis, options.level, options.seed) for group in groups]
    verdicts = judge_groups(groups, axis, seed=options.seed)
    found = [{**answer, **verdict} for (answer, _), verdict in zip(answers, verdicts, strict=True)]
    if options.json is not None:
        write_numbers(options.json, plain(found))
    if options.figure is not None:
        from saltus.figure import emergence_table

        thresholds = [threshold for _, threshold in answers]
        label = f"{options.scale}, falling →" if options.falling else str(options.scale)
        figure = emergence_table.draw(groups, thresholds, verdicts, axis, options.level, label)
        write_picture(figure, options.figure)
    print("\n".join(told(str(options.table), columns, axis, groups, found, dropped)))
