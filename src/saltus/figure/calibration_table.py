"""Reliability of anybody's predictions: one diagram per group.

Accuracy as a smooth function of confidence with its bootstrap band, bins with 95 % Wilson bars, and
where the confidences lie. On the diagonal a confidence is kept, below it the model trusts itself
too much.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from saltus.calibrate.measure import Measured
from saltus.calibrate.reliability import reliability_bins, smooth_curve
from saltus.calibrate.table import Group
from saltus.figure import style, words

MOST_PANELS = 24
COLOUR = "#0f6ba8"


@style.themed
def draw(groups: Sequence[Group], found: Sequence[Measured], seed: int = 0) -> Figure:
    """Return the diagrams of checked groups and their errors, the first 24 of them."""
    shown = list(range(min(len(groups), MOST_PANELS)))
    columns = 2 if len(shown) == 4 else style.columns_for(len(shown), 4)
    rows = -(-len(shown) // columns)
    figure = style.canvas(5.6 if len(shown) == 1 else 1.0 + 2.9 * rows)
    made = style.panels(figure, shown, columns)
    for index, axes in made.items():
        _panel(axes, groups[index], seed)
        title = groups[index].text if groups[index].name else "reliability"
        style.subtitle(axes, title, _below(found[index]))
        style.share_axis(axes)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", ".5", "", "1"])
        if index % columns == 0:
            axes.set_ylabel("accuracy")
        if index + columns >= len(shown):
            axes.set_xlabel("confidence")
    handles = [
        Line2D([], [], color=COLOUR, linewidth=1.8, label="smoothed accuracy"),
        Patch(color=COLOUR, alpha=0.18, linewidth=0, label="its 95 % band"),
        Line2D(
            [], [], color=style.INK, marker="o", markersize=4, linewidth=1.2, label="bins, 95 %"
        ),
        Patch(color=style.FAINT, alpha=0.5, linewidth=0, label="density of confidence"),
        Line2D([], [], color=style.FAINT, linewidth=1, label="confidence kept"),
    ]
    left = len(groups) - len(shown)
    figure.legend(
        handles=handles,
        loc="outside right upper",
        title=f"{left} more groups not drawn" if left else None,
    )
    return figure


def _panel(axes: Axes, group: Group, seed: int) -> None:
    curve = smooth_curve(group.confidence, group.correct, group.cluster, seed=seed)
    bins = reliability_bins(group.confidence, group.correct)
    held = bins.count > 0
    axes.plot([0, 1], [0, 1], color=style.FAINT, linewidth=1, zorder=1)
    top = max(float(np.nanmax(curve.density)), 1e-12)
    axes.fill_between(curve.confidence, -0.05, -0.05 + 0.26 * curve.density / top,
                      color=style.FAINT, alpha=0.5, linewidth=0, zorder=0)  # fmt: skip
    axes.fill_between(curve.confidence, curve.low, curve.high, color=COLOUR, alpha=0.18,
                      linewidth=0, zorder=2)  # fmt: skip
    axes.plot(curve.confidence, curve.accuracy, color=COLOUR, linewidth=1.8, zorder=3)
    axes.vlines(bins.confidence[held], bins.accuracy_low[held], bins.accuracy_high[held],
                color=style.INK, linewidth=1, zorder=4)  # fmt: skip
    axes.plot(bins.confidence[held], bins.accuracy[held], "o", color=style.INK, markersize=4,
              markeredgecolor="white", markeredgewidth=0.5, zorder=5)  # fmt: skip


def _below(found: Measured) -> str:
    """Return the second line of a panel's title: the gap, the smooth error, the sample."""
    ends = found.intervals["smooth_ece"]
    gap = f"gap {found.overconfidence:+.3f}".replace("-", "−")
    error = f"smooth ECE {found.smooth_ece:.3f} [{ends.low:.3f}, {ends.high:.3f}]"
    return f"{gap}, n = {words.count(found.n)}\n{error}"
