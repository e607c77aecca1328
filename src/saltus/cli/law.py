"""`saltus law TABLE`: a law of anybody's runs, with its certificate and its doubt. No torch.

Reads a table or a finished study's folder; writes only where it is told to.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from saltus.cli.foreign import check_picture, read_foreign
from saltus.errors import SaltusError, TableError, nearest
from saltus.files import write_bytes, write_json
from saltus.law.describe import INTERVALS, describe
from saltus.law.conventions import conventions
from saltus.law.criterion import LOSSES, RESIDUALS, Criterion
from saltus.law.forms import FORMS, ONE_VARIABLE, Form
from saltus.law.summary import plain
from saltus.law.table import ROLE_OF, ROLES, Rows, parse_columns, read_rows


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


NAMES = {"envelope": "envelope", "isoflop": "isoFLOP parabolas", "parametric": "fitted law"}


def told(name: str, rows: Rows, found: Mapping[str, Any]) -> list[str]:
    """Return the answer as lines for a terminal."""
    dropped = ", ".join(f"{count} ({why})" for why, count in rows.dropped.items()) or "none"
    columns = ", ".join(f"{role} = {column}" for role, column in rows.columns.items())
    lines = [
        f"table        {name}: {rows.num} rows, {found['sizes']} sizes; dropped: {dropped}",
        f"columns      {columns}",
        f"law          {found['equation']}  ({found['source']})",
        f"fitted       {found['criterion']['text']}: {found['objective']:.7g}",
        "",
        *_parameters(found),
        "",
        *_certificate(found["certificate"]),
        f"residuals    {found['residuals']['rms_percent']:.3g} % r.m.s., "
        f"largest {found['residuals']['max_percent']:.3g} %",
    ]
    if "approaches" in found:
        lines += ["", *_approaches(found["approaches"]), found["verdict"]["text"]]
    if "heldout" in found:
        lines += ["", *_heldout(found["heldout"])]
    if "conventions" in found:
        lines += ["", *_conventions(found["conventions"])]
    return lines


def _approaches(found: Mapping[str, Any]) -> list[str]:
    """Return a, N* and D* by the three approaches."""
    largest = next((e["optimum"][0]["flops"] for e in found.values() if e["optimum"]), 0.0)
    lines = [["compute-optimal", "a", "95 %", f"N* at C = {largest:.3g}", "D*"]]
    refused = []
    for name, entry in found.items():
        if entry["reason"] or entry["interval_reason"]:
            refused.append(f"{NAMES[name]}: {entry['reason'] or entry['interval_reason']}")
        refused += [f"{NAMES[name]}: {warning}" for warning in entry["warnings"]]
        if entry["a"] is None:
            continue
        line = [NAMES[name], f"{entry['a']:.3f}"]
        line.append("–" if entry["interval"] is None else _interval(entry["interval"]))
        line += [_count(entry["optimum"][0], count) for count in ("params", "tokens")]
        lines.append(line)
    return (aligned(lines) if len(lines) > 1 else []) + refused


def _count(optimum: Mapping[str, Any], name: str) -> str:
    ends = optimum[f"{name}_interval"]
    told = f"{optimum[name]:.3g}"
    return told if ends is None else f"{told} [{ends[0]:.2g}, {ends[1]:.2g}]"


def _heldout(found: Mapping[str, Any]) -> list[str]:
    """Return every form's prediction above the cut, and the chosen form's of the largest size."""
    lines = [["predicted", "error above the cut", "inside 95 %", "residual below", "certificate"]]
    refused = []
    for trial in found["forms"]:
        error = trial["mean_absolute_error_percent"]
        if error is None:
            refused.append(f"{trial['form']}: {trial['reason']}")
            continue
        inside = trial["inside_share"]
        lines.append(
            [
                trial["form"] + (" (chosen)" if trial["form"] == found["chosen"] else ""),
                f"{error:.2f} %",
                "–" if inside is None else f"{100 * inside:.0f} %",
                f"{trial['rms_percent']:.2f} %",
                trial["certificate"]["status"],
            ]
        )
    out = (aligned(lines) if len(lines) > 1 else []) + refused
    if found["cut_flops"] is not None:
        out.append(
            f"fitted to {found['rows_below']} rows of at most {found['cut_flops']:.3g} FLOPs, held "
            f"to the {found['rows_above']} above, sizes below the largest"
        )
    largest = found["largest"]
    if largest["mean_absolute_error_percent"] is None:
        return [*out, f"largest size {largest['size']}: not predicted, {largest['reason']}"]
    inside, baseline = largest["inside_share"], largest["baseline_error_percent"]
    told = (
        f"largest size {largest['size']}, {largest['rows']} rows, by {largest['form']}: error "
        f"{largest['mean_absolute_error_percent']:.2f} %"
    )
    told += "; no interval" if inside is None else f", {100 * inside:.0f} % inside 95 %"
    if baseline is not None:
        told += f"; repeating the next smaller size's loss: {baseline:.2f} %"
    return [*out, told]


def _conventions(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return how exponents move between conventions."""
    lines = [["N", "C", "alpha", "beta", "residual", *(f"a: {name}" for name in NAMES.values())]]
    for row in found:
        line = [row["params"], row["flops"]]
        line += [_short(row[name], row[f"{name}_interval"]) for name in ("alpha", "beta")]
        line.append(f"{row['rms_percent']:.2g} %")
        line += [_short(row["a"][name]["a"], row["a"][name]["interval"]) for name in NAMES]
        lines.append(line)
    return [*aligned(lines), "95 %: delete-one-size jackknife; –: refused or no interval"]


