"""The tables at the foot of the report, as text cells with the source of every column."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from saltus.figure import words
from saltus.figure.law_fit import cut_off, prediction
from saltus.figure.tables import Tables
from saltus.law.allocation import Cost
from saltus.report.abilities import ability_grids
from saltus.report.confidence import confidence_grids
from saltus.report.grid import Grid
from saltus.report.problems import problem_grids

AXES = {
    "params_nonembedding": "parameters without embedding",
    "flops_exact": "training FLOPs",
    "loss_text": "text loss (nats)",
}


def grids(tables: Tables) -> list[Grid]:
    """Return the report's tables in order; an empty one is left out."""
    made = [sizes(tables), laws(tables), cut_offs(tables), approaches(tables), beside(tables),
            forms(tables),
            heldout(tables),
            thresholds(tables), *ability_grids(tables), *problem_grids(tables),
            *confidence_grids(tables), provenance(tables)]  # fmt: skip
    return [grid for grid in made if grid.rows]


def sizes(tables: Tables) -> Grid:
    """Return every size with each of its counts by name."""
    columns = {
        "width": "width", "depth": "depth", "heads": "heads", "total": "params_total",
        "embedding": "params_embedding", "head": "params_head",
        "non-embedding": "params_nonembedding",
    }  # fmt: skip
    columns = {head: name for head, name in columns.items() if name in tables.runs.columns}
    last = tables.at_largest(tables.runs)
    rows = []
    for size in tables.sizes():
        here = last[last["size"] == size]
        good = here[here["status"] == "ok"]
        rows.append((
            size,
            *(f"{tables.count(size, name):,.0f}" for name in columns.values()),
            words.power(here["flops_exact"].max()),
            words.power(here["flops_6nd"].max()) if "flops_6nd" in here else words.ABSENT,
            f"{len(good)} of {len(here)}",
            words.plain(good["loss_text"].mean(), 4),
        ))  # fmt: skip
    horizon = words.count(tables.horizons()[-1]) if tables.horizons() else words.ABSENT
    return Grid(
        "Sizes", f"runs.parquet: {', '.join(columns.values())}, flops_exact, flops_6nd, loss_text",
        ("size", *columns, "FLOPs, exact", "FLOPs, 6ND", "seeds finished", "text loss, mean"),
        tuple(rows),
        f"Counts of parameters; FLOPs, seeds and loss (nats per token) at {horizon} tokens.",
    )  # fmt: skip


def laws(tables: Tables) -> Grid:
    """Return the fitted laws: parameters, intervals, certificate; refusals with their reason."""
    rows: list[tuple[str, ...]] = []
    for name in ("chinchilla", "envelope"):
        law = tables.law(name)
        if law is None:
            rows.append((name, "status", tables.refusal(name), ""))
            continue
        for key, value in law["parameters"].items():
            rows.append((name, key, words.plain(value, 4), words.parameter(law, key)))
        allocation = law.get("allocation")
        if isinstance(allocation, Mapping):
            value = words.ABSENT if words.bounded(law) else words.plain(allocation.get("a"), 4)
            rows.append((name, "allocation a", value, words.allocation(law)))
            if "cost" in allocation:
                rows.append((name, "cost of compute C", str(Cost(**allocation["cost"])), ""))
        for part in ("residuals", "certificate"):
            rows += [
                (name, f"{part}: {key.replace('_', ' ')}", _cell(value), "")
                for key, value in dict(law.get(part) or {}).items()
            ]
        if law.get("interval_method"):
            rows.append((name, "interval method", str(law["interval_method"]), ""))
            rows.append((name, "unconverged refits", _cell(law.get("unconverged_refits")), ""))
    return Grid(
        "Laws and their certificates", "laws.json: parameters, intervals, certificate, residuals",
        ("law", "quantity", "value", "with 95 % interval"), tuple(rows),
        "chinchilla: L = E + A·N^−alpha + B·D^−beta, N total parameters, D tokens, "
        "L nats per token. envelope: L = E + A·C^−alpha, C exact FLOPs.",
    )  # fmt: skip


