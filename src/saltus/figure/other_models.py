"""Models from elsewhere on the family's own questions: accuracy and over-confidence against size.

The family at its largest horizon, and every model of `saltus probe --model` as a diamond with its
name. Drawn where models are named only.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from saltus.figure import style, words
from saltus.figure.reliability import LEVELS
from saltus.figure.tables import Tables

NAME = "other-models"
OTHER = style.THRESHOLD


@style.themed
def draw(tables: Tables, scores: pd.DataFrame, calibration: pd.DataFrame) -> Figure:
    """Return the figure; `scores` and `calibration` of the models, as a study's tables."""
    pairs = [("exact match", task, arm) for task, arm in tables.tasks()]
    levels = [("over-confidence", level, "") for level in LEVELS]
    columns = style.columns_for(len(pairs) + len(levels), 4)
    rows = -(-(len(pairs) + len(levels)) // columns)
    figure = style.canvas(0.8 + 2.3 * rows)
    keys = [*pairs, *levels]
    made = style.panels(figure, keys, columns, sharey=False)
    counts = pd.concat(
        [each["params_nonembedding"].astype(float) for each in (tables.runs, scores, calibration)]
    ).dropna()
    for index, ((what, one, two), axes) in enumerate(made.items()):
        if what == "exact match":
            family = _of_task(tables.at_largest(tables.scores), one, two)
            _panel(axes, tables, family, _of_task(scores, one, two), "exact_match")
            style.share_axis(axes)
            style.subtitle(axes, words.task(one), two if two != "plain" else "")
        else:
            axes.axhline(0, color=style.SOFT, linewidth=1, zorder=1)
            family = _of_level(tables.at_largest(tables.calibration), one)
            _panel(axes, tables, family, _of_level(calibration, one), "overconfidence")
            style.subtitle(axes, LEVELS[one], "confidence − accuracy")
        style.log_axis(axes.xaxis, counts.min() / 1.1, counts.max() * 1.1, margin=0.1)
        if index % columns == 0:
            axes.set_ylabel(what)
        if index + columns >= len(keys):
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("parameters\nwithout embedding", fontsize=8.5)
    extra = [
        Line2D([], [], color=style.INK, linewidth=1.4, label="family, mean"),
        Line2D([], [], color=OTHER, marker="D", markersize=5.5, linestyle="none",
               label="other models"),
    ]  # fmt: skip
    style.size_legend(figure, tables, extra)
    return figure


def _of_task(scores: pd.DataFrame, task: str, arm: str) -> pd.DataFrame:
    return scores[(scores["task"] == task) & (scores["arm"] == arm)].dropna(subset="exact_match")


def _of_level(calibration: pd.DataFrame, level: str) -> pd.DataFrame:
    rows = calibration[~calibration["tempered"].astype(bool)]
    return rows[rows["level"] == level].dropna(subset="overconfidence")


def _panel(
    axes: Axes, tables: Tables, family: pd.DataFrame, others: pd.DataFrame, column: str
) -> None:
    palette = style.colours(tables)
    for size, rows in family.groupby("size"):
        axes.plot(rows["params_nonembedding"], rows[column], "o", color=palette[str(size)],
                  markersize=4, markeredgecolor="white", markeredgewidth=0.5,
                  zorder=3)  # fmt: skip
    means = family.groupby("params_nonembedding")[column].mean().sort_index()
    axes.plot(means.index, means, color=style.INK, linewidth=1.4, zorder=2)
    if {f"{column}_low", f"{column}_high"} <= set(others.columns):
        axes.vlines(others["params_nonembedding"], others[f"{column}_low"],
                    others[f"{column}_high"], color=OTHER, linewidth=1.2, zorder=4)  # fmt: skip
    axes.plot(others["params_nonembedding"], others[column], "D", color=OTHER, markersize=5.5,
              markeredgecolor="white", markeredgewidth=0.6, zorder=5)  # fmt: skip
    for _, row in others.iterrows():
        axes.annotate(
            str(row["run"]), (row["params_nonembedding"], row[column]), (-5, 5),
            textcoords="offset points", ha="right", fontsize=7.5, color=OTHER, zorder=6,
        )  # fmt: skip
    if family.empty and others.empty:
        style.note(axes, "not asked")
