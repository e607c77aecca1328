"""What `saltus emergence` prints: one block of lines for every group of a table."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from saltus.cli.lines import aligned
from saltus.emerge.axis import Axis
from saltus.emerge.table import Columns, Group

ABSENT = "–"


def told(
    name: str,
    columns: Columns,
    axis: Axis,
    groups: Sequence[Group],
    found: Sequence[Mapping[str, Any]],
    dropped: Mapping[str, int],
) -> list[str]:
    """Return the answer as lines for a terminal."""
    rows = sum(group.scale.size for group in groups)
    left = ", ".join(f"{count} ({why})" for why, count in dropped.items()) or "none"
    counted = columns.accuracy or columns.successes
    lines = [
        f"table        {name}: {rows} rows, {len(groups)} "
        f"group{'' if len(groups) == 1 else 's'}; dropped: {left}",
        f"columns      {counted} of {columns.trials} along {columns.scale}"
        f"{' (falling)' if axis.falling else ''}; replicas: {columns.replica or 'one per row'}",
    ]
    for group, answer in zip(groups, found, strict=True):
        lines += ["", *_group(group, answer, axis, str(columns.scale))]
    return lines


def _group(group: Group, answer: Mapping[str, Any], axis: Axis, scale: str) -> list[str]:
    """Return the accuracies by scale, and what follows from them."""
    share = group.successes / group.trials
    table = [[scale, "accuracy", "replicas"]]
    for row in answer["accuracy"]:
        here = share[group.scale == row["scale"]]
        spread = f" ({here.min():.3f} to {here.max():.3f})" if here.size > 1 else ""
        place = axis.text(float(axis.ordered(np.array(row["scale"]))))
        table.append([place, f"{row['mean']:.3f}{spread}", str(here.size)])
    threshold, fit, scores = answer["threshold"], answer["fit"], answer["scores"]
    lines = [
        group.text,
        *(f"  {line}" for line in aligned(table)),
        f"  threshold    {threshold['label']}" + (
            "" if threshold["status"] in threshold["label"] else f"  ({threshold['status']})"
        ) + f", where accuracy reaches {threshold['level']:g}",
    ]  # fmt: skip
    if threshold["reason"]:
        lines.append(f"               {threshold['reason']}")
    lines += [
        f"  crossings    first {_gap(threshold['first_crossing'], axis)}, "
        f"sustained {_gap(threshold['sustained_crossing'], axis)}",
        f"  halfway      {_halfway(threshold, axis)}",
        f"  width        {_width(answer)}",
        f"  fit          {fit['status']}; over-dispersion {_short(fit['overdispersion'])}; "
        f"heterogeneity {_short(fit['heterogeneity'])}; p of the fit {_short(fit['p_value'])}",
        f"  scores       linearity {_short(scores['linearity'])}, "
        f"breakthroughness {_short(scores['breakthroughness'])}",
        f"  verdict      {answer['verdict'] or ABSENT}"
        + (f": {answer['reason']}" if answer["reason"] else "")
        + (f"\n  power        {answer['power']['text']}" if answer["power"] else ""),
    ]
    return lines


def _halfway(threshold: Mapping[str, Any], axis: Axis) -> str:
    if threshold["n50"] is None:
        return f"{ABSENT} (between guessing and the best that is reached)"
    low, high = threshold["n50_interval"]
    return (
        f"{_place(threshold['n50'], axis)} [{_place(low, axis)}, {_place(high, axis)}] "
        "(between guessing and the best that is reached)"
    )


def _width(answer: Mapping[str, Any]) -> str:
    low, high = answer["width_interval"]
    if answer["width"] is None:
        at_most = "" if high is None else f"; at most {high:.2g} decades"
        return f"not identified{at_most}"
    return f"{answer['width']:.2f} decades, 10 to 90 % [{_short(low)}, {_short(high)}]"


def _gap(ends: Sequence[float | None], axis: Axis) -> str:
    if ends[0] is None and ends[1] is None:
        return "never"
    return f"({_place(ends[0], axis)}, {_place(ends[1], axis)}]"


def _place(value: float | None, axis: Axis) -> str:
    return "open" if value is None else axis.text(1 / value if axis.falling else value)


def _short(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.3g}"
