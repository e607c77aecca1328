"""The psychometric curve: accuracy against log10 of scale, with over-dispersed replicas.

    psi(x) = g + (1 - g - lapse) · F(x),   F(x) = 1 / (1 + exp(-(x - m) / w))

x is log10 of the scale, g the guess rate, `lapse` what even the largest models miss. The curve is
parametrised by its location t at the absolute level L (psi(t) = L), so that a profile in t is
direct: with p = (L - g) / (1 - g - lapse), F(x) = expit((x - t) / w + logit p). Without a level the
location is m itself, half of what can be reached: p = 1/2.

The sampling unit is a replica, one (size, seed) pair: its successes are beta-binomial with mean
psi(x) and intra-class correlation rho = 1 / (1 + c), c the concentration. Sources: Wichmann and
Hill 2001 (curve), Schütt et al. 2016 (beta-binomial psychometric fits).

Legend: P parameter vectors, C cells (replicas).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from saltus.emerge.cells import Cells

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

EPSILON = 1e-12
CONCENTRATIONS = (0.02, 1e6)
DECADES = 2 * float(np.log(9))
_MAX_LAPSE = 0.2
_MAX_STARTS = 16
_POLISHED = 4


@dataclass(frozen=True)
class CurveFit:
    """Maximum likelihood: location and width parameter w in decades, rho, lapse, log-likelihood.

    middle: where F is one half. status: `converged`, `bound hit` (the location ran to the end of
    its range) or `max iterations`.
    """

    location: float
    middle: float
    width: float
    overdispersion: float
    lapse: float
    log_likelihood: float
    status: str

    @property
    def width_decades(self) -> float:
        """N10-N90 width of F in decades: 2 ln 9 · w."""
        return DECADES * self.width


def log_likelihood(cells: Cells, parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Beta-binomial log-likelihood (without the binomial coefficient) and its gradient.

    parameters: (P, 4) - location (log10), log w, log c, lapse. Returns (P,) and (P, 4).
    """
    location, log_width, log_concentration, lapse = (parameters[:, i, None] for i in range(4))
    width, concentration = np.exp(log_width), np.exp(log_concentration)
    reach = 1 - cells.guess - lapse
    p = cells.position(lapse)
    z = (cells.log_scale - location) / width
    rise = special.expit(z + special.logit(p))
    psi = np.clip(cells.guess + reach * rise, EPSILON, 1 - EPSILON)
    successes, trials = cells.successes, cells.trials
    alpha, beta = psi * concentration, (1 - psi) * concentration
    value = (
        special.gammaln(successes + alpha)
        - special.gammaln(alpha)
        + special.gammaln(trials - successes + beta)
        - special.gammaln(beta)
        + special.gammaln(concentration)
        - special.gammaln(trials + concentration)
    )
    d_alpha = special.digamma(successes + alpha) - special.digamma(alpha)
    d_beta = special.digamma(trials - successes + beta) - special.digamma(beta)
    d_total = special.digamma(concentration) - special.digamma(trials + concentration)
    d_psi = concentration * (d_alpha - d_beta)
    slope = reach * rise * (1 - rise)
    d_position = 0.0 if cells.level is None else slope / ((1 - p) * reach)
    gradient = np.stack(
        [
            (d_psi * slope * (-1 / width)).sum(axis=1),
            (d_psi * slope * (-z)).sum(axis=1),
            (concentration * (psi * d_alpha + (1 - psi) * d_beta + d_total)).sum(axis=1),
            (d_psi * (d_position - rise)).sum(axis=1),
        ],
        axis=1,
    )
    return value.sum(axis=1), gradient


def curve(cells: Cells, fit: CurveFit) -> tuple[FloatArray, FloatArray]:
    """F and psi of a fit at the cells' scales, each (C,)."""
    rise = special.expit((cells.log_scale - fit.middle) / fit.width)
    psi = cells.guess + (1 - cells.guess - fit.lapse) * rise
    return rise, np.clip(psi, EPSILON, 1 - EPSILON)


