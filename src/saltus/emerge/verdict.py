"""Whether an ability leapt: the width of the transition of the target's NLL against half a decade.

The rules, w0 = .5 decade, all on the 95 % interval of the N10-N90 width (`transition`):

    sharp           NLL: upper limit < w0, and p < .05 against smooth after Holm
    smooth          NLL: lower limit > w0, and greedy accuracy's too
    metric-induced  greedy accuracy sharp where NLL is smooth: the leap is the metric's (Schaeffer
                    et al. 2023)
    undecided       everything else, with the reason

p is a parametric bootstrap of the likelihood ratio at the best curve that is no narrower than w0,
with the scatter that the table shows; Holm (1979) across the task x arm pairs of a study. Accuracy
alone can show that nothing leapt, never that something did; nor can sizes that stand w0 apart or
more, between which any curve is narrow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from saltus.emerge.means import Means, decline, draw_means, seed_variance
from saltus.emerge.transition import (
    MIN_SIZES,
    NUM_PARAMETERS,
    Transition,
    curve,
    fit_transition,
    scatter_of,
)
from saltus.emerge.widths import make_grid

Array = NDArray[np.float64]

W0 = 0.5  # decades: a narrower transition is sharp
ALPHA = 0.05
MIN_ITEMS = 200  # distinct items below which no verdict is given
DRAWS = 999
CHUNK = 40  # data sets simulated at once


@dataclass(frozen=True)
class Judgement:
    """A verdict with its evidence; `nll` and `accuracy` are None where they could not be fitted.

    `p_adjusted`, after Holm, is of the metric that the verdict rests on: NLL, or accuracy where NLL
    is not the sharp one. None without a curve. `gap`, in decades, is the ladder's largest where the
    narrow one of the curves rises or falls; None where neither is narrow.
    """

    verdict: str
    reason: str
    nll: Transition | None
    accuracy: Transition | None
    p_nll: float | None
    p_accuracy: float | None
    p_adjusted: float | None = None
    gap: float | None = None


def p_against_smooth(means: Means, *, draws: int = DRAWS, seed: int = 0) -> float:
    """Return how often a transition no narrower than w0 looks as narrow as this one.

    1 where the best curve is no narrower. Replicas are drawn about the null's curve, a size being
    off it by as much as a seed.
    """
    grid = make_grid(means.x, least=min(W0 / 4, float(np.diff(means.x).min()) / 20))
    wide = grid.widths >= W0
    if not wide.any():
        return 1.0

    def ratio(y: Array, variance: Array) -> Array:
        """Return the likelihood ratio of narrow over wide, (Q,)."""
        profile, phi = scatter_of(grid, y, 1 / variance, means)
        return np.asarray((profile.rss[:, wide].min(axis=1) - profile.rss.min(axis=1)) / phi)

    observed = float(ratio(means.y[None], means.variance[None])[0])
    if observed <= 0:
        return 1.0
    null = fit_transition(means, least=W0)
    expected = curve(null, means.x)
    spread = np.sqrt(null.phi * seed_variance(means))
    rng = np.random.default_rng(seed)
    as_narrow = done = 0
    while done < draws:
        num = min(CHUNK, draws - done)
        y, variance = draw_means(means, expected, spread, num, rng)
        as_narrow += int(np.sum(ratio(y, variance) >= observed - 1e-12))
        done += num
    return (1 + as_narrow) / (1 + draws)


def changes(means: Means, fit: Transition) -> bool:
    """Return whether the curve is better than a constant by an F test at 5 %."""
    weights = 1 / means.variance
    level = float(weights @ means.y / weights.sum())
    flat = float(weights @ (means.y - level) ** 2)
    more = NUM_PARAMETERS - 1
    statistic = (flat - fit.rss) / more / fit.phi
    return bool(statistic > stats.f.ppf(1 - ALPHA, more, means.x.size - NUM_PARAMETERS))


def judge(
    nll: Means | None,
    accuracy: Means | None,
    num_items: int | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Judgement:
    """Fit both curves and return the evidence; the verdict is settled by `settle`."""
    fits: list[Transition | None] = []
    values: list[float | None] = []
    changed: list[bool] = []
    for means in (nll, accuracy):
        if means is None or means.x.size < MIN_SIZES:
            fits.append(None)
            values.append(None)
            continue
        found = fit_transition(means)
        changed.append(changes(means, found))
        fits.append(found)
        values.append(p_against_smooth(means, draws=draws, seed=seed) if _narrow(found) else 1.0)
    some = nll if nll is not None else accuracy
    num_sizes = 0 if some is None else some.x.size
    reason = ""
    if num_sizes < MIN_SIZES:
        reason = f"{num_sizes} sizes were tried; the width of a transition needs {MIN_SIZES}"
    elif num_items is not None and num_items < MIN_ITEMS:
        reason = f"{num_items} distinct items; a verdict needs {MIN_ITEMS}"
    elif not any(changed):
        spare = num_sizes - NUM_PARAMETERS
        reason = f"no rise is better than a constant (F test, {num_sizes} sizes, {spare} to spare)"
        reason += _decline_told({"accuracy": accuracy, "NLL": nll})
    narrow = [fit for fit in fits if fit is not None and _narrow(fit)]
    gap = None if some is None or not narrow else max(_gap(some.x, fit) for fit in narrow)
    return Judgement("undecided", reason, fits[0], fits[1], values[0], values[1], gap=gap)


def _decline_told(metrics: Mapping[str, Means | None]) -> str:
    """Return of each metric that ability falls along the scale, where it does; else nothing."""
    told = ""
    for name, means in metrics.items():
        if means is not None and (found := decline(means))[1] < ALPHA:
            way, unit = ("falls", "") if means.rising else ("rises", " nats")
            told += f"; {name} {way} by {found[0]:.2g}{unit} a decade (p = {found[1]:.2g})"
    return told


def settle(found: Sequence[Judgement]) -> list[Judgement]:
    """Return the verdicts of all task x arm pairs of a study, their p-values adjusted by Holm."""
    used = [each.p_nll if _narrow(each.nll) else each.p_accuracy for each in found]
    adjusted = holm([1.0 if value is None else value for value in used])
    return [
        _settled(each, None if value is None else p)
        for each, value, p in zip(found, used, adjusted, strict=True)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm's step-down rule (Holm 1979)."""
    values = np.asarray(p_values, dtype=float)
    order = np.argsort(values, kind="stable")
    factors = len(values) - np.arange(len(values))
    stepped = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    adjusted = np.empty_like(values)
    adjusted[order] = stepped
    return [float(value) for value in adjusted]


