"""Is a stated confidence kept? Accuracy by confidence, one panel per size, tokens and answers."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from saltus.figure import style, words
from saltus.figure.tables import Tables

LEVELS = {"token": "next token", "answer": "whole answer"}


def signed_gap(rows: pd.DataFrame) -> float:
    """Return mean confidence minus accuracy over all predictions of the binned `rows`."""
    rows = rows[rows["n"] > 0]  # an empty bin has no means
    weights = rows["n"].to_numpy(float)
    gap = rows["confidence"].to_numpy(float) - rows["accuracy"].to_numpy(float)
    return float(np.average(gap, weights=weights)) if weights.sum() > 0 else float("nan")


def levels(tables: Tables) -> list[str]:
    """Return the levels that were measured, tokens first."""
    return [level for level in LEVELS if (tables.reliability["level"] == level).any()]


@style.themed
def draw(tables: Tables) -> Figure:
    """Return the figure: a block of panels per level, before and after temperature."""
    shown, sizes = levels(tables), tables.sizes()
    if not shown:
        return style.blank("no confidences were recorded")
    columns = style.columns_for(len(sizes), 5)
    wide = 8.3 / columns
    height = min(wide, 2.6)
    rows = -(-len(sizes) // columns)
    keys = [(level, size) for level in shown for size in sizes]
    figure = style.canvas(0.9 + (height + 0.2) * rows * len(shown))
    blocks = figure.subfigures(len(shown), 1, squeeze=False)[:, 0]
    for block, level in zip(blocks, shown, strict=True):
        grid = block.add_gridspec(rows, columns)
        for index, (_, size) in enumerate(key for key in keys if key[0] == level):
            axes = block.add_subplot(grid[index // columns, index % columns])
            _panel(axes, tables, level, size)
            axes.tick_params(
                labelbottom=index + columns >= len(sizes), labelleft=index % columns == 0
            )
            if index % columns == 0:
                axes.set_ylabel("accuracy")
            if index // columns == rows - 1:
                axes.set_xlabel("confidence")
        block.suptitle(LEVELS[level], x=0.01, ha="left", fontsize=11, fontweight="bold")
    extra = [
        Line2D([], [], color=style.INK, linewidth=1.5, label="as trained, smoothed"),
        Patch(color=style.INK, alpha=0.22, linewidth=0, label="its 95 % band"),
        Line2D([], [], color=style.INK, marker="o", markersize=4, linewidth=1, label="bins, 95 %"),
        Line2D([], [], color=style.SOFT, linewidth=1, linestyle=(0, (2, 1.5)),
               label="after temperature"),
        Patch(color=style.FAINT, alpha=0.5, linewidth=0, label="share of predictions"),
        Line2D([], [], color=style.FAINT, linewidth=1, label="confidence kept"),
    ]  # fmt: skip
    style.size_legend(figure, tables, extra)
    return figure


def _panel(axes: Axes, tables: Tables, level: str, size: str) -> None:
    colour = style.colours(tables)[size]
    rows = tables.reliability
    rows = rows[(rows["level"] == level) & (rows["size"] == size) & (rows["n"] > 0)]
    plain = rows[~rows["tempered"].astype(bool)].sort_values("confidence")
    axes.plot([0, 1], [0, 1], color=style.FAINT, linewidth=1, zorder=1)
    if len(plain):
        _density(axes, plain)
    smooth = tables.reliability_curves
    smooth = smooth[(smooth["level"] == level) & (smooth["size"] == size)]
    tempered = smooth["tempered"].astype(bool)
    after = smooth[tempered].sort_values("at")
    axes.plot(after["at"], after["accuracy"], color=style.SOFT, linewidth=1,
              linestyle=(0, (2, 1.5)), zorder=3)  # fmt: skip
    curve = smooth[~tempered].sort_values("at")
    axes.fill_between(curve["at"], curve["low"], curve["high"], color=colour, alpha=0.22,
                      linewidth=0, zorder=2)  # fmt: skip
    axes.plot(curve["at"], curve["accuracy"], color=colour, linewidth=1.5, zorder=4)
    if len(plain):
        axes.vlines(plain["confidence"], plain["accuracy_low"], plain["accuracy_high"],
                    color=colour, linewidth=1, zorder=4)  # fmt: skip
        axes.plot(plain["confidence"], plain["accuracy"], "o", color=colour, markersize=3.6,
                  markeredgecolor="white", markeredgewidth=0.5, zorder=5)  # fmt: skip
    else:
        style.note(axes, "no predictions")
    gap = signed_gap(plain) if len(plain) else float("nan")
    below = "" if np.isnan(gap) else f"gap {gap:+.3f}, n = {words.count(plain['n'].sum())}"
    style.subtitle(axes, f"{size}   {words.count(tables.count(size))}", below.replace("-", "−"))
    style.share_axis(axes)
    axes.set_xlim(-0.04, 1.04)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", ".5", "", "1"])


def _density(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw the share of predictions per bin along the bottom, a quarter of the panel high."""
    share = rows["share"].to_numpy(float)
    if {"confidence_low", "confidence_high"} <= set(rows.columns):
        left = rows["confidence_low"].to_numpy(float)
        width = rows["confidence_high"].to_numpy(float) - left
    else:
        left, width = rows["confidence"].to_numpy(float) - 0.03, np.full(len(rows), 0.06)
    density = share / np.maximum(width, 1e-3)
    axes.bar(left, 0.26 * density / max(density.max(), 1e-12), width, bottom=-0.05, align="edge",
             color=style.FAINT, alpha=0.5, linewidth=0, zorder=0)  # fmt: skip


def caption(tables: Tables) -> str:
    """Return what the figure shows, with the signed gaps of the smallest and largest size."""
    shown, sizes = levels(tables), tables.sizes()
    if not shown:
        return "No confidences were recorded."
    parts = [
        f"Accuracy against stated confidence at {words.count(tables.horizons()[-1])} training "
        "tokens, seeds pooled: a smoothed curve with its bootstrap band over documents or "
        "problems, and bins with 95 % Wilson bars. On the diagonal a confidence is kept, below it "
        "the model is over-confident. Wilson bars take predictions as independent, "
        "which those of one seed or document are not: a lower bound of the doubt. Grey bars show "
        "where the confidences lie."
    ]
    for level in shown:
        rows = tables.reliability
        rows = rows[(rows["level"] == level) & ~rows["tempered"].astype(bool)]
        ends = [size for size in (sizes[0], sizes[-1]) if (rows["size"] == size).any()]
        told = [
            f"{signed_gap(rows[rows['size'] == size]):+.3f} at {size} "
            f"(n = {words.count(rows.loc[rows['size'] == size, 'n'].sum())})"
            for size in dict.fromkeys(ends)
        ]
        if told:
            parts.append(
                f"{LEVELS[level].capitalize()}: confidence minus accuracy is "
                f"{words.listed(told)}.".replace("-0.", "−0.")
            )
    return " ".join(parts)
