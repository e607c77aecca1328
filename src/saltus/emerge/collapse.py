"""Whether one curve of accuracy against loss serves every size: the collapse on the loss axis.

The pooled link of `saltus.emerge.link` is held against a link for each size. Two questions, two
numbers. How much does a link of its own explain: the residual scatter of runs about either. And is
a size off the pooled link as a whole, more than its trunks scatter: a one-way F of the trunks' mean
residuals, z = arcsin sqrt(share) less that of the link, by permutation of whole trunks among sizes;
horizons of one trunk stay together. A trend is told apart from mere scatter by the shift: in

    Acc = b + a / (1 + exp(-k (L - c log10 N - L0)))

c is how many nats of loss a tenfold size is worth at equal accuracy; no collapse onto loss if it is
not 0. Its interval is the delete-one-size jackknife. Source of the question: Du et al. 2024. Over
the tasks and arms of a study p-values are adjusted by Holm (1979).

Legend: C runs, T trunks, S sizes, P permutations.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from saltus.emerge.link import Link, fit_link, polish_link
from saltus.emerge.logistic import Runs
from saltus.emerge.verdict import holm
from saltus.law.ends import DeleteOne

FloatArray = NDArray[np.float64]

MIN_SIZES = 4
_PARAMETERS = 3  # L0, k and c are what sizes determine
_ALPHA = 0.05


@dataclass(frozen=True)
class Collapse:
    """How well one link serves all sizes; None where it could not be computed.

    rms_pooled, rms_per_size: of run accuracies about the pooled link, and about a link per size.
    share_pooled, share_per_size: of the variance of accuracies that either explains.
    size_share: of the pooled link's residual sum of squares that a link per size removes.
    f_statistic, p_value: of trunks' mean residuals between sizes; p_adjusted: after Holm. shift: c
    in nats per decade of size, with its 95 % interval. status: `fitted` or `refused`, with a
    `reason`; if fitted, the reason is of the shift or interval that is missing.
    """

    status: str
    reason: str
    sentence: str
    num_runs: int
    num_trunks: int
    num_sizes: int
    rms_pooled: float | None = None
    rms_per_size: float | None = None
    share_pooled: float | None = None
    share_per_size: float | None = None
    size_share: float | None = None
    f_statistic: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    shift: float | None = None
    shift_low: float | None = None
    shift_high: float | None = None


def collapse(runs: Runs, seed_of: FloatArray, draws: int = 1999, rng_seed: int = 0) -> Collapse:
    """Test the collapse of `runs`, whose `size` is in parameters; `seed_of` (C,) names the trunk.

    A link per size has its own L0 and k and the pooled one's ends, which one size does not show;
    where its runs are all alike it stays at the pooled link. Refused below 4
    sizes, if fewer than two of them leave guessing, or if the pooled link is not fixed.
    """
    sizes = runs.sizes
    trunk = np.unique(np.column_stack([runs.size, seed_of]), axis=0, return_inverse=True)[1].ravel()
    base = Collapse("refused", "", "", runs.loss.size, int(trunk.max()) + 1, sizes.size)
    if sizes.size < MIN_SIZES or runs.risen < 2:
        reason = (
            f"{sizes.size} sizes, {runs.risen} of which leave guessing; needs {MIN_SIZES} and 2"
        )
        return replace(base, reason=reason, sentence=f"Collapse not tested: {reason}.")
    pooled = fit_link(runs)
    if not pooled.located:
        reason = f"the pooled link is not fixed by the runs ({pooled.status})"
        return replace(base, reason=reason, sentence=f"Collapse not tested: {reason}.")
    share = runs.successes / runs.trials
    residual = share - pooled.accuracy(runs.loss)
    own = _residuals_per_size(runs, pooled)
    total = float(((share - share.mean()) ** 2).sum())
    squares, own_squares = float((residual**2).sum()), float((own**2).sum())
    statistic, p_value = _between_sizes(runs, pooled, trunk, draws, rng_seed)
    shift = size_shift(runs, pooled)
    result = replace(
        base,
        status="fitted",
        rms_pooled=float(np.sqrt(squares / share.size)),
        rms_per_size=float(np.sqrt(own_squares / share.size)),
        share_pooled=1 - squares / total,
        share_per_size=1 - own_squares / total,
        size_share=1 - own_squares / squares if squares > 0 else 0.0,
        f_statistic=statistic,
        reason=shift.reason,
        p_value=p_value,
        shift=shift.value,
        shift_low=shift.low,
        shift_high=shift.high,
    )
    return settle([result])[0]


def settle(found: Sequence[Collapse]) -> list[Collapse]:
    """Return the tests of all tasks and arms of a study, p adjusted by Holm, with their sentences.

    A test without a p-value is none, and does not count.
    """
    tested = [each.p_value for each in found if each.p_value is not None]
    adjusted = iter(holm(tested))
    settled = []
    for each in found:
        told = replace(each, p_adjusted=None if each.p_value is None else next(adjusted))
        fitted = told.status == "fitted"
        settled.append(replace(told, sentence=_sentence(told)) if fitted else told)
    return settled


def _residuals_per_size(runs: Runs, pooled: Link) -> FloatArray:
    """Residuals (C,) about a link for each size, which has the ends of the pooled one."""
    residual = runs.successes / runs.trials - pooled.accuracy(runs.loss)
    for size in runs.sizes:
        which = runs.size == size
        cell = runs.keep(which)
        if np.ptp(cell.loss) > 0:
            own = polish_link(cell, pooled, free=("L0", "log(-k)"))
            residual[which] = cell.successes / cell.trials - own.accuracy(cell.loss)
    return residual


def _between_sizes(
    runs: Runs, link: Link, trunk: NDArray[np.intp], draws: int, rng_seed: int
) -> tuple[float | None, float | None]:
    """One-way F of trunks' mean residuals between sizes, and its permutation p-value.

    None if no size has two trunks.
    """
    angles = np.arcsin(np.sqrt(runs.successes / runs.trials))
    angles -= np.arcsin(np.sqrt(np.clip(link.accuracy(runs.loss), 0, 1)))
    means = np.bincount(trunk, angles) / np.bincount(trunk)
    first = np.unique(trunk, return_index=True)[1]
    group = np.unique(runs.size[first], return_inverse=True)[1]
    counts = np.bincount(group)
    spare = means.size - counts.size
    if spare < 1:
        return None, None

    def ratio(values: FloatArray) -> FloatArray:
        """F of each row of (P, T)."""
        sums = values @ (group[:, None] == np.arange(counts.size))
        centre = values.mean(axis=1, keepdims=True)
        between = (sums**2 / counts).sum(axis=1) - means.size * centre[:, 0] ** 2
        within = (values**2).sum(axis=1) - (sums**2 / counts).sum(axis=1)
        return np.asarray((between / (counts.size - 1)) / np.maximum(within / spare, 1e-300))

    observed = float(ratio(means[None, :])[0])
    rng = np.random.default_rng(rng_seed)
    drawn = ratio(rng.permuted(np.tile(means, (draws, 1)), axis=1))
    as_large = int((drawn >= observed * (1 - 1e-12)).sum())
    return observed, (1 + as_large) / (1 + draws)


@dataclass(frozen=True)
class Shift:
    """c in nats per decade of size with its 95 % interval; None beside a `reason`."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""


