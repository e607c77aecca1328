"""Everything the laws say about one table of runs: the content of `laws.json`.

All values are plain JSON; what cannot be known is null beside a status and a reason, never a
number that looks like an answer.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from saltus.law.checks import band, sensitivity
from saltus.law.coverage import withheld
from saltus.law.criterion import Criterion
from saltus.law.describe import describe
from saltus.law.doubt import beside_entry
from saltus.law.envelope import average_seeds, fit_envelope
from saltus.law.forecast import interval_entries
from saltus.law.forms import Chinchilla, PowerLaw
from saltus.law.heldout import score_prediction
from saltus.law.jackknife import MIN_SIZES, Jackknife
from saltus.law.plain import plain
from saltus.law.predict import predict_largest, without_largest
from saltus.law.runs import replicas_of, sizes_in_order, usable_runs, variables_of
from saltus.law.solve import HUBER, Fit
from saltus.law.table import Rows

COLUMNS = {"params": "params_total", "tokens": "tokens", "loss": "loss_text"}
CONVENTION = {**COLUMNS, "loss": "loss_text (nats/token)"}
ENVELOPE_CONVENTION = {
    "compute": "flops_exact",
    "loss": "loss_text (nats/token), mean over seeds, annealed checkpoints",
}
NUM_BESIDE = 500  # resamples of the bootstraps that stand beside the jackknife
APPROACHES = ("approaches", "verdict", "compute", "sizes_without_curve")


def span(values: pd.Series) -> list[float] | None:
    """Return [lowest, highest], or None of nothing."""
    return [float(values.min()), float(values.max())] if len(values) else None


def intervals_of(errors: Jackknife | None) -> dict[str, tuple[float, float] | None] | None:
    """Return the parameter intervals, None for one on its bound; None without a jackknife."""
    return None if errors is None else errors.parameter_intervals()


def summarise_chinchilla(
    runs: pd.DataFrame, dropped: dict[str, int], criterion: Criterion, seed: int
) -> tuple[dict[str, Any], Fit | None]:
    """Return the `chinchilla` entry of usable `runs`, and the fit if there is one."""
    form = Chinchilla()
    sizes = sizes_in_order(runs)
    entry: dict[str, Any] = {
        "status": "fitted",
        "reason": "",
        "form": form.name,
        "equation": form.equation,
        "source": form.source,
        "convention": CONVENTION,
        "rows": len(runs),
        "sizes": len(sizes),
        "dropped": dropped,
        "range": {"params": span(runs["params_total"]), "tokens": span(runs["tokens"])},
    }
    needed = len(form.parameters) + 2
    if len(sizes) < MIN_SIZES:
        entry["status"] = "too few sizes"
        entry["reason"] = (
            f"{len(sizes)} size{'s' * (len(sizes) != 1)}; the interval of a law needs {MIN_SIZES}"
            f"{left_out(dropped)}"
        )
        return entry, None
    if len(runs) < needed:
        entry["status"] = "too few rows"
        entry["reason"] = f"{len(runs)} rows; {form.equation} needs {needed}{left_out(dropped)}"
        return entry, None
    rows = study_rows(runs, dropped)
    found, fitted, doubt = describe(
        rows, form, criterion=criterion, interval="jackknife", seed=seed, heldout=False
    )
    beside = [
        withheld(each, found["lack_of_fit"])
        for each in beside_entry(rows, fitted, num=NUM_BESIDE, seed=seed)
    ]
    entry = {**found, **entry, "delta": criterion.delta, "beside": beside}
    if doubt.spread is not None:
        entry["band"] = band(runs, doubt.spread)
    return entry, fitted


def left_out(dropped: dict[str, int]) -> str:
    """Return which runs are not counted, in brackets; an empty string if all are."""
    told = [f"{count} {why}" for why, count in dropped.items() if count]
    return f" (not counted: {', '.join(told)})" if told else ""


def study_rows(runs: pd.DataFrame, dropped: dict[str, int]) -> Rows:
    """Return usable `runs` of a study as the rows of its law."""
    return Rows(
        variables=variables_of(runs),
        loss=runs["loss_text"].to_numpy(dtype=float),
        sizes=[str(size) for size in runs["size"]],
        replicas=[f"{size}/{seed}" for size, seed in replicas_of(runs)],
        clusters=None,
        flops=runs["flops_exact"].to_numpy(dtype=float),
        columns={**COLUMNS, "flops": "flops_exact"},
        dropped=dropped,
        frame=runs,
    )


def summarise_heldout(
    runs: pd.DataFrame, criterion: Criterion, seed: int, prediction: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the `heldout` entry of usable `runs`; without a `prediction`, one is made here."""
    if prediction is None:
        smaller, target = without_largest(runs)
        prediction = predict_largest(smaller, target, criterion=criterion, seed=seed)
    return score_prediction(prediction, runs)


def summarise_envelope(runs: pd.DataFrame, criterion: Criterion, seed: int) -> dict[str, Any]:
    """Return the `envelope` entry of usable `runs`."""
    envelope = fit_envelope(average_seeds(runs), criterion=criterion, seed=seed)
    fitted = envelope.fitted
    return {
        "status": "fitted" if fitted is not None else "too few points",
        "reason": envelope.reason,
        "equation": PowerLaw.equation.replace("x", "C"),
        "points": envelope.points.to_dict(orient="records"),
        "parameters": None if fitted is None else fitted.parameters,
        "intervals": intervals_of(envelope.errors),
        **interval_entries(envelope.errors),
        "certificate": None if fitted is None else fitted.certificate.to_dict(),
        "convention": ENVELOPE_CONVENTION,
    }


def summarise_laws(
    runs: pd.DataFrame,
    *,
    criterion: Criterion = HUBER,
    minimum_tokens: int = 0,
    seed: int = 0,
    prediction: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the content of `laws.json` for a `runs` table.

    `prediction` is the content of `prediction.json`, written before the largest size was read.
    Too few sizes or rows give a status and a reason in place of numbers. Raises `TableError` only
    if a column is missing or a value can be no count or loss.
    """
    kept, dropped = usable_runs(runs, minimum_tokens)
    chinchilla, fitted = summarise_chinchilla(kept, dropped, criterion, seed)
    rows: list[dict[str, Any]] = []
    if fitted is not None:

        def usable(cut_off: int) -> pd.DataFrame:
            return usable_runs(runs, cut_off)[0]

        chinchilla["sensitivity"] = sensitivity(usable, minimum_tokens, criterion, seed)
        predicted = fitted.predict(variables_of(kept))
        rows = [
            {
                "run": str(row["run"]),
                "size": str(row["size"]),
                "seed": int(row["seed"]),
                "tokens": int(row["tokens"]),
                "predicted": float(value),
                "actual": float(row["loss_text"]),
                "residual_percent": float(100.0 * (value / row["loss_text"] - 1.0)),
            }
            for row, value in zip(kept.to_dict(orient="records"), predicted, strict=True)
        ]
    summary: dict[str, Any] = plain(
        {
            "chinchilla": chinchilla,
            **{name: chinchilla.pop(name, None) for name in APPROACHES},
            "heldout": summarise_heldout(kept, criterion, seed, prediction),
            "envelope": summarise_envelope(kept, criterion, seed),
            "fitted": rows,
        }
    )
    return summary
