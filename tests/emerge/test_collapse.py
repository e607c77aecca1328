"""Collapse on the loss axis: a shift of known size is found, and its absence is not invented."""

import numpy as np
import pytest

from saltus.emerge.collapse import Collapse, collapse, settle, size_shift
from saltus.emerge.link import fit_link
from saltus.emerge.logistic import Runs, evaluate
from saltus.emerge.verdict import holm

THETA = np.array([[3.6, np.log(5.0), 0.02, 1.0]])


def simulated(seed: int, shift: float, size_sd: float = 0.0) -> tuple[Runs, np.ndarray]:
    """Eight sizes x 5 seeds x 5 horizons; a tenfold size is worth `shift` nats; trunks scatter."""
    rng = np.random.default_rng(seed)
    log_size = np.linspace(2.7, 5.2, 8)
    size, trunk, horizon = (
        axis.ravel() for axis in np.meshgrid(range(8), range(5), range(5), indexing="ij")
    )
    loss = 5.4 - 0.35 * horizon - 0.16 * size * horizon / 4 + 0.03 * rng.normal(size=200)
    off = 0.08 * rng.normal(size=(8, 5))[size, trunk] + size_sd * rng.normal(size=8)[size]
    effective = loss - shift * (log_size[size] - 4) + off
    successes = rng.binomial(300, evaluate(THETA, effective)[0][0])
    runs = Runs(loss, successes.astype(float), np.full(200, 300.0), 10 ** log_size[size], 0.02)
    return runs, trunk.astype(float)


def test_a_shift_is_recovered_and_named() -> None:
    found = collapse(*simulated(0, shift=-0.25))
    assert found.status == "fitted"
    assert found.shift == pytest.approx(-0.25, abs=0.08)
    assert found.shift_high is not None and found.shift_high < 0
    assert found.p_value is not None and found.p_value < 0.05
    assert "no full collapse" in found.sentence
    assert found.size_share is not None and found.size_share > 0.2


def test_one_curve_for_all_sizes_is_recognised() -> None:
    found = [collapse(*simulated(seed, shift=0.0), draws=199) for seed in range(5)]
    assert all(one.share_pooled is not None and one.share_pooled > 0.9 for one in found)
    tested = [one.p_value for one in found if one.p_value is not None]
    assert len(tested) == 5 and sum(p < 0.05 for p in tested) <= 1
    ends = [
        (one.shift_low, one.shift_high)
        for one in found
        if one.shift_low is not None and one.shift_high is not None
    ]
    assert len(ends) == 5 and sum(low <= 0 <= high for low, high in ends) >= 4
    assert sum("no difference of sizes is seen" in one.sentence for one in found) >= 3


def test_shares_and_residuals_agree_with_their_definitions() -> None:
    runs, trunks = simulated(3, shift=-0.1)
    found = collapse(runs, trunks, draws=99)
    share = runs.successes / runs.trials
    assert found.rms_pooled is not None and found.share_pooled is not None
    assert found.rms_per_size is not None and found.size_share is not None
    assert found.share_pooled == pytest.approx(1 - found.rms_pooled**2 / share.var())
    assert found.size_share == pytest.approx(1 - (found.rms_per_size / found.rms_pooled) ** 2)
    assert found.rms_per_size < found.rms_pooled
    assert (found.num_runs, found.num_trunks, found.num_sizes) == (200, 40, 8)


def test_too_little_is_refused_with_a_reason() -> None:
    runs, trunks = simulated(0, shift=0.0)
    few = runs.size <= runs.sizes[2]
    refused = collapse(runs.keep(few), trunks[few])
    assert refused.status == "refused" and "3 sizes" in refused.reason
    assert refused.shift is None and refused.sentence.startswith("Collapse not tested")


def test_four_sizes_have_a_p_value_and_a_shift_without_interval() -> None:
    runs, trunks = simulated(1, shift=0.0)
    four = np.isin(runs.size, runs.sizes[[1, 3, 5, 7]])
    found = collapse(runs.keep(four), trunks[four], draws=99)
    assert found.status == "fitted" and found.p_value is not None and found.shift is not None
    assert found.shift_low is None and "4 sizes, 5 are needed" in found.reason
    assert f"(p {found.p_adjusted:.3f})" in found.sentence and found.reason in found.sentence
    assert "could not be tested" not in found.sentence


def test_one_trunk_a_size_has_a_shift_and_no_p_value() -> None:
    runs, trunks = simulated(2, shift=0.0)
    found = collapse(runs.keep(trunks == 0), trunks[trunks == 0])
    assert found.p_value is None and found.p_adjusted is None and found.shift_low is not None
    assert "no size has two trunks" in found.sentence or "no full collapse" in found.sentence


def test_a_shift_at_the_edge_of_the_search_is_none() -> None:
    """Sizes that never meet in loss: more nats per decade than all losses span fit best."""
    rng = np.random.default_rng(0)
    size = np.repeat(10.0 ** np.arange(3, 8), 10)
    loss = 4 + 0.01 * rng.random(50) + np.tile(np.linspace(0, 0.05, 10), 5)
    effective = loss - 3 * (np.log10(size) - 5)
    hits = rng.binomial(300, evaluate(np.array([[4.0, 0.5, 0.02, 1.0]]), effective)[0][0])
    runs = Runs(loss, hits.astype(float), np.full(50, 300.0), size, 0.02)
    found = size_shift(runs, fit_link(runs))
    assert found.value is None and found.low is None and "not within" in found.reason


def test_p_values_of_a_study_are_adjusted_by_holm() -> None:
    parts = {
        "rms_pooled": 0.1, "share_pooled": 0.9, "size_share": 0.2, "shift": 0.0,
        "shift_low": -1.0, "shift_high": 1.0,
    }  # fmt: skip
    values = [0.02, None, 0.03, 0.001]
    made = [
        Collapse("fitted", "", "", 40, 20, 8, p_value=value, **parts)  # type: ignore[arg-type]
        for value in values
    ]
    refused = Collapse("refused", "few", "Collapse not tested: few.", 4, 2, 1)
    found = settle([*made, refused])
    adjusted = [each.p_adjusted for each in found]
    assert adjusted == [pytest.approx(0.04), None, pytest.approx(0.04), 0.003, None]
    assert adjusted[0] == holm([0.02, 0.03, 0.001])[0]
    assert found[4] == refused
    assert "sizes differ (p 0.003)" in found[3].sentence
    lone = settle([made[0]])[0]
    assert lone.p_adjusted == 0.02
