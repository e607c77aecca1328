"""Fit a law: the best of many polished starts, with its certificate, and quick refits of resamples.

By default the objective is the plain sum of Huber_delta(log predicted - log observed) (Hoffmann et
al. 2022, section 3.3); `criterion.Criterion` has the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saltus.law.certificate import MIN_AGREEING, Certificate, agreement, certify
from saltus.law.criterion import Criterion
from saltus.law.descent import (
    Refits,
    Table,
    better,
    descend,
    distinct,
    prepare,
    snap,
    typical_loss,
)
from saltus.law.forms.base import Form
from saltus.law.minimise import minimise, residuals
from saltus.law.vertex import to_vertex

Array = NDArray[np.float64]

CHUNK = 30_000  # numbers (refits x rows) worked on at once: they should fit a processor's cache
FOLLOWED = 4  # starts that go on if the best of all has not converged
FURTHER = 2  # times as many starts again, if too few of the first agree
TAKEN = 8  # ends of an absolute loss that are taken onto their vertex by linear programmes
LONGEST = 4000  # steps for them: some go far down a bent valley, a term on its way to zero
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
    objective and the best is certified. Where fewer than three agree, as many again are tried, up
    to twice. Raises `TableError` if a value is missing or not positive,
    or if rows are fewer than parameters; a fit that does not converge is not an error but a
    certificate that says so.
    """
    table = prepare(form, variables, loss, weights)
    generator = np.random.default_rng(seed)
    num = form.num_starts if starts is None else starts
    ends = _descended(form, table, criterion, num, generator)
    floor = float(criterion.floor(table.weights, table.log_loss))
    if starts is None:
        for _ in range(FURTHER):
            if agreement(ends.objectives, floor) >= MIN_AGREEING:
                break
            more = _descended(form, table, criterion, num + 1, generator, first=1)
            ends = Refits(
                np.concatenate([ends.theta, more.theta]),
                np.concatenate([ends.objectives, more.objectives]),
                np.concatenate([ends.converged, more.converged]),
            )
    theta, objectives, converged = ends.theta, ends.objectives, ends.converged
    best = int(np.argmin(objectives))
    bounds = form.bounds(table.logs, table.log_loss)
    if criterion.smooth and not converged[best]:
        some = np.argsort(objectives, kind="stable")[:FOLLOWED]
        theta[some], objectives[some], converged[some] = minimise(
            form, table.logs, table.log_loss, table.weights, criterion.penalty,
            theta[some], bounds, max_iterations=LONGEST,
        )  # fmt: skip
        best = int(np.argmin(objectives))
    certificate = certify(
        form, table.logs, table.log_loss, table.weights, criterion, bounds,
        theta, objectives, converged,
    )  # fmt: skip
    raw = table.to_raw(form, theta[best])
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


def _descended(
    form: Form,
    table: Table,
    criterion: Criterion,
    num: int,
    generator: np.random.Generator,
    first: int = 0,
) -> Refits:
    """Return the ends of `num` starts of the form less the `first`, in centred variables.

    Those of an absolute loss that came lowest are taken onto their vertices.
    """
    starts = form.starts(table.logs, table.log_loss, table.weights, num, generator)[first:]
    theta, objectives, converged = descend(
        form, table, criterion, table.weights, starts, table.log_loss
    )
    if not criterion.smooth:
        some = np.argsort(objectives, kind="stable")[:TAKEN]
        for i in some:
            end, arrived = to_vertex(form, table, criterion, theta[i])
            theta[i], converged[i] = snap(form, table, criterion, end), arrived
        at = residuals(form, table.logs, table.log_loss, theta[some], criterion.raw)
        objectives[some] = criterion.total(at, table.weights)
    return Refits(theta, objectives, converged)


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
    law, the fit's next best minimum, and the form's guesses where it has any, so that a resample
    may leave for another minimum; each is polished, or the one of lowest objective.
    """
    form, criterion = fitted.form, fitted.criterion
    losses = np.asarray(loss, dtype=float)
    table = prepare(form, variables, typical_loss(losses), None)
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
            tried = [reduce(better, tried)]
        ends.append(
            reduce(
                better,
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
