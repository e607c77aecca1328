"""Smooth ECE: against relplot, closed forms, and what the kernel must keep."""

import numpy as np
import pytest
from scipy import integrate

from saltus.calibrate.cells import gather
from saltus.calibrate.smooth import NUM_CELLS, smooth, smooth_errors


def smooth_ece(confidence: np.ndarray, correct: np.ndarray) -> float:
    cells = gather(confidence, correct)
    return float(smooth_errors(cells.on_grid(cells.residuals)[None])[0])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("gap", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("shape", [(1, 1), (8, 2), (1, 6)])
def test_agrees_with_relplot(gap: float, shape: tuple[float, float]) -> None:
    """Within the 1/1024 to which it seeks the bandwidth."""
    relplot = pytest.importorskip("relplot", reason="the test extra is not installed")
    relplot.config.use_logit_scaling = False
    rng = np.random.default_rng(1)
    confidence = rng.beta(*shape, 2000)
    correct = (rng.random(2000) < np.clip(confidence - gap, 0, 1)).astype(float)
    assert smooth_ece(confidence, correct) == pytest.approx(
        relplot.smECE(confidence, correct), abs=2e-3
    )


def test_kernel_is_the_reflected_gaussian() -> None:
    """One row's residual becomes a Gaussian with its images at both ends, and keeps its sum."""
    field = np.zeros(NUM_CELLS)
    place, width = 100, 0.08
    field[place] = 1.0
    at = (np.arange(NUM_CELLS) + 0.5) / NUM_CELLS
    images = sum(
        np.exp(-0.5 * ((at - image) / width) ** 2)
        for image in (at[place], -at[place], 2 - at[place])
    )
    expected = images / (width * np.sqrt(2 * np.pi)) / NUM_CELLS
    found = smooth(field, width)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.sum() == pytest.approx(1.0)


def test_one_signed_gap_is_its_own_error() -> None:
    rng = np.random.default_rng(2)
    residuals = -0.1 * rng.dirichlet(np.ones(NUM_CELLS))
    assert smooth_errors(residuals[None])[0] == pytest.approx(0.1, rel=1e-5)


def test_a_wave_is_damped_at_the_fixed_point() -> None:
    """Residual h cos(pi k t): sigma = h exp(-(pi k sigma)^2 / 2) times the mean of |cos|."""
    height, order = 0.3, 6
    at = (np.arange(NUM_CELLS) + 0.5) / NUM_CELLS
    residuals = height * np.cos(np.pi * order * at) / NUM_CELLS
    sigma = float(smooth_errors(residuals[None])[0])
    mean = integrate.quad(lambda t: abs(np.cos(np.pi * order * t)), 0, 1, limit=200)[0]
    expected = height * mean * np.exp(-0.5 * (np.pi * order * sigma) ** 2)
    assert sigma == pytest.approx(expected, rel=1e-4)


def test_nothing_off_is_no_error() -> None:
    assert smooth_errors(np.zeros((2, NUM_CELLS))).tolist() == [0.0, 0.0]


def test_cells_keep_every_bin_of_either_kind() -> None:
    from saltus.calibrate import errors

    rng = np.random.default_rng(3)
    confidence = np.round(rng.beta(2, 3, 5000), 3)  # many ties, and edges of bins
    correct = (rng.random(5000) < confidence).astype(float)
    cells = gather(confidence, correct)
    assert cells.rows == 5000
    assert (np.diff(cells.grid) >= 0).all() and (np.diff(cells.width_bin) >= 0).all()
    for bins, equal_mass in ((cells.width_bin, False), (cells.mass_bin, True)):
        ours = float(np.abs(cells.gather(cells.residuals, bins)).sum())
        assert ours == pytest.approx(
            errors.expected_calibration_error(confidence, correct, equal_mass=equal_mass)
        )
