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
from saltus.figure.law_fit import misfit
from saltus.figure.tables import Tables
from saltus.law.allocation import Cost, compute_optimal
from saltus.law.forms import PowerLaw


def envelope_points(tables: Tables) -> pd.DataFrame:
    """Return the envelope's points (flops_exact, loss, size, tokens); perhaps none."""
    points = list((tables.laws.get("envelope") or {}).get("points") or [])
    return pd.DataFrame(points, columns=["flops_exact", "loss", "size", "tokens"])


def shortest(tables: Tables) -> float:
    """Return the fewest tokens of a run that the laws used (0 where they used none)."""
    tokens = ((tables.laws.get("chinchilla") or {}).get("range") or {}).get("tokens")
    return float(tokens[0]) if tokens else 0.0


def cost_of(law: Mapping[str, Any]) -> Cost | None:
    """Return the cost of compute that a law's allocation holds for, or None if it has none."""
    found = (law.get("allocation") or {}).get("cost")
    return None if found is None else Cost(**found)


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
    extra: list[Any] = [
        Line2D([], [], color=style.INK, marker="o", markerfacecolor="none", markersize=8,
               linestyle="none", label="on the envelope"),
    ]  # fmt: skip
    if (runs["tokens"] < shortest(tables)).any():
        extra.append(Line2D([], [], color=style.SOFT, marker="o", markerfacecolor="white",
                            markersize=4, linestyle="none", label="not in the fits"))  # fmt: skip
    laws = {
        "envelope": Line2D([], [], color=style.INK, linestyle=(0, (4, 2)), label="envelope's law"),
        "best": Line2D([], [], color=style.INK, linewidth=1.3, label="best by the law"),
        "slope": Patch(color=style.SOFT, alpha=0.2, linewidth=0, label="95 % of its slope"),
    }
    extra += style.drawn(figure, laws)
    style.size_legend(figure, tables, extra, sample=f"n = {words.plural(len(runs), 'run')}")
    return figure


def _losses(axes: Axes, tables: Tables, runs: pd.DataFrame, points: pd.DataFrame) -> None:
    palette, least = style.colours(tables), shortest(tables)
    for size in tables.sizes():
        rows = runs[runs["size"] == size]
        means = rows.groupby("tokens")[["flops_exact", "loss_text"]].mean().reset_index()
        axes.plot(means["flops_exact"], means["loss_text"], color=palette[size], linewidth=1.6,
                  zorder=3)  # fmt: skip
        for part, small, gid in ((rows, True, "run"), (means, False, "mean")):
            for used in (True, False):
                here = part[(part["tokens"] >= least) == used]
                face = palette[size] if used else "none" if small else "white"
                edge = "white" if used and not small else palette[size]
                axes.plot(here["flops_exact"], here["loss_text"], "o", markerfacecolor=face,
                          markeredgecolor=edge, markersize=3 if small else 4.5,
                          alpha=0.45 if small else 1.0,
                          markeredgewidth=0.0 if small and used else 0.8,
                          zorder=2 if small else 3.5,
                          gid=f"{gid if used else 'unused-' + gid}-{size}")  # fmt: skip
    axes.plot(points["flops_exact"], points["loss"], "o", markerfacecolor="none", markersize=8.5,
              markeredgecolor=style.INK, markeredgewidth=1.1, zorder=4)  # fmt: skip
    law = tables.law("envelope")
    if law:
        flops = np.geomspace(points["flops_exact"].min(), points["flops_exact"].max(), 60)
        line = PowerLaw("C").predict(law["parameters"], {"C": flops})
        axes.plot(flops, line, color=style.INK, linewidth=1.2, linestyle=(0, (4, 2)), zorder=5,
                  gid="envelope")  # fmt: skip
        below = f"envelope: exponent {words.parameter(law, 'alpha')}"
        if words.on_bound(law, "E"):
            below += f" of a pure power\nE {words.parameter(law, 'E')}"
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
    cost = cost_of(law)
    if words.bounded(law):
        return words.allocation(law)
    if cost is None:
        return "no cost of compute in laws.json"
    flops = np.geomspace(runs["flops_exact"].min(), runs["flops_exact"].max(), 60)
    best = compute_optimal(law["parameters"], flops, cost)[0]
    axes.plot(flops, best, color=style.INK, linewidth=1.3, zorder=3, gid="best")
    bounds = law["allocation"].get("interval")
    if isinstance(bounds, (list, tuple)) and np.isfinite([words.finite(b) for b in bounds]).all():
        middle = float(np.sqrt(flops[0] * flops[-1]))
        pivot = float(compute_optimal(law["parameters"], middle, cost)[0])
        ends = [pivot * (flops / middle) ** float(bound) for bound in bounds]
        axes.fill_between(flops, np.minimum(*ends), np.maximum(*ends), color=style.SOFT,
                          alpha=0.2, linewidth=0, zorder=1, gid="slope")  # fmt: skip
    told = f"$N^*\\,∝\\,C^a$, a = {words.allocation(law)}"
    ratio = misfit(law)
    if np.isfinite(ratio):
        told += f"\nthe law's residuals are {ratio:.1f} times the seeds' spread"
    return told


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
        falls = f"The envelope falls with exponent {words.parameter(envelope, 'alpha')}"
        told = words.parameter(envelope, "E")
        if words.on_bound(envelope, "E"):
            parts.append(f"{falls}, that of a pure power: its E {told}.")
        else:
            parts.append(f"{falls} towards {told} nats per token.")
    else:
        parts.append(f"No envelope law was fitted: {tables.refusal('envelope')}.")
    least = shortest(tables)
    if hollow := int((runs["tokens"] < least).sum()):
        parts.append(
            f"{words.plural(hollow, 'run')} below {words.count(least)} tokens (hollow) are part of "
            "neither envelope nor law, by the study's own rule."
        )
    if law:
        best = f"grows as C^a with a = {words.allocation(law)}; C = {cost_of(law) or 'unknown'}"
        if bound := words.bounded(law):
            best = f"cannot be told, since its {bound} rests on a bound"
        parts.append(f"Right: the sizes on the envelope. The best size by the law {best}.")
    return " ".join(parts)
