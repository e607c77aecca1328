"""Intervals of one table's fit, by the method asked for, and by every other beside it.

All values are plain JSON; what cannot be known is null beside a reason.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from saltus.errors import SaltusError
from saltus.law.allocation import fit_cost
from saltus.law.bootstrap import Bootstrap, bootstrap
from saltus.law.components import NoScatterError
from saltus.law.coverage import coverage_of, not_simulated
from saltus.law.criterion import Criterion
from saltus.law.intervals import Intervals, allocation_exponent
from saltus.law.jackknife import MIN_SIZES, jackknife
from saltus.law.likelihood import ALLOCATION, NoLikelihoodError
from saltus.law.profile import profile
from saltus.law.solve import Fit, fit
from saltus.law.table import Rows

Interval = Literal["jackknife", "bootstrap", "profile"]
BESIDE = ("rows", "replicas within size", "the law")
INTERVALS: tuple[Interval, ...] = get_args(Interval)
Ends = tuple[float | None, float | None] | None


@dataclass(frozen=True, eq=False)
class Doubt:
    """Intervals of one fit: of public parameters, of the allocation, and how they were made.

    `notes` say of parameters, and of `a`, why there is no interval, or why it does not hold the
    estimate. `centre` are the parameters that a profile is drawn about, None where they
    are the fit's own. `spread` holds the refits, for predictions; None of a profile.
    """

    method: str
    parameters: dict[str, Ends]
    allocation: Ends
    unconverged: int | None
    audit: dict[str, int] | None
    coverage: dict[str, Any] | None
    coverage_reason: str
    centre: dict[str, float | None] | None
    spread: Intervals | None
    notes: dict[str, str] = field(default_factory=dict)


def choose_interval(rows: Rows, asked: Interval | None) -> Interval:
    """Return what was asked; else a jackknife over sizes that have seeds, or a bootstrap."""
    if asked is not None:
        return asked
    seeded = rows.replicas is not None and len(set(rows.replicas)) > len(set(rows.sizes))
    return "jackknife" if seeded and len(set(rows.sizes)) >= MIN_SIZES else "bootstrap"


def doubt_of(fitted: Fit, rows: Rows, kind: Interval, *, num: int, seed: int) -> Doubt:
    """Return the intervals of a fit; `SaltusError` where the table does not allow that kind."""
    if kind == "profile":
        try:
            return _profile(fitted, rows)
        except NoLikelihoodError as error:
            raise SaltusError(
                f"--interval profile: {error}; try --loss squared, or another --interval"
            ) from error
    spread: Intervals | None
    replicas = rows.replicas or rows.clusters  # what a new replica's error is counted by
    if kind == "jackknife":
        groups, what = (rows.sizes, "size") if rows.clusters is None else (rows.clusters, "cluster")
        spread = jackknife(fitted, rows.variables, rows.loss, groups, replicas, what=what)
        if spread is None:
            raise SaltusError(
                f"--interval jackknife: found {len(set(groups))} {what}s, expected at least "
                f"{MIN_SIZES}; --interval bootstrap draws rows"
            )
    else:
        spread = bootstrap(
            fitted,
            rows.variables,
            rows.loss,
            what="rows" if rows.clusters is None else "clusters",
            replicas=replicas,
            clusters=rows.clusters,
            num=num,
            seed=seed,
        )
    return _doubt_of_refits(spread, rows)


def _doubt_of_refits(spread: Intervals, rows: Rows) -> Doubt:
    fitted = spread.fitted
    audit = None
    if isinstance(spread, Bootstrap):
        audit = {"refitted": spread.audited, "improvable": spread.improvable}
    power = _cost_exponent(fitted, rows)
    notes = spread.notes()
    if power is not None and (note := spread.allocation_note(power)):
        notes[ALLOCATION] = note
    return Doubt(
        method=spread.method,
        parameters=dict(spread.parameter_intervals()),
        allocation=spread.allocation_interval(power) if power is not None else None,
        unconverged=spread.unconverged,
        audit=audit,
        **_coverage(fitted, spread.kind, rows),
        centre=None,
        spread=spread,
        notes=notes,
    )


def _cost_exponent(fitted: Fit, rows: Rows) -> float | None:
    """Return p of C = k N^p D, which a is the allocation of; None of a form without one."""
    if fitted.form.growth(fitted.theta) is None:
        return None
    return fit_cost(rows.variables["N"], rows.variables["D"], rows.flops).exponent


def _profile(fitted: Fit, rows: Rows) -> Doubt:
    """Return the profile's intervals; `NoLikelihoodError` where there is no likelihood."""
    seeded = rows.replicas is not None and len(set(rows.sizes)) >= MIN_SIZES
    sizes = rows.clusters or (rows.sizes if seeded else None)
    found = profile(
        fitted,
        rows.variables,
        rows.loss,
        sizes=sizes,
        replicas=rows.replicas if sizes else None,
        cost_exponent=_cost_exponent(fitted, rows) or 1.0,
    )
    logs = fitted.form.log_parameters

    def public(name: str, value: float | None) -> float | None:
        return float(np.exp(value)) if value is not None and name in logs else value

    power = _cost_exponent(fitted, rows)
    values = dict(fitted.parameters)
    notes = {}
    growth = fitted.form.growth(fitted.theta)
    if growth is not None and power is not None:
        values[ALLOCATION] = float(allocation_exponent(*growth, power))
        if ALLOCATION not in found.reported:
            notes[ALLOCATION] = "none: a profile is of the parameters, and of alpha and beta alone"
    for name, ends in found.reported.items():
        low, high = (public(name, end) for end in ends)
        if (low is not None and values[name] < low) or (high is not None and values[name] > high):
            notes[name] = (
                f"the estimate is not inside: the profile is drawn about "
                f"{public(name, found.centre[name]):.4g}, where its own likelihood is greatest"
            )
    kind = "profile" if fitted.criterion.loss == "squared" else "profile with Godambe's ratio"
    return Doubt(
        method=found.method,
        parameters={
            name: (public(name, ends[0]), public(name, ends[1]))
            for name, ends in found.reported.items()
            if name != ALLOCATION
        },
        allocation=found.reported.get(ALLOCATION),
        unconverged=found.unconverged,
        audit=None,
        **_coverage(fitted, kind, rows),
        centre={
            name: public(name, value) for name, value in found.centre.items() if name != ALLOCATION
        },
        spread=None,
        notes=notes,
    )


