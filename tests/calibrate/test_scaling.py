"""Calibration along scale: slopes against SciPy, lags against curves whose crossings are known."""

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from saltus.calibrate.scaling import ERRORS, lag_of, slope_of, summarise_scaling
from saltus.errors import TableError


def rows_of(accuracy: np.ndarray, confidence: np.ndarray, seeds: int = 1) -> pd.DataFrame:
    """Rows by run of sizes 10^3, 10^3.5, …, all seeds alike."""
    count = len(accuracy)
    return pd.DataFrame(
        {
            "run": [f"s{i}-{k}" for i in range(count) for k in range(seeds)],
            "size": np.repeat([f"s{i}" for i in range(count)], seeds),
            "horizon": 1,
            "params_nonembedding": np.repeat(10 ** (3 + 0.5 * np.arange(count)), seeds),
            "loss_text": np.repeat(5 - 0.3 * np.arange(count), seeds),
            "level": "answer",
            "tempered": False,
            "accuracy": np.repeat(accuracy, seeds),
            "confidence": np.repeat(confidence, seeds),
        }
    ).assign(overconfidence=lambda each: each["confidence"] - each["accuracy"])


def test_the_slope_and_its_interval_are_those_of_scipy_and_the_jackknife() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.02, 7)
    rows = rows_of(np.full(7, 0.5), 0.5 + 0.06 * np.arange(7) / 2 + noise)
    found = slope_of(rows, "params_nonembedding", "overconfidence", logarithmic=True)
    x, y = np.log10(rows["params_nonembedding"]), rows["overconfidence"].to_numpy()
    assert found["slope"] == pytest.approx(stats.linregress(x, y).slope)
    parts = np.array([stats.linregress(np.delete(x, s), np.delete(y, s)).slope for s in range(7)])
    error = np.sqrt(6 / 7 * ((parts - parts.mean()) ** 2).sum())
    half = (found["high"] - found["low"]) / 2
    assert half == pytest.approx(stats.t.ppf(0.975, 5) * error, rel=0.05)
    assert found["low"] < 0.06 < found["high"]


def test_a_slope_needs_four_sizes_and_says_so() -> None:
    rows = rows_of(np.array([0.1, 0.2, 0.3]), np.array([0.1, 0.2, 0.4]))
    found = slope_of(rows, "loss_text", "overconfidence", logarithmic=False)
    assert found["slope"] is None and "3 sizes" in found["reason"]


@pytest.mark.parametrize("lag", [-0.4, 0.0, 0.25])
def test_the_lag_between_known_curves_is_found(lag: float) -> None:
    x = 3 + 0.5 * np.arange(8)
    curves = [special.expit((x - 4.8 - shift) / 0.4) for shift in (0, lag)]
    found = lag_of(rows_of(*curves, seeds=2))
    assert found["lag"] == pytest.approx(lag, abs=0.05)
    assert found["low"] <= lag <= found["high"]
    assert np.log10(found["accuracy_at"]) == pytest.approx(4.8, abs=0.05)
    gone = np.log10(found["confidence_at"]) - np.log10(found["accuracy_at"])
    assert gone == pytest.approx(found["lag"])


@pytest.mark.parametrize(
    ("accuracy", "confidence", "said"),
    [
        ([0.1, 0.12, 0.15, 0.2, 0.22], [0.1, 0.1, 0.2, 0.2, 0.3], "accuracy spans 0.12"),
        ([0.0, 0.0, 0.5, 0.9, 1.0], [0.0, 0.1, 0.1, 0.2, 0.3], "stays below 0.50"),
        ([0.0, 0.0, 0.5, 0.9, 1.0], [0.6, 0.7, 0.7, 0.8, 0.9], "stays above 0.50"),
        ([0.0, 0.5, 1.0], [0.0, 0.5, 1.0], "3 sizes"),
    ],
)
def test_a_lag_that_cannot_be_read_has_a_reason(
    accuracy: list[float], confidence: list[float], said: str
) -> None:
    found = lag_of(rows_of(np.array(accuracy), np.array(confidence)))
    assert found["lag"] is None and found["low"] is None and said in found["reason"]


def test_every_error_has_a_slope_along_every_axis_of_the_table() -> None:
    rows = rows_of(np.linspace(0, 1, 6), np.linspace(0.1, 0.8, 6), seeds=2)
    rows = rows.assign(**{name: 0.1 for name in ERRORS if name not in rows.columns})
    runs = rows[["run"]].assign(flops_exact=rows["params_nonembedding"] ** 2)
    found = summarise_scaling(rows, runs)
    axes = {(each["axis"], each["error"]) for each in found["slopes"]}
    assert axes == {
        (axis, error)
        for axis in ("params_nonembedding", "flops_exact", "loss_text") for error in ERRORS
    }  # fmt: skip
    per = {each["axis"]: each["slope"] for each in found["slopes"] if
           each["error"] == "overconfidence"}  # fmt: skip
    assert per["params_nonembedding"] == pytest.approx(2 * per["flops_exact"])
    assert len(found["lags"]) == 1
    with pytest.raises(TableError, match="smooth_ece"):
        summarise_scaling(rows.drop(columns="smooth_ece"), runs)
