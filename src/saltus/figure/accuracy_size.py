"""Exact match against size, one panel per task and arm, with the fitted threshold."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from saltus.figure import style, words
from saltus.figure.spread import accuracy_interval, dodge
from saltus.figure.tables import Tables


def threshold(tables: Tables, task: str, arm: str) -> dict[str, Any] | None:
    """Return the threshold on the axis of parameters of a task and arm, if there is one."""
    rows = tables.thresholds
    rows = rows[
        (rows["axis"] == "params_nonembedding") & (rows["task"] == task) & (rows["arm"] == arm)
    ]
    return None if rows.empty else {str(key): value for key, value in rows.iloc[0].items()}


def told(row: dict[str, Any] | None) -> str:
    """Return a threshold as a panel prints it: `half right at 41k [31k, 56k]`."""
    if row is None:
        return "no threshold estimated"
    status, label = str(row["status"]), words.remark(row["label"])
    if status not in ("crossed", "above largest", "below smallest"):
        return label or status
    if label[:1] in "<>":
        return f"half right {label}"
    return f"half right {'in' if label[:1] == '[' else 'at'} {label}"


def told_with_reason(row: dict[str, Any] | None) -> str:
    """Return a threshold as the caption prints it, with the reason where none was found."""
    short = told(row).removeprefix("half right ")
    reason = words.remark((row or {}).get("reason"))
    unclear = row is not None and row["status"] not in (
        "crossed",
        "above largest",
        "below smallest",
    )
    return f"{short} ({reason})" if unclear and reason else short


@style.themed
def draw(tables: Tables) -> Figure:
    """Return the figure: small multiples with one point per replica at the largest horizon."""
    pairs = tables.tasks()
    arms = tables.arms()
    columns = len(arms) if len(arms) > 1 else min(3, style.columns_for(len(pairs), 3))
    rows = -(-max(len(pairs), 1) // columns)
    figure = style.canvas(max(1.0 + 2.15 * rows, 3.6))
    made = style.panels(figure, pairs or [("none", "plain")], columns)
    low, high = _limits(tables)
    rows_at = tables.at_largest(tables.scores)
    for index, ((task, arm), axes) in enumerate(made.items()):
        if not pairs:
            style.note(axes, "no task was scored")
            continue
        _panel(axes, tables, task, arm, (low, high))
        below = told(threshold(tables, task, arm))
        style.subtitle(axes, words.task(task), f"{arm}: {below}" if len(arms) > 1 else below)
        style.share_axis(axes)
        style.log_axis(axes.xaxis, low, high)
        if index % columns == 0:
            axes.set_ylabel("exact match")
        if index + columns >= len(pairs):
            axes.set_xlabel("parameters without embedding")
    extra = [
        Line2D([], [], color=style.INK, linewidth=1.4, label="mean, 95 %"),
        Line2D([], [], color=style.THRESHOLD, linewidth=1.5, label="half right"),
        Patch(color=style.THRESHOLD, alpha=0.16, linewidth=0, label="its 95 % interval"),
        Line2D([], [], color=style.SOFT, linewidth=1, linestyle=(0, (1, 2)),
               label="best constant\nanswer"),
    ]  # fmt: skip
    style.size_legend(
        figure, tables, extra, sample=f"n = {words.plural(rows_at['run'].nunique(), 'run')}"
    )
    return figure


def _limits(tables: Tables) -> tuple[float, float]:
    counts = tables.runs["params_nonembedding"].dropna().astype(float)
    return (float(counts.min()) / 1.15, float(counts.max()) * 1.15)


def _panel(axes: Axes, tables: Tables, task: str, arm: str, limits: tuple[float, float]) -> None:
    palette = style.colours(tables)
    rows = tables.at_largest(tables.scores)
    rows = rows[(rows["task"] == task) & (rows["arm"] == arm) & rows["exact_match"].notna()]
    axes.axhline(0.5, color=style.FAINT, linewidth=0.8, zorder=1)
    if len(rows):
        axes.axhline(float(rows["guess_rate"].mean()), color=style.SOFT, linewidth=1,
                     linestyle=(0, (1, 2)), zorder=1)  # fmt: skip
    _threshold(axes, threshold(tables, task, arm), limits)
    means = []
    for size in tables.sizes():
        cell = rows[rows["size"] == size]
        if cell.empty:
            continue
        axes.plot(dodge(cell["params_nonembedding"], cell["seed"], 0.09), cell["exact_match"],
                  "o", color=palette[size], markersize=4.4, markeredgecolor="white",
                  markeredgewidth=0.5, zorder=4, clip_on=False)  # fmt: skip
        low, high = accuracy_interval(cell)
        place = float(cell["params_nonembedding"].iloc[0])
        means.append((place, float(cell["exact_match"].mean())))
        axes.plot([place, place], [low, high], color=style.INK, linewidth=1, alpha=0.75, zorder=3)
    if means:
        axes.plot(*np.array(means).T, color=style.INK, linewidth=1.4, zorder=3)
    elif rows.empty:
        style.note(axes, "never scored")


def _threshold(axes: Axes, row: dict[str, Any] | None, limits: tuple[float, float]) -> None:
    if row is None:
        return
    if row["status"] in ("above largest", "below smallest"):
        right = row["status"] == "above largest"
        axes.annotate(
            "", xy=(1.0 if right else 0.0, 0.5), xytext=(0.86 if right else 0.14, 0.5),
            xycoords=axes.get_yaxis_transform(), textcoords=axes.get_yaxis_transform(),
            arrowprops={"arrowstyle": "-|>", "color": style.THRESHOLD, "linewidth": 1.6,
                        "shrinkA": 0, "shrinkB": 0},
            zorder=6,
        )  # fmt: skip
        return
    low, high = words.finite(row["low"]), words.finite(row["high"])
    estimate = words.finite(row["estimate"])
    if np.isfinite(low) or np.isfinite(high):
        low = low if np.isfinite(low) and low > 0 else limits[0] / 2
        high = high if np.isfinite(high) else limits[1] * 2
        axes.axvspan(low, high, color=style.THRESHOLD, alpha=0.16, linewidth=0, zorder=0)
    if np.isfinite(estimate) and row["status"] == "crossed":
        axes.axvline(estimate, color=style.THRESHOLD, linewidth=1.5, zorder=2)


def caption(tables: Tables) -> str:
    """Return what the figure shows, with the thresholds."""
    pairs, horizons = tables.tasks(), tables.horizons()
    rows: pd.DataFrame = tables.at_largest(tables.scores)
    if not pairs or rows.empty:
        return "No task was scored at the largest horizon."
    seeds = rows["seed"].nunique()
    items = rows["items"].astype(int)
    spans = f"{items.min():,}" if items.min() == items.max() else f"{items.min():,}–{items.max():,}"
    words_of = [
        f"{words.task(task, arm)} {told_with_reason(threshold(tables, task, arm))}"
        for task, arm in pairs
    ]
    return (
        f"Share of right answers by size, at {words.count(horizons[-1])} training tokens: "
        f"every point is one of {words.plural(seeds, 'seed')}, scored on {spans} held-out items. "
        "Bars are 95 % intervals of the mean, the wider of seeds (t) and items (Wilson). "
        f"Half of the answers are right, in parameters without embedding: {'; '.join(words_of)}."
    )
