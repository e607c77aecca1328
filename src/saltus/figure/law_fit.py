"""Loss against tokens with the fitted law, and what the law leaves over.

Chinchilla's form (Hoffmann et al. 2022): L(N, D) = E + A·N^−α + B·D^−β, N the total parameters
(blocks and the tied matrix once), D the tokens, L in nats per token.
"""

from collections.abc import Mapping
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from saltus.figure import style, words
from saltus.figure.spread import dodge
from saltus.figure.tables import Tables
from saltus.law.forms import Chinchilla
from saltus.law.misfit import NO_FIT, SOME

SEEDS_SPREAD, SIZES_SPREAD = 0.035, 0.154
"""Decades over which seeds (above) and sizes (below) of one horizon lie side by side."""
MARGIN, LEAST_RANGE = 0.06, 0.1
"""Beyond the losses, as a share of their range, which counts as that many nats at least."""
WRAP = 120
"""Letters of a line above a panel."""


def misfit(law: Mapping[str, Any]) -> float:
    """Return the r.m.s. residual over the seeds' spread where the law does not fit, else NaN."""
    found = law.get("lack_of_fit") or {}
    return words.finite(found.get("ratio")) if found.get("status") == NO_FIT else np.nan


def unused_runs(tables: Tables) -> list[str]:
    """Return the finished runs that a fitted law left out (horizons below its range)."""
    fitted = [str(row["run"]) for row in tables.laws.get("fitted", [])]
    runs = tables.finished()
    return [] if not fitted else runs.loc[~runs["run"].isin(fitted), "run"].tolist()


@style.themed
def draw(tables: Tables) -> Figure:
    """Return the figure: data, law and band above; residuals and held-out errors below."""
    law = tables.law("chinchilla")
    figure = style.canvas(7.0 if law else 4.8)
    grid = figure.add_gridspec(2 if law else 1, 1, height_ratios=[2.1, 1] if law else [1])
    top = figure.add_subplot(grid[0])
    runs = tables.finished()
    if runs.empty:
        style.note(top, "no finished run")
        return figure
    _data(top, tables, runs)
    extra: list[Any] = []
    if law:
        _law(top, tables, law)
        below = figure.add_subplot(grid[1], sharex=top)
        _residuals(below, tables)
        top.tick_params(labelbottom=False)
        below.set_xlabel("training tokens D")
        extra = _handles(tables)
    else:
        top.set_xlabel("training tokens D")
        style.subtitle(top, "no law fitted", tables.refusal("chinchilla"))
    style.horizon_axis(top.xaxis, sorted(int(value) for value in runs["tokens"].unique()))
    top.set_ylabel("test loss L on text (nats per token)")
    style.size_legend(figure, tables, extra, sample=f"n = {words.plural(len(runs), 'run')}")
    return figure


def _beside(tables: Tables, size: str) -> float:
    """Return the factor that moves a size's runs beside those of others at the same horizon."""
    sizes = tables.sizes()
    place = sizes.index(size) if size in sizes else 0
    return float(10 ** ((place / max(len(sizes) - 1, 1) - 0.5) * SIZES_SPREAD))


def _data(axes: Axes, tables: Tables, runs: pd.DataFrame) -> None:
    """Draw every run, hollow where the law did not use it.

    Losses, and those predicted of the size held out, set the scale; a wider band is cut off.
    """
    palette = style.colours(tables)
    used = ~runs["run"].isin(unused_runs(tables))
    for size in tables.sizes():
        for inside, face, edge in ((True, palette[size], "white"), (False, "none", palette[size])):
            rows = runs[(runs["size"] == size) & (used == inside)]
            axes.plot(dodge(rows["tokens"], rows["seed"], SEEDS_SPREAD), rows["loss_text"], "o",
                      color=palette[size], markersize=4.2, markerfacecolor=face,
                      markeredgecolor=edge, markeredgewidth=0.5 if inside else 0.8, zorder=4,
                      gid=f"data-{size}" if inside else f"unused-{size}")  # fmt: skip
    held = pd.DataFrame((tables.law("heldout") or {}).get("rows", []), columns=["predicted"])
    losses = pd.concat([runs["loss_text"], held["predicted"].astype(float)])
    low, high = losses.min(), losses.max()
    margin = MARGIN * max(high - low, LEAST_RANGE)
    axes.set_ylim(low - margin, high + margin)


