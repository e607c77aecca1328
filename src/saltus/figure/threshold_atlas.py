"""Every threshold of a study on one axis: tasks and arms in the order in which they appear."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from saltus.figure import style, words
from saltus.figure.accuracy_size import threshold, told_with_reason
from saltus.figure.tables import Tables

Row = tuple[str, str, dict[str, Any]]


def ordered(tables: Tables) -> list[Row]:
    """Return (task, arm, threshold), earliest first; those not reached last."""
    rows = [(task, arm, threshold(tables, task, arm)) for task, arm in tables.tasks()]
    found = [(task, arm, row) for task, arm, row in rows if row is not None]
    return sorted(found, key=lambda each: _place(each[2]))


def _place(row: dict[str, Any]) -> tuple[int, float]:
    """Return what a threshold is ordered by: its estimate, or its limit after all estimates."""
    estimate, low = words.finite(row["estimate"]), words.finite(row["low"])
    if row["status"] == "below smallest":
        return (0, 0.0)
    if np.isfinite(estimate):
        return (1, estimate)
    return (2 if row["status"] != "above largest" else 3, low if np.isfinite(low) else 0.0)


@style.themed
def draw(tables: Tables) -> Figure:
    """Return the figure: one line per task and arm with its interval, arrows where it is open."""
    rows = ordered(tables)
    figure = style.canvas(max(1.6 + 0.42 * len(rows), 2.9))
    axes = figure.add_subplot()
    if not rows:
        style.note(axes, "no task was scored")
        return figure
    counts = tables.runs["params_nonembedding"].dropna().astype(float)
    low, high = float(counts.min()), float(counts.max())
    palette = style.colours(tables)
    for size in tables.sizes():
        axes.axvline(tables.count(size), color=palette[size], linewidth=1, alpha=0.35, zorder=0)
    for place, (_, _, row) in enumerate(rows):
        _line(axes, row, place, (low, high))
    axes.set_yticks(range(len(rows)), [words.task(task, arm) for task, arm, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(False)
    axes.tick_params(axis="y", length=0)
    style.log_axis(axes.xaxis, low, high)
    axes.set_xlabel("parameters without embedding")
    horizon = words.count(tables.horizons()[-1])
    style.subtitle(
        axes, "Half of the answers right", f"after {horizon} training tokens; thin lines: the sizes"
    )
    handles = [
        Line2D([], [], color=style.THRESHOLD, marker="o", markersize=6, linewidth=2.2,
               label="half right, 95 %"),
        Line2D([], [], color=style.FAINT, linewidth=2.2, label="undecided within"),
        Line2D([], [], color=style.THRESHOLD, marker=">", markersize=6, linestyle="none",
               label="open: beyond the sizes"),
    ]  # fmt: skip
    style.size_legend(figure, tables, handles)
    return figure


def _line(axes: Axes, row: dict[str, Any], place: int, ends: tuple[float, float]) -> None:
    """Draw one threshold; an open end is an arrow at the edge of the ladder.

    Of one beyond the ladder the line is what its interval holds within, if it has such an end.
    """
    status = str(row["status"])
    crossed = status == "crossed"
    colour = style.FAINT if status in ("undecided", "not monotone") else style.THRESHOLD
    low, high = words.finite(row["low"]), words.finite(row["high"])
    left = low if np.isfinite(low) else ends[0]
    right = high if np.isfinite(high) else ends[1]
    if status == "above largest":
        left, right = max(low, ends[0]) if np.isfinite(low) else ends[1], ends[1]
    if status == "below smallest":
        left, right = ends[0], min(high, ends[1]) if np.isfinite(high) else ends[0]
    axes.plot([left, right], [place, place], color=colour, linewidth=2.2, zorder=2,
              solid_capstyle="butt")  # fmt: skip
    open_right = status == "above largest" or not np.isfinite(high)
    open_left = status == "below smallest" or not np.isfinite(low)
    if open_right and status != "below smallest":
        axes.plot([ends[1] * 1.06], [place], ">", color=colour, markersize=7, clip_on=False)
    if open_left and status != "above largest":
        axes.plot([ends[0] / 1.06], [place], "<", color=colour, markersize=7, clip_on=False)
    estimate = words.finite(row["estimate"])
    if crossed and np.isfinite(estimate):
        axes.plot([estimate], [place], "o", color=colour, markersize=7, markeredgecolor="white",
                  zorder=3)  # fmt: skip


def caption(tables: Tables) -> str:
    """Return what the figure shows, with every threshold in words."""
    rows = ordered(tables)
    if not rows:
        return "No task was scored."
    said = "; ".join(f"{words.task(task, arm)} {told_with_reason(row)}" for task, arm, row in rows)
    return (
        "Where half of the answers are right at the longest training, in parameters without "
        f"embedding, in order: {said}. Nothing is extrapolated beyond the sizes tried."
    )