def size_shift(runs: Runs, link: Link) -> Shift:
    """Shift c of the link in nats per decade of size, with its 95 % interval.

    c minimises the deviance of the link of L - c log10 N, whose parameters are fitted anew at each
    c, within the range of losses per range of sizes. None where the least deviance lies at an end
    of that; the interval is None where that is so without some size, or with fewer than five.
    """
    log_size = np.log10(runs.size)
    log_size = log_size - log_size.mean()
    reach = float(np.ptp(runs.loss)) / float(np.ptp(log_size))
    positive = 2 * float(np.ptp(runs.loss))  # added to all losses, which stay positive; L0 follows

    def best(part: Runs, log_scale: FloatArray, points: FloatArray) -> float | None:
        """The shift of least deviance: at points, then Brent's search about their lowest.

        None at either end of the points, or where the search does not converge.
        """

        def deviance(shift: float) -> float:
            moved = replace(part, loss=part.loss - shift * log_scale + positive)
            return fit_link(moved, link.free).deviance

        i = int(np.argmin([deviance(float(c)) for c in points]))
        if i in (0, points.size - 1):
            return None
        result = optimize.minimize_scalar(
            deviance, bounds=(points[i - 1], points[i + 1]), method="bounded",
            options={"xatol": 1e-3},
        )  # fmt: skip
        return float(result.x) if result.success else None

    everywhere = np.linspace(-reach, reach, 17)
    whole = best(runs, log_size, everywhere)
    if whole is None:
        told = f"no shift: the least deviance is not within {reach:.2g} nats per decade"
        return Shift(None, reason=told)
    num = runs.sizes.size
    if num < _PARAMETERS + 2:
        return Shift(whole, reason=f"no interval: {num} sizes, {_PARAMETERS + 2} are needed")
    near = np.linspace(whole - reach / 2, whole + reach / 2, 9)
    parts = []
    for size in runs.sizes:
        left = runs.without(size), log_size[runs.size != size]
        part = best(*left, near)
        part = best(*left, 2 * everywhere) if part is None else part
        if part is None:
            told = f"no interval: without the size of {size:.0f} parameters the shift is not fixed"
            return Shift(whole, reason=told)
        parts.append(part)
    low, high = DeleteOne(num - _PARAMETERS).ends(np.array(whole), np.array(parts))
    return Shift(whole, float(low), float(high))


def _sentence(found: Collapse) -> str:
    assert found.share_pooled is not None and found.size_share is not None
    assert found.rms_pooled is not None
    told = (
        f"One link explains {100 * found.share_pooled:.0f} % of the variance of accuracy "
        f"(residual {found.rms_pooled:.3f}); a link per size removes "
        f"{100 * found.size_share:.0f} % of what is left"
    )
    return f"{told}; {_difference(found)}."


def _difference(found: Collapse) -> str:
    """Say whether sizes differ: by the interval of the shift, then by the adjusted p."""
    p, low, high = found.p_adjusted, found.shift_low, found.shift_high
    p_value = "" if p is None else f"p {p:.3f}" if p >= 0.001 else "p < .001"
    shift = found.reason
    if low is not None and high is not None:
        shift = (
            f"a tenfold size is worth {found.shift:+.2f} nats at equal accuracy "
            f"[{low:+.2f}, {high:+.2f}]"
        )
        if low > 0 or high < 0:
            return f"no full collapse: {shift}"
    if p is None:
        return (
            f"no size has two trunks, so that a difference beyond a trend cannot be seen; {shift}"
        )
    if p >= _ALPHA:
        return f"no difference of sizes is seen ({p_value}); {shift}"
    return f"sizes differ ({p_value}), {'without a trend: ' if low is not None else ''}{shift}"