def cut_offs(tables: Tables) -> Grid:
    """Return how the law moves with the shortest horizon that it uses."""
    law = tables.law("chinchilla") or {}
    rows = [
        (
            cut_off(row),
            *(words.plain(row[name], 3) for name in ("alpha", "beta", "E")),
            words.percent(row["rms_percent"], 2),
            f"{row['rows']:,}",
            str(row["status"]),
        )
        for row in law.get("sensitivity") or []
    ]
    return Grid(
        "The law by its shortest horizon", "laws.json: chinchilla.sensitivity",
        ("horizons", "alpha", "beta", "E", "r.m.s. residual", "runs", "certificate"), tuple(rows),
        "The study's own cut-off is among them; no interval carries this choice.",
    )  # fmt: skip


def approaches(tables: Tables) -> Grid:
    """Return the compute-optimal exponent and size by each of the three approaches."""
    found = tables.laws.get("approaches") or {}
    names = {"envelope": "envelope", "isoflop": "isoFLOP parabolas", "parametric": "fitted law"}
    rows = []
    for name, entry in found.items():
        best = (entry["optimum"] or [None])[0]
        rows.append(
            (
                names.get(name, name),
                words.plain(entry["a"], 3) if entry["a"] is not None else words.ABSENT,
                words.bracket(entry["interval"], 2) if entry["interval"] else words.ABSENT,
                words.power(best["flops"]) if best else words.ABSENT,
                words.count(best["params"]) if best else words.ABSENT,
                words.count(best["tokens"]) if best else words.ABSENT,
                "; ".join(
                    filter(None, [entry["reason"] or entry["interval_reason"], *entry["warnings"]])
                )
                or words.ABSENT,
            )
        )
    return Grid(
        "Compute-optimal sizes by three approaches", "laws.json: approaches, verdict",
        ("approach", "a", "95 %", "at C (FLOPs)", "N*", "D*", "remark"), tuple(rows),
        (tables.laws.get("verdict") or {}).get("text", ""),
    )  # fmt: skip


def beside(tables: Tables) -> Grid:
    """Return the law's exponents by every kind of interval, with the coverage simulated for it."""
    law = tables.law("chinchilla") or {}
    methods = [] if not law.get("beside") else [law, *law["beside"]]
    rows = []
    for entry in methods:
        ends = entry["intervals"] or {}
        allocation = entry["allocation"]
        if isinstance(allocation, Mapping):
            allocation = allocation["interval"]
        quantities = (entry["coverage"] or {}).get("quantities", {})
        told = [quantities.get(name) for name in ("alpha", "beta", "a")]
        rows.append(
            (
                str(entry.get("interval_method") or entry["method"]),
                *(words.bracket(ends.get(name), 2) if ends.get(name) else words.ABSENT
                  for name in ("alpha", "beta")),
                words.bracket(allocation, 2) if allocation else words.ABSENT,
                ", ".join(_shares(each) for each in told) if any(told) else words.ABSENT,
                str(entry.get("reason") or entry.get("coverage_reason") or words.ABSENT),
            )
        )  # fmt: skip
    return Grid(
        "Intervals of the law, method by method", "laws.json: chinchilla.intervals, beside",
        ("method", "alpha", "beta", "a", "coverage of alpha, beta, a", "remark"), tuple(rows),
        "The first is the one that every other table uses. Coverage: share of simulated ladders "
        "whose truth the interval held, the law true / every size off it as a seed is; none "
        "where the interval was not made as the simulated ones. The profile is of another fit, of "
        "squares with components of scatter.",
    )  # fmt: skip


def _shares(each: Mapping[str, Any] | None) -> str:
    """Return the simulated coverage of one quantity, without and with misfit of sizes."""
    if each is None:
        return words.ABSENT
    both = (each["plain"], each["misfit"])
    return " / ".join(words.ABSENT if share is None else f"{share:.2f}" for share in both)


def forms(tables: Tables) -> Grid:
    """Return every form's prediction above a cut in compute, on sizes below the largest."""
    found = (tables.laws.get("heldout") or {}).get("comparison") or {}
    rows = [
        (
            str(trial["form"]),
            words.percent(trial["mean_absolute_error_percent"], 2),
            words.percent(100 * words.finite(trial["inside_share"]), 0),
            words.percent(trial["rms_percent"], 2),
            str((trial["certificate"] or {}).get("status", words.ABSENT)),
            "chosen" if trial["form"] == found["chosen"] else str(trial["reason"]),
        )
        for trial in found.get("forms") or []
    ]
    note = (
        f"Sizes below the largest: fitted to {found['rows_below']} runs of at most "
        f"{words.power(found['cut'])} FLOPs, held to the {found['rows_above']} above. Of "
        "the forms certified as converged, the one of least error predicts the largest size."
        if rows
        else ""
    )
    return Grid(
        "Forms compared by prediction", "laws.json: heldout.comparison",
        ("form", "error above the cut", "inside 95 %", "r.m.s. below", "certificate", "remark"),
        tuple(rows),
        note,
    )  # fmt: skip


