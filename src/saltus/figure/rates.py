"""A learning-rate sweep: loss against rate for each size, and the rule against the best rates."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from saltus.errors import TableError
from saltus.figure import style, words
from saltus.figure.tables import Tables
from saltus.law.sweep import blended

REACH = 4.0  # how far an interval may stretch the axis of rates beyond the rates that were run
BEST: dict[str, Any] = {"marker": "|", "markersize": 12, "markeredgewidth": 1.7}
RULE: dict[str, Any] = {
    "marker": "D", "markersize": 5.2, "markerfacecolor": "white", "markeredgewidth": 1.2,
}  # fmt: skip
HELD_OUT: dict[str, Any] = {
    "marker": "v", "markersize": 6.4, "markerfacecolor": style.THRESHOLD,
    "markeredgecolor": "white", "markeredgewidth": 0.8,
}  # fmt: skip


def rule_rate(rule: Mapping[str, Any], params_nonembedding: Any) -> Any:
    """Return coefficient·(N / reference)^exponent."""
    scaled = np.asarray(params_nonembedding, float) / float(rule["reference"])
    return float(rule["coefficient"]) * scaled ** float(rule["exponent"])


def swept(tables: Tables) -> tuple[pd.DataFrame, Mapping[str, Any]]:
    """Return the sweep's rows and results; raises `TableError` when the study had none."""
    if tables.rates_rows is None or tables.rates is None:
        raise TableError("rates.json: missing; this study swept no learning rates")
    return tables.rates_rows, tables.rates


def tables_of(runs: pd.DataFrame, rule: Mapping[str, Any], rows: pd.DataFrame) -> Tables:
    """Return what this figure reads, of a sweep that belongs to no study.

    `runs` are the sweep's rows, `rule` and `rows` what `fit_rate_rule` made of them. Each size is
    drawn at its own longest horizon, where its best rate was found.
    """
    longest = runs.groupby("size")["horizon"].transform("max")
    kept = runs[runs["horizon"] == longest].reset_index(drop=True)
    kept = kept.assign(size=kept["size"].astype(str))
    sizes = rows.rename(columns={"rule_cost_percent": "cost_percent"}).to_dict("records")
    interval = (rule.get("intervals") or {}).get("exponent")
    none = pd.DataFrame()
    return Tables(
        runs=kept, losses=none, curves=none, scores=none, thresholds=none, calibration=none,
        reliability=none, calibration_sizes=none, reliability_curves=none, risk_curves=none,
        seeds=none, breakdown=none, calibration_shift=none, calibration_deltas=none,
        laws={}, rates_rows=kept,
        rates={"rule": {**rule, "interval": interval}, "sizes": sizes},
    )  # fmt: skip


@style.themed
def draw(tables: Tables) -> Figure:
    """Return the figure: validation loss against rate; best rate against size."""
    rows, found = swept(tables)
    figure = style.canvas(4.8)
    grid = figure.add_gridspec(1, 2, width_ratios=[1.35, 1])
    left, right = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    best = pd.DataFrame(list(found.get("sizes", [])))
    rule = found.get("rule") or {}
    _losses(left, tables, rows, best, rule)
    _rule(right, tables, rows, best, rule)
    shown = [str(size) for size in rows["size"].unique()]
    style.size_legend(
        figure, tables, _legend(rows, best, rule), sizes=shown,
        sample=f"n = {words.plural(len(rows), 'run')}",
    )  # fmt: skip
    return figure


def _losses(
    axes: Axes, tables: Tables, rows: pd.DataFrame, best: pd.DataFrame, rule: Mapping[str, Any]
) -> None:
    """Every seed, the means joined, the parabola near the lowest, and the rates that matter."""
    palette = style.colours(tables)
    parabolas = {str(each["size"]): each for each in rule.get("parabolas") or ()}
    held = rule.get("held_out") or {}
    for name, part in rows.groupby("size"):
        size = str(name)
        colour = palette.get(size, style.SOFT)
        axes.plot(part["learning_rate"], part["loss_validation"], "o", color=colour,
                  markersize=3.6, alpha=0.55, markeredgewidth=0)  # fmt: skip
        means = _means(part)
        if means.empty:
            continue
        axes.plot(means.index, means, "o-", color=colour, markersize=4.8, linewidth=1.3,
                  markeredgecolor="white", zorder=3)  # fmt: skip
        parabola = parabolas.get(size)
        if parabola is not None:
            rates = np.geomspace(parabola["lowest_rate"], parabola["highest_rate"], 40)
            axes.plot(rates, _on(parabola, rates), color=style.INK, linewidth=1.1,
                      linestyle=(0, (2, 1.5)), zorder=4)  # fmt: skip
        rates_there = [(_best_rate(best, size), BEST)]
        if np.isfinite(words.finite(rule.get("exponent"))):
            rates_there.append((float(rule_rate(rule, part["params_nonembedding"].iloc[0])), RULE))
        if str(held.get("size")) == size:
            rates_there.append((words.finite(held.get("rule_rate")), HELD_OUT))
        for rate, mark in rates_there:
            place = _height(means, parabola, rate)
            axes.plot([rate], [place], color=style.INK, linestyle="none", zorder=5, **mark)
    _diverged(axes, rows, palette)
    seeds = words.plural(rows["seed"].nunique(), "seed")
    style.subtitle(
        axes, "loss by learning rate", f"{seeds} at every rate, their means joined\n{_tokens(rows)}"
    )
    axes.set_xlabel("learning rate")
    axes.set_ylabel("validation loss (nats per token)")
    _rate_axis(axes.xaxis, rows["learning_rate"])


