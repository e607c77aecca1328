"""Every seed at the largest horizon: how far apart are runs that differ in nothing else?"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from saltus.figure import style, words
from saltus.figure.tables import Tables

LOSS = ("loss", "")


def loss_deviation(tables: Tables) -> pd.DataFrame:
    """Return size, seed and the loss's distance from the size's mean in percent."""
    rows = tables.at_largest(tables.finished())
    means = rows.groupby("size")["loss_text"].transform("mean")
    return rows[["size", "seed"]].assign(percent=100 * (rows["loss_text"] / means - 1))


def deviation_within(tables: Tables) -> float:
    """Return the pooled standard deviation between seeds of one size, in percent of the loss."""
    rows = loss_deviation(tables)
    freedom = len(rows) - rows["size"].nunique()
    return float(np.sqrt((rows["percent"] ** 2).sum() / freedom)) if freedom > 0 else float("nan")


@style.themed
def draw(tables: Tables) -> Figure:
    """Return the figure: loss around the size's mean, then accuracy, every seed a point."""
    pairs = tables.tasks()
    columns = style.columns_for(len(pairs) + 1)
    rows = -(-(len(pairs) + 1) // columns)
    figure = style.canvas(max(0.8 + 1.95 * rows, 3.4))
    made = style.panels(figure, [LOSS, *pairs], columns, sharex=True, sharey=False)
    sizes = tables.sizes()
    scores = tables.at_largest(tables.scores)
    for index, (pair, axes) in enumerate(made.items()):
        if pair == LOSS:
            _loss(axes, tables)
        else:
            cell = scores[(scores["task"] == pair[0]) & (scores["arm"] == pair[1])]
            style.subtitle(axes, words.task(pair[0]), pair[1] if len(tables.arms()) > 1 else "")
            _strip(axes, tables, cell.dropna(subset=["exact_match"]), "exact_match")
            style.share_axis(axes)
            if index == 1 or index % columns == 0:
                axes.set_ylabel("exact match")
            else:
                axes.tick_params(labelleft=False)
        axes.set_xlim(-0.6, len(sizes) - 0.4)
        counts = [words.count(tables.count(size)) for size in sizes]
        steep = 0.085 * sum(map(len, counts)) + 0.06 * len(counts) > 8.0 / columns - 0.3
        axes.set_xticks(range(len(sizes)), counts, rotation=90 if steep else 0)
        axes.grid(visible=False, axis="x")
        if index + columns >= len(made):
            axes.set_xlabel("parameters\nwithout embedding", fontsize=8.5)
    extra = [Line2D([], [], color=style.INK, linewidth=1.4, label="mean of the seeds")]
    if tables.num_diverged():
        extra.append(Line2D([], [], color=style.THRESHOLD, marker="x", linestyle="none",
                            markersize=6, label="diverged seed"))  # fmt: skip
    style.size_legend(
        figure,
        tables,
        extra,
        sample=f"n = {words.plural(len(tables.at_largest(tables.finished())), 'run')}",
    )
    return figure


def _loss(axes: Axes, tables: Tables) -> None:
    rows = loss_deviation(tables)
    axes.axhline(0, color=style.FAINT, linewidth=0.8)
    _strip(axes, tables, rows, "percent")
    axes.set_title("text loss")
    axes.set_ylabel("from the size's mean (%)")
    top = 1.25 * max(float(rows["percent"].abs().max()) if len(rows) else 0.0, 0.1)
    axes.set_ylim(-top, top)
    runs = tables.at_largest(tables.runs)
    for place, size in enumerate(tables.sizes()):
        bad = int(((runs["size"] == size) & (runs["status"] != "ok")).sum())
        offsets = (np.arange(bad) - (bad - 1) / 2) * 0.22
        axes.plot(place + offsets, np.full(bad, -0.9 * top), "x", color=style.THRESHOLD,
                  markersize=5.5, markeredgewidth=1.5)  # fmt: skip


def _strip(axes: Axes, tables: Tables, rows: pd.DataFrame, column: str) -> None:
    palette = style.colours(tables)
    seeds = sorted(tables.runs["seed"].dropna().unique())
    step = 0.6 / max(len(seeds) - 1, 1)
    offset = {seed: (place - (len(seeds) - 1) / 2) * step for place, seed in enumerate(seeds)}
    for place, size in enumerate(tables.sizes()):
        cell = rows[rows["size"] == size]
        if cell.empty:
            continue
        if column == "exact_match":
            mean = float(cell[column].mean())
            axes.plot([place - 0.36, place + 0.36], [mean, mean], color=style.INK, linewidth=1.4,
                      zorder=2)  # fmt: skip
        axes.plot([place + offset[seed] for seed in cell["seed"]], cell[column], "o",
                  color=palette[size], markersize=4.8, markeredgecolor="white",
                  markeredgewidth=0.5, zorder=3, clip_on=False)  # fmt: skip


def caption(tables: Tables) -> str:
    """Return what the figure shows, with the spread between seeds."""
    rows = loss_deviation(tables)
    if rows.empty:
        return "No run finished at the largest horizon."
    seeds = int(rows.groupby("size")["seed"].nunique().max())
    parts = [
        f"Every seed at {words.count(tables.horizons()[-1])} training tokens "
        f"({words.plural(len(rows), 'run')}, at most {words.plural(seeds, 'seed')} a size): "
        "text loss as its distance from the size's mean, and exact match by task."
    ]
    within = deviation_within(tables)
    if np.isfinite(within):
        parts.append(f"Seeds of one size differ by {within:.2f} % of the loss (pooled s.d.).")
    scores = tables.at_largest(tables.scores)
    if len(scores):
        spans = scores.groupby(["task", "arm", "size"])["exact_match"].agg(["min", "max"])
        spans = spans.assign(width=spans["max"] - spans["min"]).reset_index()
        widest = spans.sort_values("width", kind="stable").iloc[-1]
        parts.append(
            f"The widest spread of accuracy is "
            f"{words.task(str(widest['task']), str(widest['arm']))} at {widest['size']}: "
            f"from {widest['min']:.2f} to {widest['max']:.2f}."
        )
    return " ".join(parts)