def _law(axes: Axes, tables: Tables, law: Mapping[str, Any]) -> None:
    palette, runs = style.colours(tables), tables.finished()
    unused = runs["run"].isin(unused_runs(tables))
    fitted = runs.loc[~unused, "tokens"]
    tokens = np.geomspace(fitted.min() / 1.1, fitted.max() * 1.2, 60)
    band = pd.DataFrame(list(law.get("band") or []))
    held = tables.law("heldout")
    for size in tables.sizes():
        params = np.full(len(tokens), tables.count(size, "params_total"))
        line = Chinchilla().predict(law["parameters"], {"N": params, "D": tokens})
        axes.plot(tokens, line, color=palette[size], linewidth=1.5, zorder=3)
        if len(band):
            rows = band[band["size"] == size]
            axes.fill_between(rows["tokens"], rows["low"], rows["high"], color=palette[size],
                              alpha=0.16, linewidth=0, zorder=1, gid=f"band-{size}")  # fmt: skip
    if held and held["rows"]:
        rows = pd.DataFrame(held["rows"]).drop_duplicates("tokens").sort_values("tokens")
        colour = palette.get(str(held["size"]), style.SOFT)
        axes.plot(rows["tokens"], rows["predicted"], color=style.INK, linewidth=1.1,
                  linestyle=(0, (4, 2)), zorder=5)  # fmt: skip
        if rows["low"].notna().all():
            axes.fill_between(rows["tokens"], rows["low"], rows["high"], facecolor="none",
                              edgecolor=colour, hatch="//////", linewidth=0, alpha=0.5,
                              zorder=2)  # fmt: skip
    names = {"E": "E", "alpha": "α", "beta": "β"}
    told = [words.quantity(law, key, sign) for key, sign in names.items()]
    unbroken = [each.replace(" ", "\N{NO-BREAK SPACE}") for each in told]
    below = "\n".join(wrap("      ".join(unbroken), WRAP)).replace("\N{NO-BREAK SPACE}", " ")
    if np.isfinite(ratio := misfit(law)):
        below += f"\nthe law does not fit: its residuals are {ratio:.1f} times the seeds' spread"
    style.subtitle(axes, r"$L = E + A\,N^{-α} + B\,D^{-β}$", below)


def _residuals(axes: Axes, tables: Tables) -> None:
    palette = style.colours(tables)
    axes.axhline(0, color=style.SOFT, linewidth=1)
    fitted = pd.DataFrame(list(tables.laws.get("fitted", [])))
    held = tables.law("heldout")
    if len(fitted):
        for size, rows in fitted.groupby("size"):
            axes.plot(rows["tokens"] * _beside(tables, str(size)), rows["residual_percent"], "o",
                      color=palette.get(str(size), style.SOFT), markersize=3.6,
                      markeredgecolor="white", markeredgewidth=0.4, zorder=3)  # fmt: skip
    if held and held["rows"]:
        rows = pd.DataFrame(held["rows"])
        size = str(held["size"])
        shift = 10 ** (0.75 * SIZES_SPREAD)
        error = rows["error_percent"]
        axes.plot(rows["tokens"] * shift, error, "D", markersize=4.5, markerfacecolor="white",
                  markeredgecolor=palette.get(size, style.SOFT), markeredgewidth=1.2,
                  zorder=4)  # fmt: skip
        first = rows.drop_duplicates("tokens")
        if first["low"].notna().all():
            axes.vlines(first["tokens"] * shift, 100 * (first["predicted"] / first["high"] - 1),
                        100 * (first["predicted"] / first["low"] - 1),
                        color=palette.get(size, style.SOFT), alpha=0.35, linewidth=5,
                        zorder=2)  # fmt: skip
    top = max(abs(value) for value in axes.get_ylim())
    axes.set_ylim(-top, top)
    axes.set_ylabel("law above the loss (%)")


def _handles(tables: Tables) -> list[Any]:
    handles: list[Any] = [Line2D([], [], color=style.SOFT, linewidth=1.5, label="law")]
    if (tables.law("chinchilla") or {}).get("band"):
        handles.append(Patch(color=style.SOFT, alpha=0.2, linewidth=0, label="95 % of the law"))
    held = tables.law("heldout")
    if held:
        handles += [
            Line2D([], [], color=style.INK, linewidth=1.1, linestyle=(0, (4, 2)),
                   label=f"{held.get('form') or 'law'} without {held['size']}"),
            Patch(facecolor="none", edgecolor=style.SOFT, hatch="//////", linewidth=0,
                  label="95 % prediction"),
            Line2D([], [], color=style.SOFT, marker="D", markerfacecolor="white", markersize=5,
                   linestyle="none", label=f"{held['size']} held out"),
        ]  # fmt: skip
    if unused_runs(tables):
        handles.append(
            Line2D([], [], color=style.SOFT, marker="o", markerfacecolor="none", markersize=4,
                   linestyle="none", label="not in the fit")
        )  # fmt: skip
    return handles


def certified(held: Mapping[str, Any]) -> str:
    """Return the status of the certificate of the law without the size held out."""
    return str((held.get("certificate") or {}).get("status", "none"))


def predicted(held: Mapping[str, Any]) -> bool:
    """Return whether a size not seen counts as predicted.

    Only where the error is below the baseline's and the fit without the size is certified.
    """
    error, baseline = errors_of(held)
    return error < baseline and certified(held) == "converged"


def errors_of(held: Mapping[str, Any]) -> tuple[float, float]:
    """Return the mean absolute errors of the law and of the baseline in percent (NaN if none)."""
    return (
        words.finite(held.get("mean_absolute_error_percent")),
        words.finite(held.get("baseline_error_percent")),
    )


