"""What `saltus law` prints: the answer of one table as lines for a terminal."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from saltus.law.allocation import Cost
from saltus.law.table import Rows

MOST_IMPROVABLE = 0.01  # of the audited resamples
COUNTS = 1e4  # a table's largest N or D below this is hardly a count
NAMES = {"envelope": "envelope", "isoflop": "isoFLOP parabolas", "parametric": "fitted law"}


def told(name: str, rows: Rows, found: Mapping[str, Any]) -> list[str]:
    """Return the answer as lines for a terminal."""
    dropped = ", ".join(f"{count} ({why})" for why, count in rows.dropped.items()) or "none"
    columns = ", ".join(f"{role} = {column}" for role, column in rows.columns.items())
    lines = [
        f"table        {name}: {rows.num} rows, {found['sizes']} sizes; dropped: {dropped}",
        f"columns      {columns}",
        f"units        {_units(rows)}",
        f"law          {found['equation']}  ({found['source']})",
        f"fitted       {found['criterion']['text']}: {found['objective']:.7g}",
        "",
        *_parameters(found),
        "",
        *_certificate(found["certificate"]),
        f"residuals    {found['residuals']['rms_percent']:.3g} % r.m.s., "
        f"largest {found['residuals']['max_percent']:.3g} %",
        f"lack of fit  {found['lack_of_fit']['text']}",
    ]
    if "approaches" in found:
        verdict = found["verdict"]["text"]
        told = [line for line in _approaches(found["approaches"]) if line not in verdict]
        lines += ["", *told, verdict]
    if "heldout" in found:
        lines += ["", *_heldout(found["heldout"])]
    if "conventions" in found:
        lines += ["", *_conventions(found["conventions"])]
    return lines


def _units(rows: Rows) -> str:
    """Return the ranges of the variables, in the units of the table, which are those of A and B."""
    ranges = [
        f"{name} {values.min():.3g} to {values.max():.3g}"
        for name, values in rows.variables.items()
    ]
    told = f"as the table has them: {', '.join(ranges)}"
    pair = [rows.variables[name].max() for name in ("N", "D") if name in rows.variables]
    if rows.flops is None and len(pair) == 2:
        told += "; C = 6 N D"
        if min(pair) < COUNTS:
            told += " of those, so not FLOPs if N or D is in millions or billions"
    return told


def _approaches(found: Mapping[str, Any]) -> list[str]:
    """Return a, N* and D* by the three approaches."""
    largest = next((e["optimum"][0]["flops"] for e in found.values() if e["optimum"]), 0.0)
    lines = [["compute-optimal", "a", "95 %", f"N* at C = {digits(largest, 3)}", "D*"]]
    refused: list[tuple[str, str]] = []
    for name, entry in found.items():
        reason = entry["reason"] or entry["interval_reason"]
        reasons = [*([reason] if reason else []), *entry["warnings"]]
        refused += [(NAMES[name], each) for each in reasons]
        if entry["a"] is None:
            continue
        line = [NAMES[name], f"{entry['a']:.3f}"]
        ends = entry["interval"]
        line.append("–" if ends is None else f"[{ends[0]:.3f}, {ends[1]:.3f}]")
        line += [_count(entry["optimum"][0], count) for count in ("params", "tokens")]
        lines.append(line)
    return (aligned(lines) if len(lines) > 1 else []) + _once(refused)


def _once(refused: Sequence[tuple[str, str]]) -> list[str]:
    """Return each reason once, behind the names of all that it holds for."""
    names: dict[str, list[str]] = {}
    for name, reason in refused:
        names.setdefault(reason, []).append(name)
    return [f"{', '.join(each)}: {reason}" for reason, each in names.items()]


def _count(optimum: Mapping[str, Any], name: str) -> str:
    ends = optimum[f"{name}_interval"]
    told = digits(optimum[name], 3)
    return told if ends is None else f"{told} [{digits(ends[0], 3)}, {digits(ends[1], 3)}]"


def _heldout(found: Mapping[str, Any]) -> list[str]:
    """Return every form's prediction above the cut, and the chosen form's of the largest size."""
    lines = [["predicted", "error above the cut", "inside 95 %", "residual below", "certificate"]]
    refused: list[tuple[str, str]] = []
    for trial in found["forms"]:
        error = trial["mean_absolute_error_percent"]
        if error is None:
            refused.append((trial["form"], trial["reason"]))
            continue
        inside = trial["inside_share"]
        lines.append(
            [
                trial["form"] + _standing(found, trial["form"]),
                f"{error:.2f} %",
                "–" if inside is None else f"{100 * inside:.0f} %",
                f"{trial['rms_percent']:.2f} %",
                trial["certificate"]["status"],
            ]
        )
    out = (aligned(lines) if len(lines) > 1 else []) + _once(refused)
    if found["cut_flops"] is not None:
        along = found["cut_along"]
        of, level = found["largest"]["of"], digits(found["cut_flops"], 3)
        out.append(
            f"fitted to {found['rows_below']} rows of {along} up to {level}, "
            f"held to the {found['rows_above']} above, {of + ('s' if of == 'size' else '')} below "
            "the largest"
        )
    largest = found["largest"]
    if largest["mean_absolute_error_percent"] is None:
        return [
            *out,
            f"largest {largest['of']} {largest['size']}: not predicted, {largest['reason']}",
        ]
    inside, baseline = largest["inside_share"], largest["baseline_error_percent"]
    told = (
        f"largest {largest['of']} {largest['size']}, "
        f"{largest['rows']} row{'' if largest['rows'] == 1 else 's'}, by {largest['form']}: error "
        f"{largest['mean_absolute_error_percent']:.2f} %"
    )
    told += "; no interval" if inside is None else f", {100 * inside:.0f} % inside 95 %"
    if baseline is None:
        told += f"; no baseline: {largest['baseline_reason']}"
    else:
        told += f"; repeating the loss of the next smaller {largest['of']}: {baseline:.2f} %"
    return [*out, told]


def _standing(found: Mapping[str, Any], form: str) -> str:
    """Return whether a form was chosen, and whether others foretold as well."""
    tied = found["tied"]
    if form == found["chosen"]:
        return " (chosen of equals)" if tied else " (chosen)"
    return " (as good)" if form in tied else ""


def _conventions(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return how exponents move between conventions."""
    lines = [
        [
            "Chinchilla's: N",
            "C",
            "alpha",
            "beta",
            "residual",
            *(f"a: {name}" for name in NAMES.values()),
        ]
    ]
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
    certificate, notes = found["certificate"], found["interval_notes"]
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
        line = [name, digits(value), _interval(intervals.get(name), notes.get(name, "none"))]
        line += [_coverage(coverage, name)] if coverage else []
        line += [f"×{each['factors'][name]:.3g}" for _, each in moved]
        lines.append(line)
    allocation = found.get("allocation")
    if allocation is not None:
        line = [
            "a",
            digits(allocation["a"]),
            _interval(allocation["interval"], notes.get("a", "none")),
        ]
        line += [_coverage(coverage, "a")] if coverage else []
        lines.append(line + [""] * len(moved))
    out = aligned(lines)
    if allocation is not None:
        out.append(f"a: N* grows as C^a, C = {Cost(**allocation['cost'])}")
    out.append(f"95 %: {found['interval_method']}")
    beside = [(name, note) for name, note in notes.items() if not note.startswith("none")]
    out += _once(beside)
    if found["audit"] is not None:
        audit = found["audit"]
        out.append(
            f"{audit['refitted']} resamples were fitted anew from dispersed starts: "
            f"{audit['improvable']} could be improved; {found['unconverged_refits']} of all did "
            "not converge"
        )
        if audit["improvable"] > MOST_IMPROVABLE * audit["refitted"]:
            out.append("more than 1 % of them: the refits fell short, and so may the intervals")
    elif found["unconverged_refits"]:
        out.append(f"{found['unconverged_refits']} refits did not converge")
    if not coverage:
        out.append(f"simulated coverage: none to go by, {found['coverage_reason']}")
    else:
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


def digits(value: float, num: int = 4) -> str:
    """Return a number with `num` significant digits, its zeros too, so that a row agrees."""
    return "0" if value == 0 else f"{value:#.{num}g}".rstrip(".")


def _interval(ends: Sequence[float | None] | None, absent: str) -> str:
    """Return an interval as text, `absent` where there is none."""
    if ends is None:
        return absent
    return "[" + ", ".join("open" if end is None else digits(end) for end in ends) + "]"
