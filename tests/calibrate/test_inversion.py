"""Test inversion: floors of METHODS, coverage on simulated tables, and what moves the ends."""

import numpy as np
import pytest

from saltus.calibrate.cells import Cells, gather
from saltus.calibrate.clusters import Clustering
from saltus.calibrate.inversion import absolute_errors
from saltus.calibrate.smooth import smooth_errors

NAMES = ("ece", "ece_equal_mass", "smooth_ece")
ALL = (*NAMES, "over_error")


def truths(cells: Cells, rate: np.ndarray) -> dict[str, float]:
    """The errors of the population at these confidences, right with probability `rate`."""
    off = (np.bincount(cells.cell, rate) - cells.confidence) / cells.rows
    width, rows = (cells.gather(each, cells.width_bin) for each in (off, cells.count))
    confidence = cells.gather(cells.confidence, cells.width_bin) / np.maximum(rows, 1)
    return {
        "over_error": float(confidence @ np.maximum(-width, 0)),
        "ece": float(np.abs(cells.gather(off, cells.width_bin)).sum()),
        "ece_equal_mass": float(np.abs(cells.gather(off, cells.mass_bin)).sum()),
        "smooth_ece": float(smooth_errors(cells.on_grid(off)[None])[0]),
    }


@pytest.mark.parametrize(
    ("shape", "n", "floor"),
    [((1, 1), 300, 0.071), ((1, 1), 3000, 0.023), ((8, 2), 1000, 0.027), ((8, 2), 10000, 0.009)],
)
def test_floor_of_a_calibrated_model(shape: tuple[int, int], n: int, floor: float) -> None:
    rng = np.random.default_rng(0)
    confidence = rng.beta(*shape, n)
    found = absolute_errors(gather(confidence, rng.random(n) < confidence))
    assert found.floors["ece"] == pytest.approx(floor, abs=0.002)


@pytest.mark.parametrize("kind", ["kept", "shift", "wave", "bin"])
def test_intervals_cover(kind: str) -> None:
    """60 tables of 600 rows; nominal .95."""
    rng = np.random.default_rng(4)
    held = dict.fromkeys(ALL, 0)
    for trial in range(60):
        confidence = rng.beta(4, 2, 600)
        gap = {
            "kept": 0 * confidence,
            "shift": 0.05 + 0 * confidence,
            "wave": 0.15 * np.sin(4 * np.pi * confidence),
            "bin": 0.2 * ((confidence > 0.6) & (confidence < 0.7333)),
        }[kind]
        rate = np.clip(confidence - gap, 0, 1)
        cells = gather(confidence, rng.random(600) < rate)
        found, truth = absolute_errors(cells, draws=200, seed=trial), truths(cells, rate)
        for name in ALL:
            ends = found.intervals[name]
            held[name] += ends.low - 1e-9 <= truth[name] <= ends.high + 1e-9
    assert min(held.values()) >= 52, held


def test_clusters_widen_the_interval_and_not_the_floor() -> None:
    rng = np.random.default_rng(5)
    confidence = rng.random(1000)
    cells = gather(confidence, rng.random(1000) < np.clip(confidence - 0.15, 0, 1))
    alone, together = absolute_errors(cells), absolute_errors(cells, Clustering(4.0))
    assert together.floors == alone.floors
    for name in NAMES:
        ours, theirs = together.intervals[name], alone.intervals[name]
        assert ours.high - ours.low > 1.4 * (theirs.high - theirs.low)


def test_an_error_below_what_noise_gives_is_at_most_small() -> None:
    """Every bin right as often as it says, exactly: fewer gaps than luck would leave."""
    confidence = np.repeat([0.25, 0.5, 0.75], 400)
    correct = np.concatenate([np.arange(400) < share * 400 for share in (0.25, 0.5, 0.75)])
    found = absolute_errors(gather(confidence, correct))
    assert found.errors["ece"] == pytest.approx(0)
    for name in NAMES:
        assert found.intervals[name].low == 0
        assert found.intervals[name].high < 0.03
