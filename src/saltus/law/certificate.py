"""What a fit must show before its numbers are believed.

`converged` says that the Newton decrement is at most 1e-10 of the objective, that at least three
dispersed starts ended in the same minimum, that no parameter rests on a bound, and that the
minimum is curved in every direction. Anything else is named, not hidden.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from saltus.law.forms import Form
from saltus.law.minimise import DECREMENT_TOLERANCE, model, objective_floor

Array = NDArray[np.float64]
Status = Literal["converged", "boundary", "flat", "failed"]

AGREEMENT = 1e-6  # relative difference of objectives below which two starts found one minimum
FLATTEST = 1e-10  # smallest eigenvalue of the unit-diagonal Hessian that still counts as curved


@dataclass(frozen=True)
class Certificate:
    """How well the best of all starts is known to be the minimum.

    Its fields:
        status: `failed` (decrement too large, or fewer than three starts agree), else `flat` (a
            direction without curvature: the data do not fix every parameter), else `boundary`
            (a parameter at a bound), else `converged`.
        newton_decrement: half g^T H^-1 g over the objective, on the parameters that are free. The
            objective counts as at least (sum of weights) delta^2 1e-9: exact tables pass.
        scaled_gradient: the largest cosine between a column of the Jacobian and the reweighted
            residuals, which no change of units moves; 0 at a minimum.
        starts, agreeing: starts tried, and how many came within 1e-6 of the best objective.
        distinct_minima: objectives more than 1e-6 apart among the starts that converged.
        bounds_hit: public names of the parameters at a bound.
        condition_number: of the Hessian in centred log variables, scaled to a unit diagonal; null
            if it is not positive definite.
    """

    status: Status
    newton_decrement: float
    scaled_gradient: float
    starts: int
    agreeing: int
    distinct_minima: int
    bounds_hit: tuple[str, ...]
    condition_number: float | None

    @property
    def settled(self) -> bool:
        """Whether the Newton decrement is within its tolerance, as `refit` counts convergence."""
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


def certify(
    form: Form,
    logs: Mapping[str, Array],
    log_loss: Array,
    weights: Array,
    delta: float,
    bounds: tuple[Array, Array],
    theta: Array,
    objectives: Array,
    converged: NDArray[np.bool_],
) -> Certificate:
    """Judge the best of the ends `theta` (m, p) of all starts, with `objectives` (m,).

    `logs` are centred log variables (n,), `log_loss` and `weights` (n,).
    """
    best = int(np.argmin(objectives))
    here = model(form, logs, log_loss[None], weights[None], delta, theta[best : best + 1], bounds)
    floor = float(objective_floor(weights, delta))
    level = max(float(objectives[best]), floor)
    decrement = float(here.decrement()[0]) / level
    cosine = np.abs(here.gradient[0]) / here.scale[0] / np.sqrt(max(float(here.energy[0]), floor))
    agreeing = int(np.sum(objectives <= objectives[best] + AGREEMENT * level))
    at_bound = (theta[best] <= bounds[0]) | (theta[best] >= bounds[1])
    hits = tuple(name for name, hit in zip(form.parameters, at_bound, strict=True) if hit)

    free = ~here.held[0]
    scale = here.scale[0][free]
    hessian = here.hessian[0][np.ix_(free, free)] / np.outer(scale, scale)
    eigenvalues = np.linalg.eigvalsh(hessian) if free.any() else np.ones(1)
    flat = bool(eigenvalues[0] <= FLATTEST * max(float(eigenvalues[-1]), FLATTEST))

    status: Status = "converged"
    if not decrement <= DECREMENT_TOLERANCE or agreeing < min(3, len(objectives)):
        status = "failed"
    elif flat:
        status = "flat"
    elif hits:
        status = "boundary"
    return Certificate(
        status=status,
        newton_decrement=decrement,
        scaled_gradient=float(np.max(cosine)),
        starts=len(objectives),
        agreeing=agreeing,
        distinct_minima=count_distinct(objectives[converged], floor),
        bounds_hit=hits,
        condition_number=None if flat else float(eigenvalues[-1] / eigenvalues[0]),
    )
