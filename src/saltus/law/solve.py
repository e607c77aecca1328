"""Fit a law: the best of many polished starts, with its certificate, and quick refits of resamples.

By default the objective is the plain sum of Huber_delta(log predicted - log observed) (Hoffmann et
al. 2022, section 3.3); `criterion.Criterion` has the others. An absolute loss is reached through
roundings of it, each ten times sharper than the last, and then moved onto its vertex.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saltus.errors import TableError
from saltus.law.certificate import ACTIVE, Certificate, certify
from saltus.law.criterion import Criterion
from saltus.law.forms.base import Form
from saltus.law.minimise import linearise, minimise, residuals

Array = NDArray[np.float64]

ROUNDINGS = np.geomspace(1e-1, 1e-10, 10)  # of an absolute loss, in shares of the mean loss
SNAPS = 5  # Newton steps onto the vertex
CHUNK = 12_000  # numbers (refits x rows) worked on at once: they should fit a processor's cache
HUBER = Criterion()


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted law.

    `theta` (p,) is the internal vector in raw units, `parameters` the public ones, `residuals` (n,)
    log predicted minus log observed loss, `objective` the sum that `criterion` names. `minima`
    (k, p) are the distinct minima that the starts found, the best first.
    """

    form: Form
    theta: Array
    parameters: dict[str, float]
    objective: float
    criterion: Criterion
    residuals: Array
    certificate: Certificate
    minima: Array

    def predict(self, variables: Mapping[str, ArrayLike]) -> Array:
        """Return predicted losses (n,) at raw variables (n,)."""
        return np.exp(predict_log(self.form, self.theta, variables))


def predict_log(form: Form, theta: Array, variables: Mapping[str, ArrayLike]) -> Array:
    """Return log predicted losses (..., n) for internal vectors (..., p) at raw variables (n,)."""
    logs = {name: np.log(np.asarray(variables[name], dtype=float)) for name in form.variables}
    return form.evaluate(theta, logs)[0]


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
    for name, values in columns.items():
        if values.shape != (num,):
            raise TableError(f"{name} has shape {values.shape}; expected ({num},) as loss has")
        bad = ~(np.isfinite(values) & (values > 0))
        if bad.any():
            row = int(np.argmax(bad))
            raise TableError(f"{name} is {values[row]} in row {row}; expected a positive number")
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


