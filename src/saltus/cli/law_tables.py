"""The further tables of `saltus law`: three approaches, tested predictions, conventions."""

from collections.abc import Mapping, Sequence
from typing import Any

from saltus.cli.lines import aligned, digits, once

NAMES = {"envelope": "envelope", "isoflop": "isoFLOP parabolas", "parametric": "fitted law"}


def approaches(found: Mapping[str, Any]) -> list[str]:
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
    return (aligned(lines) if len(lines) > 1 else []) + once(refused)


def _count(optimum: Mapping[str, Any], name: str) -> str:
    ends = optimum[f"{name}_interval"]
    told = digits(optimum[name], 3)
    return told if ends is None else f"{told} [{digits(ends[0], 3)}, {digits(ends[1], 3)}]"


def heldout(found: Mapping[str, Any]) -> list[str]:
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
    out = (aligned(lines) if len(lines) > 1 else []) + once(refused)
    if found["cut"] is not None:
        along = found["cut_along"]
        of, level = found["largest"]["of"], digits(found["cut"], 3)
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


def conventions(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return how exponents move between conventions."""
    lines = [
        [
            "Chinchilla's: N",
            "C",
            "alpha",
            "beta",
            "residual",
            "certificate",
            *(f"a: {name}" for name in NAMES.values()),
        ]
    ]
    for row in found:
        line = [row["params"], row["flops"]]
        line += [_short(row[name], row[f"{name}_interval"]) for name in ("alpha", "beta")]
        line += [f"{row['rms_percent']:.2g} %", row["status"]]
        line += [_short(row["a"][name]["a"], row["a"][name]["interval"]) for name in NAMES]
        lines.append(line)
    return [*aligned(lines), "95 %: delete-one-size jackknife; –: refused or no interval"]


def _short(value: float | None, ends: Sequence[float | None] | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" + (
        "" if ends is None or None in ends else f" [{ends[0]:.2f}, {ends[1]:.2f}]"
    )
