"""Errors of calibration, each with what it would be by chance.

Throughout, `confidence` is the probability a model gave to its own prediction, in [0, 1], and
`correct` whether the prediction was right; both (n,), in any order. Ties stay together, so no
statistic depends on the order of rows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

NUM_BINS = 15
PROBABILITY_CLIP = 1e-6
FEWEST = 30  # rows of which intervals are formed


@dataclass(frozen=True)
class Interval:
    """A percentile interval; both ends null (nan) if it could not be formed."""

    low: float
    high: float


NO_INTERVAL = Interval(float("nan"), float("nan"))


def pair(confidence: ArrayLike, correct: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Both as float arrays (n,).

    Raises ValueError for other shapes, no rows, or a confidence that is null or outside [0, 1].
    """
    conf = np.asarray(confidence, dtype=np.float64)
    right = np.asarray(correct, dtype=np.float64)
    if conf.ndim != 1 or conf.shape != right.shape or conf.size == 0:
        shapes = f"{conf.shape} and {right.shape}"
        raise ValueError(f"confidence and correct: found shapes {shapes}, expected one (n,)")
    if not ((conf >= 0) & (conf <= 1)).all():
        raise ValueError("confidence: found a value outside [0, 1] or a null")
    return conf, right


def tells_scatter(correct: FloatArray) -> bool:
    """Return whether intervals can be formed: at least 30 rows, right ones and wrong ones.

    Where all are right, resampling draws no wrong one, though 0 of n allow 3.7/n of them (the end
    of Clopper and Pearson's 95 % interval).
    """
    return correct.size >= FEWEST and 0 < correct.sum() < correct.size


def equal_width_bins(confidence: FloatArray, num_bins: int = NUM_BINS) -> IntArray:
    """Bin of each confidence, (n,): [i/B, (i+1)/B), the last one closed; as `torchmetrics`."""
    edges = np.linspace(0, 1, num_bins + 1)
    return np.searchsorted(edges[1:-1], confidence, side="right").astype(np.int64)


def equal_mass_bins(confidence: FloatArray, num_bins: int = NUM_BINS) -> IntArray:
    """Bin of each confidence, (n,), by its quantiles; equal confidences share a bin.

    Bins are numbered without gaps, and a bin of one row is joined to its neighbour, since
    a variance within it has no meaning.
    """
    ordered = np.sort(confidence)
    starts = (np.arange(1, num_bins) * confidence.size) // num_bins
    edges = np.unique(ordered[starts])
    raw = np.searchsorted(edges, confidence, side="right")
    _, index, counts = np.unique(raw, return_inverse=True, return_counts=True)
    if counts.size > 1 and (counts < 2).any():
        group = np.cumsum(counts >= 2) - 1
        index = np.maximum(group, 0)[index]
    return index.astype(np.int64)


def _gaps(
    confidence: FloatArray, correct: FloatArray, bins: IntArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Rows, accuracy and mean confidence of every bin that holds a row."""
    counts = np.bincount(bins).astype(np.float64)
    held = counts > 0
    counts = counts[held]
    accuracy = np.bincount(bins, correct)[held] / counts
    mean = np.bincount(bins, confidence)[held] / counts
    return counts, accuracy, mean


def expected_calibration_error(
    confidence: ArrayLike, correct: ArrayLike, num_bins: int = NUM_BINS, equal_mass: bool = False
) -> float:
    """ECE = sum_b (n_b / n) |accuracy_b - confidence_b| (Naeini 2015; Guo 2017).

    Biased upwards: hold it against its floor at the same n and confidences (`inversion`).
    """
    conf, right = pair(confidence, correct)
    bins = equal_mass_bins(conf, num_bins) if equal_mass else equal_width_bins(conf, num_bins)
    counts, accuracy, mean = _gaps(conf, right, bins)
    return float((counts * np.abs(accuracy - mean)).sum() / conf.size)


def l2_squared_debiased(
    confidence: ArrayLike, correct: ArrayLike, num_bins: int = NUM_BINS
) -> float:
    """Squared l2 calibration error without the bias of binning noise; may be negative.

    sum_b (n_b / n) [(accuracy_b - confidence_b)^2 - accuracy_b (1 - accuracy_b) / (n_b - 1)] over
    bins of equal mass (Kumar, Liang and Ma 2019, sec. 4). The negative values are kept: clipped at
    zero the mean over models would be biased again. With a single row the result is nan.
    """
    conf, right = pair(confidence, correct)
    if conf.size < 2:
        return float("nan")
    counts, accuracy, mean = _gaps(conf, right, equal_mass_bins(conf, num_bins))
    noise = accuracy * (1 - accuracy) / (counts - 1)
    return float((counts * ((accuracy - mean) ** 2 - noise)).sum() / conf.size)


def brier(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Mean squared difference between confidence and correctness (Brier 1950, two classes)."""
    conf, right = pair(confidence, correct)
    return float(((conf - right) ** 2).mean())


@dataclass(frozen=True)
class BrierParts:
    """total = reliability - resolution + uncertainty + within (Murphy 1973; Stephenson 2008).

    `within` is what bins hide, the variance of confidence within them less twice its covariance
    with correctness; 0 where the rows of a bin share their confidence.
    """

    total: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float


def brier_parts(confidence: ArrayLike, correct: ArrayLike, num_bins: int = NUM_BINS) -> BrierParts:
    """Decompose the Brier score of (n,) predictions in bins of equal mass."""
    conf, right = pair(confidence, correct)
    counts, accuracy, mean = _gaps(conf, right, equal_mass_bins(conf, num_bins))
    share, rate = counts / conf.size, float(right.mean())
    total = float(((conf - right) ** 2).mean())
    reliability = float((share * (mean - accuracy) ** 2).sum())
    resolution = float((share * (accuracy - rate) ** 2).sum())
    uncertainty = rate * (1 - rate)
    within = total - (reliability - resolution + uncertainty)
    return BrierParts(total, reliability, resolution, uncertainty, within)


def over_error(confidence: ArrayLike, correct: ArrayLike, num_bins: int = NUM_BINS) -> float:
    """OE = sum_b (n_b / n) confidence_b max(confidence_b - accuracy_b, 0) (Thulasidasan 2019).

    Bins of equal width. Counts only over-confidence, more where confidence is high.
    """
    conf, right = pair(confidence, correct)
    counts, accuracy, mean = _gaps(conf, right, equal_width_bins(conf, num_bins))
    return float((counts * mean * np.maximum(mean - accuracy, 0)).sum() / conf.size)


def negative_log_likelihood(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Mean nats of the Bernoulli correctness under the confidence, clipped to [1e-6, 1 - 1e-6].

    The clip bounds what one row that is wrong at confidence 1 can cost (13.8 nats).
    """
    conf, right = pair(confidence, correct)
    conf = np.clip(conf, PROBABILITY_CLIP, 1 - PROBABILITY_CLIP)
    return float(-(right * np.log(conf) + (1 - right) * np.log1p(-conf)).mean())


def overconfidence(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Signed gap: mean confidence - accuracy; positive if the model trusts itself too much."""
    conf, right = pair(confidence, correct)
    return float(conf.mean() - right.mean())
