"""`saltus sweep FOLDER|TABLE`: from a learning-rate sweep to the rule for a study file. No torch.

Reads the runs of a finished study, or a table of the user's own; writes only where it is told to.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from saltus.cli.foreign import read_foreign, table_of
from saltus.cli.outputs import check_outputs, check_picture, write_picture
from saltus.errors import SaltusError, TableError, nearest
from saltus.files import write_json
from saltus.law.rates import fit_rate_rule

NEEDED = ("size", "seed", "horizon", "params_nonembedding", "learning_rate", "loss_validation")
HEAD = ("size", "N", "rates", "seeds", "diverged", "best rate", "best loss", "rule's rate", "cost")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "source",
        type=Path,
        metavar="FOLDER|TABLE",
        help="results/NAME, results/reference/NAME, or a .parquet, .csv or .jsonl with the columns "
        f"{', '.join(NEEDED)}",
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all numbers there")
    parser.add_argument("--figure", type=Path, metavar="OUT.svg|OUT.png", help="draw the sweep")
    parser.add_argument(
        "--ceiling",
        type=float,
        metavar="RATE",
        help="highest rate of the printed rule (default: its rate at the smallest size fitted)",
    )


def run(options: argparse.Namespace) -> None:
    """Fit, write what was asked for, print.

    Raises `TableError` for a table that cannot be used, and, after printing what there is, when
    fewer than two sizes have their best rate inside the sweep.
    """
    check_picture(options.figure)
    check_outputs({"--json": options.json, "--figure": options.figure}, [table_of(options.source)])
    if options.ceiling is not None and not options.ceiling > 0:
        raise SaltusError(f"--ceiling: found {options.ceiling:g}, expected a positive rate")
    runs = read_runs(options.source)
    try:
        rule, rows = fit_rate_rule(runs)
    except TableError as error:
        raise TableError(f"{options.source}: {str(error).removeprefix('runs: ')}") from error
    block = None if rule["coefficient"] is None else rate_block(rule, rows, options.ceiling)
    if options.json is not None:
        write_json(options.json, {**rule, "rows": _records(rows), "rate": block})
    if options.figure is not None:
        from saltus.figure import rates

        write_picture(rates.draw(rates.tables_of(runs, rule, rows)), options.figure)

    print("\n".join(_table(rows)))
    if block is None:
        raise TableError(f"{options.source}: {rule['reason']}")
    print("\n".join(["", *_rule(rule), "", *_held_out(rule["held_out"])]))
    _check_block(block)
    inner = ", ".join(f"{name}: {value}" for name, value in block.items())
    print(f"\n# the section of a study file\ntraining:\n  rate: {{{inner}}}")


def read_runs(source: Path) -> pd.DataFrame:
    """Return the rows of a study's folder or of a table, with the columns that a sweep needs.

    A table without `status` has diverged where the loss is missing, as one without `rate_factor`
    has its rates compared by their values. Raises `TableError` in one line.
    """
    runs = read_foreign(source)
    for name in NEEDED:
        if name not in runs.columns:
            hint = nearest(name, map(str, runs.columns))
            raise TableError(f"{source}: column {name} is missing{hint}")
    if "status" not in runs.columns:
        lost = runs["loss_validation"].isna()
        runs = runs.assign(status=lost.map({True: "diverged", False: "ok"}))
    if "rate_factor" not in runs.columns:
        unnamed = runs["learning_rate"].isna().to_numpy().nonzero()[0]
        if len(unnamed):
            raise TableError(
                f"{source}: row {unnamed[0] + 1}, learning_rate: found nothing, expected the rate, "
                "of a diverged run too"
            )
        runs = runs.assign(rate_factor=runs["learning_rate"])
    return runs.reset_index(drop=True)


def rate_block(
    rule: Mapping[str, Any], rows: pd.DataFrame, ceiling: float | None
) -> dict[str, float]:
    """Return `training.rate` of a study file: the rule to three digits, and its ceiling.

    The default ceiling is the rate of these very digits at the smallest size fitted: below it the
    rule is an extrapolation to ever higher rates, where runs diverge.
    """
    coefficient, exponent = (_rounded(rule[name]) for name in ("coefficient", "exponent"))
    reference = int(rule["reference"])
    smallest = float(rows.loc[rows["in_rule"].astype(bool), "params_nonembedding"].min())
    highest = coefficient * (smallest / reference) ** exponent if ceiling is None else ceiling
    return {
        "coefficient": coefficient,
        "reference": reference,
        "exponent": exponent,
        "ceiling": _rounded(highest),
    }


def _check_block(block: Mapping[str, float]) -> None:
    """Raise `SaltusError` if a study file would refuse the rule."""
    from pydantic import ValidationError

    from saltus.study import Rate

    try:
        Rate.model_validate(block)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise SaltusError(
            f"training.rate.{key}: found {first['input']}, {first['msg'].lower()}; a study cannot "
            "use this rule"
        ) from error


def _table(rows: pd.DataFrame) -> list[str]:
    lines = [HEAD]
    for row in rows.to_dict("records"):
        bound = "" if row["in_rule"] else "≥ "
        cost = row["rule_cost_percent"]
        lines.append(
            (
                str(row["size"]),
                f"{row['params_nonembedding']:,}",
                str(row["num_rates"] + row["diverged_rates"]),
                str(row["num_seeds"]),
                str(row["diverged_rates"]),
                _told(row["best_rate"], "#.3g"),
                _told(row["best_loss"], ".4f"),
                _told(row["rule_rate"], "#.3g"),
                "–" if pd.isna(cost) else f"{bound}{cost:.3f} %",
            )
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    told = [
        "  ".join(
            [line[0].ljust(widths[0]), *(line[i].rjust(widths[i]) for i in range(1, len(HEAD)))]
        )
        for line in lines
    ]
    horizons = sorted({int(value) for value in rows["horizon"]})
    lengths = " to ".join(f"{value:,}" for value in dict.fromkeys((horizons[0], horizons[-1])))
    told += [
        f"N: non-embedding parameters. Loss: validation, nats per token, mean over seeds, after "
        f"{lengths} tokens.",
        "Rates count those at which a seed diverged, which are left out. Cost: of the rule's rate, "
        "over the best loss.",
    ]
    reasons = [
        f"{row['size']}: no best rate, {row['reason']}"
        for row in rows.to_dict("records")
        if not row["in_rule"]
    ]
    return told + reasons


def _rule(rule: Mapping[str, Any]) -> list[str]:
    lines = [
        f"rule      rate = {rule['coefficient']:.3g} (N / {rule['reference']:,.0f})^"
        f"{rule['exponent']:.3g}, fitted on {', '.join(rule['sizes'])}"
    ]
    intervals = rule["intervals"]
    if intervals is None:
        return [*lines, "          no interval: it needs 3 sizes of different N"]
    return [
        *lines,
        f"          coefficient {_interval(intervals['coefficient'])}, exponent "
        f"{_interval(intervals['exponent'])}",
        f"          95 %: {rule['interval_method']}",
    ]


def _held_out(held: Mapping[str, Any]) -> list[str]:
    if held["size"] is None:
        return [f"held out  nothing: {held['reason']}"]
    lines = [
        f"held out  {held['size']} (N = {held['params_nonembedding']:,}): the rule of "
        f"{', '.join(held['fitted_on'])} alone is rate = {held['coefficient']:.3g} "
        f"(N / {held['reference']:,.0f})^{held['exponent']:.3g}"
    ]
    rate = f"          its rate there {held['rule_rate']:.3g}"
    if held["rule_rate_interval"] is not None:
        rate += f" {_interval(held['rule_rate_interval'])}"
    lines.append(f"{rate}, the best {held['best_rate']:.3g}")
    if held["rule_rate_interval"] is not None:
        lines.append(f"          95 %: {held['rule_rate_interval_method']}")
    if held["cost"] is not None:
        lines.append(
            f"          cost {held['cost']:.4f} nats per token"
            + ("" if held["interval"] is None else f" {_interval(held['interval'])}")
            + f", {held['cost_percent']:.2f} %"
            + ("" if held["interval"] is None else f" {_interval(held['interval_percent'])}")
        )
    if held["interval"] is not None:
        lines.append(f"          95 %: {held['interval_method']}, both rates held fixed")
    return lines + ([f"          {held['reason']}"] if held["reason"] else [])


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows with None in place of what is missing: JSON has no NaN."""
    return [
        {str(name): None if pd.isna(value) else value for name, value in row.items()}
        for row in rows.to_dict("records")
    ]


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _told(value: Any, form: str) -> str:
    return "–" if pd.isna(value) else f"{value:{form}}"


def _interval(ends: Any) -> str:
    return f"[{ends[0]:.3g}, {ends[1]:.3g}]"
