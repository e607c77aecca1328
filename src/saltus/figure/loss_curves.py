"""Training loss along the trunk and its anneals, one colour per size, with held-out losses."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from saltus.figure import style, words
from saltus.figure.tables import Tables

KINDS = {
    "loss_text": "text",
    "loss_arithmetic_rows": "arithmetic, prompts included",
    "loss": "all tokens",
}
NUM_BINS = {"trunk": 70, "anneal": 12}


def smooth(rows: pd.DataFrame, column: str, num_bins: int) -> pd.DataFrame:
    """Return the mean over seeds and steps in `num_bins` bins of tokens.

    Bins have equal widths in log tokens, so that a curve of millions of steps draws as few points.
    Columns: tokens, loss, low, high (the lowest and highest mean of a seed in the bin).
    """
    rows = rows[rows[column].notna() & (rows["tokens"] > 0)]
    if rows.empty:
        return pd.DataFrame(columns=["tokens", "loss", "low", "high"])
    place = np.log(rows["tokens"].to_numpy(float))
    edges = np.linspace(place.min(), place.max() + 1e-9, num_bins + 1)
    bins = np.digitize(place, edges[1:-1])
    seeds = rows.assign(bin=bins).groupby(["bin", "seed"])[["tokens", column]].mean()
    means = seeds.groupby("bin")
    return pd.DataFrame({
        "tokens": means["tokens"].mean(),
        "loss": means[column].mean(),
        "low": means[column].min(),
        "high": means[column].max(),
    }).reset_index(drop=True)  # fmt: skip


def kinds(tables: Tables) -> list[str]:
    """Return the loss columns to draw: text and arithmetic, or all tokens when neither is there."""
    curves = tables.curves
    there = [name for name in KINDS if name in curves.columns and curves[name].notna().any()]
    return [name for name in there if name != "loss"] or there


@style.themed
def draw(tables: Tables) -> Figure:
    """Return the figure: one panel per kind of loss, tokens on a logarithmic axis."""
    shown = kinds(tables)
    figure = style.canvas(5.2)
    made = style.panels(figure, shown or ["none"], max(len(shown), 1), sharey=False)
    if not shown:
        style.note(made["none"], "no training curves")
        return figure
    tokens = tables.curves.loc[tables.curves["tokens"] > 0, "tokens"]
    shortest = min(tables.horizons(), default=int(tokens.max()))
    low = max(tokens.min(), shortest / 12)
    for name, axes in made.items():
        _panel(axes, tables, name)
        axes.set_title(KINDS[name])
        axes.set_xlabel("training tokens")
        axes.set_ylabel("loss (nats per token)")
        style.log_axis(axes.xaxis, low, tokens.max())
        _frame(axes, tables, name, low)
    extra = [
        Line2D([], [], color=style.SOFT, alpha=0.45, linewidth=1.3, label="trunk, constant rate"),
        Line2D([], [], color=style.SOFT, linewidth=1.9, label="anneal"),
        Line2D([], [], color=style.SOFT, marker="o", markersize=5, linestyle="none",
               markeredgecolor="white", label="test loss at its end"),
    ]  # fmt: skip
    style.size_legend(
        figure, tables, extra, sample=f"n = {words.plural(len(tables.finished()), 'run')}"
    )
    return figure


def _panel(axes: Axes, tables: Tables, name: str) -> None:
    palette = style.colours(tables)
    runs = tables.finished()
    for size in tables.sizes():
        rows = tables.curves[tables.curves["size"] == size]
        trunk = smooth(rows[rows["branch"] == "trunk"], name, NUM_BINS["trunk"])
        axes.plot(trunk["tokens"], trunk["loss"], color=palette[size], alpha=0.45, linewidth=1.3)
        anneals = rows[rows["branch"] == "anneal"]
        for _, part in anneals.groupby("horizon"):
            line = smooth(part, name, NUM_BINS["anneal"])
            axes.fill_between(line["tokens"].astype(float), line["low"].astype(float),
                              line["high"].astype(float), color=palette[size], alpha=0.18,
                              linewidth=0)  # fmt: skip
            axes.plot(line["tokens"], line["loss"], color=palette[size], linewidth=1.9)
        if name in runs.columns:
            ends = runs[runs["size"] == size].groupby("tokens")[name].mean().dropna()
            axes.plot(ends.index, ends, "o", color=palette[size], markersize=5,
                      markeredgecolor="white", markeredgewidth=0.8, zorder=4)  # fmt: skip


def _frame(axes: Axes, tables: Tables, name: str, low: float) -> None:
    """Fit the y axis to what the x axis shows."""
    rows = tables.curves[tables.curves["tokens"] >= low]
    values = rows[name].replace([np.inf, -np.inf], np.nan).dropna()
    if len(values):
        bottom, top = float(values.quantile(0.001)), float(values.quantile(0.999))
        margin = 0.05 * (top - bottom)
        axes.set_ylim(bottom - margin, top + margin)


def caption(tables: Tables) -> str:
    """Return what the figure shows, with its numbers."""
    runs, horizons = tables.finished(), tables.horizons()
    seeds = tables.runs["seed"].nunique()
    parts = [
        f"Training loss of {words.plural(len(tables.sizes()), 'size')}, "
        f"{words.plural(seeds, 'seed')} each, averaged over seeds and neighbouring steps; "
        "bands span the lowest and highest seed of an anneal.",
        f"From one trunk at a constant rate an anneal ends at "
        f"{words.listed([words.count(h) for h in horizons])} tokens; points are the loss on the "
        "fixed test split there.",
    ]
    if len(runs):
        last = tables.at_largest(runs).groupby("size")["loss_text"].mean()
        if len(last):
            parts.append(
                f"At {words.count(horizons[-1])} tokens the mean text loss runs from "
                f"{last.max():.3f} to {last.min():.3f} nats per token."
            )
    if tables.num_diverged():
        parts.append(
            f"{words.plural(tables.num_diverged(), 'run')} diverged and were frozen at their last "
            "finite step."
            if tables.num_diverged() > 1
            else "1 run diverged and was frozen at its last finite step."
        )
    return " ".join(parts)
