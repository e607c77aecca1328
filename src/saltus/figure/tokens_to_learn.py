"""Tokens until half of a size's seeds give half of the answers right, against size."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from saltus.figure import style, words
from saltus.figure.tables import Tables


def learnt(tables: Tables, task: str, arm: str) -> pd.DataFrame:
    """Return the thresholds along tokens of a task and arm, one row per size."""
    rows = tables.thresholds
    return rows[(rows["axis"] == "tokens") & (rows["task"] == task) & (rows["arm"] == arm)]


@style.themed
def draw(tables: Tables) -> Figure:
    """Return the figure: a panel per task and arm, intervals, and arrows where none learnt."""
    pairs, horizons = tables.tasks(), tables.horizons()
    if not pairs or len(horizons) < 2:
        why = "one horizon was trained" if pairs else "no task was scored"
        return style.blank(why)
    columns = style.columns_for(len(pairs), 3)
    figure = style.canvas(max(1.0 + 2.2 * -(-len(pairs) // columns), 3.4))
    made = style.panels(figure, pairs, columns)
    counts = tables.runs["params_nonembedding"].dropna().astype(float)
    for index, ((task, arm), axes) in enumerate(made.items()):
        cell = learnt(tables, task, arm)
        _panel(axes, tables, cell)
        num = int((cell["status"] == "crossed").sum())
        told = f"learnt at {num} of {words.plural(len(cell), 'size')}"
        style.subtitle(axes, words.task(task, arm), told)
        style.log_axis(axes.xaxis, float(counts.min()), float(counts.max()))
        style.horizon_axis(axes.yaxis, horizons)
        if index % columns == 0:
            axes.set_ylabel("training tokens")
        if index + columns >= len(pairs):
            axes.set_xlabel("parameters without embedding")
    extra = [
        Line2D([], [], color=style.INK, marker="o", linewidth=1.2, markersize=5,
               label="median seed, 95 %"),
        Line2D([], [], color=style.INK, marker="^", linewidth=1.2, markersize=6,
               label="open: longer than tried"),
        Line2D([], [], color=style.FAINT, marker="^", linestyle="none", markersize=6,
               label="not by the longest"),
        Line2D([], [], color=style.FAINT, marker="v", linestyle="none", markersize=6,
               label="before the shortest"),
    ]  # fmt: skip
    style.size_legend(figure, tables, extra)
    return figure


def _panel(axes: Axes, tables: Tables, cell: pd.DataFrame) -> None:
    palette, horizons = style.colours(tables), tables.horizons()
    for _, row in cell.iterrows():
        place, colour = tables.count(str(row["size"])), palette[str(row["size"])]
        status = row["status"]
        estimate = words.finite(row["estimate"])
        if status == "crossed" and np.isfinite(estimate):
            low, high = words.finite(row["low"]), words.finite(row["high"])
            ends = [low if np.isfinite(low) else horizons[0],
                    high if np.isfinite(high) else horizons[-1]]  # fmt: skip
            axes.plot([place, place], ends, color=colour, linewidth=1.6, zorder=3)
            for bound, end, marker in (
                (low, horizons[0] / 1.3, "v"),
                (high, horizons[-1] * 1.3, "^"),
            ):
                if not np.isfinite(bound):
                    axes.plot([place], [end], marker, color=colour, markersize=5, zorder=3,
                              clip_on=False)  # fmt: skip
            axes.plot([place], [estimate], "o", color=colour, markersize=6,
                      markeredgecolor="white", zorder=4)  # fmt: skip
        elif status == "above largest":
            axes.plot([place], [horizons[-1]], "^", color=style.FAINT, markersize=6, zorder=3)
        elif status == "below smallest":
            axes.plot([place], [horizons[0]], "v", color=style.FAINT, markersize=6, zorder=3)


def caption(tables: Tables) -> str:
    """Return what the figure shows."""
    if not tables.tasks() or len(tables.horizons()) < 2:
        return "No task was scored at two horizons."
    told = []
    for task, arm in tables.tasks():
        cell = learnt(tables, task, arm)
        crossed = cell[cell["status"] == "crossed"]
        if crossed.empty:
            told.append(f"{words.task(task, arm)} by no size")
        else:
            ends = crossed["estimate"].astype(float)
            least, most = words.count(ends.min()), words.count(ends.max())
            told.append(
                f"{words.task(task, arm)} by {words.plural(len(crossed), 'size')}, after "
                f"{least if least == most else f'{least} to {most}'} tokens"
            )
    return (
        "Training tokens at which the median seed of a size first gives half of the answers right. "
        f"Learnt: {'; '.join(told)}. Seeds that never do are right-censored, and so is the size "
        "where they are the most."
    )
