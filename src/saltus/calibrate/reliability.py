"""Reliability: accuracy against confidence, in bins with Wilson bars and as a smooth curve."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saltus.calibrate.errors import NUM_BINS, equal_width_bins, pair
from saltus.calibrate.resampling import resampling_weights
from saltus.emerge.scores import wilson

FloatArray = NDArray[np.float64]

_CELLS = 400
_MAX_CLUSTERS = 1000


@dataclass(frozen=True)
class Bins:
    """Equal-width bins, every array (B,); means of an empty bin are nan, its share 0.

    low, high: edges of confidence; confidence, accuracy: means; accuracy_low, accuracy_high: 95 %
    Wilson; share: of all rows.
    """

    low: FloatArray
    high: FloatArray
    confidence: FloatArray
    accuracy: FloatArray
    count: NDArray[np.int64]
    accuracy_low: FloatArray
    accuracy_high: FloatArray
    share: FloatArray


@dataclass(frozen=True)
class SmoothCurve:
    """Kernel-smoothed accuracy at `confidence` (G,), with a pointwise band; nan where mass is thin.

    density integrates to 1 over [0, 1]; bandwidth is in units of confidence.
    """

    confidence: FloatArray
    accuracy: FloatArray
    low: FloatArray
    high: FloatArray
    density: FloatArray
    bandwidth: float


def reliability_bins(confidence: ArrayLike, correct: ArrayLike, num_bins: int = NUM_BINS) -> Bins:
    """Bin (n,) confidences and correctness into `num_bins` bins of equal width.

    The Wilson bars take rows as independent; where rows share documents or seeds they are a lower
    bound of the doubt. Raises ValueError as `saltus.calibrate.errors.pair`.
    """
    conf, right = pair(confidence, correct)
    bins = equal_width_bins(conf, num_bins)
    count = np.bincount(bins, minlength=num_bins).astype(np.int64)
    hits = np.bincount(bins, right, num_bins)
    total = np.bincount(bins, conf, num_bins)
    low, high = wilson(np.minimum(hits, count), count)
    edges = np.linspace(0, 1, num_bins + 1)
    with np.errstate(invalid="ignore"):
        mean, accuracy = total / count, hits / count
    return Bins(edges[:-1], edges[1:], mean, accuracy, count, low, high, count / conf.size)


def smooth_curve(
    confidence: ArrayLike,
    correct: ArrayLike,
    cluster: ArrayLike | None = None,
    bandwidth: float | None = None,
    num_points: int = 101,
    draws: int = 300,
    level: float = 0.95,
    seed: int = 0,
) -> SmoothCurve:
    """Accuracy as a smooth function of confidence, with a bootstrap band.

    Nadaraya-Watson with a Gaussian kernel reflected at 0 and 1, so that no mass leaves the unit
    interval (as in Błasiok and Nakkiran 2024). cluster: (n,), what the bootstrap resamples (rows
    if None). bandwidth: if None, .9 · min(sd, IQR / 1.34) · n^(-1/5) (Silverman 1986) within
    [.02, .1]. The curve is nan where the kernel gathers fewer than 5 rows. Beyond 1,000 clusters
    they are gathered at random into 1,000 groups.
    """
    conf, right = pair(confidence, correct)
    if bandwidth is None:
        lower, upper = np.quantile(conf, [0.25, 0.75])
        spread = min(float(conf.std()), float(upper - lower) / 1.34)
        bandwidth = float(np.clip(0.9 * spread * conf.size**-0.2, 0.02, 0.1))
    cell = np.minimum((conf * _CELLS).astype(np.int64), _CELLS - 1)
    points = np.linspace(0, 1, num_points)
    centres = (np.arange(_CELLS) + 0.5) / _CELLS
    kernel = np.zeros((_CELLS, num_points))
    for image in (centres, -centres, 2 - centres):
        kernel += np.exp(-0.5 * ((points - image[:, None]) / bandwidth) ** 2)

    def smoothed(count: FloatArray, hits: FloatArray) -> tuple[FloatArray, FloatArray]:
        mass = count @ kernel
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(mass > 0, (hits @ kernel) / mass, np.nan), mass

    ones = np.ones_like(conf)
    accuracy, mass = smoothed(
        np.bincount(cell, ones, _CELLS).astype(np.float64),
        np.bincount(cell, right, _CELLS).astype(np.float64),
    )
    rng = np.random.default_rng(seed)
    labels = np.arange(conf.size) if cluster is None else np.asarray(cluster)
    _, index = np.unique(labels, return_inverse=True)
    num_clusters = int(index.max()) + 1
    if num_clusters > _MAX_CLUSTERS:
        index = (rng.permutation(num_clusters) % _MAX_CLUSTERS)[index]
        num_clusters = _MAX_CLUSTERS
    flat = index * _CELLS + cell
    shape = (num_clusters, _CELLS)
    counts = np.bincount(flat, ones, num_clusters * _CELLS).reshape(shape)
    hits = np.bincount(flat, right, num_clusters * _CELLS).reshape(shape)
    weights = resampling_weights(num_clusters, draws, rng)
    resampled, _ = smoothed(weights @ counts, weights @ hits)
    thin = mass < 5
    filled = np.where(np.isnan(resampled), accuracy, resampled)
    low, high = np.quantile(filled, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    return SmoothCurve(
        confidence=points,
        accuracy=np.where(thin, np.nan, accuracy),
        low=np.where(thin, np.nan, low),
        high=np.where(thin, np.nan, high),
        density=mass / (conf.size * bandwidth * np.sqrt(2 * np.pi)),
        bandwidth=bandwidth,
    )
