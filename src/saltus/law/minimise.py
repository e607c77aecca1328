r"""Minimise a sum of Huber terms over many starts or resamples at once.

f(theta) = sum_n w_n rho(r_n), with r = log predicted - log observed, rho(r) = r^2/2 for
|r| <= delta and delta(|r| - delta/2) beyond. With psi = rho' (r clipped to [-delta, delta]) and
J = dr/dtheta,

    gradient g = J^T (w psi),   Hessian H = J^T diag(w 1[|r| < delta]) J + sum_n w psi d2r,
    metric   M = J^T diag(w psi / r) J,

where M is the Hessian of the quadratic that touches f from above (iteratively reweighted least
squares). Each step solves (|H| + damping M) s = -g, with |H| taken in the metric M, so that it runs
from the safe reweighted step (damping ~ 1) to Newton's (damping 0) whatever the units of the
parameters. Legend: `m` start or resample, `n` row, `p` parameter.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saltus.law.forms import Form

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


def huber(residual: Array, weights: Array, delta: float) -> Array:
    """Sum over the last axis of w rho_delta(r)."""
    size = np.abs(residual)
    inner = np.minimum(size, delta)
    return np.asarray(np.sum(weights * inner * (size - 0.5 * inner), axis=-1))


def model(
    form: Form,
    logs: Mapping[str, Array],
    log_loss: Array,
    weights: Array,
    delta: float,
    theta: Array,
    bounds: tuple[Array, Array],
) -> Local:
    """Return the quadratic model at `theta` (m, p); `log_loss` and `weights` are (m, n)."""
    value, slope = form.evaluate(theta, logs)
    residual = value - log_loss
    size = np.abs(residual)
    psi = np.clip(residual, -delta, delta) * weights
    transposed = np.swapaxes(slope, -1, -2)
    gradient = np.einsum("mpn,mn->mp", transposed, psi)
    inside = weights * (size < delta)
    hessian = (transposed * inside[:, None, :]) @ slope + form.curvature(theta, logs, psi)
    metric = (transposed * (weights * delta / np.maximum(size, delta))[:, None, :]) @ slope
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
        objective=huber(residual, weights, delta),
        gradient=gradient,
        hessian=hessian,
        held=held,
        scale=scale,
        eigenvalues=eigenvalues,
        components=np.einsum("mpq,mp->mq", back, gradient),
        back=back,
        energy=np.sum(psi * residual, axis=-1),
    )


def objective_floor(weights: Array, delta: float) -> Array:
    """The objective below which a fit counts as exact: sum(w) delta^2 1e-9, (m,)."""
    return np.asarray(weights.sum(axis=-1) * delta**2 * 1e-9)


def minimise(
    form: Form,
    logs: Mapping[str, Array],
    log_loss: Array,
    weights: Array,
    delta: float,
    theta: Array,
    bounds: tuple[Array, Array],
    *,
    tolerance: float = 1e-13,
    max_iterations: int = 400,
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Polish every start (m, p); `log_loss` and `weights` are (m, n) or (n,).

    Returns parameters (m, p), objectives (m,) and whether the Newton decrement fell to 1e-10 of
    the objective (m,). A problem that does not converge says so; nothing is raised.
    """
    theta = np.clip(theta, bounds[0], bounds[1])
    num = len(theta)
    rows = np.shape(log_loss)[-1]
    log_loss = np.broadcast_to(log_loss, (num, rows))
    weights = np.broadcast_to(weights, (num, rows))
    floor = objective_floor(weights, delta)
    objective = np.full(num, np.inf)
    decrement = np.full(num, np.inf)
    damping = np.full(num, 0.3)
    active = np.arange(num)
    for _ in range(max_iterations):
        made = model(form, logs, log_loss[active], weights[active], delta, theta[active], bounds)
        objective[active] = made.objective
        decrement[active] = made.decrement()
        level = np.maximum(objective[active], floor[active])
        keep = (decrement[active] > tolerance * level) & (damping[active] < 1e12)
        if not keep.any():
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
            trial = np.clip(theta[index] + move, bounds[0], bounds[1])
            residual = form.evaluate(trial, logs)[0] - log_loss[index]
            value = huber(residual, weights[index], delta)
            better = value <= objective[index] + 1e-14 * level[pending]
            theta[index[better]] = trial[better]
            shrunk = damping[index[better]] / 8
            damping[index[better]] = np.where(shrunk < 1e-9, 0.0, shrunk)
            damping[index[~better]] = np.maximum(damping[index[~better]] * 6, 1e-4)
            pending = pending[~better]
            if not len(pending):
                break
    return theta, objective, decrement <= DECREMENT_TOLERANCE * np.maximum(objective, floor)
