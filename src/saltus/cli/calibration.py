"""`saltus calibration TABLE`: whether the confidences in anybody's table are kept. No torch.

Reads a table, one row per prediction; writes only where it is told to.
"""

import argparse
from pathlib import Path
from typing import Any

from saltus.calibrate.coverage import Held, coverage_of
from saltus.calibrate.measure import BOOTSTRAPS, Measured, measure
from saltus.calibrate.table import Columns, Group, read_groups, warnings_of
from saltus.cli.foreign import is_folder, read_foreign
from saltus.cli.lines import aligned
from saltus.cli.options import listed
from saltus.cli.outputs import check_outputs, check_picture, write_numbers, write_picture
from saltus.errors import SaltusError, TableError

ABSENT = "–"
ERRORS = (
    ("ece", "ECE, 15 equal widths"),
    ("ece_equal_mass", "ECE, 15 equal masses"),
    ("smooth_ece", "smooth ECE"),
    ("l2_squared_debiased", "l2 squared, debiased"),
    ("overconfidence", "over-confidence"),
    ("over_error", "OE, 15 equal widths"),
    ("brier", "Brier score"),
    ("nll", "NLL (nats)"),
    ("aurc", "area under risk (AURC)"),
    ("excess_aurc", "excess AURC"),
    ("augrc", "AUGRC"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("table", type=Path, metavar="TABLE", help="a .csv, .parquet or .jsonl, a row per answer")
    add("--confidence", metavar="COLUMN", help="probability given to the own answer, 0 to 1")
    add("--correct", metavar="COLUMN", help="whether it was right: 0 or 1, or true and false")
    add("--group", metavar="COLUMN,...", help="measured apart, as in model,shift")
    add("--cluster", metavar="COLUMN", help="rows that share their luck, as in document")
    add("--where", metavar="CONDITION", help="rows to keep, as in \"domain == 'wiki'\"")
    add("--bootstrap", type=int, default=BOOTSTRAPS, metavar="NUM",
        help=f"resamples of clusters (default: {BOOTSTRAPS})")  # fmt: skip
    add("--seed", type=int, default=0, help="of resamples and simulations (default: 0)")
    add("--json", type=Path, metavar="OUT.json", help="write all numbers there")
    add("--figure", type=Path, metavar="OUT.svg|OUT.png", help="draw a reliability diagram each")


def run(options: argparse.Namespace) -> None:
    """Measure, write what was asked for, print. Raises `SaltusError` in one line."""
    if options.bootstrap < 100:
        raise SaltusError(f"--bootstrap: found {options.bootstrap}, expected 100 or more")
    if options.seed < 0:
        raise SaltusError(f"--seed: found {options.seed}, expected a whole number from 0 on")
    check_picture(options.figure)
    check_outputs({"--json": options.json, "--figure": options.figure}, [options.table])
    columns = Columns(
        options.confidence, options.correct, listed("--group", options.group), options.cluster
    )
    if is_folder(options.table):
        raise SaltusError(f"{options.table}: found a folder, expected a table, a row per answer")
    frame = read_foreign(options.table)
    try:
        groups, dropped = read_groups(frame, columns, options.where)
    except TableError as error:
        raise TableError(f"{options.table}: {error}") from error
    found = [
        measure(each.confidence, each.correct, each.cluster, bootstraps=options.bootstrap,
                seed=options.seed)
        for each in groups
    ]  # fmt: skip
    if options.json is not None:
        write_numbers(options.json, [_entry(*pair) for pair in zip(groups, found, strict=True)])
    if options.figure is not None:
        from saltus.figure import calibration_table

        write_picture(calibration_table.draw(groups, found, options.seed), options.figure)
    rows = sum(each.n for each in found)
    left = ", ".join(f"{count} ({why})" for why, count in dropped.items()) or "none"
    print(f"table        {options.table}: {rows} rows, {len(groups)} "
          f"group{'' if len(groups) == 1 else 's'}; dropped: {left}")  # fmt: skip
    print(
        f"columns      {columns.confidence} against {columns.correct}; "
        f"clusters: {columns.cluster or 'none, rows are taken as independent'}"
    )
    for each, measured in zip(groups, found, strict=True):
        print("\n" + "\n".join(_told(each, measured)))
    print(
        "\nintervals    95 %: test inversion for ECE, smooth ECE and OE, else a cluster bootstrap\n"
        "floor        mean error of a perfectly calibrated model with these very confidences\n"
        "coverage     how often such intervals held the truth in simulated tables, least and most"
    )


def _entry(group: Group, measured: Measured) -> dict[str, Any]:
    held = _held(group, measured)
    return {
        "group": group.name, **measured.entry(), "coverage": held.shares,
        "coverage_of": held.reason or held.design, "warnings": warnings_of(group),
    }  # fmt: skip


def _held(group: Group, measured: Measured) -> Held:
    """Return the simulated coverage of a group's design."""
    return coverage_of(measured.n, None if group.cluster is None else measured.num_clusters)


def _told(group: Group, found: Measured) -> list[str]:
    """Return what is printed of one group."""
    table = [["", "estimate", "95 %", "floor", "coverage"]]
    held = _held(group, found)
    for name, words in ERRORS:
        value = found.brier.total if name == "brier" else float(getattr(found, name))
        ends = found.intervals[name]
        told = ABSENT if ends.low != ends.low else f"[{ends.low:.4f}, {ends.high:.4f}]"
        floor = f"{found.floor[name]:.4f}" if name in found.floor else ""
        share = ""
        if told != ABSENT and name in held.shares:
            share = "{:.2f} to {:.2f}".format(*held.shares[name])
        table.append([words, f"{value:.4f}", told, floor, share])
    clusters = f" in {found.num_clusters} clusters" if group.cluster is not None else ""
    effect = f", design effect {found.design_effect:.2f}" if group.cluster is not None else ""
    gaps = [
        f"{100 * float(risk):g} % wrong: {share:.3f}"
        for risk, share in found.coverage_at_risk.items()
    ]
    parts = found.brier
    return [
        group.text,
        f"  {found.n} predictions{clusters}{effect}; accuracy {found.accuracy:.4f}, "
        f"mean confidence {found.confidence:.4f}",
        *(f"  warning: {each}" for each in warnings_of(group)),
        *(f"  {line}" for line in aligned(table)),
        f"  coverage: {held.reason or f'as simulated with {held.design}'}",
        f"  Brier: reliability {parts.reliability:.4f}, resolution {parts.resolution:.4f}, "
        f"uncertainty {parts.uncertainty:.4f}, within bins {parts.within:.4f}",
        f"  share that can be answered with at most {'; '.join(gaps)}",
    ]
