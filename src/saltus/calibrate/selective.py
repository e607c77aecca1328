"""Selective prediction: what is the risk if only the most confident answers are given?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saltus.calibrate.errors import pair

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class RiskCoverage:
    """Error rate among the k most confident of n, averaged over the orders of ties.

    coverage, risk: (n,), at k = 1 … n. aurc: mean risk over k (Geifman and El-Yaniv 2017);
    excess_aurc: aurc less that of an order with every right answer first (Geifman 2019), since
    the raw area mostly follows accuracy; augrc: mean over k of errors(k) / n (Traub 2024).
    """

    coverage: FloatArray
    risk: FloatArray
    aurc: float
    excess_aurc: float
    augrc: float


def risk_coverage(confidence: ArrayLike, correct: ArrayLike) -> RiskCoverage:
    """Risk-coverage curve of (n,) confidences and correctness, in any order.

    Within a group of equal confidences the expected number of errors grows linearly, which is the
    average over all orders of the group. Raises ValueError as `saltus.calibrate.errors.pair`.
    """
    conf, right = pair(confidence, correct)
    _, group, sizes = np.unique(-conf, return_inverse=True, return_counts=True)
    wrong = np.bincount(group, 1 - right)
    errors = np.cumsum(np.repeat(wrong / sizes, sizes))
    taken = np.arange(1, conf.size + 1)
    risk = errors / taken
    best = np.maximum(0.0, taken - right.sum()) / taken
    aurc = float(risk.mean())
    return RiskCoverage(
        coverage=taken / conf.size,
        risk=risk,
        aurc=aurc,
        excess_aurc=aurc - float(best.mean()),
        augrc=float(errors.mean()) / conf.size,
    )


def coverage_at(curve: RiskCoverage, risk: float) -> float:
    """Return the largest share of answers that can be given with an error rate of at most `risk`.

    0 if even the most confident ones are wrong more often.
    """
    allowed = np.flatnonzero(curve.risk <= risk + 1e-12)
    return float(curve.coverage[allowed[-1]]) if allowed.size else 0.0
