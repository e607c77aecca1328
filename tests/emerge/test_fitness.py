"""Whether the curve describes the sizes: scatter is allowed, another shape is refused."""

import numpy as np
from scipy import special

from saltus.emerge.cells import Cells
from saltus.emerge.fitness import misfit
from saltus.emerge.psychometric import fit_curve
from saltus.emerge.threshold import threshold_along_scale

LADDER = 10 ** np.linspace(3, 5.2, 8)
TWO_STEPS = [0.01, 0.02, 0.46, 0.47, 0.47, 0.48, 0.98, 0.99]


def replicas(means: list[float], sd: float = 0.02, num: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    share = np.clip(np.repeat(means, num) + sd * rng.normal(size=num * len(means)), 0, 1)
    return np.repeat(LADDER, num), np.round(share * 1000)


def test_two_steps_are_refused_within_the_bracket_of_the_means() -> None:
    scale, successes = replicas(TWO_STEPS)
    found = threshold_along_scale(scale, successes, np.full(40, 1000), 0.0)
    assert found.status == "undecided" and found.fit_status == "misfit"
    assert found.estimate is None and found.width_decades is None and found.n50 is None
    assert (found.low, found.high) == (LADDER[5], LADDER[6])
    assert found.fit_p_value is not None and found.fit_p_value < 0.01
    assert "does not describe the means" in found.reason


def test_sizes_that_scatter_like_seeds_are_not_refused() -> None:
    refused = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        logit = (np.log10(LADDER) - 4.1) / 0.3 + rng.normal(size=8)
        logit = np.repeat(logit, 5) + rng.normal(size=40)
        successes = rng.binomial(1000, special.expit(logit)).astype(float)
        cells = Cells(np.log10(np.repeat(LADDER, 5)), successes, np.full(40, 1000.0), guess=0.0)
        lack = misfit(cells, fit_curve(cells))
        refused += lack is not None and lack.refused
    assert refused <= 2


def test_single_replicas_cannot_tell_misfit_from_scatter() -> None:
    cells = Cells(np.log10(LADDER), np.array(TWO_STEPS) * 1000, np.full(8, 1000.0), guess=0.0)
    assert misfit(cells, fit_curve(cells)) is None