def heldout(tables: Tables) -> Grid:
    """Return the predictions of the size that was held out, run by run."""
    held = tables.law("heldout")
    rows = [
        (
            f"{held['size']}, seed {row['seed']}" if held else "",
            words.count(row["tokens"]),
            words.plain(row["predicted"], 4),
            words.bracket([row["low"], row["high"]], 3),
            words.plain(row["actual"], 4),
            words.percent(row["error_percent"], 2, signed=True),
            words.ABSENT if row["inside"] is None else "yes" if row["inside"] else "no",
        )
        for row in (held or {"rows": []})["rows"]
    ]
    return Grid(
        "Prediction of the size held out", "laws.json: heldout.rows",
        ("run", "tokens", "predicted", "95 % prediction", "measured", "error", "inside"),
        tuple(rows),
        prediction(held) if held else "",
    )  # fmt: skip


def thresholds(tables: Tables) -> Grid:
    """Return the thresholds on every axis, as they are printed."""
    rows = [
        (
            words.task(str(row["task"]), str(row["arm"]), always=len(tables.arms()) > 1),
            _axis(row),
            str(row["status"]),
            words.remark(row["label"]) or words.ABSENT,
            words.plain(row.get("width_decades"), 2),
            f"{_whole(row.get('num_replicas'))} × {_whole(row.get('num_items'))}",
            words.plain(row.get("guess_rate"), 2),
            words.plain(row.get("heterogeneity"), 2),
            words.remark(row.get("reason")),
        )
        for row in tables.thresholds.to_dict("records")
    ]
    return Grid(
        "Thresholds",
        "thresholds.parquet: status, label, width_decades, num_replicas, guess_rate, reason",
        ("ability", "axis", "status", "half right at", "width (decades)", "replicas × items",
         "guess rate", "heterogeneity", "reason"),
        tuple(rows),
        "“> N” means: not reached at the largest size tried; nothing is extrapolated.",
    )  # fmt: skip


def provenance(tables: Tables) -> Grid:
    """Return machine, time, versions and the hashes that name this study's configuration."""
    rows = [(str(key).replace("_", " "), _cell(value)) for key, value in tables.machine.items()]
    for column in ("config_hash", "code", "precision", "device"):
        if column in tables.runs.columns:
            values = sorted({str(value) for value in tables.runs[column].dropna().unique()})
            shown = ", ".join(values[:4]) + (f" and {len(values) - 4} more" if values[4:] else "")
            rows.append((f"runs: {column.replace('_', ' ')}", shown))
    return Grid(
        "Machine, time, versions", "machine.json; runs.parquet: config_hash, code, precision",
        ("what", "value"), tuple(rows),
    )  # fmt: skip


def _axis(row: Mapping[Any, Any]) -> str:
    name = str(row["axis"])
    return f"tokens, {row['size']}" if isinstance(row["size"], str) else AXES.get(name, name)


def _whole(value: Any) -> str:
    return words.ABSENT if value is None or pd.isna(value) else f"{value:,.0f}"


def _movement(moved: Mapping[str, Any]) -> str:
    """Return what leaving out moves: every parameter's factor, the worst prediction, the refits."""
    told = []
    for name, factor in moved["factors"].items():
        left = str(moved["left_out"][name])
        left = words.plural(left.count(",") + 1, "row") if left.startswith("rows ") else left
        told.append(f"{name} × {words.plain(factor)} (without {left})")
    return (
        f"{', '.join(told)}; a prediction by {words.percent(moved['prediction_percent'])} at most; "
        f"{words.plural(moved['refits'], 'refit')}, {moved['unconverged']} unconverged"
    )


def _cell(value: Any) -> str:
    if value is None:
        return words.ABSENT
    if isinstance(value, Mapping) and "left_out" in value:
        return _movement(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return words.plain(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_cell(part)}" for key, part in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_cell(part) for part in value) or "none"
    return str(value)
