"""Loss against compute, the lower envelope of all runs, and the best size for a budget."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from saltus.figure import style, words
from saltus.figure.tables import Tables


def optimal_params(
    parameters: Mapping[str, float], flops: np.ndarray, flops_per_parameter_token: float
) -> np.ndarray:
    """Return N* for each budget C under C = k·N·D (Hoffmann et al. 2022, equation 4).

    N* = G·(C/k)^(β/(α+β)), G = (αA/(βB))^(1/(α+β)).
    """
    alpha, beta = parameters["alpha"], parameters["beta"]
    scale = (alpha * parameters["A"] / (beta * parameters["B"])) ** (1 / (alpha + beta))
    best: np.ndarray = scale * (flops / flops_per_parameter_token) ** (beta / (alpha + beta))
    return best


def envelope_points(tables: Tables) -> pd.DataFrame:
    """Return the envelope's points; from the runs when `laws.json` has none."""
    envelope = tables.laws.get("envelope")
    points = pd.DataFrame(list((envelope or {}).get("points") or []))
    if len(points):
        return points
    runs = tables.finished()
    means = runs.groupby(["size", "tokens"], as_index=False)[["flops_exact", "loss_text"]].mean()
    means = means.sort_values("flops_exact").rename(columns={"loss_text": "loss"})
    return means[means["loss"] <= means["loss"].cummin()]


@style.themed
def draw(tables: Tables) -> Figure:
    """Return the figure: loss against compute, and parameters on the envelope against compute."""
    figure = style.canvas(4.8)
    grid = figure.add_gridspec(1, 2, width_ratios=[1.35, 1])
    left, right = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    runs = tables.finished()
    if runs.empty:
        style.note(left, "no finished run")
        style.note(right, "no finished run")
        return figure
    points = envelope_points(tables)
    _losses(left, tables, runs, points)
    _sizes(right, tables, runs, points)
    extra = [
        Line2D([], [], color=style.INK, marker="o", markerfacecolor="none", markersize=8,
               linestyle="none", label="on the envelope"),
    ]  # fmt: skip
    if tables.law("envelope"):
        extra.append(Line2D([], [], color=style.INK, linestyle=(0, (4, 2)), label="envelope's law"))
    if tables.law("chinchilla"):
        extra.append(Line2D([], [], color=style.INK, linewidth=1.3, label="best by the law"))
        extra.append(Patch(color=style.SOFT, alpha=0.2, linewidth=0, label="95 % of its slope"))  # type: ignore[arg-type]
    style.size_legend(figure, tables, extra, sample=f"n = {words.plural(len(runs), 'run')}")
    return figure


def _losses(axes: Axes, tables: Tables, runs: pd.DataFrame, points: pd.DataFrame) -> None:
    palette = style.colours(tables)
    for size in tables.sizes():
        rows = runs[runs["size"] == size]
        axes.plot(rows["flops_exact"], rows["loss_text"], "o", color=palette[size], markersize=3,
                  alpha=0.45, markeredgewidth=0)  # fmt: skip
        means = rows.groupby("tokens")[["flops_exact", "loss_text"]].mean()
        axes.plot(means["flops_exact"], means["loss_text"], color=palette[size], linewidth=1.6,
                  marker="o", markersize=4.5, markeredgecolor="white", zorder=3)  # fmt: skip
    axes.plot(points["flops_exact"], points["loss"], "o", markerfacecolor="none", markersize=8.5,
              markeredgecolor=style.INK, markeredgewidth=1.1, zorder=4)  # fmt: skip
    law = tables.law("envelope")
    if law:
        values = law["parameters"]
        flops = np.geomspace(points["flops_exact"].min(), points["flops_exact"].max(), 60)
        line = values["E"] + values["A"] * flops ** -values["alpha"]
        axes.plot(flops, line, color=style.INK, linewidth=1.2, linestyle=(0, (4, 2)), zorder=5)
        below = f"envelope: exponent {words.parameter(law, 'alpha')}"
    else:
        below = f"envelope: {tables.refusal('envelope')}"
    style.subtitle(axes, "loss for a budget", below)
    style.log_axis(axes.xaxis, runs["flops_exact"].min(), runs["flops_exact"].max(), what="power")
    axes.set_xlabel("training compute C (exact FLOPs)")
    axes.set_ylabel("test loss on text (nats per token)")


