"""Intervals of one table's fit, by the method asked for, and by every other beside it.

All values are plain JSON; what cannot be known is null beside a reason.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from saltus.errors import SaltusError
from saltus.law.bootstrap import Bootstrap, bootstrap
from saltus.law.coverage import coverage_of
from saltus.law.criterion import Criterion
from saltus.law.intervals import MIN_SIZES, Intervals, jackknife
from saltus.law.profile import ALLOCATION, NoLikelihoodError, profile
from saltus.law.solve import Fit, fit
from saltus.law.table import Rows

Interval = Literal["jackknife", "bootstrap", "profile"]
BESIDE = ("rows", "replicas within size", "the law")
INTERVALS: tuple[Interval, ...] = get_args(Interval)
Ends = tuple[float | None, float | None] | None


@dataclass(frozen=True, eq=False)
class Doubt:
    """Intervals of one fit: of public parameters, of the allocation, and how they were made.

    `spread` holds the refits, for predictions; None of a profile, which has none.
    """

    method: str
    parameters: dict[str, Ends]
    allocation: Ends
    unconverged: int | None
    audit: dict[str, int] | None
    coverage: dict[str, Any] | None
    spread: Intervals | None


def choose_interval(rows: Rows, asked: Interval | None) -> Interval:
    """Return what was asked; else a jackknife over sizes that have seeds, or a bootstrap."""
    if asked is not None:
        return asked
    seeded = rows.replicas is not None and len(set(rows.replicas)) > len(set(rows.sizes))
    return "jackknife" if seeded and len(set(rows.sizes)) >= MIN_SIZES else "bootstrap"


def doubt_of(fitted: Fit, rows: Rows, kind: Interval, *, num: int, seed: int) -> Doubt:
    """Return the intervals of a fit; `SaltusError` where the table does not allow that kind."""
    if kind == "profile":
        return _profile(fitted, rows)
    spread: Intervals | None
    if kind == "jackknife":
        groups, what = (
            (rows.sizes, "sizes") if rows.clusters is None else (rows.clusters, "clusters")
        )
        spread = jackknife(fitted, rows.variables, rows.loss, groups, rows.replicas)
        if spread is None:
            raise SaltusError(
                f"--interval jackknife: found {len(set(groups))} {what}, expected at least "
                f"{MIN_SIZES}; --interval bootstrap draws rows"
            )
    else:
        spread = bootstrap(
            fitted,
            rows.variables,
            rows.loss,
            what="rows" if rows.clusters is None else "clusters",
            replicas=rows.clusters,
            num=num,
            seed=seed,
        )
    return _doubt_of_refits(spread, rows)


def _doubt_of_refits(spread: Intervals, rows: Rows) -> Doubt:
    fitted = spread.fitted
    audit = None
    if isinstance(spread, Bootstrap):
        audit = {"refitted": spread.audited, "improvable": spread.improvable}
    has_allocation = {"alpha", "beta"} <= set(fitted.form.parameters)
    return Doubt(
        method=spread.method,
        parameters=dict(spread.parameter_intervals()),
        allocation=spread.allocation_interval() if has_allocation else None,
        unconverged=spread.unconverged,
        audit=audit,
        coverage=coverage_of(fitted.form.name, spread.kind, len(set(rows.sizes))),
        spread=spread,
    )


def _profile(fitted: Fit, rows: Rows) -> Doubt:
    seeded = rows.replicas is not None and len(set(rows.sizes)) >= MIN_SIZES
    sizes = rows.clusters or (rows.sizes if seeded else None)
    try:
        found = profile(
            fitted,
            rows.variables,
            rows.loss,
            sizes=sizes,
            replicas=rows.replicas if sizes else None,
        )
    except NoLikelihoodError as error:
        raise SaltusError(
            f"--interval profile: {error}; try --loss squared, or another --interval"
        ) from error
    logs = fitted.form.log_parameters

    def public(name: str, end: float | None) -> float | None:
        return float(np.exp(end)) if end is not None and name in logs else end

    return Doubt(
        method=found.method,
        parameters={
            name: (public(name, ends[0]), public(name, ends[1]))
            for name, ends in found.reported.items()
            if name != ALLOCATION
        },
        allocation=found.reported.get(ALLOCATION),
        unconverged=None,
        audit=None,
        coverage=coverage_of(fitted.form.name, "profile", len(set(rows.sizes))),
        spread=None,
    )


def beside_entry(rows: Rows, fitted: Fit, *, num: int, seed: int) -> list[dict[str, Any]]:
    """Return the intervals of every other method: bootstraps of the fit, and the profile.

    The profile is of squares, which have a likelihood, and so of another fit than Huber's.
    """
    told: list[dict[str, Any]] = []
    for what in BESIDE:
        drawn = bootstrap(
            fitted,
            rows.variables,
            rows.loss,
            what=what,
            sizes=rows.sizes,
            replicas=rows.replicas,
            num=num,
            seed=seed,
        )
        told.append(_beside(_doubt_of_refits(drawn, rows)))
    squares = Criterion("squared")
    other = fit(fitted.form, rows.variables, rows.loss, criterion=squares, seed=seed)
    try:
        profiled = _beside(_profile(other, rows))
    except SaltusError as error:
        covered = coverage_of(fitted.form.name, "profile", len(set(rows.sizes)))
        method = f"profile of a normal likelihood; {squares}"
        nothing = Doubt(method, {}, None, None, None, covered, None)
        profiled = {**_beside(nothing), "intervals": None, "reason": str(error.__cause__)}
    return [*told, {**profiled, "parameters": other.parameters}]


def _beside(doubt: Doubt) -> dict[str, Any]:
    return {
        "method": doubt.method,
        "reason": "",
        "intervals": doubt.parameters,
        "allocation": doubt.allocation,
        "unconverged_refits": doubt.unconverged,
        "audit": doubt.audit,
        "coverage": doubt.coverage,
    }
