"""One kind of seed or two: a likelihood ratio of beta-binomial components over seeds of a size.

Each component is beta-binomial with mean m and concentration c, and its beta has one mode:
c · max(m, 1 − m) ≥ 1, since a U-shaped beta would be two kinds of seed by itself. Both models are
maximised over the same grid of components (two by expectation–maximisation from dispersed starts),
and the null distribution of their ratio is a parametric bootstrap from the single one, since χ²
does not hold on the edge of a mixture (McLachlan 1987).

Legend: B data sets, R seeds, G grid of components.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

FloatArray = NDArray[np.float64]

_ITERATIONS = 40


@dataclass(frozen=True)
class TwoKinds:
    """Likelihood ratio 2(ℓ₂ − ℓ₁), its bootstrap p-value, and the two components' means."""

    ratio: float
    p_value: float
    lower_mean: float
    upper_mean: float
    upper_share: float


def bimodality_coefficient(values: ArrayLike) -> float | None:
    """Sarle's coefficient, corrected for few values; above 5/9 (uniform) hints at two modes.

    (g² + 1) / (k + 3(n − 1)²/((n − 2)(n − 3))), g and k the unbiased skewness and excess kurtosis
    (SAS; Pfister et al. 2013). None below 4 values or if all are equal. A skewed single mode can
    exceed 5/9 too.
    """
    found = np.asarray(values, dtype=np.float64)
    n = found.size
    if n < 4 or np.ptp(found) == 0:
        return None
    skewness = float(stats.skew(found, bias=False))
    kurtosis = float(stats.kurtosis(found, bias=False))
    return (skewness**2 + 1) / (kurtosis + 3 * (n - 1) ** 2 / ((n - 2) * (n - 3)))


def two_kinds(successes: ArrayLike, trials: ArrayLike, seed: int, draws: int = 199) -> TwoKinds:
    """Test one against two kinds of seed from `draws` data sets; successes of trials: (R,)."""
    hits, total = (np.asarray(each, dtype=np.float64) for each in (successes, trials))
    means, concentrations = _grid()
    logs = _log_mass(hits[None], total, means, concentrations)
    single, ratio, (low, high, share) = _ratios(logs)
    rng = np.random.default_rng(seed)
    m, c = means[single[0]], concentrations[single[0]]
    chance = rng.beta(m * c, (1 - m) * c, (draws, hits.size))
    drawn = rng.binomial(total.astype(np.int64), chance).astype(np.float64)
    _, simulated, _ = _ratios(_log_mass(drawn, total, means, concentrations))
    as_large = int((simulated >= ratio[0] - 1e-9).sum())
    pair = sorted([(means[low[0]], 1 - share[0]), (means[high[0]], share[0])])
    return TwoKinds(
        ratio=float(ratio[0]),
        p_value=(1 + as_large) / (1 + draws),
        lower_mean=float(pair[0][0]),
        upper_mean=float(pair[1][0]),
        upper_share=float(pair[1][1]),
    )


def _grid() -> tuple[FloatArray, FloatArray]:
    """Means and concentrations of all components, (G,) each: 35 means, 9 concentrations of each."""
    means = special.expit(np.linspace(-7, 7, 35))
    least = 1 / np.maximum(means, 1 - means)
    concentrations = least[:, None] * np.geomspace(1, 2000, 9)
    return np.repeat(means, 9), concentrations.ravel()


def _log_mass(
    hits: FloatArray, total: FloatArray, means: FloatArray, concentrations: FloatArray
) -> FloatArray:
    """Beta-binomial log-likelihood without the coefficient, hits (B, R) by component, (B, R, G)."""
    alpha, beta = means * concentrations, (1 - means) * concentrations
    distinct, index = np.unique(
        np.stack([hits, np.broadcast_to(total, hits.shape)]).reshape(2, -1),
        axis=1,
        return_inverse=True,
    )
    right, wrong = distinct[0, :, None], (distinct[1] - distinct[0])[:, None]
    logs = special.betaln(right + alpha, wrong + beta) - special.betaln(alpha, beta)
    found: FloatArray = logs[index.reshape(hits.shape)]
    return found


def _ratios(
    logs: FloatArray,
) -> tuple[NDArray[np.intp], FloatArray, tuple[NDArray[np.intp], NDArray[np.intp], FloatArray]]:
    """Best single component (B,), 2(ℓ₂ − ℓ₁) (B,), and the two: components and the second's share.

    logs: (B, R, G). Starts put the lowest quarter, half or three quarters of seeds in the first.
    """
    whole = logs.sum(axis=1)
    single = whole.argmax(axis=1)
    alone = whole.max(axis=1)
    # Seeds in the order of their own best component's mean, which stands ascending in the grid.
    order = logs.argmax(axis=2).argsort(axis=1).argsort(axis=1) / logs.shape[1]
    best = alone.copy()
    low, high, share = single.copy(), single.copy(), np.zeros(len(logs))
    for cut in (0.25, 0.5, 0.75):
        second = np.where(order >= cut, 0.95, 0.05)  # (B, R) responsibility of the second
        for _ in range(_ITERATIONS):
            weight = second.mean(axis=1)
            first_at = np.einsum("br,brg->bg", 1 - second, logs).argmax(axis=1)
            second_at = np.einsum("br,brg->bg", second, logs).argmax(axis=1)
            pick = np.arange(len(logs))
            with np.errstate(divide="ignore"):
                one = np.log1p(-weight)[:, None] + logs[pick, :, first_at]
                two = np.log(weight)[:, None] + logs[pick, :, second_at]
            both = np.logaddexp(one, two)
            second = np.exp(two - both)
        value = both.sum(axis=1)
        better = value > best
        best = np.where(better, value, best)
        low, high = np.where(better, first_at, low), np.where(better, second_at, high)
        share = np.where(better, weight, share)
    return single, 2 * (best - alone), (low, high, share)
