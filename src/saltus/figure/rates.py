"""A learning-rate sweep: loss against rate for each size, and the rule against the best rates."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from saltus.errors import TableError
from saltus.figure import style, words
from saltus.figure.tables import Tables


def rule_rate(rule: Mapping[str, Any], params_nonembedding: Any) -> Any:
    """Return coefficient·(N / reference)^exponent."""
    scaled = np.asarray(params_nonembedding, float) / float(rule["reference"])
    return float(rule["coefficient"]) * scaled ** float(rule["exponent"])


def swept(tables: Tables) -> tuple[pd.DataFrame, Mapping[str, Any]]:
    """Return the sweep's rows and results; raises `TableError` when the study had none."""
    if tables.rates_rows is None or tables.rates is None:
        raise TableError("rates.json: missing; this study swept no learning rates")
    return tables.rates_rows, tables.rates


@style.themed
def draw(tables: Tables) -> Figure:
    """Return the figure: validation loss against rate; best rate against size."""
    rows, found = swept(tables)
    figure = style.canvas(4.6)
    grid = figure.add_gridspec(1, 2, width_ratios=[1.35, 1])
    left, right = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    best = pd.DataFrame(list(found.get("sizes", [])))
    _losses(left, tables, rows, best)
    _rule(right, tables, rows, best, found.get("rule") or {})
    extra = [
        Line2D([], [], color=style.INK, marker="|", markersize=9, markeredgewidth=1.6,
               linestyle="none", label="best rate"),
        Line2D([], [], color=style.INK, linewidth=1.3, label="rule"),
    ]  # fmt: skip
    shown = [str(size) for size in rows["size"].unique()]
    style.size_legend(
        figure, tables, extra, sizes=shown, sample=f"n = {words.plural(len(rows), 'run')}"
    )
    return figure


def _losses(axes: Axes, tables: Tables, rows: pd.DataFrame, best: pd.DataFrame) -> None:
    palette = style.colours(tables)
    good = rows.dropna(subset=["loss_validation"])
    for size, part in good.groupby("size"):
        colour = palette.get(str(size), style.SOFT)
        means = part.groupby("learning_rate")["loss_validation"].mean()
        axes.plot(part["learning_rate"], part["loss_validation"], "o", color=colour,
                  markersize=3.4, alpha=0.5, markeredgewidth=0)  # fmt: skip
        axes.plot(means.index, means, "o-", color=colour, markersize=4.6, linewidth=1.5,
                  markeredgecolor="white", zorder=3)  # fmt: skip
        if len(best) and (best["size"] == size).any():
            rate = words.finite(best.loc[best["size"] == size, "best_rate"].iloc[0])
            if np.isfinite(rate) and rate > 0:
                place = np.interp(np.log(rate), np.log(means.index.to_numpy(float)), means)
                axes.plot([rate], [place], "|", color=style.INK, markersize=11,
                          markeredgewidth=1.6, zorder=4)  # fmt: skip
    seeds = words.plural(rows["seed"].nunique(), "seed")
    style.subtitle(axes, "loss by learning rate", f"{seeds} and their mean")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("validation loss (nats per token)")
    _rate_axis(axes.xaxis, rows["learning_rate"])


def _rule(
    axes: Axes, tables: Tables, rows: pd.DataFrame, best: pd.DataFrame, rule: Mapping[str, Any]
) -> None:
    palette = style.colours(tables)
    counts = rows["params_nonembedding"].dropna().astype(float)
    for row in best.dropna(subset=["best_rate"]).to_dict("records") if len(best) else ():
        inside = bool(row["in_rule"])
        colour = palette.get(str(row["size"]), style.SOFT)
        axes.plot([float(row["params_nonembedding"])], [float(row["best_rate"])], "o",
                  color=colour, markerfacecolor=colour if inside else "white", markersize=7,
                  markeredgewidth=1.4, zorder=4)  # fmt: skip
    below = "no rule fitted"
    if np.isfinite(words.finite(rule.get("exponent"))):
        sizes = np.geomspace(counts.min() / 1.3, counts.max() * 1.3, 40)
        axes.plot(sizes, rule_rate(rule, sizes), color=style.INK, linewidth=1.3, zorder=2)
        told = words.with_interval(rule["exponent"], rule.get("interval"))
        below = f"rate $∝\\,N^e$, e = {told}"
    style.subtitle(axes, "best rate by size", below)
    style.log_axis(axes.xaxis, counts.min() / 1.1, counts.max() * 1.1)
    _rate_axis(
        axes.yaxis,
        pd.concat(
            [rows["learning_rate"], best.get("best_rate", pd.Series(dtype=float)).astype(float)]
        ),
    )
    axes.set_xlabel("parameters without embedding")
    axes.set_ylabel("learning rate")


def _rate_axis(axis: Any, values: pd.Series) -> None:
    good = values.dropna().astype(float)
    style.log_axis(axis, float(good.min()), float(good.max()))
    axis.set_major_formatter(lambda value, _: f"{value:g}".replace("0.", ".", 1))


def caption(tables: Tables) -> str:
    """Return what the figure shows, with the rule and its cost."""
    rows, found = swept(tables)
    rule, sizes = found.get("rule") or {}, list(found.get("sizes", []))
    bad = int(rows["loss_validation"].isna().sum())
    parts = [
        f"Validation loss of {words.plural(len(rows), 'run')} over "
        f"{words.plural(rows['learning_rate'].nunique(), 'learning rate')} at "
        f"{words.plural(rows['size'].nunique(), 'size')}, "
        f"{words.plural(rows['seed'].nunique(), 'seed')} each"
        + (f"; {words.plural(bad, 'run')} diverged." if bad else ".")
    ]
    if np.isfinite(words.finite(rule.get("exponent"))):
        parts.append(
            f"The rule is {words.plain(rule['coefficient'])}·(N/{words.count(rule['reference'])})^e"
            f" with e = {words.with_interval(rule['exponent'], rule.get('interval'))}."
        )
    costs = [words.finite(row.get("cost_percent")) for row in sizes]
    costs = [cost for cost in costs if np.isfinite(cost)]
    if costs:
        parts.append(
            f"Following the rule instead of each size's best rate costs at most "
            f"{words.percent(max(costs), 2)} of the loss."
        )
    open_ends = [str(row["size"]) for row in sizes if not row["in_rule"]]
    if open_ends:
        parts.append(f"At {words.listed(open_ends)} the sweep does not bracket the best rate.")
    return " ".join(parts)