def descend(
    form: Form, table: Table, criterion: Criterion, weights: Array, starts: Array, log_loss: Array
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Polish `starts` (m, p) on the criterion; `weights` and `log_loss` are (n,) or (m, n).

    Returns internal vectors (m, p), objectives (m,) and whether each descent converged (m,).
    """
    bounds = form.bounds(table.logs, table.log_loss)
    if criterion.smooth:
        return minimise(form, table.logs, log_loss, weights, criterion.penalty, starts, bounds)
    typical = float(np.exp(np.mean(log_loss))) if criterion.raw else 1.0
    theta, converged = starts, np.ones(len(starts), dtype=bool)
    for share in ROUNDINGS:
        penalty = criterion.rounded(share * typical)
        theta, _, converged = minimise(
            form, table.logs, log_loss, weights, penalty, theta, bounds, max_iterations=100
        )
    ends = residuals(form, table.logs, log_loss, theta, criterion.raw)
    return theta, criterion.total(ends, weights), converged


def snap(form: Form, table: Table, criterion: Criterion, theta: Array) -> Array:
    """Move `theta` (p,) onto the vertex of an absolute loss whose residuals it nearly zeroes."""
    typical = float(np.exp(np.mean(table.log_loss))) if criterion.raw else 1.0
    best = theta
    for _ in range(SNAPS):
        residual, slope, _ = linearise(form, table.logs, table.log_loss, best, criterion.raw)
        active = np.abs(residual) <= ACTIVE * typical
        if not active.any():
            break
        trial = best - np.linalg.lstsq(slope[active], residual[active], rcond=None)[0]
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


def fit(
    form: Form,
    variables: Mapping[str, ArrayLike],
    loss: ArrayLike,
    *,
    criterion: Criterion = HUBER,
    weights: ArrayLike | None = None,
    starts: int | None = None,
    seed: int = 0,
) -> Fit:
    """Fit `form` to `loss` (n,) at raw `variables` (n,).

    The starts, as many as the form asks unless told, are those of the form (for sums of powers:
    variable projection, then dispersed ones drawn from `seed`); each is polished on the true
    objective and the best is certified. Raises `TableError` if a value is missing or not positive,
    or if rows are fewer than parameters; a fit that does not converge is not an error but a
    certificate that says so.
    """
    table = prepare(form, variables, loss, weights)
    generator = np.random.default_rng(seed)
    num = form.num_starts if starts is None else starts
    first = form.starts(table.logs, table.log_loss, table.weights, num, generator)
    theta, objectives, converged = descend(
        form, table, criterion, table.weights, first, table.log_loss
    )
    best = int(np.argmin(objectives))
    if not criterion.smooth:
        theta[best] = snap(form, table, criterion, theta[best])
        at = residuals(form, table.logs, table.log_loss, theta[best], criterion.raw)
        objectives[best] = criterion.total(at, table.weights)
    bounds = form.bounds(table.logs, table.log_loss)
    certificate = certify(
        form, table.logs, table.log_loss, table.weights, criterion, bounds,
        theta, objectives, converged,
    )  # fmt: skip
    raw = table.to_raw(form, theta[best])
    floor = float(criterion.penalty.floor(table.weights, table.log_loss))
    return Fit(
        form=form,
        theta=raw,
        parameters=form.public(raw),
        objective=float(objectives[best]),
        criterion=criterion,
        residuals=form.evaluate(theta[best], table.logs)[0] - table.log_loss,
        certificate=certificate,
        minima=table.to_raw(form, distinct(theta, objectives, converged, floor)),
    )


@dataclass(frozen=True, eq=False)
class Refits:
    """Refits of m reweighted or redrawn tables: internal vectors (m, p) in raw units.

    `objectives` (m,) are theirs and `converged` (m,) says which descents did.
    """

    theta: Array
    objectives: Array
    converged: NDArray[np.bool_]


def refit(
    fitted: Fit,
    variables: Mapping[str, ArrayLike],
    loss: ArrayLike,
    weights: ArrayLike,
    *,
    polish: Literal["every", "best"] = "every",
) -> Refits:
    """Refit the same rows under each of m weightings (m, n), all at once.

    `loss` is (n,), or (m, n) if it was redrawn as well. The starts of every refit are the fitted
    law, the fit's next best minimum, and the best exponents of its own variable projection, so that
    a resample may leave for another minimum; each is polished, or the one of lowest objective.
    """
    form, criterion = fitted.form, fitted.criterion
    losses = np.asarray(loss, dtype=float)
    table = prepare(form, variables, losses if losses.ndim == 1 else losses[0], None)
    weighting = np.atleast_2d(np.asarray(weights, dtype=float))
    num = len(weighting)
    log_loss = np.log(losses)
    minima = table.to_centred(form, np.concatenate([fitted.theta[None], fitted.minima[1:2]]))
    ends: list[Refits] = []
    for part in np.array_split(np.arange(num), max(1, num * len(table.log_loss) // CHUNK)):
        here = log_loss if log_loss.ndim == 1 else log_loss[part]
        starts = [np.tile(start, (len(part), 1)) for start in minima]
        starts += form.guesses(table.logs, here, weighting[part])
        tried = [_start(form, table, criterion, weighting[part], start, here) for start in starts]
        if polish == "best":
            tried = [reduce(_better, tried)]
        ends.append(
            reduce(
                _better,
                [
                    Refits(*descend(form, table, criterion, weighting[part], start.theta, here))
                    for start in tried
                ],
            )
        )
    return Refits(
        table.to_raw(form, np.concatenate([end.theta for end in ends])),
        np.concatenate([end.objectives for end in ends]),
        np.concatenate([end.converged for end in ends]),
    )


def _start(
    form: Form, table: Table, criterion: Criterion, weights: Array, theta: Array, log_loss: Array
) -> Refits:
    """Return starts with their objectives, nothing polished."""
    lower, upper = form.bounds(table.logs, table.log_loss)
    theta = np.clip(theta, lower, upper)
    ends = residuals(form, table.logs, log_loss, theta, criterion.raw)
    return Refits(theta, criterion.total(ends, weights), np.zeros(len(theta), dtype=bool))


def _better(one: Refits, other: Refits) -> Refits:
    """Return, for each table, the refit of lower objective."""
    take = other.objectives < one.objectives
    return Refits(
        np.where(take[:, None], other.theta, one.theta),
        np.where(take, other.objectives, one.objectives),
        np.where(take, other.converged, one.converged),
    )