def _coverage(fitted: Fit, kind: str, rows: Rows) -> dict[str, Any]:
    """Return `coverage` and `coverage_reason` of an interval."""
    seeds = None if rows.clusters is not None else rows.replicas
    reason = not_simulated(fitted, kind, rows.sizes, seeds)
    told = None if reason else coverage_of(kind, len(set(rows.sizes)))
    return {"coverage": told, "coverage_reason": reason}


def beside_entry(rows: Rows, fitted: Fit, *, num: int, seed: int) -> list[dict[str, Any]]:
    """Return the intervals of every other method: bootstraps of the fit, and the profile.

    The profile is of squares, which have a likelihood, and so of another fit than Huber's: its
    `parameters` are those at the centre of its intervals.
    """
    told: list[dict[str, Any]] = []
    for what in BESIDE:
        try:
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
        except NoScatterError as error:
            told.append(_nothing(f"bootstrap of {what}", str(error)))
        else:
            told.append(_beside(_doubt_of_refits(drawn, rows)))
    squares = Criterion("squared")
    other = fit(fitted.form, rows.variables, rows.loss, criterion=squares, seed=seed)
    try:
        profiled = _beside(_profile(other, rows))
    except NoLikelihoodError as error:
        profiled = _nothing(f"profile of a normal likelihood, {squares}", str(error))
    return [*told, profiled]


def _nothing(method: str, reason: str) -> dict[str, Any]:
    empty = Doubt(method, {}, None, None, None, None, reason, None, None)
    return {**_beside(empty), "intervals": None, "reason": reason}


def _beside(doubt: Doubt) -> dict[str, Any]:
    return {
        "method": doubt.method,
        "reason": "",
        "parameters": doubt.centre,
        "intervals": doubt.parameters,
        "interval_notes": doubt.notes,
        "allocation": doubt.allocation,
        "unconverged_refits": doubt.unconverged,
        "audit": doubt.audit,
        "coverage": doubt.coverage,
        "coverage_reason": doubt.coverage_reason,
    }
