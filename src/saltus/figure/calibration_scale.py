"""Does calibration follow compute, or loss? Signed gap and smooth error, all sizes and horizons.

Means over seeds. The slope above each panel is that of `calibration.json`: per decade of compute,
per nat of text loss, leaving one size out at a time.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from saltus.figure import style, words
from saltus.figure.accuracy_loss import MARKERS
from saltus.figure.reliability import LEVELS
from saltus.figure.tables import Tables

AXES = {
    "flops_exact": ("training FLOPs", "decade"),
    "loss_text": ("text loss (nats/token), falling →", "nat"),
}
ERRORS = {
    "overconfidence": "over-confidence",
    "smooth_ece": "smooth ECE",
}
FLOOR = "floor_smooth_ece"


def cells(tables: Tables, level: str) -> pd.DataFrame:
    """Return means over seeds of each size and horizon at one level, as trained."""
    rows = tables.calibration
    rows = rows[(rows["level"] == level) & ~rows["tempered"].astype(bool)]
    rows = rows.drop(columns="flops_exact", errors="ignore")
    rows = rows.merge(tables.runs[["run", "flops_exact"]], on="run", how="left")
    columns = [*AXES, *ERRORS, FLOOR]
    return rows.groupby(["size", "horizon"], as_index=False)[columns].mean().dropna()


def levels(tables: Tables) -> list[str]:
    """Return the levels that were measured, tokens first."""
    return [level for level in LEVELS if len(cells(tables, level))]


def slope_at(tables: Tables, level: str, axis: str, error: str) -> Mapping[str, Any]:
    """Return the entry of `calibration.json` for one slope as trained; empty where it has none."""
    for found in tables.scaling.get("slopes", ()):
        key = (found["level"], found["tempered"], found["axis"], found["error"])
        if key == (level, False, axis, error):
            return dict(found)
    return {}


@style.themed
def draw(tables: Tables) -> Figure:
    """Return the figure: a row per level and error, against compute and against loss."""
    shown = levels(tables)
    if not shown:
        return style.blank("no confidences were recorded")
    keys = [(level, error, axis) for level in shown for error in ERRORS for axis in AXES]
    figure = style.canvas(0.6 + 2.3 * len(keys) / len(AXES))
    made = style.panels(figure, keys, len(AXES), sharex=False, sharey=False)
    for (level, error, axis), axes in made.items():
        _panel(axes, tables, level, error, axis)
        unit = AXES[axis][1]
        told = slope_told(slope_at(tables, level, axis, error), unit)
        if error == "smooth_ece":
            told += f"\nits floor: {slope_told(slope_at(tables, level, axis, FLOOR), unit)}"
        style.subtitle(axes, LEVELS[level] if axis == "flops_exact" else "", told)
        if axis == "flops_exact":
            axes.set_ylabel(ERRORS[error])
        if (level, error) == keys[-1][:2]:
            axes.set_xlabel(AXES[axis][0])
    extra = [
        Line2D([], [], color=style.SOFT, marker=MARKERS[place % len(MARKERS)], markersize=5,
               linestyle="none", label=f"{words.count(horizon)} tokens")
        for place, horizon in enumerate(tables.horizons())
    ]  # fmt: skip
    floor = Line2D([], [], color=style.THRESHOLD, marker="_", markersize=7, linestyle="none",
                   label="floor: a perfectly\ncalibrated model")  # fmt: skip
    style.size_legend(figure, tables, [*extra, floor])
    return figure


def slope_told(found: Mapping[str, Any], unit: str) -> str:
    """Return `slope −0.036 [−0.065, −0.008] per decade`, or why there is none."""
    if words.finite(found.get("slope")) != words.finite(found.get("slope")):
        return str(found.get("reason") or "no slope")
    return f"slope {words.with_interval(found['slope'], [found['low'], found['high']])} per {unit}"


def _panel(axes: Axes, tables: Tables, level: str, error: str, axis: str) -> None:
    palette, rows = style.colours(tables), cells(tables, level)
    if error == "overconfidence":
        axes.axhline(0, color=style.SOFT, linewidth=1, zorder=1)
    for size in tables.sizes():
        path = rows[rows["size"] == size].sort_values("horizon")
        axes.plot(path[axis], path[error], color=palette[size], linewidth=0.9, alpha=0.7, zorder=2)
    for place, horizon in enumerate(tables.horizons()):
        part = rows[rows["horizon"] == horizon]
        axes.scatter(part[axis], part[error], s=20, linewidths=0.4, edgecolors="white", zorder=3,
                     c=[palette[size] for size in part["size"]],
                     marker=MARKERS[place % len(MARKERS)])  # fmt: skip
    if error == "smooth_ece":
        axes.scatter(rows[axis], rows[FLOOR], s=16, marker="_", color=style.THRESHOLD,
                     linewidths=1.2, zorder=2)  # fmt: skip
    if axis == "flops_exact":
        style.log_axis(axes.xaxis, rows[axis].min(), rows[axis].max(), what="power")
    else:
        axes.invert_xaxis()
    if error != "overconfidence":
        axes.set_ylim(bottom=0)


def caption(tables: Tables) -> str:
    """Return what the figure shows, with the slopes of over-confidence."""
    shown = levels(tables)
    if not shown:
        return "No confidences were recorded."
    parts = [
        "Mean confidence minus accuracy and the smooth calibration error, means over seeds, all "
        "sizes and horizons, as trained. Slopes are straight lines through all points with 95 % "
        "intervals that leave one size out at a time: which way, not by which law."
    ]
    for level in shown:
        for axis, (_, unit) in AXES.items():
            found = slope_at(tables, level, axis, "overconfidence")
            parts.append(
                f"{LEVELS[level].capitalize()}, over-confidence: {slope_told(found, unit)}."
            )
    return " ".join(parts)