def _diverged(axes: Axes, rows: pd.DataFrame, palette: Mapping[str, Any]) -> None:
    """A cross below the upper edge at every rate at which a run diverged, a line for each size."""
    bad = rows[rows["loss_validation"].isna()]
    for line, (name, part) in enumerate(bad.groupby("size")):
        height = np.full(len(part), 0.98 - 0.035 * line)
        axes.plot(part["learning_rate"], height, "x", markersize=6,
                  color=palette.get(str(name), style.SOFT), markeredgewidth=1.4,
                  transform=axes.get_xaxis_transform(), zorder=4)  # fmt: skip


def _rule(
    axes: Axes, tables: Tables, rows: pd.DataFrame, best: pd.DataFrame, rule: Mapping[str, Any]
) -> None:
    """The rates run, the best of each size, the rule with its band, and that without one size."""
    palette = style.colours(tables)
    counts = rows["params_nonembedding"].dropna().astype(float)
    run = rows[["params_nonembedding", "learning_rate"]].drop_duplicates()
    axes.plot(run["params_nonembedding"], run["learning_rate"], "_", color=style.FAINT,
              markersize=7, markeredgewidth=1.1, zorder=1.5)  # fmt: skip
    for row in best.dropna(subset=["best_rate"]).to_dict("records") if len(best) else ():
        inside = bool(row["in_rule"])
        colour = palette.get(str(row["size"]), style.SOFT)
        axes.plot([float(row["params_nonembedding"])], [float(row["best_rate"])], "o",
                  color=colour, markerfacecolor=colour if inside else "white", markersize=7,
                  markeredgewidth=1.4, zorder=4)  # fmt: skip
    below = ["no rule fitted"]
    if np.isfinite(words.finite(rule.get("exponent"))):
        sizes = np.geomspace(counts.min() / 1.3, counts.max() * 1.3, 40)
        axes.plot(sizes, rule_rate(rule, sizes), color=style.INK, linewidth=1.3, zorder=2)
        told = words.with_interval(rule["exponent"], rule.get("interval"))
        below = [f"rate $∝\\,N^e$, e = {told}"]
        band = pd.DataFrame(rule.get("band") or [])
        if len(band):
            axes.fill_between(band["params_nonembedding"], band["low"], band["high"],
                              color=style.PALE, alpha=0.75, linewidth=0, zorder=1)  # fmt: skip
    ends = _held_out(axes, rows, best, rule)
    style.subtitle(axes, "best rate by size", "\n".join([*below, _cost(rule)]))
    style.log_axis(axes.xaxis, counts.min() / 1.1, counts.max() * 1.1)
    _rate_axis(axes.yaxis, pd.concat([rows["learning_rate"], pd.Series(ends, dtype=float)]))
    axes.set_xlabel("parameters without embedding (N)")
    axes.set_ylabel("learning rate")


def _held_out(
    axes: Axes, rows: pd.DataFrame, best: pd.DataFrame, rule: Mapping[str, Any]
) -> list[float]:
    """Draw the rule of the other sizes up to the one held out; return the rates it needs shown."""
    held = rule.get("held_out") or {}
    shown = [float(rate) for rate in best["best_rate"].dropna()] if "best_rate" in best else []
    if not held.get("size"):
        return shown
    there, rate = float(held["params_nonembedding"]), float(held["rule_rate"])
    fitted = best.loc[best["size"].astype(str).isin(held["fitted_on"]), "params_nonembedding"]
    sizes = np.geomspace(float(fitted.min()), there, 20)
    axes.plot(sizes, rule_rate(held, sizes), color=style.THRESHOLD, linewidth=1.2,
              linestyle=(0, (4, 2)), zorder=3)  # fmt: skip
    shown.append(rate)
    interval = held.get("rule_rate_interval")
    if interval is not None:
        axes.plot([there, there], interval, "_-", color=style.THRESHOLD, linewidth=1.2,
                  markersize=9, markeredgewidth=1.4, zorder=3)  # fmt: skip
        lowest, highest = rows["learning_rate"].min() / REACH, rows["learning_rate"].max() * REACH
        shown += [max(float(interval[0]), lowest), min(float(interval[1]), highest)]
    axes.plot([there], [rate], color=style.INK, linestyle="none", zorder=5, **HELD_OUT)
    return shown