def prediction(held: Mapping[str, Any]) -> str:
    """Return how well the size held out was predicted, beside the baseline, as one sentence."""
    share = words.finite(held.get("inside_share"))
    runs = words.plural(len(held["rows"]), "run")
    inside = f"no interval was to be had for its {runs}"
    if np.isfinite(share):
        inside = f"{round(share * len(held['rows']))} of {runs} lie inside the 95 % interval"
    error, baseline = errors_of(held)
    told = words.percent(error, 2)
    repeated = f"repeating the next smaller size's loss ({words.percent(baseline, 2)})"
    named = f" ({held['form']})" if held.get("form") else ""
    law = f"A law{named} fitted without {held['size']}"
    doubt = "" if certified(held) == "converged" else f" (its certificate: {certified(held)})"
    if not np.isfinite(baseline):
        return f"{law}{doubt} is off by {told} on average, with no baseline beside it; {inside}."
    if predicted(held):
        return f"{law} predicts its loss to {told} on average, less than {repeated}; {inside}."
    if error < baseline:
        return (
            f"{law} is off by {told} on average, less than {repeated}, but its certificate is "
            f"“{certified(held)}” and not “converged”, so that is no prediction; {inside}."
        )
    return f"{law}{doubt} misses its loss by {told} on average, more than {repeated}; {inside}."


def lack_of_fit(law: Mapping[str, Any]) -> str:
    """Return the residuals beside the spread of seeds, as one sentence."""
    found, test = law.get("residuals") or {}, law.get("lack_of_fit") or {}
    seeds, ratio = words.finite(test.get("seed_percent")), misfit(law)
    told = (
        f"Residuals have an r.m.s. of {words.percent(found.get('rms_percent'), 2)}, at most "
        f"{words.percent(found.get('max_percent'), 2)}"
    )
    if not np.isfinite(seeds):
        return f"{told}; without repeated seeds there is nothing to compare them with."
    told += f", against a spread of seeds of {words.percent(seeds, 2)} (pooled s.d. at one size "
    told += "and horizon)"
    if np.isfinite(ratio):
        return f"{told}: {ratio:.1f} times that, so the law does not fit within the noise."
    if test.get("status") == SOME:
        return f"{told}; a test sees some lack of fit, p = {test['p']:.2g}."
    return f"{told}."


def cut_off(row: Mapping[str, Any]) -> str:
    """Return a row's cut-off in words: `from 98k tokens`, or `from every horizon`."""
    least = int(row["minimum_tokens"])
    return f"from {words.count(least)} tokens" if least else "from every horizon"


def sensitivity(law: Mapping[str, Any]) -> str:
    """Return how far the exponents move with the shortest horizon fitted, as one sentence."""
    rows = list(law.get("sensitivity") or [])
    if len(rows) < 2:
        return ""
    told = [
        f"{cut_off(row)} α = {words.plain(row['alpha'], 2)} and β = {words.plain(row['beta'], 2)}"
        + ("" if row["status"] == "converged" else f" (certificate: {row['status']})")
        for row in rows
    ]
    return f"No interval carries the choice of the shortest horizon: {words.listed(told)}."


def _intervals(law: Mapping[str, Any]) -> str:
    return f"95 %, {law['interval_method']}" if law.get("interval_method") else "without intervals"


def caption(tables: Tables) -> str:
    """Return what the figure shows, with the law's numbers."""
    runs, law, held = tables.finished(), tables.law("chinchilla"), tables.law("heldout")
    parts = [
        f"Test loss of {words.plural(len(runs), 'run')} "
        f"({words.plural(len(tables.sizes()), 'size')}, "
        f"{words.plural(runs['seed'].nunique(), 'seed')}, "
        f"{words.plural(len(tables.horizons()), 'horizon')}) against training tokens."
    ]
    if not law:
        parts.append(f"No law was fitted: {tables.refusal('chinchilla')}.")
    else:
        band = " with its 95 % band" if law.get("band") else ""
        parts += [
            f"Lines are the fitted law L = E + A·N^−α + B·D^−β{band}, N the total parameters: "
            f"{words.quantity(law, 'E', 'E', ' nats per token')}, "
            f"{words.quantity(law, 'alpha', 'α')}, {words.quantity(law, 'beta', 'β')} "
            f"({_intervals(law)}). Below is what the law leaves over, sizes of one horizon side by "
            "side.",
            lack_of_fit(law),
        ]
        if held:
            parts.append(prediction(held))
        if unused := unused_runs(tables):
            least = words.count((law.get("range") or {}).get("tokens", [float("nan")])[0])
            parts.append(
                f"{words.plural(len(unused), 'run')} below {least} tokens (hollow) are not in the "
                "fit, by the study's own rule."
            )
        if moved := sensitivity(law):
            parts.append(moved)
    if tables.num_diverged():
        parts.append(f"{words.plural(tables.num_diverged(), 'diverged run')} not shown.")
    return " ".join(parts)