def bounds(cells: Cells) -> list[tuple[float, float]]:
    """Range of location, log w, log c and lapse that is searched."""
    sizes, span = cells.sizes, cells.span
    most = _MAX_LAPSE if cells.level is None else min(_MAX_LAPSE, 0.9 * (1 - cells.level))
    low, high = CONCENTRATIONS
    return [
        (float(sizes[0]) - span, float(sizes[-1]) + span),
        (float(np.log(cells.gap / 60)), float(np.log(2 * span))),
        (float(np.log(low)), float(np.log(high))),
        (0.0, most if cells.lapse_free else 0.0),
    ]


def starts(cells: Cells, locations: FloatArray, log_widths: FloatArray | None = None) -> FloatArray:
    """Every combination of locations with dispersed widths, concentrations and lapses, (P, 4)."""
    if log_widths is None:
        gap = cells.span / (cells.sizes.size - 1)
        log_widths = np.log(gap * np.array([0.03, 0.12, 0.4, 1.2]))
    concentrations = np.log(np.array([0.5, 4.0, 40.0, 2000.0]))
    lapses = np.array([0.01, 0.08]) if cells.lapse_free else np.zeros(1)
    mesh = np.meshgrid(locations, log_widths, concentrations, lapses, indexing="ij")
    return np.stack([axis.ravel() for axis in mesh], axis=1)


def spread_locations(cells: Cells) -> FloatArray:
    """Locations to start from: between neighbouring sizes (at most 16), and at either end."""
    sizes = cells.sizes
    middles = (sizes[1:] + sizes[:-1]) / 2
    if middles.size > _MAX_STARTS:
        middles = np.linspace(sizes[0], sizes[-1], _MAX_STARTS)
    return np.concatenate([middles, [sizes[0], sizes[-1] + 0.1]])


def polish(
    cells: Cells, start: FloatArray, fixed: int | None = None
) -> tuple[FloatArray, float, bool]:
    """L-BFGS-B from one start (4,); the parameter numbered `fixed` stays where it starts.

    Returns parameters (4,), log-likelihood, and whether it stopped before the limit of iterations.
    """
    free = np.array([i for i in range(4) if i != fixed])
    full = np.array(start, dtype=np.float64)

    def objective(moved: FloatArray) -> tuple[float, FloatArray]:
        full[free] = moved
        value, gradient = log_likelihood(cells, full[None, :])
        return -float(value[0]), -gradient[0, free]

    limits = [bounds(cells)[i] for i in free]
    lower, upper = np.array(limits).T
    result = optimize.minimize(
        objective,
        np.clip(full[free], lower, upper),
        jac=True,
        method="L-BFGS-B",
        bounds=limits,
        options={"maxiter": 200, "ftol": 1e-11, "gtol": 1e-6},
    )
    found = full.copy()
    found[free] = result.x
    return found, -float(result.fun), bool(result.status != 1)


def fit_curve(cells: Cells) -> CurveFit:
    """Maximise the likelihood: dispersed starts, the best four of them polished.

    Needs at least two distinct sizes. Where the data separate, the width runs to its bound
    (1/60 of the smallest gap) and any location within the gap fits: the caller must report
    the gap, not the point.
    """
    tried = starts(cells, spread_locations(cells))
    values, _ = log_likelihood(cells, tried)
    chosen = np.argsort(-values, kind="stable")[:_POLISHED]
    results = [polish(cells, tried[i]) for i in chosen]
    parameters, value, success = max(results, key=lambda result: result[1])
    location, log_width, log_concentration, lapse = (float(p) for p in parameters)
    width = float(np.exp(log_width))
    at_bound = min(abs(location - edge) for edge in bounds(cells)[0]) < 1e-6
    status = "bound hit" if at_bound else "converged" if success else "max iterations"
    return CurveFit(
        location=location,
        middle=location - width * float(special.logit(cells.position(lapse))),
        width=width,
        overdispersion=float(special.expit(-log_concentration)),
        lapse=lapse,
        log_likelihood=value,
        status=status,
    )


def parameters_of(fit: CurveFit) -> FloatArray:
    """The vector (4,) of `log_likelihood` at a fit."""
    concentration = special.logit(1 - fit.overdispersion)
    return np.array([fit.location, np.log(fit.width), concentration, fit.lapse])
