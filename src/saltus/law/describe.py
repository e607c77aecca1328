"""Everything `saltus law` says about one table: fit, certificate, intervals, residuals.

All values are plain JSON; what cannot be known is null beside a reason.
"""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from saltus.law.alike import merge_alike
from saltus.law.allocation import FLOPS_PER_PAIR, cost_exponents, fit_cost
from saltus.law.approaches import three_approaches
from saltus.law.belief import uncertainty_entry
from saltus.law.compare import compare_forms
from saltus.law.coverage import withheld
from saltus.law.criterion import Criterion
from saltus.law.doubt import Doubt, Interval, choose_interval, doubt_of
from saltus.law.forecast import rms_percent
from saltus.law.forms import ONE_VARIABLE, Chinchilla, Form
from saltus.law.influence import leave_one_size_out, leave_worst_out
from saltus.law.misfit import lack_of_fit
from saltus.law.solve import HUBER, Fit, fit
from saltus.law.table import Rows

Array = NDArray[np.float64]


def residual_entry(fitted: Fit) -> dict[str, float]:
    """Return the residuals' root mean square and largest size, in percent of the measured loss."""
    return {
        "rms_percent": rms_percent(fitted.residuals),
        "max_percent": float(np.max(np.abs(100.0 * np.expm1(fitted.residuals)))),
    }


def certificate_entry(fitted: Fit, rows: Rows) -> dict[str, Any]:
    """Return the certificate with how far the law moves without a size or its worst rows."""
    without_size = leave_one_size_out(fitted, rows.variables, rows.loss, rows.sizes)
    names: list[object] = [int(label) + 1 for label in rows.frame.index]
    if "run" in rows.frame and rows.frame["run"].is_unique:
        names = list(rows.frame["run"])
    without_rows = leave_worst_out(fitted, rows.variables, rows.loss, names)
    return {
        **fitted.certificate.to_dict(),
        "leave_one_size_out": None if without_size is None else without_size.to_dict(),
        "leave_k_out": None if without_rows is None else without_rows.to_dict(),
    }


def _allocation(rows: Rows, fitted: Fit, doubt: Doubt) -> dict[str, Any]:
    """Return `allocation`: a, b = 1 - p a, the interval of a, and the `cost`, C = k N^p D.

    Null beside an `allocation_reason` where the form has no such exponent.
    """
    growth = fitted.form.growth(fitted.theta)
    if growth is None:
        (name,) = fitted.form.variables
        reason = f"{fitted.form.name} is a law of {name} alone: it weighs no N against a D"
        return {"allocation": None, "allocation_reason": reason}
    cost = fit_cost(rows.variables["N"], rows.variables["D"], rows.flops)
    a, b = cost_exponents(*growth, cost)
    entry = {"a": float(a), "b": float(b), "interval": doubt.allocation, "cost": asdict(cost)}
    repeats = "U" in fitted.form.variables
    reason = "a holds where no token is repeated" if repeats else ""
    return {"allocation": entry, "allocation_reason": reason}


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
    """Return how every form foretells rows above a cut, and the chosen one the largest size.

    Forms in one variable are held to the largest values of that.
    """
    forms: list[Form] | None = None
    sizes: list[str] = rows.sizes
    if len(fitted.form.variables) == 1:
        (name,) = fitted.form.variables
        forms = [make(name) for make in ONE_VARIABLE.values()]
        sizes = merge_alike(rows.variables[name]) if name != "N" else sizes
    found = compare_forms(
        rows.variables,
        rows.loss,
        sizes,
        rows.replicas,
        rows.flops,
        forms=forms,
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
    lack = lack_of_fit(fitted, rows)
    covered = withheld({"coverage": doubt.coverage, "coverage_reason": doubt.coverage_reason}, lack)
    entry: dict[str, Any] = {
        "form": form.name,
        "equation": form.equation,
        "source": form.source,
        "parameters": fitted.parameters,
        "intervals": doubt.parameters,
        "interval_notes": doubt.notes,
        "interval_method": doubt.method,
        "unconverged_refits": doubt.unconverged,
        "audit": doubt.audit,
        **covered,
        **_allocation(rows, fitted, doubt),
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
        "lack_of_fit": lack,
        **_approaches(rows, fitted, doubt),
        **(_heldout(rows, fitted, seed) if heldout else {}),
        "uncertainty": uncertainty_entry(doubt.spread, rows),
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
