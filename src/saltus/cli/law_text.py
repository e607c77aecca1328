"""What `saltus law` prints: the answer of one table as lines for a terminal."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from saltus.cli.law_tables import approaches, conventions, heldout
from saltus.cli.lines import aligned, digits, once
from saltus.law.allocation import Cost
from saltus.law.forms import FORMS
from saltus.law.likelihood import ALLOCATION
from saltus.law.table import Rows

MOST_IMPROVABLE = 0.01  # of the audited resamples
VANISHED = 1e-3  # of an irreducible loss: less than that is left of one that is gone
COUNTS = 1e4  # a table's largest N or D below this is hardly a count


def told(name: str, rows: Rows, found: Mapping[str, Any]) -> list[str]:
    """Return the answer as lines for a terminal."""
    dropped = ", ".join(f"{count} ({why})" for why, count in rows.dropped.items()) or "none"
    columns = ", ".join(f"{role} = {column}" for role, column in rows.columns.items())
    lines = [
        f"table        {name}: {rows.num} rows, {found['sizes']} sizes; dropped: {dropped}",
        f"columns      {columns}",
        f"units        {_units(rows)}",
        f"law          {_equation(found['equation'], rows)}  ({found['source']})",
        f"fitted       {found['criterion']['text']}: {found['objective']:.7g}",
        "",
        *_parameters(found),
        "",
        *_certificate(found["certificate"], FORMS[found["form"]].floor),
        f"residuals    {found['residuals']['rms_percent']:.3g} % r.m.s., "
        f"largest {found['residuals']['max_percent']:.3g} %",
        f"lack of fit  {found['lack_of_fit']['text']}",
    ]
    if "approaches" in found:
        verdict = found["verdict"]["text"]
        told = [line for line in approaches(found["approaches"]) if line not in verdict]
        lines += ["", *told, verdict]
    if "heldout" in found:
        lines += ["", *heldout(found["heldout"])]
    if "conventions" in found:
        lines += ["", *conventions(found["conventions"])]
    return lines


def _equation(equation: str, rows: Rows) -> str:
    """Return the equation, with the name of its variable where that is one alone."""
    if len(rows.variables) > 1:
        return equation
    (name,) = rows.variables
    return f"{equation}, x = {name}"


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
    bounded, floor = certificate["bounds_hit"], FORMS[found["form"]].floor
    intervals = dict(found["intervals"])
    for name, value in values.items():
        ends = _interval(intervals.get(name), notes.get(name, "none"))
        line = [name, "~0" if name == floor and name in bounded else digits(value), ends]
        line += [_coverage(coverage, name)] if coverage else []
        line += [
            "–" if name in bounded else _moved(each["factors"][name], name == floor)
            for _, each in moved
        ]
        lines.append(line)
    allocation = found.get("allocation")
    if allocation is not None:
        line = [
            "allocation a",
            digits(allocation["a"]),
            _interval(allocation["interval"], notes.get(ALLOCATION, "none")),
        ]
        line += [_coverage(coverage, "a")] if coverage else []
        lines.append(line + [""] * len(moved))
    out = aligned(lines)
    if allocation is not None:
        out.append(f"allocation a: N* grows as C^a, C = {Cost(**allocation['cost'])}")
    out.append(f"95 %: {found['interval_method']}")
    beside = [
        ("allocation a" if name == ALLOCATION else name, note)
        for name, note in notes.items()
        if not note.startswith("none")
    ]
    out += once(beside)
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


def _moved(factor: float, floor: bool) -> str:
    """Return a parameter without some rows over that with them; an irreducible loss may vanish."""
    return "→ 0" if floor and factor < VANISHED else f"×{factor:.3g}"


def _coverage(coverage: Mapping[str, Any], name: str) -> str:
    shares = coverage["quantities"].get(name)
    if shares is None:
        return "–"
    return " / ".join(
        "–" if shares[key] is None else f"{shares[key]:.3f}" for key in ("plain", "misfit")
    )


def _certificate(certificate: Mapping[str, Any], floor: str | None) -> list[str]:
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
            factors = {
                name: factor
                for name, factor in moved["factors"].items()
                if name not in certificate["bounds_hit"]
            }
            far = max(factors, key=lambda name: abs(_log(factors[name])))
            gone = far == floor and factors[far] < VANISHED
            told = "falls to 0" if gone else f"moves most, ×{factors[far]:.3g}"
            lines.append(
                f"             without {what}: {far} {told} ({moved['left_out'][far]}); "
                f"the largest prediction moves by {moved['prediction_percent']:.2g} %"
            )
    return lines


def _log(factor: float) -> float:
    return math.log(factor) if factor > 0 else math.inf


def _interval(ends: Sequence[float | None] | None, absent: str) -> str:
    """Return an interval as text, `absent` where there is none."""
    if ends is None:
        return absent
    return "[" + ", ".join("open" if end is None else digits(end) for end in ends) + "]"
