"""Everything `saltus law` says about one table: fit, certificate, intervals, residuals.

All values are plain JSON; what cannot be known is null beside a reason.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from saltus.law.allocation import parametric_allocation
from saltus.law.approaches import three_approaches
from saltus.law.compare import compare_forms
from saltus.law.criterion import Criterion
from saltus.law.doubt import Doubt, Interval, choose_interval, doubt_of
from saltus.law.forecast import rms_percent
from saltus.law.forms import Chinchilla, Form
from saltus.law.influence import leave_one_size_out, leave_worst_out
from saltus.law.intervals import Intervals
from saltus.law.solve import HUBER, Fit, fit
from saltus.law.table import Rows

Array = NDArray[np.float64]
FLOPS_PER_PAIR = 6.0  # C = 6 N D


def residual_entry(fitted: Fit) -> dict[str, float]:
    """Return the residuals' root mean square and largest size, in percent of the measured loss."""
    return {
        "rms_percent": rms_percent(fitted.residuals),
        "max_percent": float(np.max(np.abs(100.0 * np.expm1(fitted.residuals)))),
    }


def certificate_entry(fitted: Fit, rows: Rows) -> dict[str, Any]:
    """Return the certificate with how far the law moves without a size or its worst rows."""
    without_size = leave_one_size_out(fitted, rows.variables, rows.loss, rows.sizes)
    names = [int(label) + 1 for label in rows.frame.index]
    without_rows = leave_worst_out(fitted, rows.variables, rows.loss, names)
    return {
        **fitted.certificate.to_dict(),
        "leave_one_size_out": None if without_size is None else without_size.to_dict(),
        "leave_k_out": None if without_rows is None else without_rows.to_dict(),
    }


def uncertainty_entry(
    fitted: Fit,
    spread: Intervals | None,
    variables: Mapping[str, Array],
    flops: Array | None,
) -> dict[str, Any] | None:
    """Return what advice needs: the internal vector, its covariance, a replica's scatter, compute.

    `flops_per_pair` is the median of C / (N D) where the table has C (n,), else 6.
    """
    if spread is None or not {"N", "D"} <= set(variables):
        return None
    pairs = variables["N"] * variables["D"]
    return {
        "theta": fitted.theta.tolist(),
        "covariance": spread.covariance().tolist(),
        "quantile": spread.quantile,
        "replica_error": spread.replica_error,
        "flops_per_pair": FLOPS_PER_PAIR if flops is None else float(np.median(flops / pairs)),
        "reach": {
            name: [float(variables[name].min()), float(variables[name].max())] for name in "ND"
        },
        "method": spread.method,
    }


def _allocation(fitted: Fit, doubt: Doubt) -> dict[str, Any] | None:
    """Return a and b = 1 - a of N ~ C^a, D ~ C^b with the interval of a; None without exponents."""
    if not {"alpha", "beta"} <= set(fitted.parameters):
        return None
    implied = parametric_allocation(fitted)
    return {"a": implied.a, "b": implied.b, "interval": doubt.allocation}


def _approaches(rows: Rows, fitted: Fit, doubt: Doubt) -> dict[str, Any]:
    """Return the three approaches and their verdict, of Chinchilla's law."""
    if not isinstance(fitted.form, Chinchilla):
        return {}
    return three_approaches(points_of_rows(rows), fitted, doubt.spread).to_dict()


def points_of_rows(rows: Rows, flops: Array | None = None) -> pd.DataFrame:
    """Return the points of the approaches, C being `flops` (n,), the table's own, or 6 N D."""
    params, tokens = rows.variables["N"], rows.variables["D"]
    if flops is None:
        flops = FLOPS_PER_PAIR * params * tokens if rows.flops is None else rows.flops
    points = pd.DataFrame({"params": params, "tokens": tokens, "flops": flops, "loss": rows.loss})
    return points.assign(size=rows.sizes) if rows.labelled else points


def _heldout(rows: Rows, fitted: Fit, seed: int) -> dict[str, Any]:
    """Return how every form foretells rows above a cut, and the chosen one the largest size."""
    if not {"N", "D"} <= set(fitted.form.variables):
        return {}
    found = compare_forms(
        rows.variables,
        rows.loss,
        rows.sizes,
        rows.replicas,
        rows.flops,
        criterion=fitted.criterion,
        seed=seed,
    )
    return {"heldout": found.to_dict()}


def describe(
    rows: Rows,
    form: Form,
    *,
    criterion: Criterion = HUBER,
    interval: Interval | None = None,
    num: int = 4000,
    seed: int = 0,
    heldout: bool = True,
) -> tuple[dict[str, Any], Fit, Doubt]:
    """Fit `form` to checked rows; return its entry, the fit and its intervals.

    `heldout` asks for the comparison of forms by prediction too.
    """
    fitted = fit(form, rows.variables, rows.loss, criterion=criterion, seed=seed)
    doubt = doubt_of(fitted, rows, choose_interval(rows, interval), num=num, seed=seed)
    entry: dict[str, Any] = {
        "form": form.name,
        "equation": form.equation,
        "source": form.source,
        "parameters": fitted.parameters,
        "intervals": doubt.parameters,
        "interval_method": doubt.method,
        "unconverged_refits": doubt.unconverged,
        "audit": doubt.audit,
        "coverage": doubt.coverage,
        "coverage_reason": doubt.coverage_reason,
        "allocation": _allocation(fitted, doubt),
        "objective": fitted.objective,
        "criterion": {
            "loss": criterion.loss,
            "delta": criterion.delta if criterion.loss == "huber" else None,
            "over": criterion.over if criterion.loss == "asymmetric" else None,
            "residual": criterion.residual,
            "text": str(criterion),
        },
        "certificate": certificate_entry(fitted, rows),
        "residuals": residual_entry(fitted),
        **_approaches(rows, fitted, doubt),
        **(_heldout(rows, fitted, seed) if heldout else {}),
        "uncertainty": uncertainty_entry(fitted, doubt.spread, rows.variables, rows.flops),
        "columns": rows.columns,
        "range": {
            name: [float(values.min()), float(values.max())]
            for name, values in rows.variables.items()
        },
        "rows": rows.num,
        "sizes": len(set(rows.sizes)),
        "dropped": rows.dropped,
    }
    return entry, fitted, doubt