def _sizes(axes: Axes, tables: Tables, runs: pd.DataFrame, points: pd.DataFrame) -> None:
    palette = style.colours(tables)
    for row in points.to_dict("records"):
        size = str(row["size"])
        axes.plot([float(row["flops_exact"])], [tables.count(size, "params_total")], "o",
                  color=palette.get(size, style.SOFT), markersize=6.5,
                  markeredgecolor=style.INK, markeredgewidth=0.9, zorder=4)  # fmt: skip
    totals = [tables.count(size, "params_total") for size in tables.sizes()]
    law = tables.law("chinchilla")
    below = "no law fitted"
    if law:
        below = _best(axes, runs, law)
    style.subtitle(axes, "best size for a budget", below)
    style.log_axis(axes.xaxis, runs["flops_exact"].min(), runs["flops_exact"].max(), what="power")
    style.log_axis(axes.yaxis, min(totals), max(totals), margin=0.1)
    axes.set_xlabel("training compute C (exact FLOPs)")
    axes.set_ylabel("total parameters N")


def _best(axes: Axes, runs: pd.DataFrame, law: Mapping[str, Any]) -> str:
    """Draw the law's best size with the interval of its slope; return the line that tells it."""
    flops = np.geomspace(runs["flops_exact"].min(), runs["flops_exact"].max(), 60)
    unit = float((runs["flops_exact"] / (runs["params_total"] * runs["tokens"])).median())
    best = optimal_params(law["parameters"], flops, unit)
    axes.plot(flops, best, color=style.INK, linewidth=1.3, zorder=3)
    allocation = law.get("allocation") or {}
    bounds = allocation.get("interval")
    if isinstance(bounds, (list, tuple)) and np.isfinite([words.finite(b) for b in bounds]).all():
        middle = float(np.sqrt(flops[0] * flops[-1]))
        pivot = optimal_params(law["parameters"], np.array([middle]), unit)[0]
        ends = [pivot * (flops / middle) ** float(bound) for bound in bounds]
        axes.fill_between(flops, np.minimum(*ends), np.maximum(*ends), color=style.SOFT,
                          alpha=0.2, linewidth=0, zorder=1)  # fmt: skip
    return f"$N^*\\,∝\\,C^a$, a = {words.with_interval(allocation.get('a'), bounds)}"


def caption(tables: Tables) -> str:
    """Return what the figure shows, with its numbers."""
    runs, law, envelope = tables.finished(), tables.law("chinchilla"), tables.law("envelope")
    if runs.empty:
        return "No run finished, so there is no loss to set against compute."
    parts = [
        f"Left: test loss of {words.plural(len(runs), 'run')} against exact training compute, "
        f"{words.power(runs['flops_exact'].min())} to {words.power(runs['flops_exact'].max())} "
        f"FLOPs; lines join the means over {words.plural(runs['seed'].nunique(), 'seed')} and "
        f"rings mark {words.plural(len(envelope_points(tables)), 'point')} of the lower envelope."
    ]
    if envelope:
        parts.append(
            f"The envelope falls with exponent {words.parameter(envelope, 'alpha')} towards "
            f"{words.parameter(envelope, 'E')} nats per token."
        )
    else:
        parts.append(f"No envelope law was fitted: {tables.refusal('envelope')}.")
    if law:
        allocation = law.get("allocation") or {}
        told = words.with_interval(allocation.get("a"), allocation.get("interval"))
        parts.append(
            f"Right: the sizes on the envelope, and the best size by the law, which grows as C^a "
            f"with a = {told}."
        )
    return " ".join(parts)