def _narrow(fit: Transition | None) -> bool:
    return fit is not None and fit.high is not None and fit.high < W0


def _gap(x: Array, fit: Transition) -> float:
    """Return the largest gap of the ladder (S,) within the upper limit of a narrow transition."""
    assert fit.high is not None
    reach = fit.high / 2
    touched = (x[1:] > fit.location - reach) & (x[:-1] < fit.location + reach)
    return float(np.diff(x)[touched].max(initial=0.0))


def _told(fit: Transition) -> str:
    high = "open" if fit.high is None else f"{fit.high:.2g}"
    return f"{fit.width:.2g} decades [{fit.low:.2g}, {high}]"


def _settled(found: Judgement, p: float | None) -> Judgement:
    if found.reason:
        return replace(found, p_adjusted=p)
    verdict, reason = _verdict(found, p)
    return replace(found, verdict=verdict, reason=reason, p_adjusted=p)


def _verdict(found: Judgement, p: float | None) -> tuple[str, str]:
    nll, accuracy = found.nll, found.accuracy
    sure = p is not None and p < ALPHA
    if nll is None:
        assert accuracy is not None
        told = f"mean accuracy takes {_told(accuracy)}"
        if accuracy.low > W0:
            return "smooth", f"{told}, more than {W0}"
        if _narrow(accuracy):
            return "undecided", f"{told}: without a target NLL a leap and the metric look alike"
        return "undecided", f"{told}, on both sides of {W0}"
    told = f"the target's NLL takes {_told(nll)}"
    if found.gap is not None and found.gap >= W0:
        return "undecided", f"{told}, between sizes {found.gap:.2g} decades apart, not below {W0}"
    if _narrow(nll):
        if sure:
            return "sharp", f"{told}, less than {W0} (p = {p:.2g})"
        return "undecided", f"{told}, but p = {p:.2g} against smooth"
    if nll.low > W0:
        if accuracy is not None and _narrow(accuracy) and sure:
            return "metric-induced", f"{told}, mean accuracy {_told(accuracy)} (p = {p:.2g})"
        if accuracy is None or accuracy.low > W0:
            return "smooth", f"{told}, more than {W0}"
        return "undecided", f"{told}, but accuracy {_told(accuracy)}: the metric may leap"
    return "undecided", f"{told}, on both sides of {W0}"
