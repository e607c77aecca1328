"""The psychometric curve: accuracy against log10 of scale, with over-dispersed replicas.

    psi(x) = g + (1 - g - lapse) · F(x),   F(x) = 1 / (1 + exp(-(x - m) / w))

x is log10 of the scale, g the guess rate, `lapse` what even the largest models miss. The curve is
parametrised by its location t at the absolute level L (psi(t) = L), so that a profile in t is
direct: with p = (L - g) / (1 - g - lapse), F(x) = expit((x - t) / w + logit p).

The sampling unit is a replica, one (size, seed) pair: its successes are beta-binomial with mean
psi(x) and intra-class correlation rho = 1 / (1 + c), c the concentration. Sources: Wichmann and
Hill 2001 (curve), Schütt et al. 2016 (beta-binomial psychometric fits).

Legend: P parameter vectors, C cells (replicas).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

FloatArray = NDArray[np.float64]

_EPSILON = 1e-12
_MAX_LAPSE = 0.2


@dataclass(frozen=True)
class Cells:
    """Replicas to be fitted, and what the curve holds fixed.

    log_scale, successes, trials: (C,); guess: lower asymptote; level: accuracy at the location;
    lapse_free: whether the upper asymptote is fitted (in [0, .2]) or 1.
    """

    log_scale: FloatArray
    successes: FloatArray
    trials: FloatArray
    guess: float
    level: float = 0.5
    lapse_free: bool = False

    @property
    def sizes(self) -> FloatArray:
        """Distinct log10 scales, ascending, (S,)."""
        return np.unique(self.log_scale)

    @property
    def span(self) -> float:
        """Decades between the smallest and the largest size."""
        return float(self.log_scale.max() - self.log_scale.min())


@dataclass(frozen=True)
class CurveFit:
    """Maximum likelihood: location and width parameter w in decades, rho, lapse, log-likelihood.

    status: `converged`, `bound hit` (the location ran to the end of its range) or
    `max iterations`.
    """

    location: float
    width: float
    overdispersion: float
    lapse: float
    log_likelihood: float
    status: str

    @property
    def width_decades(self) -> float:
        """N10-N90 width of F in decades: 2 ln 9 · w."""
        return 2 * float(np.log(9)) * self.width


def log_likelihood(cells: Cells, parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Beta-binomial log-likelihood (without the binomial coefficient) and its gradient.

    parameters: (P, 4) - location (log10), log w, log c, lapse. Returns (P,) and (P, 4).
    """
    location, log_width, log_concentration, lapse = (parameters[:, i, None] for i in range(4))
    width, concentration = np.exp(log_width), np.exp(log_concentration)
    reach = 1 - cells.guess - lapse
    p = (cells.level - cells.guess) / reach
    z = (cells.log_scale - location) / width
    rise = special.expit(z + special.logit(p))
    psi = np.clip(cells.guess + reach * rise, _EPSILON, 1 - _EPSILON)
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
    gradient = np.stack(
        [
            (d_psi * slope * (-1 / width)).sum(axis=1),
            (d_psi * slope * (-z)).sum(axis=1),
            (concentration * (psi * d_alpha + (1 - psi) * d_beta + d_total)).sum(axis=1),
            (d_psi * (-rise + slope / ((1 - p) * reach))).sum(axis=1),
        ],
        axis=1,
    )
    return value.sum(axis=1), gradient


def plateau_sizes(cells: Cells) -> int:
    """How many of the largest sizes lie on the plateau: mean accuracy ≥ .75, within .1 of the best.

    Counted from the largest size down until the first that does not qualify.
    """
    means = size_means(cells)
    qualifies = (means >= 0.75) & (means >= means.max() - 0.1)
    below = np.flatnonzero(~qualifies[::-1])
    return int(below[0]) if below.size else int(means.size)


def size_means(cells: Cells) -> FloatArray:
    """Mean accuracy of the replicas of each size, every replica counting once, (S,)."""
    _, index = np.unique(cells.log_scale, return_inverse=True)
    share = cells.successes / cells.trials
    return np.bincount(index, share) / np.bincount(index)


