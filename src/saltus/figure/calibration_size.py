"""Calibration error and signed over-confidence against size, tokens and answers apart."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from saltus.figure import style, words
from saltus.figure.reliability import LEVELS
from saltus.figure.spread import dodge, mean_interval
from saltus.figure.tables import Tables


def at_level(tables: Tables, level: str, tempered: bool) -> pd.DataFrame:
    """Return the calibration rows of one level at the largest horizon, by size and seed."""
    rows = tables.at_largest(tables.calibration)
    rows = rows[(rows["level"] == level) & (rows["tempered"].astype(bool) == tempered)]
    return rows.dropna(subset=["ece", "params_nonembedding"]).sort_values(
        ["params_nonembedding", "seed"]
    )


def levels(tables: Tables) -> list[str]:
    """Return the levels with a row at the largest horizon, tokens first."""
    return [level for level in LEVELS if len(at_level(tables, level, False))]


@style.themed
def draw(tables: Tables) -> Figure:
    """Return the figure: over-confidence above, ECE with its floor below, a column per level."""
    shown = levels(tables)
    if not shown:
        figure = style.canvas(3.4)
        style.note(figure.add_subplot(), "no confidences were recorded")
        return figure
    figure = style.canvas(6.2)
    keys = [(what, level) for what in ("overconfidence", "ece") for level in shown]
    made = style.panels(figure, keys, len(shown), sharey=False)
    counts = tables.runs["params_nonembedding"].dropna().astype(float)
    for (what, level), axes in made.items():
        _panel(axes, tables, what, level)
        style.log_axis(axes.xaxis, counts.min() / 1.1, counts.max() * 1.1)
        first = level == shown[0]
        if what == "overconfidence":
            sizes = at_level(tables, level, False)["n"]
            style.subtitle(
                axes, LEVELS[level], f"n = {words.count(sizes.median())} predictions a run"
            )
            axes.axhline(0, color=style.SOFT, linewidth=1, zorder=1)
            if first:
                axes.set_ylabel("over-confidence\n(mean confidence − accuracy)")
        else:
            axes.set_ylim(bottom=0)
            axes.set_xlabel("parameters without embedding")
            if first:
                axes.set_ylabel("expected calibration error")
    extra = [
        Line2D([], [], color=style.INK, linewidth=1.5, label="as trained, mean"),
        Line2D([], [], color=style.FAINT, marker="o", markerfacecolor="white", markersize=4.5,
               linewidth=1.2, linestyle=(0, (2, 1.5)), label="after temperature"),
        Line2D([], [], color=style.THRESHOLD, linewidth=1.2, linestyle=(0, (1, 1.5)),
               label="floor: a perfectly\ncalibrated model"),
    ]  # fmt: skip
    style.size_legend(
        figure,
        tables,
        extra,
        sample=f"n = {words.plural(at_level(tables, shown[0], False)['run'].nunique(), 'run')}",
    )
    return figure


def _panel(axes: Axes, tables: Tables, what: str, level: str) -> None:
    palette = style.colours(tables)
    plain, fitted = at_level(tables, level, False), at_level(tables, level, True)
    if len(fitted):
        means = fitted.groupby("params_nonembedding")[what].mean()
        axes.plot(means.index, means, "o", color=style.FAINT, markerfacecolor="white",
                  markersize=4.5, linewidth=1.2, linestyle=(0, (2, 1.5)), zorder=2)  # fmt: skip
    means = plain.groupby("params_nonembedding")[what].mean()
    axes.plot(means.index, means, color=style.INK, linewidth=1.5, zorder=3)
    for size in tables.sizes():
        rows = plain[plain["size"] == size]
        if rows.empty:
            continue
        places = dodge(rows["params_nonembedding"], rows["seed"], 0.12)
        if what == "overconfidence":
            axes.vlines(places, rows["overconfidence_low"], rows["overconfidence_high"],
                        color=palette[size], linewidth=1.2, alpha=0.6, zorder=2)  # fmt: skip
        axes.plot(places, rows[what], "o", color=palette[size], markersize=4.4,
                  markeredgecolor="white", markeredgewidth=0.5, zorder=4)  # fmt: skip
    if what == "ece":
        floor = plain.groupby("params_nonembedding")["floor_ece"].mean().dropna()
        axes.plot(floor.index, floor, color=style.THRESHOLD, linewidth=1.2,
                  linestyle=(0, (1, 1.5)), zorder=3)  # fmt: skip


def ends(tables: Tables, level: str) -> list[pd.Series]:
    """Return the mean row of the smallest and the largest size that was measured.

    Each has size, ece, floor_ece, overconfidence and its interval over seeds (low, high).
    """
    rows = at_level(tables, level, False)
    found = []
    sizes = [size for size in tables.sizes() if (rows["size"] == size).any()]
    for size in dict.fromkeys([*sizes[:1], *sizes[-1:]]):
        cell = rows[rows["size"] == size]
        low, high = mean_interval(cell["overconfidence"].tolist())
        if np.isnan(low):
            low = float(cell["overconfidence_low"].iloc[0])
            high = float(cell["overconfidence_high"].iloc[0])
        means = cell[["ece", "floor_ece", "overconfidence", "n", "accuracy"]].astype(float).mean()
        found.append(pd.concat([means, pd.Series({"size": size, "low": low, "high": high})]))
    return found


def caption(tables: Tables) -> str:
    """Return what the figure shows, with the numbers of the smallest and largest size."""
    shown = levels(tables)
    if not shown:
        return "No confidences were recorded."
    parts = [
        f"Calibration at {words.count(tables.horizons()[-1])} training tokens, one point per seed "
        "with its 95 % interval; over-confidence above zero means more confident than right. "
        "The floor is the mean error that a perfectly calibrated model would show at the same n."
    ]
    for level in shown:
        told = [
            f"{words.with_interval(row['overconfidence'], [row['low'], row['high']])} at "
            f"{row['size']} (ECE {row['ece']:.3f}, floor {row['floor_ece']:.3f})"
            for row in ends(tables, level)
        ]
        parts.append(f"{LEVELS[level].capitalize()}: over-confidence {words.listed(told)}.")
    return " ".join(parts)
