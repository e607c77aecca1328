"""Accuracy against scale for a table of anybody's, and the target's NLL beside it if there is one.

Every replica is a point and every scale's mean a bar; the curve is drawn where it was fitted,
dashed where the threshold was refused; the band is the interval of the threshold. The verdict on
a leap stands in words over the NLL, of whose transition it is, or below the threshold.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy import special

from saltus.emerge.axis import Axis
from saltus.emerge.outcome import Threshold
from saltus.emerge.scores import wilson
from saltus.emerge.table import Group
from saltus.emerge.transition import Transition, curve
from saltus.figure import style, words

NUM_POINTS = 300
MOST_PANELS = 24
REPLICA = "#0f6ba8"
NLL_CURVE = (0, (4, 2))


@style.themed
def draw(
    groups: Sequence[Group],
    thresholds: Sequence[Threshold],
    verdicts: Sequence[Mapping[str, Any]],
    axis: Axis,
    level: float,
    label: str,
) -> Figure:
    """Return the figure of checked groups, their thresholds and verdicts, the first 24 of them.

    verdicts: of `judge_groups`; label: what is written under the horizontal axis.
    """
    num = min(len(groups), MOST_PANELS)
    has_nll = any(group.nll is not None for group in groups[:num])
    kinds = ("accuracy", "nll") if has_nll else ("accuracy",)
    shown = [(index, kind) for index in range(num) for kind in kinds]
    most = 2 if has_nll else 3
    columns = len(kinds) * (2 if num == 4 else min(most, style.columns_for(num, 3)))
    rows = -(-len(shown) // columns)
    figure = style.canvas(5.2 if len(shown) == 1 else 1.3 + 2.8 * rows)
    made = style.panels(figure, shown, columns, sharey=not has_nll)
    scales = np.concatenate([group.scale for group in groups])
    limits = (float(scales.min()), float(scales.max()))
    for place, ((index, kind), axes) in enumerate(made.items()):
        group, threshold, judged = groups[index], thresholds[index], verdicts[index]
        if kind == "accuracy":
            _panel(axes, group, threshold, level, axis, limits)
            title = group.text if group.name else "accuracy"
            told = [_told(threshold), _sample(group)]
            if group.nll is None:
                told.insert(1, f"leap: {judged['verdict']}")
            style.subtitle(axes, title, "\n".join(told))
            style.share_axis(axes)
            if has_nll or place % columns == 0:
                axes.set_ylabel("accuracy")
        else:
            _nll(axes, group, judged, limits)
            axes.set_ylabel("target NLL (nats)")
        style.log_axis(axes.xaxis, *limits, what="" if limits[1] < 1e15 else "power")
        if axis.falling:
            axes.invert_xaxis()
        if place + columns >= len(shown):
            axes.tick_params(labelbottom=True)
            axes.set_xlabel(label)
    left = len(groups) - num
    note = f"{words.plural(left, 'more group')} not drawn" if left else ""
    _legend(figure, groups[:num], level, note)
    return figure


def _nll(axes: Axes, group: Group, judged: Mapping[str, Any], limits: tuple[float, float]) -> None:
    """Draw every replica's NLL, the means and the transition that the verdict is of."""
    if group.nll is None:
        style.note(axes, "no NLL")
        return
    fit = judged["evidence"]["nll"]
    span = float(np.log10(limits[1] / limits[0]))
    told = words.width(fit, span) if fit else "no transition was fitted"
    style.subtitle(axes, f"leap: {judged['verdict']}", told)
    places = np.unique(group.scale)
    if fit and fit["start"] != fit["end"]:
        x = np.geomspace(places[0], places[-1], NUM_POINTS)
        axes.plot(x, curve(Transition(**fit), np.log10(x)), color=style.SOFT, linewidth=1.3,
                  linestyle=NLL_CURVE, zorder=2)  # fmt: skip
    axes.plot(group.scale, group.nll, "o", color=REPLICA, markersize=5, markeredgecolor="white",
              markeredgewidth=0.6, alpha=0.9, zorder=4, clip_on=False)  # fmt: skip
    means = [float(group.nll[group.scale == place].mean()) for place in places]
    axes.plot(places, means, "_", color=style.INK, markersize=11, markeredgewidth=1.6, zorder=5)
    axes.set_ylim(bottom=0)


