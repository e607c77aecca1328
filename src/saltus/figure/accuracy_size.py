"""Exact match and target NLL against size, side by side for each task and arm.

The threshold stands in the panel of exact match, the verdict in words over both.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from saltus.emerge.transition import Transition, curve
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
    """Return the figure: two panels per task and arm, one point per replica at the last horizon."""
    pairs = tables.tasks()
    columns = min(2, max(len(pairs), 1))
    rows = -(-max(len(pairs), 1) // columns)
    figure = style.canvas(max(1.0 + 2.3 * rows, 3.6))
    keys = [(*pair, what) for pair in pairs or [("none", "plain")] for what in ("accuracy", "nll")]
    made = style.panels(figure, keys, 2 * columns, sharey=False)
    low, high = _limits(tables)
    rows_at = tables.at_largest(tables.scores)
    for index, ((task, arm, what), axes) in enumerate(made.items()):
        if not pairs:
            style.note(axes, "no task was scored")
            continue
        if what == "accuracy":
            _panel(axes, tables, task, arm, (low, high))
            style.subtitle(axes, words.task(task, arm), told(threshold(tables, task, arm)))
            style.share_axis(axes)
            axes.set_ylabel("exact match")
        else:
            _nll(axes, tables, task, arm)
            style.subtitle(axes, verdict_word(tables, task, arm), _width(tables, task, arm))
            axes.set_ylabel("target NLL, nats")
        style.log_axis(axes.xaxis, low, high)
        if index + 2 * columns >= len(keys):
            axes.set_xlabel("parameters, no embedding", fontsize=8.5)
    handles = {
        "mean": Line2D([], [], color=style.INK, linewidth=1.4, label="mean, 95 %"),
        "half": Line2D([], [], color=style.THRESHOLD, linewidth=1.5, label="half right"),
        "half-interval": Patch(color=style.THRESHOLD, alpha=0.16, linewidth=0,
                               label="its 95 % interval"),
        "guess": Line2D([], [], color=style.SOFT, linewidth=1, linestyle=(0, (1, 2)),
                        label="best constant\nanswer"),
        "transition": Line2D([], [], color=style.SOFT, linewidth=1.2, linestyle=(0, (4, 2)),
                             label="transition of the\nNLL and its width"),
    }  # fmt: skip
    sample = f"n = {words.plural(rows_at['run'].nunique(), 'run')}"
    style.size_legend(figure, tables, style.drawn(figure, handles), sample=sample)
    return figure


def verdict(tables: Tables, task: str, arm: str) -> Mapping[str, Any]:
    """Return the verdict on a task and arm, empty if none was given."""
    for row in tables.emergence.get("verdicts", ()):
        if (row["task"], row["arm"]) == (task, arm):
            return row  # type: ignore[no-any-return]
    return {}


def verdict_word(tables: Tables, task: str, arm: str) -> str:
    """Return the verdict as a panel's title."""
    return str(verdict(tables, task, arm).get("verdict", "no verdict"))


def _width(tables: Tables, task: str, arm: str) -> str:
    """Return the width of the NLL's transition in words."""
    counts = tables.runs["params_nonembedding"].dropna().astype(float)
    span = float(np.log10(counts.max() / counts.min()))
    return words.width(verdict(tables, task, arm).get("nll"), span)


def _nll(axes: Axes, tables: Tables, task: str, arm: str) -> None:
    """Draw every replica's target NLL with the means and the fitted transition."""
    means = [place for place, _ in _points(axes, tables, task, arm, "target_nll")]
    if not means:
        return
    found = verdict(tables, task, arm).get("nll")
    if found:
        x = np.linspace(np.log10(means[0][0]), np.log10(means[-1][0]), 200)
        axes.plot(10**x, curve(Transition(**found), x), color=style.SOFT, linewidth=1.2,
                  linestyle=(0, (4, 2)), zorder=2, gid="transition")  # fmt: skip
    axes.set_ylim(bottom=0)


def _limits(tables: Tables) -> tuple[float, float]:
    counts = tables.runs["params_nonembedding"].dropna().astype(float)
    return (float(counts.min()) / 1.15, float(counts.max()) * 1.15)


def _panel(axes: Axes, tables: Tables, task: str, arm: str, limits: tuple[float, float]) -> None:
    rows = tables.at_largest(tables.scores)
    rows = rows[(rows["task"] == task) & (rows["arm"] == arm) & rows["exact_match"].notna()]
    axes.axhline(0.5, color=style.FAINT, linewidth=0.8, zorder=1)
    if len(rows):
        axes.axhline(float(rows["guess_rate"].mean()), color=style.SOFT, linewidth=1,
                     linestyle=(0, (1, 2)), zorder=1, gid="guess")  # fmt: skip
    _threshold(axes, threshold(tables, task, arm), limits)
    for (place, _), cell in _points(axes, tables, task, arm, "exact_match"):
        low, high = accuracy_interval(cell)
        axes.plot([place, place], [low, high], color=style.INK, linewidth=1, alpha=0.75, zorder=3)


def _points(
    axes: Axes, tables: Tables, task: str, arm: str, column: str
) -> list[tuple[tuple[float, float], pd.DataFrame]]:
    """Draw every replica's `column` and the line of means; return (size, mean) and rows by size."""
    palette = style.colours(tables)
    rows = tables.at_largest(tables.scores)
    rows = rows[(rows["task"] == task) & (rows["arm"] == arm) & rows[column].notna()]
    drawn = []
    for size in tables.sizes():
        cell = rows[rows["size"] == size]
        if cell.empty:
            continue
        axes.plot(dodge(cell["params_nonembedding"], cell["seed"], 0.09), cell[column],
                  "o", color=palette[size], markersize=4.4, markeredgecolor="white",
                  markeredgewidth=0.5, zorder=4, clip_on=False)  # fmt: skip
        place = float(cell["params_nonembedding"].iloc[0])
        drawn.append(((place, float(cell[column].mean())), cell))
    if drawn:
        axes.plot(*np.array([each for each, _ in drawn]).T, color=style.INK, linewidth=1.4,
                  zorder=3, gid="mean")  # fmt: skip
    else:
        style.note(axes, "never scored")
    return drawn


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
        axes.axvspan(low, high, color=style.THRESHOLD, alpha=0.16, linewidth=0, zorder=0,
                     gid="half-interval")  # fmt: skip
    if np.isfinite(estimate) and row["status"] == "crossed":
        axes.axvline(estimate, color=style.THRESHOLD, linewidth=1.5, zorder=2, gid="half")


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
        f"Half of the answers are right, in parameters without embedding: {'; '.join(words_of)}. "
        f"Verdicts on the leap: {_verdicts(tables, pairs)}. A transition is sharp if the NLL of "
        "the right answer takes less than half a decade of parameters from 10 to 90 %, by its "
        "95 % interval, and smooth if more."
    )


def _verdicts(tables: Tables, pairs: Sequence[tuple[str, str]]) -> str:
    """Return the verdicts as the caption tells them, tasks of one verdict together."""
    said: dict[str, list[str]] = {}
    for task, arm in pairs:
        said.setdefault(verdict_word(tables, task, arm), []).append(words.task(task, arm))
    return "; ".join(f"{word}: {', '.join(tasks)}" for word, tasks in said.items())
