"""Loss against tokens with the fitted law, and what the law leaves over.

Chinchilla's form (Hoffmann et al. 2022): L(N, D) = E + A·N^−α + B·D^−β, N the total parameters
(blocks and the tied matrix once), D the tokens, L in nats per token.
"""

from collections.abc import Mapping
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


def predict(parameters: Mapping[str, float], params_total: Any, tokens: Any) -> Any:
    """Return E + A·N^−α + B·D^−β in nats per token; arrays broadcast."""
    return (
        parameters["E"]
        + parameters["A"] * np.asarray(params_total, float) ** -parameters["alpha"]
        + parameters["B"] * np.asarray(tokens, float) ** -parameters["beta"]
    )


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
    spread = _data(top, tables, runs)
    extra: list[Any] = []
    if law:
        _law(top, tables, law)
        below = figure.add_subplot(grid[1], sharex=top)
        _residuals(below, tables, spread)
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


def _data(axes: Axes, tables: Tables, runs: pd.DataFrame) -> float:
    """Draw every run, hollow where the law did not use it; return the dodge in decades."""
    palette = style.colours(tables)
    spread = 0.07
    used = ~runs["run"].isin(unused_runs(tables))
    for size in tables.sizes():
        for inside, face, edge in ((True, palette[size], "white"), (False, "none", palette[size])):
            rows = runs[(runs["size"] == size) & (used == inside)]
            axes.plot(dodge(rows["tokens"], rows["seed"], spread / 2), rows["loss_text"], "o",
                      color=palette[size], markersize=4.2, markerfacecolor=face,
                      markeredgecolor=edge, markeredgewidth=0.5 if inside else 0.8, zorder=4,
                      gid=f"data-{size}" if inside else f"unused-{size}")  # fmt: skip
    return spread


def _law(axes: Axes, tables: Tables, law: Mapping[str, Any]) -> None:
    palette, runs = style.colours(tables), tables.finished()
    unused = runs["run"].isin(unused_runs(tables))
    fitted = runs.loc[~unused, "tokens"]
    tokens = np.geomspace(fitted.min() / 1.1, fitted.max() * 1.2, 60)
    scale = words.finite((law.get("residuals") or {}).get("rms_percent")) / 100
    held = tables.law("heldout")
    for size in tables.sizes():
        line = predict(law["parameters"], tables.count(size, "params_total"), tokens)
        axes.plot(tokens, line, color=palette[size], linewidth=1.5, zorder=3)
        if np.isfinite(scale):
            axes.fill_between(tokens, line * (1 - scale), line * (1 + scale),
                              color=palette[size], alpha=0.16, linewidth=0, zorder=1)  # fmt: skip
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
    told = [f"{sign} = {words.parameter(law, key)}" for key, sign in names.items()]
    style.subtitle(axes, r"$L = E + A\,N^{-α} + B\,D^{-β}$", "      ".join(told))


def _residuals(axes: Axes, tables: Tables, spread: float) -> None:
    palette = style.colours(tables)
    order = {size: place for place, size in enumerate(tables.sizes())}
    axes.axhline(0, color=style.SOFT, linewidth=1)
    fitted = pd.DataFrame(list(tables.laws.get("fitted", [])))
    held = tables.law("heldout")
    num = max(len(order) - 1, 1)
    if len(fitted):
        for size, rows in fitted.groupby("size"):
            shift = 10 ** ((order.get(str(size), 0) / num - 0.5) * 2.2 * spread)
            axes.plot(rows["tokens"] * shift, rows["residual_percent"], "o", markersize=3.6,
                      color=palette.get(str(size), style.SOFT), markeredgecolor="white",
                      markeredgewidth=0.4, zorder=3)  # fmt: skip
    if held and held["rows"]:
        rows = pd.DataFrame(held["rows"])
        size = str(held["size"])
        shift = 10 ** (1.6 * spread)
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
    handles: list[Any] = [
        Line2D([], [], color=style.SOFT, linewidth=1.5, label="law"),
        Patch(color=style.SOFT, alpha=0.2, linewidth=0, label="± r.m.s. residual"),
    ]
    held = tables.law("heldout")
    if held:
        handles += [
            Line2D([], [], color=style.INK, linewidth=1.1, linestyle=(0, (4, 2)),
                   label=f"law without {held['size']}"),
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


def prediction(held: Mapping[str, Any]) -> str:
    """Return how well the size held out was predicted, as one sentence."""
    share = words.finite(held.get("inside_share"))
    runs = words.plural(len(held["rows"]), "run")
    inside = f"no interval was to be had for its {runs}"
    if np.isfinite(share):
        inside = f"{round(share * len(held['rows']))} of {runs} lie inside the 95 % interval"
    error = words.percent(held.get("mean_absolute_error_percent"), 2)
    return (
        f"A law fitted without {held['size']} predicts its loss with a mean absolute error of "
        f"{error}; {inside}."
    )


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
        shares = law.get("residuals") or {}
        parts.append(
            "Lines are the fitted law L = E + A·N^−α + B·D^−β with N the total parameters: "
            f"E = {words.parameter(law, 'E')} nats per token, α = {words.parameter(law, 'alpha')}, "
            f"β = {words.parameter(law, 'beta')} ({_intervals(law)}); "
            f"residuals have an r.m.s. of {words.percent(shares.get('rms_percent'), 2)}, "
            f"at most {words.percent(shares.get('max_percent'), 2)}."
        )
        if held:
            parts.append(prediction(held))
        if unused := unused_runs(tables):
            least = words.count((law.get("range") or {}).get("tokens", [float("nan")])[0])
            parts.append(
                f"{words.plural(len(unused), 'run')} below {least} tokens (hollow) are not in the "
                "fit, by the study's own rule."
            )
    if tables.num_diverged():
        parts.append(f"{words.plural(tables.num_diverged(), 'diverged run')} not shown.")
    return " ".join(parts)
