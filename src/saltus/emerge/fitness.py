"""Whether the curve describes the sizes: how far they lie off it, measured by their replicas.

Two questions. How much wider must an interval be, because sizes scatter about the curve on their
own (`heterogeneity`)? And do they lie so far off that the curve says nothing (`misfit`)?
Sources: Finney 1971 (heterogeneity factor); the lack-of-fit F test of replicated regression
(Draper and Smith 1998, section 2.1), on Pearson residuals.

Legend: C cells (replicas), S sizes, of which those on the rise count: F within [.02, .98].
"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

from saltus.emerge.cells import Cells, size_means
from saltus.emerge.psychometric import (
    CONCENTRATIONS,
    EPSILON,
    CurveFit,
    curve,
    log_likelihood,
    parameters_of,
)

_RISE = (0.02, 0.98)
_P_VALUE = 0.01
# A misfit that nobody can see in the figure is no reason to withhold a threshold.
_VISIBLE = 0.1


@dataclass(frozen=True)
class Misfit:
    """How far sizes on the rise lie off the curve.

    p_value: chance of lying as far off, if sizes scatter about the curve by as much as a seed does
    about its size. rms: root mean square of the means' distance to the curve, in accuracy.
    """

    p_value: float
    rms: float

    @property
    def refused(self) -> bool:
        """Whether the curve does not describe the sizes: p < .01 and .1 or more off."""
        return self.p_value < _P_VALUE and self.rms >= _VISIBLE


def misfit(cells: Cells, fit: CurveFit) -> Misfit | None:
    """Lack-of-fit test of the curve; None if it cannot be told from the scatter of replicas.

    With Pearson residuals r = (y - psi) / sqrt(psi (1 - psi)) of the R replicas of each size,

        F = [sum R rbar² / (S - 2)] / [sum (r - rbar)² / (C - S)] / (1 + mean R)

    is F(S - 2, C - S) where sizes have a scatter of their own as large as a seed's: the worst for
    which the interval was simulated. The denominator is at least that of drawing items. None where
    fewer than three sizes are on the rise or no size has two replicas.
    """
    rise, psi = curve(cells, fit)
    on_rise = (rise >= _RISE[0]) & (rise <= _RISE[1])
    if not on_rise.any():
        return None
    rising = cells.where(on_rise)
    index = rising.index
    counts = np.bincount(index)
    freedom, within_freedom = counts.size - 2, index.size - counts.size
    if freedom < 1 or within_freedom < 1:
        return None
    off = rising.successes / rising.trials - psi[on_rise]
    scaled = off / np.sqrt(psi[on_rise] * (1 - psi[on_rise]))
    means = np.bincount(index, scaled) / counts
    between = float((counts * means**2).sum()) / freedom
    within = float(((scaled - means[index]) ** 2).sum()) / within_freedom
    within = max(within, float((1 / rising.trials).mean()))
    ratio = between / within / (1 + float(counts.mean()))
    return Misfit(
        p_value=float(stats.f.sf(ratio, freedom, within_freedom)),
        rms=float(np.sqrt(((np.bincount(index, off) / counts) ** 2).mean())),
    )


def heterogeneity(cells: Cells, fit: CurveFit) -> float:
    """How much further sizes lie from the curve than their replicas explain, never below 1.

    Twice the log-likelihood gained by giving each size a mean of its own (with its best rho), per
    degree of freedom: the heterogeneity factor of Finney 1971, by which a deviance is to be
    divided. Only sizes on the rise (F within [.02, .98]) count, since the flat ends show no misfit
    of the location; their number less 2 is the freedom. 1 where no size has two replicas (rho
    holds the misfit then) or fewer than three sizes are on the rise.
    """
    rise, _ = curve(cells, fit)
    on_rise = (rise >= _RISE[0]) & (rise <= _RISE[1])
    if not on_rise.any():
        return 1.0
    rising = cells.where(on_rise)
    freedom = rising.sizes.size - 2
    if rising.sizes.size == rising.trials.size or freedom < 1:
        return 1.0
    psi = np.clip(size_means(rising)[rising.index], EPSILON, 1 - EPSILON)
    missed = rising.trials - rising.successes

    def negative(log_concentration: float) -> float:
        alpha, beta = psi * np.exp(log_concentration), (1 - psi) * np.exp(log_concentration)
        gained = special.betaln(rising.successes + alpha, missed + beta)
        return -float((gained - special.betaln(alpha, beta)).sum())

    best = optimize.minimize_scalar(
        negative, bounds=tuple(np.log(CONCENTRATIONS)), method="bounded"
    )
    at_curve, _ = log_likelihood(rising, parameters_of(fit)[None, :])
    return max(1.0, 2 * (-float(best.fun) - float(at_curve[0])) / freedom)
