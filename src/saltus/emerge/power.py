"""What a design could tell: the share of simulated tables on which the width is decided.

Truths are a sharp transition of half w0 and a smooth one of twice w0, anywhere in the middle of the
ladder, with the plateaus and the scatter of the table at hand: variance of a seed s0^2 on the
plateaus, and s1^2 4 h (1 - h) more at height h of the rise, both by non-negative least squares from
the sizes; a size is off by as much as a seed. Tables are decided by the interval of W, made as a
verdict's is; the p-value that a verdict of sharp asks besides is not simulated.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from saltus.emerge.means import Means, draw_means, seed_variance
from saltus.emerge.transition import (
    MIN_SIZES,
    curve,
    cutoff,
    fit_transition,
    scatter_of,
)
from saltus.emerge.widths import PER_WIDTH, make_grid

Array = NDArray[np.float64]

SUFFICIENT = 0.8  # share of tables decided
DRAWS = 200
CHUNK = 50
NUM_WIDTHS = 24  # only the side of w0 matters
FINER = (1, 2, 3, 4)  # times as many steps on the same ladder
MORE_SEEDS = (1, 2)
MIDDLE = (0.25, 0.75)  # of the ladder, where the truth's transition is centred


@dataclass(frozen=True)
class Power:
    """Shares decided rightly at this design, and the smallest design tried that would do.

    `sharp` of sharp truths called sharp, None without a target NLL, where nothing is called so;
    `smooth` of smooth ones called smooth. `sizes` and `seeds` are None where none of the designs
    tried is sufficient.
    """

    sharp: float | None
    smooth: float
    sizes: int | None
    seeds: int | None

    @property
    def sufficient(self) -> bool:
        """Whether this design decides four tables in five, of either truth."""
        return self.sharp is not None and min(self.sharp, self.smooth) >= SUFFICIENT


@dataclass(frozen=True)
class Noise:
    """Variance of a seed on a plateau, and what is added in the middle of the rise."""

    plateau: float
    rise: float

    def spread(self, height: Array) -> Array:
        """Return the standard deviation at heights (...,) between 0 and 1."""
        return np.asarray(np.sqrt(self.plateau + self.rise * 4 * height * (1 - height)))


def noise_of(means: Means) -> Noise:
    """Return the scatter that a table shows, by height of its own curve."""
    fit = fit_transition(means)
    span = fit.end - fit.start
    height = (curve(fit, means.x) - fit.start) / span if span else np.zeros_like(means.x)
    variance = fit.phi * seed_variance(means)
    parts, _ = optimize.nnls(
        np.stack([np.ones_like(height), 4 * height * (1 - height)], 1), variance
    )
    return Noise(max(float(parts[0]), float(variance.min())), float(parts[1]))


def power_at(
    means: Means, noise: Noise, w0: float, *, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float]:
    """Return the shares of sharp truths called sharp and of smooth ones called smooth.

    The design is that of `means`: its sizes, seeds and plateaus.
    """
    ends = (float(means.y.min()), float(means.y.max()))
    plateaus = ends if means.rising else (ends[1], ends[0])
    rng = np.random.default_rng(seed)
    sharp, _ = _decided(means, noise, plateaus, w0 / 2, w0, draws, rng)
    _, smooth = _decided(means, noise, plateaus, 2 * w0, w0, draws, rng)
    return sharp, smooth


def power_of(means: Means, w0: float, *, draws: int = DRAWS, seed: int = 0) -> Power:
    """Return the power of the table's design and of finer ones; ValueError below 5 sizes."""
    noise = noise_of(means)
    seeds = round(float(np.median(means.seeds)))
    sharp, smooth = power_at(means, noise, w0, draws=draws, seed=seed)
    if min(sharp, smooth) >= SUFFICIENT:
        return Power(sharp, smooth, means.x.size, seeds)
    designs = sorted((a * b, a, b) for a in FINER for b in MORE_SEEDS if (a, b) != (1, 1))
    for _, finer, times in designs:
        num = finer * (means.x.size - 1) + 1
        x = means.x if finer == 1 else np.linspace(means.x[0], means.x[-1], num)
        y = np.interp(x, means.x, means.y)
        known = means.known or times > 1
        design = replace(means, x=x, y=y, seeds=np.full(num, float(seeds * times)), known=known)
        if min(power_at(design, noise, w0, draws=draws, seed=seed)) >= SUFFICIENT:
            return Power(sharp, smooth, num, seeds * times)
    return Power(sharp, smooth, None, None)


def power_of_both(
    nll: Means | None, accuracy: Means, w0: float, *, draws: int = DRAWS, seed: int = 0
) -> Power | None:
    """Return the power of a verdict, which rests on NLL and accuracy: the lower of the two.

    Without an NLL no design tells a leap, and only the power of smooth is simulated. None below 5
    sizes.
    """
    if accuracy.x.size < MIN_SIZES:
        return None
    if nll is None:
        _, smooth = power_at(accuracy, noise_of(accuracy), w0, draws=draws, seed=seed)
        return Power(None, smooth, None, None)
    made = [power_of(means, w0, draws=draws, seed=seed) for means in (nll, accuracy)]
    sharp = min(each.sharp for each in made if each.sharp is not None)
    smooth = min(each.smooth for each in made)
    most = max(made, key=lambda each: (each.sizes or 0) * (each.seeds or 0))
    enough = all(each.sizes is not None for each in made)
    return Power(sharp, smooth, most.sizes if enough else None, most.seeds if enough else None)


def _decided(
    design: Means,
    noise: Noise,
    plateaus: tuple[float, float],
    width: float,
    w0: float,
    draws: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Return the shares of tables, of true `width`, that are called sharp and smooth."""
    start, end = plateaus
    reach = design.x[-1] - design.x[0]
    grid = make_grid(design.x, min(w0 / 8, float(np.diff(design.x).min()) / 10), None, NUM_WIDTHS)
    narrow, wide = grid.widths <= w0, grid.widths >= w0
    sharp = smooth = 0
    for done in range(0, draws, CHUNK):
        num = min(CHUNK, draws - done)
        location = design.x[0] + reach * rng.uniform(*MIDDLE, (num, 1))
        height = special.expit((design.x - location) * PER_WIDTH / width)
        spread = noise.spread(height)
        y, variance = draw_means(design, start + (end - start) * height, spread, num, rng)
        y = np.clip(y, 0, design.ceiling)
        profile, phi = scatter_of(grid, y, 1 / variance, design)
        above = profile.rss - profile.rss.min(axis=1, keepdims=True)
        limit = phi * cutoff(design.x.size)
        sharp += int(np.sum(above[:, wide].min(axis=1) > limit))
        smooth += int(np.sum(above[:, narrow].min(axis=1) > limit))
    return sharp / draws, smooth / draws
