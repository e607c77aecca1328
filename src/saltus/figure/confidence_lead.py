"""Which moves first as models grow, being right or being sure? One panel per task, and all pooled.

Accuracy and mean confidence against parameters at the largest horizon. The lag is read where each
crosses half of the accuracy's range (`calibration.json`): left of accuracy, confidence runs ahead.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from saltus.figure import style, words
from saltus.figure.reliability import LEVELS
from saltus.figure.tables import Tables

OVER, UNDER = style.THRESHOLD, "#0f6ba8"
TEMPERED: dict[str, Any] = {"color": style.FAINT, "linewidth": 1.2, "linestyle": (0, (2, 1.5))}


def panels_of(tables: Tables) -> list[str]:
    """Return the levels that are drawn: tokens, all answers, then every task and arm."""
    found = set(tables.at_largest(tables.calibration)["level"])
    each = [f"answer:{task}:{arm}" for task, arm in tables.tasks()]
    return [level for level in (*LEVELS, *each) if level in found]


def name_of(level: str) -> str:
    """Return what a level is called in a sentence."""
    if level in LEVELS:
        return LEVELS[level] + ("s, pooled" if level == "answer" else "")
    _, task, arm = level.split(":")
    return words.task(task, arm)


def _heading(level: str) -> tuple[str, str]:
    """Return the title and what stands before the lag below it; a panel is narrow."""
    if level in LEVELS:
        return name_of(level), ""
    _, task, arm = level.split(":")
    return words.task(task), "" if arm == "plain" else f"{arm}, "


def lag_at(tables: Tables, level: str, tempered: bool = False) -> Mapping[str, Any]:
    """Return the entry of `calibration.json` for a level; empty where it has none."""
    for found in tables.scaling.get("lags", ()):
        if found["level"] == level and found["tempered"] == tempered:
            return dict(found)
    return {}


def means_at(tables: Tables, level: str, tempered: bool = False) -> pd.DataFrame:
    """Return mean accuracy and confidence over seeds by parameters, at the largest horizon."""
    rows = tables.at_largest(tables.calibration)
    rows = rows[(rows["level"] == level) & (rows["tempered"].astype(bool) == tempered)]
    return rows.groupby("params_nonembedding")[["accuracy", "confidence"]].mean().sort_index()


@style.themed
def draw(tables: Tables) -> Figure:
    """Return the figure: accuracy, confidence and the gap between them, by size."""
    shown = panels_of(tables)
    if not shown:
        return style.blank("no confidences were recorded")
    columns = style.columns_for(len(shown), 4)
    rows = -(-len(shown) // columns)
    figure = style.canvas(0.7 + 2.25 * rows)
    made = style.panels(figure, shown, columns)
    counts = tables.runs["params_nonembedding"].dropna().astype(float)
    for index, (level, axes) in enumerate(made.items()):
        _panel(axes, tables, level)
        style.log_axis(axes.xaxis, counts.min() / 1.1, counts.max() * 1.1)
        if index % columns == 0:
            axes.set_ylabel("mean over seeds")
        if index + columns >= len(shown):
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("parameters\nwithout embedding", fontsize=8.5)
    handles = [
        Line2D([], [], color=style.INK, linewidth=1.6, label="accuracy, by size"),
        Line2D([], [], color=OVER, linewidth=1.6, label="confidence"),
        Line2D([], [], label="confidence,\nafter temperature", **TEMPERED),
        Patch(color=OVER, alpha=0.2, linewidth=0, label="too sure"),
        Patch(color=UNDER, alpha=0.2, linewidth=0, label="too timid"),
        Line2D([], [], color=style.SOFT, linewidth=0.9, linestyle=(0, (1, 2)),
               label="half of the\naccuracy's range"),
    ]  # fmt: skip
    style.size_legend(
        figure, tables, handles, sample="lag: confidence behind\naccuracy, in decades"
    )
    return figure


def _panel(axes: Axes, tables: Tables, level: str) -> None:
    means, fitted = means_at(tables, level), means_at(tables, level, True)
    found = lag_at(tables, level)
    x = means.index.to_numpy(float)
    accuracy, confidence = (means[name].to_numpy(float) for name in ("accuracy", "confidence"))
    for above, colour in ((confidence >= accuracy, OVER), (confidence <= accuracy, UNDER)):
        axes.fill_between(x, accuracy, confidence, where=above.tolist(), interpolate=True,
                          color=colour, alpha=0.2, linewidth=0, zorder=1)  # fmt: skip
    axes.plot(fitted.index, fitted["confidence"], zorder=2, **TEMPERED)
    axes.plot(x, confidence, color=OVER, linewidth=1.6, zorder=3)
    axes.plot(x, accuracy, color=style.INK, linewidth=1.6, zorder=4)
    palette = {tables.count(size): colour for size, colour in style.colours(tables).items()}
    axes.scatter(x, accuracy, c=[palette[count] for count in x], s=20, edgecolors="white",
                 linewidths=0.5, zorder=5)  # fmt: skip
    style.share_axis(axes)
    half = found.get("half")
    if half is not None:
        axes.axhline(half, color=style.SOFT, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
        for name, colour in (("accuracy_at", style.INK), ("confidence_at", OVER)):
            if found[name] is not None:
                axes.plot(found[name], half, "|", color=colour, markersize=11,
                          markeredgewidth=1.8, zorder=6)  # fmt: skip
    title, before = _heading(level)
    style.subtitle(axes, title, before + told(found, short=True))


def told(found: Mapping[str, Any], *, short: bool = False) -> str:
    """Return a lag with its interval, or why there is none."""
    lag, low, high = (words.finite(found.get(name)) for name in ("lag", "low", "high"))
    if lag != lag:
        return "no lag" if short else str(found.get("reason") or "not measured")
    ends = f" {words.bracket([low, high], 2)}" if low == low else ""
    text = f"{lag:.2f}".replace("-", "−") + ends
    return f"lag {text}" if short else f"{text} decades"


def caption(tables: Tables) -> str:
    """Return what the figure shows, with the lags whose sign is certain."""
    shown = panels_of(tables)
    if not shown:
        return "No confidences were recorded."
    parts = [
        f"Accuracy and mean confidence at {words.count(tables.horizons()[-1])} training tokens, "
        "means over seeds. The lag is how many decades of parameters later confidence crosses "
        "half of the accuracy's range than accuracy does (95 %, leaving one size out at a time); "
        "negative: confidence comes first."
    ]
    groups: dict[str, list[str]] = {"first": [], "after": [], "unclear": [], "none": []}
    for level in shown:
        found = lag_at(tables, level)
        low, high = (words.finite(found.get(name)) for name in ("low", "high"))
        key = "none" if low != low else "first" if high < 0 else "after" if low > 0 else "unclear"
        groups[key].append(name_of(level))
    said = {
        "first": "Confidence moves before accuracy: {}.",
        "after": "Confidence moves after accuracy: {}.",
        "unclear": "Neither for certain: {}.",
        "none": "No lag could be read: {}.",
    }
    parts += [said[key].format(words.listed(names)) for key, names in groups.items() if names]
    return " ".join(parts)
