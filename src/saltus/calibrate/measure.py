"""All errors of one set of predictions, each with its interval and, if absolute, its floor."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from saltus.calibrate import errors, resampling
from saltus.calibrate.cells import gather, groups_of
from saltus.calibrate.clusters import ALONE, clustering_of
from saltus.calibrate.errors import NO_INTERVAL, Interval, tells_scatter
from saltus.calibrate.inversion import absolute_errors
from saltus.calibrate.selective import coverage_at, risk_coverage

BOOTSTRAPS = 1000
RISKS = (0.01, 0.05, 0.1)


@dataclass(frozen=True)
class Measured:
    """Errors of n predictions in num_clusters clusters.

    `intervals` and `floor` by the names of the fields; `coverage_at_risk` by the risk. The design
    effect is by what clusters multiply the variance of a bin's gap. Where `tells_scatter` denies
    it, no interval is formed.
    """

    n: int
    num_clusters: int
    accuracy: float
    confidence: float
    ece: float
    ece_equal_mass: float
    l2_squared_debiased: float
    smooth_ece: float
    brier: errors.BrierParts
    nll: float
    overconfidence: float
    over_error: float
    aurc: float
    excess_aurc: float
    augrc: float
    coverage_at_risk: dict[str, float]
    floor: dict[str, float]
    intervals: dict[str, Interval]
    design_effect: float

    def entry(self) -> dict[str, Any]:
        """Return plain JSON values; intervals as [low, high], null where none could be formed."""
        found = asdict(self)
        found["intervals"] = {
            name: None if np.isnan(each.low) else [each.low, each.high]
            for name, each in self.intervals.items()
        }
        return found


def measure(
    confidence: ArrayLike,
    correct: ArrayLike,
    cluster: ArrayLike | None = None,
    *,
    bootstraps: int = BOOTSTRAPS,
    seed: int = 0,
) -> Measured:
    """Measure (n,) predictions; rows are independent if `cluster` is None.

    NLL and Brier are of the binary correctness under the confidence. Raises ValueError as
    `saltus.calibrate.errors.pair`.
    """
    conf, right = errors.pair(confidence, correct)
    cells = gather(conf, right)
    group, num_groups = groups_of(cluster, conf.size, seed)
    clusters = conf.size if cluster is None else int(np.unique(np.asarray(cluster)).size)
    clustering = ALONE
    if cluster is not None:
        clustering = clustering_of(cells, group, num_groups, right, conf)
    absolute = absolute_errors(cells, clustering, seed=seed)
    clipped = np.clip(conf, errors.PROBABILITY_CLIP, 1 - errors.PROBABILITY_CLIP)
    nll = -np.where(right > 0, np.log(clipped), np.log1p(-clipped))
    curve = risk_coverage(conf, right)
    squared = errors.l2_squared_debiased(conf, right)
    parts = errors.brier_parts(conf, right)
    values = np.column_stack([conf - right, (conf - right) ** 2, nll, right])
    estimates = values.mean(axis=0)
    intervals = dict(absolute.intervals)
    names = ("overconfidence", "brier", "nll", "accuracy")
    signed = (*names, "l2_squared_debiased", "aurc", "excess_aurc", "augrc")
    if not tells_scatter(right):
        intervals = dict.fromkeys((*intervals, *signed), NO_INTERVAL)
    elif num_groups < 2:
        intervals |= dict.fromkeys(signed, NO_INTERVAL)
    else:
        rng = np.random.default_rng(seed)
        weights = resampling.resampling_weights(num_groups, bootstraps, rng)
        means = resampling.mean_draws(values, group, weights, num_groups)
        intervals |= {
            name: resampling.interval(column) for name, column in zip(names, means.T, strict=True)
        }
        draws = resampling.l2_draws(cells, group, weights, right, conf)
        intervals["l2_squared_debiased"] = resampling.interval(draws, squared)
        areas = resampling.risk_draws(conf, right, group, weights)
        found = (curve.aurc, curve.excess_aurc, curve.augrc)
        most = (1.0, 1.0, (conf.size + 1) / (2 * conf.size))  # what areas of n answers can be
        for name, column, value, top in zip(signed[-3:], areas.T, found, most, strict=True):
            ends = resampling.interval(column, value)
            intervals[name] = Interval(max(ends.low, 0.0), min(ends.high, top))
    return Measured(
        n=conf.size,
        num_clusters=clusters,
        accuracy=float(right.mean()),
        confidence=float(conf.mean()),
        ece=absolute.errors["ece"],
        ece_equal_mass=absolute.errors["ece_equal_mass"],
        l2_squared_debiased=squared,
        smooth_ece=absolute.errors["smooth_ece"],
        brier=parts,
        nll=float(estimates[2]),
        overconfidence=float(estimates[0]),
        over_error=errors.over_error(conf, right),
        aurc=curve.aurc,
        excess_aurc=curve.excess_aurc,
        augrc=curve.augrc,
        coverage_at_risk={f"{risk:g}": coverage_at(curve, risk) for risk in RISKS},
        floor=absolute.floors,
        intervals=intervals,
        design_effect=clustering.effect,
    )