def _bounds(cells: Cells) -> list[tuple[float, float]]:
    sizes = cells.sizes
    gap = float(np.diff(sizes).min())
    return [
        (float(sizes[0]) - cells.span, float(sizes[-1]) + cells.span),
        (float(np.log(gap / 60)), float(np.log(2 * cells.span))),
        (float(np.log(0.02)), float(np.log(1e6))),
        (0.0, _MAX_LAPSE if cells.lapse_free else 0.0),
    ]


def _starts(cells: Cells, locations: FloatArray) -> FloatArray:
    """Every combination of locations with dispersed widths, concentrations and lapses, (P, 4)."""
    gap = float(np.diff(cells.sizes).mean())
    widths = np.log(gap * np.array([0.03, 0.12, 0.4, 1.2]))
    concentrations = np.log(np.array([0.5, 4.0, 40.0, 2000.0]))
    lapses = np.array([0.01, 0.08]) if cells.lapse_free else np.zeros(1)
    mesh = np.meshgrid(locations, widths, concentrations, lapses, indexing="ij")
    return np.stack([axis.ravel() for axis in mesh], axis=1)


def _polish(
    cells: Cells, start: FloatArray, bounds: list[tuple[float, float]], fixed: float | None
) -> tuple[FloatArray, float, bool]:
    """L-BFGS-B from one start; `fixed` pins the location. Returns parameters, value, success."""

    def objective(free: FloatArray) -> tuple[float, FloatArray]:
        full = free if fixed is None else np.concatenate([[fixed], free])
        value, gradient = log_likelihood(cells, full[None, :])
        return -float(value[0]), -gradient[0, 0 if fixed is None else 1 :]

    skip = 0 if fixed is None else 1
    lower, upper = np.array(bounds[skip:]).T
    result = optimize.minimize(
        objective,
        np.clip(start[skip:], lower, upper),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds[skip:],
        options={"maxiter": 200, "ftol": 1e-11, "gtol": 1e-6},
    )
    found = np.asarray(result.x, dtype=np.float64)
    full = found if fixed is None else np.concatenate([[fixed], found])
    return full, -float(result.fun), bool(result.status != 1)


def fit_curve(cells: Cells, num_polished: int = 4) -> CurveFit:
    """Maximise the likelihood: dispersed starts, the best `num_polished` of them polished.

    Needs at least two distinct sizes. Where the data separate, the width runs to its bound
    (1/60 of the smallest gap) and any location within the gap fits: the caller must report
    the gap, not the point.
    """
    bounds = _bounds(cells)
    sizes = cells.sizes
    locations = np.concatenate([(sizes[1:] + sizes[:-1]) / 2, [sizes[0], sizes[-1] + 0.1]])
    starts = _starts(cells, locations)
    values, _ = log_likelihood(cells, starts)
    chosen = np.argsort(-values, kind="stable")[:num_polished]
    results = [_polish(cells, starts[i], bounds, None) for i in chosen]
    parameters, value, success = max(results, key=lambda result: result[1])
    location, log_width, log_concentration, lapse = (float(p) for p in parameters)
    at_bound = min(abs(location - edge) for edge in bounds[0]) < 1e-6
    status = "bound hit" if at_bound else "converged" if success else "max iterations"
    return CurveFit(
        location=location,
        width=float(np.exp(log_width)),
        overdispersion=float(special.expit(-log_concentration)),
        lapse=lapse,
        log_likelihood=value,
        status=status,
    )