def _panel(
    axes: Axes,
    group: Group,
    threshold: Threshold,
    level: float,
    axis: Axis,
    limits: tuple[float, float],
) -> None:
    axes.axhline(level, color=style.FAINT, linewidth=0.8, zorder=1)
    if group.chance > 0:
        axes.axhline(group.chance, color=style.SOFT, linewidth=1, linestyle=(0, (1, 2)), zorder=1)
    _band(axes, threshold, level, limits)
    if threshold.curve is not None and threshold.status != "not monotone":
        fitted = threshold.curve
        x = np.geomspace(*limits, NUM_POINTS)
        place = np.log10(axis.ordered(x))
        rise = special.expit((place - fitted.middle) / fitted.width)
        drawn = threshold.fit_status != "misfit"
        axes.plot(x, fitted.guess + (1 - fitted.guess - fitted.lapse) * rise, color=style.INK,
                  linewidth=1.6, linestyle="-" if drawn else (0, (4, 3)), zorder=3)  # fmt: skip
    share = group.successes / group.trials
    low, high = wilson(group.successes, group.trials)
    axes.vlines(group.scale, low, high, color=REPLICA, linewidth=0.9, alpha=0.55, zorder=3)
    axes.plot(group.scale, share, "o", color=REPLICA, markersize=5, markeredgecolor="white",
              markeredgewidth=0.6, alpha=0.9, zorder=4, clip_on=False)  # fmt: skip
    places = np.unique(group.scale)
    if places.size < group.scale.size:
        means = [float(share[group.scale == place].mean()) for place in places]
        axes.plot(places, means, "_", color=style.INK, markersize=11, markeredgewidth=1.6, zorder=5)


def _band(axes: Axes, threshold: Threshold, level: float, limits: tuple[float, float]) -> None:
    """Shade the interval, open ends to the edge; beyond the ladder an arrow along `level`."""
    if threshold.status in ("above largest", "below smallest"):
        above = threshold.status == "above largest"
        at = limits[1] if above else limits[0]
        axes.annotate(
            "", (at * (1.25 if above else 0.8), level), (at, level), annotation_clip=False,
            arrowprops={"arrowstyle": "-|>", "color": style.THRESHOLD, "linewidth": 1.8},
        )  # fmt: skip
        return
    if "[" in threshold.label and (threshold.low, threshold.high) != (None, None):
        low = limits[0] / 10 if threshold.low is None else threshold.low
        high = limits[1] * 10 if threshold.high is None else threshold.high
        axes.axvspan(low, high, color=style.THRESHOLD, alpha=0.14, linewidth=0, zorder=0)
    if threshold.estimate is not None:
        axes.axvline(threshold.estimate, color=style.THRESHOLD, linewidth=1.5, zorder=2)


def _told(threshold: Threshold) -> str:
    if threshold.status in threshold.label or threshold.status == "crossed":
        return f"threshold {threshold.label}"
    return f"threshold {threshold.label} ({threshold.status})"


def _sample(group: Group) -> str:
    items = group.trials
    span = f"{items.min():,.0f}"
    span += "" if items.min() == items.max() else f"–{items.max():,.0f}"
    return f"n = {words.plural(group.scale.size, 'replica')} of {span} items"


def _legend(figure: Figure, groups: Sequence[Group], level: float, note: str) -> None:
    """Explain what is drawn, right of all panels."""
    handles: list[Any] = [
        Line2D([], [], color=REPLICA, marker="o", markersize=5, markeredgecolor="white",
               linewidth=0.9, label="one replica,\n95 % of items"),
        Line2D([], [], color=style.INK, linewidth=1.6, label="fitted curve\n(dashed: refused)"),
        Line2D([], [], color=style.THRESHOLD, linewidth=1.5, label=f"accuracy {level:g}"),
        Patch(color=style.THRESHOLD, alpha=0.14, linewidth=0,
              label="its 95 % interval\nor bracket"),
    ]  # fmt: skip
    if any(np.unique(group.scale).size < group.scale.size for group in groups):
        mean = Line2D([], [], color=style.INK, marker="_", markersize=11, markeredgewidth=1.6,
                      linestyle="none", label="mean of replicas")  # fmt: skip
        handles.insert(1, mean)
    if any(group.chance > 0 for group in groups):
        dotted = (0, (1, 2))
        handles.append(
            Line2D([], [], color=style.SOFT, linewidth=1, linestyle=dotted, label="guessing")
        )
    if any(group.nll is not None for group in groups):
        handles.append(
            Line2D([], [], color=style.SOFT, linewidth=1.3, linestyle=NLL_CURVE,
                   label="transition of the\nNLL and its width")
        )  # fmt: skip
    if note:
        handles.append(Line2D([], [], linestyle="none", label=note))
    figure.legend(handles=handles, loc="outside right upper", alignment="left", handlelength=1.6,
                  labelspacing=0.7)  # fmt: skip
