"""What a fit must show before its numbers are believed.

`converged` says that nothing is left to gain (the Newton decrement is at most 1e-10 of the
objective, or zero lies in the subdifferential), that at least three of at least twenty dispersed
starts ended in the same minimum, that no parameter rests on a bound, and that the minimum is curved
in every direction. Anything else is named, not hidden.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from saltus.law.criterion import Criterion, typical_size
from saltus.law.forms.base import Form
from saltus.law.minimise import DECREMENT_TOLERANCE, Local, linearise, model
from saltus.law.subgradient import STATIONARY, Subgradient, subgradient

Array = NDArray[np.float64]
Status = Literal["converged", "boundary", "flat", "failed"]

AGREEMENT = 1e-6  # relative difference of objectives below which two starts found one minimum
MIN_AGREEING = 3
MIN_STARTS = 20
FLATTEST = 1e-10  # smallest eigenvalue of the unit-diagonal Hessian that still counts as curved
ACTIVE = 1e-9  # a residual within this share of the mean loss is zero, for an absolute loss


@dataclass(frozen=True)
class Certificate:
    """How well the best of all starts is known to be the minimum.

    Its fields:
        status: `failed` (something left to gain, fewer than 20 starts, or fewer than three that
            agree), else `flat` (a direction without curvature: the data do not fix every
            parameter), else `boundary` (a parameter at a bound), else `converged`.
        newton_decrement: half g^T H^-1 g over the objective, on the parameters that are free. The
            objective counts as at least (sum of weights) delta^2 1e-9: exact tables pass. Null for
            absolute and asymmetric losses.
        scaled_gradient: the largest cosine between a column of the Jacobian and the reweighted
            residuals, which no change of units moves; 0 at a minimum. For absolute and asymmetric
            losses the distance of zero from the subdifferential, in shares of all rows' pulls.
        starts, agreeing: starts tried, and how many came within 1e-6 of the best objective.
        distinct_minima: objectives more than 1e-6 apart among the starts that converged.
        bounds_hit: public names of the parameters at a bound.
        condition_number: of the Hessian in centred log variables, scaled to a unit diagonal; null
            if it is not positive definite. At a vertex of an absolute loss, of J^T J of its rows.
    """

    status: Status
    newton_decrement: float | None
    scaled_gradient: float
    starts: int
    agreeing: int
    distinct_minima: int
    bounds_hit: tuple[str, ...]
    condition_number: float | None

    @property
    def settled(self) -> bool:
        """Whether nothing is left to gain, as `refit` counts convergence."""
        if self.newton_decrement is None:
            return self.scaled_gradient <= STATIONARY
        return self.newton_decrement <= DECREMENT_TOLERANCE

    def to_dict(self) -> dict[str, Any]:
        """Return the certificate as JSON-able values."""
        return {**asdict(self), "bounds_hit": list(self.bounds_hit)}


def count_distinct(objectives: Array, floor: float) -> int:
    """Count groups of objectives separated by gaps above the agreement tolerance."""
    if not len(objectives):
        return 0
    ordered = np.sort(objectives)
    gaps = np.diff(ordered) > AGREEMENT * np.maximum(ordered[:-1], floor)
    return int(1 + gaps.sum())


def agreement(objectives: Array, floor: float) -> int:
    """Count the objectives within the agreement tolerance of the best."""
    best = float(np.min(objectives))
    return int(np.sum(objectives <= best + AGREEMENT * max(best, floor)))


def _curvature_of_smooth(here: Local) -> float | None:
    """Return the condition number of the free Hessian with a unit diagonal; None if flat."""
    free = ~here.held[0]
    if not free.any():
        return 1.0
    scale = here.scale[0][free]
    hessian = here.hessian[0][np.ix_(free, free)] / np.outer(scale, scale)
    eigenvalues = np.linalg.eigvalsh(hessian)
    if eigenvalues[0] <= FLATTEST * max(float(eigenvalues[-1]), FLATTEST):
        return None
    return float(eigenvalues[-1] / eigenvalues[0])


def _curvature_of_vertex(slope: Array, found: Subgradient, bent: Array) -> float | None:
    """Return the condition number of the active rows; along their null space `bent` must curve."""
    scale = np.maximum(np.sqrt(np.mean(slope**2, axis=0)), 1e-300)
    rows = slope[found.active] / scale
    missing = linalg.null_space(rows, rcond=1e-8) if len(rows) else np.eye(slope.shape[1])
    if missing.shape[1]:
        across = missing.T @ (bent / np.outer(scale, scale)) @ missing
        eigenvalues = np.linalg.eigvalsh((across + across.T) / 2)
        if eigenvalues[0] <= FLATTEST * len(slope):
            return None
    singular = np.linalg.svd(rows, compute_uv=False) if len(rows) else np.ones(1)
    kept = singular[singular > 1e-8 * singular[0]]
    return float((kept[0] / kept[-1]) ** 2)


def certify(
    form: Form,
    logs: Mapping[str, Array],
    log_loss: Array,
    weights: Array,
    criterion: Criterion,
    bounds: tuple[Array, Array],
    theta: Array,
    objectives: Array,
    converged: NDArray[np.bool_],
) -> Certificate:
    """Judge the best of the ends `theta` (m, p) of all starts, with `objectives` (m,).

    `logs` are centred log variables (n,), `log_loss` and `weights` (n,).
    """
    best = int(np.argmin(objectives))
    at = theta[best : best + 1]
    at_bound = (theta[best] <= bounds[0]) | (theta[best] >= bounds[1])
    floor = float(criterion.floor(weights, log_loss))
    level = max(float(objectives[best]), floor)
    decrement: float | None
    if criterion.smooth:
        here = model(form, logs, log_loss[None], weights[None], criterion.penalty, at, bounds)
        decrement = float(here.decrement()[0]) / level
        energy = np.sqrt(max(float(here.energy[0]), floor))
        gradient = float(np.max(np.abs(here.gradient[0]) / here.scale[0] / energy))
        condition = _curvature_of_smooth(here)
        settled = decrement <= DECREMENT_TOLERANCE
    else:
        residual, slope, bend = linearise(form, logs, log_loss, theta[best], criterion.raw)
        free = ~at_bound
        typical = typical_size(log_loss, criterion.raw)
        over = criterion.penalty.over
        found = subgradient(slope[:, free], residual, weights, over, ACTIVE * typical)
        decrement, gradient = None, found.distance
        bent = bend(found.pull)[np.ix_(free, free)]
        condition = _curvature_of_vertex(slope[:, free], found, bent)
        settled = gradient <= STATIONARY
    agreeing = agreement(objectives, floor)
    hits = tuple(name for name, hit in zip(form.parameters, at_bound, strict=True) if hit)

    status: Status = "converged"
    if not settled or agreeing < MIN_AGREEING or len(objectives) < MIN_STARTS:
        status = "failed"
    elif condition is None:
        status = "flat"
    elif hits:
        status = "boundary"
    return Certificate(
        status=status,
        newton_decrement=decrement,
        scaled_gradient=gradient,
        starts=len(objectives),
        agreeing=agreeing,
        distinct_minima=count_distinct(objectives[converged], floor),
        bounds_hit=hits,
        condition_number=condition,
    )
