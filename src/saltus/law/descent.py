"""Many descents at once on a checked table: smooth criteria directly, absolute ones by rounding.

An absolute loss is reached through roundings of it, each ten times sharper than the last, and then
moved onto its vertex. The widest rounding is a loss of squares and may have one minimum where the
absolute loss has many: all starts would agree on whichever of them it leads to. So each start goes
down a second time, from a rounding that is sharp already, and its lower end counts.
`m` start or resample, `n` row, `p` parameter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saltus.errors import TableError
from saltus.law.certificate import ACTIVE
from saltus.law.criterion import Criterion, typical_size
from saltus.law.forms.base import Form
from saltus.law.minimise import linearise, minimise, residuals

Array = NDArray[np.float64]

ROUNDINGS = np.geomspace(1e-1, 1e-10, 10)  # of an absolute loss, in shares of the mean loss
FIRST_ROUNDINGS = (
    0,
    2,
)  # first roundings: the widest has one minimum, into which every start would fall
SNAPS = 5  # Newton steps onto the vertex


@dataclass(frozen=True, eq=False)
class Table:
    """Checked rows of one fit, in log variables centred on their means."""

    logs: dict[str, Array]  # (n,) each
    centres: dict[str, float]
    log_loss: Array  # (n,)
    weights: Array  # (n,)

    def to_raw(self, form: Form, theta: Array) -> Array:
        """Undo the centring of internal vectors (..., p)."""
        return form.rescale(theta, {name: -centre for name, centre in self.centres.items()})

    def to_centred(self, form: Form, theta: Array) -> Array:
        """Apply the centring to internal vectors (..., p)."""
        return form.rescale(theta, self.centres)


def check_columns(columns: Mapping[str, Array], num: int) -> None:
    """Raise `TableError` unless every column holds `num` positive numbers."""
    for name, values in columns.items():
        if values.shape != (num,):
            raise TableError(f"{name} has shape {values.shape}; expected ({num},) as loss has")
        bad = ~(np.isfinite(values) & (values > 0))
        if bad.any():
            row = int(np.argmax(bad))
            raise TableError(f"{name} is {values[row]} in row {row}; expected a positive number")


def prepare(
    form: Form, variables: Mapping[str, ArrayLike], loss: ArrayLike, weights: ArrayLike | None
) -> Table:
    """Check and centre the rows; `TableError` for a missing, short or non-positive column."""
    missing = [name for name in form.variables if name not in variables]
    if missing:
        raise TableError(f"{form.equation} needs variable {missing[0]}; found {sorted(variables)}")
    columns = {name: np.asarray(variables[name], dtype=float) for name in form.variables}
    columns["loss"] = np.asarray(loss, dtype=float)
    num = columns["loss"].size
    check_columns(columns, num)
    weight = np.ones(num) if weights is None else np.asarray(weights, dtype=float)
    if weight.shape != (num,) or not np.all(np.isfinite(weight) & (weight >= 0)):
        raise TableError(f"weights must be {num} finite numbers that are not negative")
    needed = len(form.parameters)
    if int(np.sum(weight > 0)) < needed:
        raise TableError(
            f"{form.equation} has {needed} parameters; found {int(np.sum(weight > 0))} rows"
        )
    logs = {name: np.log(columns[name]) for name in form.variables}
    centres = {name: float(logs[form.unit_of.get(name, name)].mean()) for name in form.variables}
    return Table(
        logs={name: values - centres[name] for name, values in logs.items()},
        centres=centres,
        log_loss=np.log(columns["loss"]),
        weights=weight,
    )


def typical_loss(loss: Array) -> Array:
    """Return losses (n,), or the geometric means (n,) of redrawn ones (m, n): bounds are theirs."""
    return loss if loss.ndim == 1 else np.exp(np.log(loss).mean(axis=0))


@dataclass(frozen=True, eq=False)
class Refits:
    """Refits of m reweighted or redrawn tables: internal vectors (m, p) in raw units.

    `objectives` (m,) are theirs and `converged` (m,) says which descents did.
    """

    theta: Array
    objectives: Array
    converged: NDArray[np.bool_]


def better(one: Refits, other: Refits) -> Refits:
    """Return, for each table, the refit of lower objective."""
    take = other.objectives < one.objectives
    return Refits(
        np.where(take[:, None], other.theta, one.theta),
        np.where(take, other.objectives, one.objectives),
        np.where(take, other.converged, one.converged),
    )


def descend(
    form: Form, table: Table, criterion: Criterion, weights: Array, starts: Array, log_loss: Array
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Polish `starts` (m, p) on the criterion; `weights` and `log_loss` are (n,) or (m, n).

    Returns internal vectors (m, p), objectives (m,) and whether each descent converged (m,).
    """
    bounds = form.bounds(table.logs, table.log_loss)
    if criterion.smooth:
        found = Refits(
            *minimise(form, table.logs, log_loss, weights, criterion.penalty, starts, bounds)
        )
        return _finish(form, table, criterion, weights, log_loss, found, bounds)
    typical = typical_size(log_loss, criterion.raw)
    tried = []
    for first in FIRST_ROUNDINGS:
        theta, converged = starts, np.ones(len(starts), dtype=bool)
        for share in ROUNDINGS[first:]:
            penalty = criterion.rounded(share * typical)
            theta, _, converged = minimise(
                form, table.logs, log_loss, weights, penalty, theta, bounds, max_iterations=100
            )
        ends = residuals(form, table.logs, log_loss, theta, criterion.raw)
        totals = criterion.total(ends, weights)
        exact = totals <= criterion.floor(weights, log_loss)
        tried.append(Refits(theta, totals, converged | exact))
    best = reduce(better, tried)
    return best.theta, best.objectives, best.converged


