"""Exact match against text loss, all sizes and horizons; and against what the loss allows.

If ability depends on loss alone, sizes and horizons fall on one curve (Du et al. 2024): the link of
`saltus.emerge.link` and its band, as `emergence.json` stores them. The last panel holds greedy
exact match against the expected one, mean exp(−target NLL): points above the diagonal are the gain
of greedy decoding, not a leap (Schaeffer et al. 2023).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy import stats

from saltus.figure import style, words
from saltus.figure.tables import Tables

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
EXPECTED = ("expected", "")
LINK: dict[str, Any] = {"color": style.INK, "linewidth": 1.5}
BAND: dict[str, Any] = {"color": style.INK, "alpha": 0.13, "linewidth": 0}


def rank_correlation(rows: pd.DataFrame) -> float:
    """Return Spearman's correlation of accuracy with text loss (NaN when either is constant)."""
    if len(rows) < 3 or rows["exact_match"].nunique() < 2 or rows["loss_text"].nunique() < 2:
        return float("nan")
    return float(stats.spearmanr(rows["loss_text"], rows["exact_match"]).statistic)


@style.themed
def draw(tables: Tables) -> Figure:
    """Return the figure: a panel per task and arm, and greedy against expected exact match."""
    pairs = tables.tasks()
    scores = tables.scores.dropna(subset=["exact_match", "loss_text"])
    columns = style.columns_for(len(pairs) + 1)
    rows = -(-(len(pairs) + 1) // columns)
    figure = style.canvas(max(0.9 + 2.15 * rows, 3.6))
    made = style.panels(figure, [*pairs, EXPECTED], columns, sharex=False)
    if scores.empty:
        for axes in made.values():
            style.note(axes, "no task was scored")
        return figure
    low, high = float(scores["loss_text"].min()), float(scores["loss_text"].max())
    margin = 0.05 * max(high - low, 0.05)
    for index, (pair, axes) in enumerate(made.items()):
        style.share_axis(axes)
        if index % columns == 0:
            axes.set_ylabel("exact match")
        if pair == EXPECTED:
            _expected(axes, tables, scores)
            continue
        cell = scores[(scores["task"] == pair[0]) & (scores["arm"] == pair[1])]
        _points(axes, tables, cell, "loss_text")
        _link(axes, tables, pair)
        style.subtitle(axes, words.task(pair[0]), pair[1] if len(tables.arms()) > 1 else "")
        axes.set_xlim(high + margin, low - margin)
        lowest = index + columns >= len(pairs)
        axes.tick_params(labelbottom=lowest)
        if lowest:
            axes.set_xlabel("text loss (nats/token), falling →", fontsize=8.5)
    horizons = tables.horizons()
    extra: list[Any] = [
        Line2D([], [], color=style.SOFT, marker=MARKERS[place % len(MARKERS)], markersize=5,
               linestyle="none", label=f"{words.count(horizon)} tokens")
        for place, horizon in enumerate(horizons)
    ]  # fmt: skip
    if any(_linked(tables, pair) for pair in pairs):
        extra += [
            Line2D([], [], label="one link of all", **LINK),
            Patch(label="its 95 % band", **BAND),
        ]
    style.size_legend(
        figure, tables, extra, sample=f"n = {words.plural(scores['run'].nunique(), 'run')}"
    )
    return figure


def _points(axes: Axes, tables: Tables, rows: pd.DataFrame, column: str) -> None:
    palette = style.colours(tables)
    for place, horizon in enumerate(tables.horizons()):
        part = rows[rows["horizon"] == horizon]
        axes.scatter(part[column], part["exact_match"], s=17, linewidths=0.4, edgecolors="white",
                     c=[palette[size] for size in part["size"]], clip_on=False, zorder=3,
                     marker=MARKERS[place % len(MARKERS)])  # fmt: skip
    if rows.empty:
        style.note(axes, "never scored")


def _linked(tables: Tables, pair: tuple[str, str]) -> Mapping[str, Any] | None:
    """Return the stored link of text loss of a task and arm, None where it was refused."""
    for found in tables.emergence.get("links", ()):
        if (found["task"], found["arm"], found["loss"]) == (*pair, "loss_text"):
            return found if found["curve"] else None
    return None


def _link(axes: Axes, tables: Tables, pair: tuple[str, str]) -> None:
    found = _linked(tables, pair)
    if found is None:
        return
    curve = found["curve"]
    if curve["low"] is not None:
        axes.fill_between(curve["loss"], curve["low"], curve["high"], zorder=1, **BAND)
    axes.plot(curve["loss"], curve["accuracy"], zorder=2, **LINK)


def _expected(axes: Axes, tables: Tables, scores: pd.DataFrame) -> None:
    axes.plot([0, 1], [0, 1], color=style.FAINT, linewidth=1, zorder=1)
    _points(axes, tables, scores, "expected_exact_match")
    axes.set_title("all tasks, greedy")
    axes.set_xlim(-0.03, 1.03)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", ".5", "", "1"])
    axes.set_xlabel("expected: mean exp(−NLL)", fontsize=8.5)


def caption(tables: Tables) -> str:
    """Return what the figure shows, with its rank correlations."""
    scores = tables.scores.dropna(subset=["exact_match", "loss_text"])
    if scores.empty:
        return "No task was scored."
    found = []
    for task, arm in tables.tasks():
        value = rank_correlation(scores[(scores["task"] == task) & (scores["arm"] == arm)])
        if np.isfinite(value):
            found.append(f"{words.task(task, arm)} {value:.2f}".replace("-0.", "−0."))
    runs = scores["run"].nunique()
    gain = float((scores["exact_match"] - scores["expected_exact_match"]).mean())
    parts = [
        f"Exact match against text loss for {words.plural(runs, 'run')} of all sizes, seeds and "
        "horizons: where ability follows loss alone, colours and markers share one curve."
    ]
    linked = [_linked(tables, pair) for pair in tables.tasks()]
    drawn = [link for link in linked if link is not None]
    if drawn:
        bare = sum(link["intervals"] is None for link in drawn)
        told = f"; {words.plural(bare, 'link')} without" if bare else ""
        parts.append(
            "Lines: one logistic link of all sizes and horizons, with its 95 % band "
            f"(delete-one-size jackknife{told})."
        )
    refused = sum(link is None for link in linked)
    if refused:
        parts.append(f"No link is fixed for {words.plural(refused, 'panel')}.")
    if found:
        parts.append(f"Rank correlations (Spearman, n = {runs}): {'; '.join(found)}.")
    parts.append(
        "Last panel: the greedy answer against the probability of the right one, "
        f"mean exp(−NLL); greedy is {'above' if gain >= 0 else 'below'} by {abs(gain):.3f} "
        "on average."
    )
    return " ".join(parts)
