r"""Minimise a differentiable criterion over many starts or resamples at once.

f(theta) = sum_n w_n rho(r_n), with r = log predicted - log observed (or the same of the losses
themselves) and rho Huber's (`criterion.Penalty`). With psi = rho' and J = dr/dtheta,

    gradient g = J^T (w psi),   Hessian H = J^T diag(w 1[|r| < delta]) J + sum_n w psi d2r,
    metric   M = J^T diag(w psi / r) J,

where M is the Hessian of the quadratic that touches f from above (iteratively reweighted least
squares). Raw residuals have J = predicted dv and d2r = predicted (d2v + dv dv^T), v the log of the
prediction. Each step solves (|H| + damping M) s = -g, with |H| taken in the metric M, so that it
runs from the safe reweighted step (damping ~ 1) to Newton's (damping 0) whatever the units of the
parameters. Legend: `m` start or resample, `n` row, `p` parameter.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saltus.law.criterion import Penalty
from saltus.law.forms.base import Surface

Array = NDArray[np.float64]

DECREMENT_TOLERANCE = 1e-10  # of the objective: a larger decrement is not converged
RIDGE = 1e-11  # of the unit diagonal of the scaled metric: keeps its Cholesky factor finite


@dataclass(frozen=True, eq=False)
class Local:
    """f and its quadratic model in the metric, at one point of each problem."""

    objective: Array  # (m,)
    gradient: Array  # (m, p), zero where a bound holds it
    hessian: Array  # (m, p, p)
    held: NDArray[np.bool_]  # (m, p): at a bound, pushed outwards
    scale: Array  # (m, p): parameter = scaled / scale
    eigenvalues: Array  # (m, p) of the Hessian in the metric
    components: Array  # (m, p): gradient in that eigenbasis
    back: Array  # (m, p, p): from the eigenbasis to parameters
    energy: Array  # (m,): sum w psi r, the reweighted sum of squares

    def decrement(self) -> Array:
        """Half g^T H^-1 g (m,): what a Newton step would still gain."""
        return np.asarray(
            0.5 * np.sum(self.components**2 / np.maximum(np.abs(self.eigenvalues), 1e-9), axis=-1)
        )


def residuals(
    form: Surface, logs: Mapping[str, Array], log_loss: Array, theta: Array, raw: bool
) -> Array:
    """Return predicted minus observed (..., n), of log losses or of the losses themselves."""
    value = form.evaluate(theta, logs)[0]
    if not raw:
        return value - log_loss
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(value) - np.exp(log_loss))


def linearise(
    form: Surface, logs: Mapping[str, Array], log_loss: Array, theta: Array, raw: bool
) -> tuple[Array, Array, Callable[[Array], Array]]:
    """Return residuals (n,), their slopes (n, p), and a sum of their Hessians, at `theta` (p,).

    The last is a function of factors (n,) that returns (p, p).
    """
    value, slope = form.evaluate(theta, logs)
    predicted = np.exp(value)

    def bend(factors: Array) -> Array:
        if not raw:
            return form.curvature(theta, logs, factors)
        scaled = factors * predicted
        return np.asarray(form.curvature(theta, logs, scaled) + (slope.T * scaled) @ slope)

    if not raw:
        return value - log_loss, slope, bend
    return predicted - np.exp(log_loss), slope * predicted[:, None], bend


def model(
    form: Surface,
    logs: Mapping[str, Array],
    log_loss: Array,
    weights: Array,
    penalty: Penalty,
    theta: Array,
    bounds: tuple[Array, Array],
) -> Local:
    """Return the quadratic model at `theta` (m, p); `log_loss` and `weights` are (m, n)."""
    value, slope = form.evaluate(theta, logs)
    predicted = np.exp(value) if penalty.raw else None
    residual = value - log_loss if predicted is None else predicted - np.exp(log_loss)
    size = np.abs(residual)
    unsided, weights = weights, weights * penalty.side(residual)
    psi = np.clip(residual, -penalty.delta, penalty.delta) * weights
    inside = weights * (size < penalty.delta)
    reweighted = weights / np.maximum(size / penalty.delta, 1.0)
    transposed = np.swapaxes(slope, -1, -2)
    if predicted is None:
        bent = form.curvature(theta, logs, psi, slope)
    else:
        bent = form.curvature(theta, logs, psi * predicted, slope)
        bent = bent + (transposed * (psi * predicted)[:, None, :]) @ slope
        slope = slope * predicted[..., None]
        transposed = np.swapaxes(slope, -1, -2)
    gradient = np.einsum("mpn,mn->mp", transposed, psi)
    hessian = (transposed * inside[:, None, :]) @ slope + bent
    metric = (transposed * reweighted[:, None, :]) @ slope
    held = ((theta <= bounds[0]) & (gradient > 0)) | ((theta >= bounds[1]) & (gradient < 0))
    free = ~held
    both = free[:, :, None] & free[:, None, :]
    scale = np.where(free, np.sqrt(np.maximum(np.einsum("mpp->mp", metric), 1e-300)), 1.0)
    outer = scale[:, :, None] * scale[:, None, :]
    unit = np.eye(theta.shape[-1])
    scaled = np.where(both, metric / outer, unit) + RIDGE * unit
    lower = np.linalg.inv(np.linalg.cholesky(scaled))
    raised = np.swapaxes(lower, -1, -2)
    gradient = np.where(held, 0.0, gradient)
    inner = lower @ np.where(both, hessian / outer, unit) @ raised
    eigenvalues, vectors = np.linalg.eigh((inner + np.swapaxes(inner, -1, -2)) / 2)
    back = (raised @ vectors) / scale[:, :, None]
    return Local(
        objective=penalty.total(residual, unsided),
        gradient=gradient,
        hessian=hessian,
        held=held,
        scale=scale,
        eigenvalues=eigenvalues,
        components=np.einsum("mpq,mp->mq", back, gradient),
        back=back,
        energy=np.sum(psi * residual, axis=-1),
    )


def minimise(
    form: Surface,
    logs: Mapping[str, Array],
    log_loss: Array,
    weights: Array,
    penalty: Penalty,
    theta: Array,
    bounds: tuple[Array, Array],
    *,
    tolerance: float = 1e-13,
    max_iterations: int = 400,
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Polish every start (m, p); `log_loss` and `weights` are (m, n) or (n,), `bounds` (m, p).

    Returns parameters (m, p), objectives (m,) and whether the Newton decrement fell to 1e-10 of
    the objective (m,). A problem that does not converge says so; nothing is raised.
    """
    num = len(theta)
    lower, upper = (np.broadcast_to(bound, theta.shape) for bound in bounds)
    theta = np.clip(theta, lower, upper)
    rows = np.shape(log_loss)[-1]
    log_loss = np.broadcast_to(log_loss, (num, rows))
    weights = np.broadcast_to(weights, (num, rows))
    floor = penalty.floor(weights, log_loss)
    objective = np.full(num, np.inf)
    decrement = np.full(num, np.inf)
    damping = np.full(num, 0.3)
    active = np.arange(num)
    for step in range(max_iterations + 1):
        box = lower[active], upper[active]
        made = model(form, logs, log_loss[active], weights[active], penalty, theta[active], box)
        objective[active] = made.objective
        decrement[active] = made.decrement()
        level = np.maximum(objective[active], floor[active])
        keep = (decrement[active] > tolerance * level) & (damping[active] < 1e12)
        if step == max_iterations or not keep.any():
            break
        active = active[keep]
        components, eigenvalues = made.components[keep], np.abs(made.eigenvalues[keep])
        back, level = made.back[keep], level[keep]
        pending = np.arange(len(active))
        for _ in range(12):
            index = active[pending]
            steps = components[pending] / (eigenvalues[pending] + damping[index, None] + 1e-10)
            move = -np.einsum("mpq,mq->mp", back[pending], steps)
            move /= np.maximum(1.0, np.max(np.abs(move), axis=-1, keepdims=True) / 2.0)
            trial = np.clip(theta[index] + move, lower[index], upper[index])
            residual = residuals(form, logs, log_loss[index], trial, penalty.raw)
            with np.errstate(over="ignore", invalid="ignore"):  # a wild step is not taken
                value = penalty.total(residual, weights[index])
            better = value <= objective[index] + 1e-14 * level[pending]
            theta[index[better]] = trial[better]
            shrunk = damping[index[better]] / 8
            damping[index[better]] = np.where(shrunk < 1e-9, 0.0, shrunk)
            damping[index[~better]] = np.maximum(damping[index[~better]] * 6, 1e-4)
            pending = pending[~better]
            if not len(pending):
                break
    return theta, objective, decrement <= DECREMENT_TOLERANCE * np.maximum(objective, floor)
