"""Fit a law: the best of many polished starts, with its certificate, and quick refits of resamples.

The objective is the plain sum of Huber_delta(log predicted - log observed) (Hoffmann et al. 2022,
section 3.3). It is summed, never averaged: optimizers that compare a gradient with an absolute
tolerance stop at the start of an averaged one and report success.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saltus.errors import TableError
from saltus.law.certificate import Certificate, certify
from saltus.law.forms import Form
from saltus.law.minimise import minimise

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted law.

    `theta` (p,) is the internal vector in raw units, `parameters` the public ones, `residuals` (n,)
    log predicted minus log observed loss, `objective` the summed Huber loss.
    """

    form: Form
    theta: Array
    parameters: dict[str, float]
    objective: float
    delta: float
    residuals: Array
    certificate: Certificate

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
    centres = {name: float(values.mean()) for name, values in logs.items()}
    return Table(
        logs={name: values - centres[name] for name, values in logs.items()},
        centres=centres,
        log_loss=np.log(columns["loss"]),
        weights=weight,
    )


def fit(
    form: Form,
    variables: Mapping[str, ArrayLike],
    loss: ArrayLike,
    *,
    delta: float = 1e-3,
    weights: ArrayLike | None = None,
    starts: int = 24,
    seed: int = 0,
) -> Fit:
    """Fit `form` to `loss` (n,) at raw `variables` (n,).

    The starts are those of the form (for sums of powers: variable projection, then dispersed ones
    drawn from `seed`); each is polished on the true objective and the best is certified. Raises
    `TableError` if a value is missing or not positive, or if rows are fewer than parameters; a fit
    that does not converge is not an error but a certificate that says so.
    """
    table = prepare(form, variables, loss, weights)
    bounds = form.bounds(table.log_loss)
    generator = np.random.default_rng(seed)
    first = form.starts(table.logs, table.log_loss, table.weights, starts, generator)
    theta, objectives, converged = minimise(
        form, table.logs, table.log_loss, table.weights, delta, first, bounds
    )
    certificate = certify(
        form, table.logs, table.log_loss, table.weights, delta, bounds, theta, objectives, converged
    )
    best = int(np.argmin(objectives))
    raw = table.to_raw(form, theta[best])
    residuals = form.evaluate(theta[best], table.logs)[0] - table.log_loss
    return Fit(
        form=form,
        theta=raw,
        parameters=form.public(raw),
        objective=float(objectives[best]),
        delta=delta,
        residuals=residuals,
        certificate=certificate,
    )


def refit(
    fitted: Fit,
    variables: Mapping[str, ArrayLike],
    loss: ArrayLike,
    weights: ArrayLike,
    *,
    thorough: bool = True,
) -> tuple[Array, NDArray[np.bool_]]:
    """Refit the same rows under each of m weightings (m, n), all at once.

    Every refit starts at the fitted law and, if `thorough`, at its own variable projection too, so
    that a resample may leave for another minimum. Returns internal vectors (m, p) in raw units and
    whether each converged (m,).
    """
    form = fitted.form
    table = prepare(form, variables, loss, None)
    weighting = np.atleast_2d(np.asarray(weights, dtype=float))
    num = len(weighting)
    bounds = form.bounds(table.log_loss)
    starts = np.tile(table.to_centred(form, fitted.theta), (num, 1))
    stacked = weighting
    if thorough:
        starts = np.concatenate([starts, form.guesses(table.logs, table.log_loss, weighting)])
        stacked = np.concatenate([weighting, weighting])
    theta, objectives, converged = minimise(
        form, table.logs, table.log_loss, stacked, fitted.delta, starts, bounds
    )
    best = np.argmin(objectives.reshape(-1, num), axis=0) * num + np.arange(num)
    return table.to_raw(form, theta[best]), converged[best]