def _short(value: float | None, ends: Sequence[float | None] | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" + (
        "" if ends is None or None in ends else f" [{ends[0]:.2f}, {ends[1]:.2f}]"
    )


def _parameters(found: Mapping[str, Any]) -> list[str]:
    """Return the table of parameters: value, interval, its simulated coverage, movement."""
    coverage = found["coverage"]
    certificate = found["certificate"]
    moved = [
        (head, certificate[key])
        for head, key in (
            ("without a size", "leave_one_size_out"),
            ("without the worst", "leave_k_out"),
        )
        if certificate[key] is not None
    ]
    head = ["parameter", "value", "95 %"]
    head += ["simulated coverage"] if coverage else []
    head += [name for name, _ in moved]
    lines = [head]
    values = dict(found["parameters"])
    intervals = dict(found["intervals"])
    for name, value in values.items():
        line = [name, f"{value:.5g}", _interval(intervals.get(name))]
        line += [_coverage(coverage, name)] if coverage else []
        line += [f"×{each['factors'][name]:.3g}" for _, each in moved]
        lines.append(line)
    allocation = found.get("allocation")
    if allocation is not None:
        line = ["a", f"{allocation['a']:.5g}", _interval(allocation["interval"])]
        line += [_coverage(coverage, "a")] if coverage else []
        lines.append(line + [""] * len(moved))
    out = aligned(lines)
    out.append(f"95 %: {found['interval_method']}")
    if found["audit"] is not None:
        audit = found["audit"]
        out.append(
            f"{audit['refitted']} resamples were fitted anew from all starts: "
            f"{audit['improvable']} could be improved; {found['unconverged_refits']} of all did "
            "not converge"
        )
    elif found["unconverged_refits"]:
        out.append(f"{found['unconverged_refits']} refits did not converge")
    if coverage:
        out.append(
            f"simulated coverage: {coverage['ladders']} ladders of {coverage['design']}, the law "
            "true / every size off it as much as a seed is"
        )
    return out


def _coverage(coverage: Mapping[str, Any], name: str) -> str:
    shares = coverage["quantities"].get(name)
    if shares is None:
        return "–"
    return " / ".join(
        "–" if shares[key] is None else f"{shares[key]:.3f}" for key in ("plain", "misfit")
    )


def _certificate(certificate: Mapping[str, Any]) -> list[str]:
    decrement = certificate["newton_decrement"]
    gained = "" if decrement is None else f"decrement {decrement:.1e}, "
    condition = certificate["condition_number"]
    curved = "flat: no condition number" if condition is None else f"condition {condition:,.0f}"
    bounds = ", ".join(certificate["bounds_hit"]) or "none"
    minima = certificate["distinct_minima"]
    lines = [
        f"certificate  {certificate['status']}: {gained}gradient "
        f"{certificate['scaled_gradient']:.1e}, {certificate['agreeing']} of "
        f"{certificate['starts']} starts agree, {minima} distinct "
        f"{'minimum' if minima == 1 else 'minima'}, {curved}, bounds hit: {bounds}"
    ]
    for key, what in (("leave_one_size_out", "a size"), ("leave_k_out", "the worst rows")):
        moved = certificate[key]
        if moved is not None:
            far = max(moved["factors"], key=lambda name: abs(_log(moved["factors"][name])))
            lines.append(
                f"             without {what}: {far} moves most, ×{moved['factors'][far]:.3g} "
                f"({moved['left_out'][far]}); the largest prediction by "
                f"{moved['prediction_percent']:.2g} %"
            )
    return lines


def _log(factor: float) -> float:
    import math

    return math.log(factor) if factor > 0 else math.inf


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines with columns of even width, the first flush left."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return [
        "  ".join(
            [line[0].ljust(widths[0]), *(line[i].rjust(widths[i]) for i in range(1, len(line)))]
        ).rstrip()
        for line in lines
    ]


def _interval(ends: Sequence[float | None] | None) -> str:
    if ends is None:
        return "none: on its bound"
    return "[" + ", ".join("open" if end is None else f"{end:.4g}" for end in ends) + "]"


def _draw(out: Path, rows: Rows, fitted: Any, doubt: Any) -> None:
    """Write the figure in the one format that its name says."""
    from saltus.figure import law_table, style

    with tempfile.TemporaryDirectory() as folder:
        figure = law_table.draw(rows, fitted, doubt)
        for path in style.save(figure, Path(folder), "law"):
            if path.suffix == out.suffix:
                write_bytes(out, path.read_bytes())
