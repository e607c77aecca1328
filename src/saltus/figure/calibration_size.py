"""Calibration against size: signed by run, absolute errors of pooled seeds with their floors."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from saltus.figure import style, words
from saltus.figure.reliability import LEVELS
from saltus.figure.spread import combined, dodge, mean_interval
from saltus.figure.tables import Tables

ABSOLUTE = {"ece": "ECE, 15 equal widths", "smooth_ece": "smooth ECE"}
AFTER: dict[str, Any] = {
    "color": style.FAINT, "marker": "o", "markerfacecolor": "white", "markersize": 4.5,
    "linewidth": 1.2, "linestyle": (0, (2, 1.5)),
}  # fmt: skip
FLOOR: dict[str, Any] = {
    "color": style.THRESHOLD, "linewidth": 1.2, "linestyle": (0, (1, 1.5))
}  # fmt: skip


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
    """Return the figure: over-confidence above, absolute errors with their floors below."""
    shown = levels(tables)
    if not shown:
        return style.blank("no confidences were recorded")
    figure = style.canvas(7.6)
    keys = [(what, level) for what in ("overconfidence", *ABSOLUTE) for level in shown]
    made = style.panels(figure, keys, len(shown), sharey=False)
    counts = tables.runs["params_nonembedding"].dropna().astype(float)
    for (what, level), axes in made.items():
        first = level == shown[0]
        if what == "overconfidence":
            _signed(axes, tables, level)
            sizes = at_level(tables, level, False)["n"]
            below = f"by run, n = {words.count(sizes.median())} predictions each"
            style.subtitle(axes, LEVELS[level], below)
        else:
            _absolute(axes, tables, what, level)
            pooled = pooled_at(tables, level, False)["n"]
            below = f"seeds pooled, n = {words.count(pooled.median())} each"
            style.subtitle(axes, "", below)
        style.log_axis(axes.xaxis, counts.min() / 1.1, counts.max() * 1.1)
        if what == keys[-1][0]:
            axes.set_xlabel("parameters without embedding")
        if first:
            axes.set_ylabel(ABSOLUTE.get(what, "over-confidence\n(mean confidence − accuracy)"))
    extra = [
        Line2D([], [], color=style.INK, linewidth=1.5, label="as trained, mean"),
        Line2D([], [], color=style.INK, marker="o", markersize=4.5, linewidth=1.2,
               label="as trained, 95 %\n(ECE: less its noise)"),
        Line2D([], [], label="after temperature", **AFTER),
        Line2D([], [], label="floor: a perfectly\ncalibrated model", **FLOOR),
    ]  # fmt: skip
    style.size_legend(
        figure,
        tables,
        extra,
        sample=f"n = {words.plural(at_level(tables, shown[0], False)['run'].nunique(), 'run')}",
    )
    return figure


def pooled_at(tables: Tables, level: str, tempered: bool) -> pd.DataFrame:
    """Return the pooled errors of one level by size, in distribution."""
    rows = tables.calibration_sizes
    rows = rows[(rows["level"] == level) & rows["shift"].isna() & rows["ece"].notna()]
    rows = rows[rows["tempered"].astype(bool) == tempered]
    return rows.sort_values("params_nonembedding")


def _signed(axes: Axes, tables: Tables, level: str) -> None:
    """Draw over-confidence, a point per seed with its interval."""
    palette = style.colours(tables)
    plain, fitted = at_level(tables, level, False), at_level(tables, level, True)
    axes.axhline(0, color=style.SOFT, linewidth=1, zorder=1)
    means = fitted.groupby("params_nonembedding")["overconfidence"].mean()
    axes.plot(means.index, means, zorder=2, **AFTER)
    means = plain.groupby("params_nonembedding")["overconfidence"].mean()
    axes.plot(means.index, means, color=style.INK, linewidth=1.5, zorder=3)
    for size in tables.sizes():
        rows = plain[plain["size"] == size]
        if rows.empty:
            continue
        places = dodge(rows["params_nonembedding"], rows["seed"], 0.12)
        axes.vlines(places, rows["overconfidence_low"], rows["overconfidence_high"],
                    color=palette[size], linewidth=1.2, alpha=0.6, zorder=2)  # fmt: skip
        axes.plot(places, rows["overconfidence"], "o", color=palette[size], markersize=4.4,
                  markeredgecolor="white", markeredgewidth=0.5, zorder=4)  # fmt: skip


def _absolute(axes: Axes, tables: Tables, error: str, level: str) -> None:
    """Draw an error of pooled seeds with its interval, and its floor."""
    palette = style.colours(tables)
    plain, fitted = pooled_at(tables, level, False), pooled_at(tables, level, True)
    axes.plot(fitted["params_nonembedding"], fitted[error], zorder=2, **AFTER)
    at = plain["params_nonembedding"].to_numpy(float)
    axes.plot(at, plain[error], color=style.INK, linewidth=1.2, zorder=3)
    colours = [palette[str(size)] for size in plain["size"]]
    axes.vlines(at, plain[f"{error}_low"], plain[f"{error}_high"], color=colours, linewidth=1.6,
                zorder=3)  # fmt: skip
    axes.scatter(at, plain[error], c=colours, s=24, edgecolors="white", linewidths=0.5, zorder=4)
    axes.plot(at, plain[f"floor_{error}"], zorder=3, **FLOOR)
    axes.set_ylim(bottom=0)


def doubt(row: "pd.Series[Any]", by_run: pd.DataFrame) -> tuple[float, float]:
    """Return the interval of a pooled over-confidence for other seeds and other text or problems.

    Of its bootstrap over documents or problems, and of t over the seeds in `by_run`; see
    `spread.combined`.
    """
    gaps = by_run["overconfidence"].dropna().tolist()
    over_items = (row["overconfidence_low"], row["overconfidence_high"])
    return combined(float(row["overconfidence"]), over_items, mean_interval(gaps))


def ends(tables: Tables, level: str, tempered: bool = False) -> list[dict[str, Any]]:
    """Return the pooled errors of the smallest and the largest size.

    Each has size, ece, floor_ece, and overconfidence with `doubt` (low, high) and the number of
    seeds in it.
    """
    pooled, by_run = pooled_at(tables, level, tempered), at_level(tables, level, tempered)
    found = []
    for place in dict.fromkeys([0, len(pooled) - 1] if len(pooled) else []):
        row = pooled.iloc[place]
        seeds = by_run[by_run["size"] == row["size"]]
        low, high = doubt(row, seeds)
        kept = {name: row[name] for name in ("size", "ece", "floor_ece", "overconfidence")}
        found.append({**kept, "low": low, "high": high, "num_seeds": len(seeds)})
    return found


def told_gap(row: dict[str, Any]) -> str:
    """Return the over-confidence of a row of `ends` with its interval."""
    return words.with_interval(row["overconfidence"], [row["low"], row["high"]])


def doubted(found: list[dict[str, Any]]) -> str:
    """Return what the intervals of `ends` are for."""
    few = any(row["num_seeds"] < 2 for row in found)
    return "other text or problems alone" if few else "other seeds and other text or problems"


def caption(tables: Tables) -> str:
    """Return what the figure shows, with the numbers of the smallest and largest size."""
    shown = levels(tables)
    if not shown:
        return "No confidences were recorded."
    parts = [
        f"Calibration at {words.count(tables.horizons()[-1])} training tokens with 95 % intervals: "
        "over-confidence by seed (above zero: more confident than right), absolute errors of all "
        "seeds together. Over-confidence in numbers is of all seeds, its interval for "
        f"{doubted([row for level in shown for row in ends(tables, level)])}. The floor is the "
        "mean error of a perfectly calibrated model with these very confidences; an interval is of "
        "the error without it and may end below its point."
    ]
    for level in shown:
        told = [
            f"{told_gap(row)} at {row['size']} (ECE {row['ece']:.3f}, floor {row['floor_ece']:.3f})"
            for row in ends(tables, level)
        ]
        parts.append(f"{LEVELS[level].capitalize()}: over-confidence {words.listed(told)}.")
    return " ".join(parts)