def _legend(rows: pd.DataFrame, best: pd.DataFrame, rule: Mapping[str, Any]) -> Sequence[Any]:
    """The marks that the panels have, and no others."""
    handles: list[Any] = [Line2D([], [], color=style.INK, linestyle="none", label="best rate",
                                 **BEST)]  # fmt: skip
    if rule.get("parabolas"):
        handles.append(Line2D([], [], color=style.INK, linewidth=1.1, linestyle=(0, (2, 1.5)),
                              label="parabola near it"))  # fmt: skip
    if np.isfinite(words.finite(rule.get("exponent"))):
        handles.append(Line2D([], [], color=style.INK, linewidth=1.3, label="rule", **RULE))
    if rule.get("band"):
        handles.append(Patch(facecolor=style.PALE, alpha=0.75, label="its 95 % interval"))
    held = rule.get("held_out") or {}
    if held.get("size"):
        handles.append(Line2D([], [], color=style.THRESHOLD, linewidth=1.2, linestyle=(0, (4, 2)),
                              label=f"rule without {held['size']}"
                              + (",\n95 % interval" if held["rule_rate_interval"] else ""),
                              **HELD_OUT))  # fmt: skip
    handles.append(Line2D([], [], color=style.FAINT, linestyle="none", marker="_", markersize=7,
                          label="rates run"))  # fmt: skip
    if rows["loss_validation"].isna().any():
        handles.append(Line2D([], [], color=style.SOFT, linestyle="none", marker="x", markersize=6,
                              markeredgewidth=1.4, label="diverged"))  # fmt: skip
    return handles


def _means(part: pd.DataFrame) -> pd.Series:
    """Mean loss by rate, where no seed diverged: the mean of the survivors would flatter it."""
    whole = part.groupby("learning_rate")["loss_validation"].agg(["mean", "count", "size"])
    return whole.loc[whole["count"] == whole["size"], "mean"]


def _on(parabola: Mapping[str, Any], rates: Any) -> Any:
    x = np.log(np.asarray(rates, float) / float(parabola["centre_rate"]))
    return np.polyval([parabola[name] for name in ("curvature", "slope", "level")], x)


def _height(means: pd.Series, parabola: Mapping[str, Any] | None, rate: float) -> float:
    """Loss at which a rate is marked, as its cost is found; NaN outside the rates that were run."""
    if parabola is not None and parabola["lowest_rate"] <= rate <= parabola["highest_rate"]:
        return float(_on(parabola, rate))
    known = np.log(means.index.to_numpy(float))
    if not np.isfinite(rate) or not known[0] <= np.log(rate) <= known[-1]:
        return float("nan")
    return float(blended(known, means.to_numpy(float)[:, None], float(np.log(rate)))[0])


def _best_rate(best: pd.DataFrame, size: str) -> float:
    if best.empty:
        return float("nan")
    rows = best.loc[best["size"].astype(str) == size, "best_rate"]
    return words.finite(rows.iloc[0]) if len(rows) else float("nan")


def _tokens(rows: pd.DataFrame) -> str:
    """At which training length the losses stand, where the rows say so."""
    if "horizon" not in rows:
        return ""
    low, high = rows["horizon"].min(), rows["horizon"].max()
    lengths = words.count(low) if low == high else f"{words.count(low)} to {words.count(high)}"
    return f"after {lengths} training tokens"


def _cost(rule: Mapping[str, Any]) -> str:
    held = rule.get("held_out") or {}
    if not held.get("size") or held.get("cost_percent") is None:
        return f"without {held['size']}: no cost to tell" if held.get("size") else ""
    told = words.percent(held["cost_percent"], 2)
    bounds = words.bracket(held.get("interval_percent"), 2)
    return f"without {held['size']} it costs {f'{told} {bounds}'.strip()} there"


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
    held = rule.get("held_out") or {}
    if held.get("cost_percent") is not None:
        bounds = words.bracket(held.get("interval_percent"), 2)
        parts.append(
            f"Fitted without {held['size']}, it costs {words.percent(held['cost_percent'], 2)} "
            f"{bounds and bounds + ' '}there."
        )
    open_ends = [str(row["size"]) for row in sizes if not row["in_rule"]]
    if open_ends:
        parts.append(f"At {words.listed(open_ends)} the sweep does not bracket the best rate.")
    return " ".join(parts)