def heterogeneity(cells: Cells, fit: CurveFit) -> float:
    """How much further sizes lie from the curve than their replicas explain, never below 1.

    Twice the log-likelihood gained by giving each size a mean of its own (with its best rho), per
    degree of freedom: the heterogeneity factor of Finney 1971, by which a deviance is to be
    divided. Only sizes on the rise (F within [.02, .98]) count, since the flat ends show no misfit
    of the location; their number less 2 is the freedom. 1 where no size has two replicas (rho
    holds the misfit then) or fewer than three sizes are on the rise.
    """
    p = (cells.level - cells.guess) / (1 - cells.guess - fit.lapse)
    rise = special.expit((cells.log_scale - fit.location) / fit.width + special.logit(p))
    on_rise = (rise >= 0.02) & (rise <= 0.98)
    rising = replace(
        cells,
        log_scale=cells.log_scale[on_rise],
        successes=cells.successes[on_rise],
        trials=cells.trials[on_rise],
    )
    freedom = rising.sizes.size - 2
    if rising.sizes.size == rising.trials.size or freedom < 1:
        return 1.0
    _, index = np.unique(rising.log_scale, return_inverse=True)
    psi = np.clip(size_means(rising)[index], _EPSILON, 1 - _EPSILON)
    missed = rising.trials - rising.successes

    def negative(log_concentration: float) -> float:
        alpha, beta = psi * np.exp(log_concentration), (1 - psi) * np.exp(log_concentration)
        gained = special.betaln(rising.successes + alpha, missed + beta)
        return -float((gained - special.betaln(alpha, beta)).sum())

    best = optimize.minimize_scalar(negative, bounds=(np.log(0.02), np.log(1e6)), method="bounded")
    at_curve, _ = log_likelihood(rising, _parameters(fit)[None, :])
    return max(1.0, 2 * (-float(best.fun) - float(at_curve[0])) / freedom)


def _parameters(fit: CurveFit) -> FloatArray:
    """The vector (4,) of `log_likelihood` at a fit."""
    concentration = special.logit(1 - fit.overdispersion)
    return np.array([fit.location, np.log(fit.width), concentration, fit.lapse])


def profile(cells: Cells, location: float, warm: FloatArray | None = None) -> FloatArray:
    """Parameters (4,) that maximise the likelihood with the location held at `location`.

    Polished from the best of the dispersed starts and of `warm`, the neighbour's solution.
    """
    bounds = _bounds(cells)
    starts = _starts(cells, np.array([location]))
    values, _ = log_likelihood(cells, starts)
    best = int(np.argmax(values))
    start = starts[best]
    if warm is not None:
        warm = np.concatenate([[location], warm[1:]])
        if log_likelihood(cells, warm[None, :])[0][0] > values[best]:
            start = warm
    return _polish(cells, start, bounds, location)[0]


def location_interval(
    cells: Cells, fit: CurveFit, cutoff: float, points_per_gap: int = 2
) -> tuple[float | None, float | None]:
    """Profile-likelihood interval of the location (log10): where the deviance is below `cutoff`.

    The profile is walked from the estimate outwards over the range tried, in steps of half
    a ladder gap, to the outermost point below the cutoff, then refined by bisection. An end is
    None where the deviance is still below the cutoff at the smallest (largest) size: the data
    do not close the interval there.
    """
    sizes = cells.sizes
    grid = np.interp(
        np.linspace(0, sizes.size - 1, points_per_gap * (sizes.size - 1) + 1),
        np.arange(sizes.size),
        sizes,
    )
    at_fit = _parameters(fit)

    def deviance(location: float, warm: FloatArray) -> tuple[float, FloatArray]:
        parameters = profile(cells, location, warm)
        value, _ = log_likelihood(cells, parameters[None, :])
        return 2 * (fit.log_likelihood - float(value[0])), parameters

    def end(points: FloatArray) -> float | None:
        """Outermost crossing of the cutoff along `points`, which lead away from the estimate."""
        inner, outer = fit.location, None
        warm = inner_warm = at_fit
        for point in points:
            excess, warm = deviance(float(point), warm)
            if excess <= cutoff:
                inner, inner_warm, outer = float(point), warm, None
            elif outer is None:
                outer = float(point)
        if outer is None:
            return None
        for _ in range(7):
            middle = (inner + outer) / 2
            excess, found = deviance(middle, inner_warm)
            if excess <= cutoff:
                inner, inner_warm = middle, found
            else:
                outer = middle
        return (inner + outer) / 2

    inside = float(np.clip(fit.location, sizes[0], sizes[-1]))
    low = end(grid[grid < inside][::-1])
    high = end(grid[grid > inside])
    return low, high