def _finish(
    form: Form,
    table: Table,
    criterion: Criterion,
    weights: Array,
    log_loss: Array,
    found: Refits,
    bounds: tuple[Array, Array],
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Let descents that did not arrive go on, and again with the irreducible loss at its bound.

    An irreducible loss that is on its way to nothing takes ever smaller steps.
    """
    left = np.flatnonzero(~found.converged)
    if len(left):
        theta, objectives = np.array(found.theta), np.array(found.objectives)
        converged = np.array(found.converged)
        losses = log_loss if log_loss.ndim == 1 else log_loss[left]
        own = weights if weights.ndim == 1 else weights[left]
        starts = [theta[left]]
        if form.floor is not None:
            without = np.array(theta[left])
            without[:, form.parameters.index(form.floor)] = bounds[0][
                form.parameters.index(form.floor)
            ]
            starts.append(without)
        best = reduce(
            better,
            [
                Refits(*minimise(form, table.logs, losses, own, criterion.penalty, start, bounds))
                for start in starts
            ],
        )
        theta[left], objectives[left], converged[left] = (
            best.theta, best.objectives, best.converged,
        )  # fmt: skip
        found = Refits(theta, objectives, converged)
    return found.theta, found.objectives, found.converged


def snap(form: Form, table: Table, criterion: Criterion, theta: Array) -> Array:
    """Move `theta` (p,) onto the vertex of an absolute loss whose residuals it nearly zeroes.

    Parameters on a bound stay there.
    """
    bounds = form.bounds(table.logs, table.log_loss)
    typical = typical_size(table.log_loss, criterion.raw)
    best = theta
    for _ in range(SNAPS):
        residual, slope, _ = linearise(form, table.logs, table.log_loss, best, criterion.raw)
        active = (np.abs(residual) <= ACTIVE * typical) & (table.weights > 0)
        free = (best > bounds[0]) & (best < bounds[1])
        if not active.any():
            break
        trial = np.array(best)
        trial[free] -= np.linalg.lstsq(slope[active][:, free], residual[active], rcond=None)[0]
        trial = np.clip(trial, *bounds)
        ends = np.stack([best, trial])
        totals = criterion.total(
            residuals(form, table.logs, table.log_loss, ends, criterion.raw), table.weights
        )
        if not totals[1] < totals[0]:
            break
        best = trial
    return best


def distinct(theta: Array, objectives: Array, converged: NDArray[np.bool_], floor: float) -> Array:
    """Return the ends (k, p) of `theta` (m, p) whose objectives differ, the best first."""
    order = np.argsort(objectives, kind="stable")
    kept = [order[0]]
    for i in order[1:]:
        level = max(float(objectives[kept[-1]]), floor)
        if converged[i] and objectives[i] > objectives[kept[-1]] + 1e-6 * level:
            kept.append(i)
    return theta[kept]
