"""Thresholds foretold from smaller sizes: simulated truth, and what is refused."""

from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from saltus.emerge.agreement import compare_methods, judge
from saltus.emerge.foretell import (
    FORETOLD_COLUMNS,
    PREDICTION_COLUMNS,
    Foretelling,
    foretell,
    foretell_table,
)
from saltus.emerge.roads import Ladder, Refusal, Road, text_loss_road, two_step
from saltus.emerge.sizelaw import aicc, fit_size_law
from saltus.emerge.textloss import lawful_text_losses
from saltus.emerge.threshold import threshold_along_scale
from saltus.errors import TableError
from saltus.law.forms import Chinchilla

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the simulation of the bench, whose folder is no package."""
    monkeypatch.syspath_prepend(str(BENCH))
    import foretell as module

    return module


def table_of(ladder: Ladder, task: str = "add_2") -> pd.DataFrame:
    """The columns of `scores` that a foretelling reads."""
    return pd.DataFrame(
        {
            "task": task,
            "arm": "plain",
            "params_nonembedding": ladder.params.astype(int),
            "horizon": ladder.horizon.astype(int),
            "target_nll": ladder.target_loss,
            "loss_text": ladder.text_loss,
            "successes": ladder.successes.astype(int),
            "items": ladder.trials.astype(int),
            "guess_rate": ladder.guess,
        }
    )


def test_threshold_intervals_cover_the_simulated_truth(bench: ModuleType) -> None:
    truth = bench.Truth(params=float(bench.SIZES[5] * 2), size_sd=0.1)
    found = bench.measure(truth, num_sizes=6, ladders=100)
    assert found["refused"] < 25
    assert found["threshold_covered"] >= 0.9
    assert found["accuracy_inside"] >= 0.9
    assert abs(found["threshold_bias_decades"]) < 0.05
    assert found["threshold_rms_decades"] < 0.2


def test_exact_ladder_gives_the_exact_threshold(bench: ModuleType) -> None:
    truth = bench.Truth(params=60_000.0, seed_sd=0.0)
    ladder = bench.simulate(truth, 0, items=10**9)
    seen = ladder.keep(ladder.params <= bench.SIZES[5])
    made = foretell(two_step, seen, bench.SIZES[6:])
    assert isinstance(made, Foretelling)
    assert made.log_threshold == pytest.approx(np.log10(truth.threshold()), abs=1e-3)
    np.testing.assert_allclose(made.predicted, truth.accuracy(bench.SIZES[6:]), atol=1e-3)
    assert made.log_low is not None and made.log_high is not None
    assert made.log_high - made.log_low < 0.01


def test_seeds_that_scatter_are_averaged_on_the_link(bench: ModuleType) -> None:
    truth = bench.Truth(params=float(bench.SIZES[5]), seed_sd=0.5)
    ladder = bench.simulate(truth, 1, num_seeds=400, items=5000)
    road = two_step(ladder.keep(ladder.params <= bench.SIZES[5]))
    assert isinstance(road, Road)
    np.testing.assert_allclose(
        road.accuracy(bench.SIZES[6:]), truth.accuracy(bench.SIZES[6:]), atol=0.02
    )


def test_nothing_above_the_cut_is_read(bench: ModuleType) -> None:
    ladder = bench.simulate(bench.Truth(params=20_000.0), 2)
    scores = table_of(ladder)
    above = scores["params_nonembedding"] > bench.SIZES[5]
    changed = scores.assign(
        successes=scores["successes"].mask(above, 0), target_nll=scores["target_nll"].mask(above, 9)
    )
    first, _ = foretell_table(scores)
    second, _ = foretell_table(changed)
    columns = ["predicted", "low", "high"]
    early = first["cut"] <= bench.SIZES[5]
    assert early.sum() == 5 * 4
    pd.testing.assert_frame_equal(first.loc[early, columns], second.loc[early, columns])


def test_tables_have_every_cut_method_and_size(bench: ModuleType) -> None:
    scores = table_of(bench.simulate(bench.Truth(params=20_000.0), 3))
    log_losses = np.log(np.linspace(5, 3, 8))
    predictions, thresholds = foretell_table(
        scores, lambda seen, at: np.exp(np.interp(np.log(at), np.log(bench.SIZES), log_losses))
    )
    assert tuple(predictions.columns) == PREDICTION_COLUMNS
    assert tuple(thresholds.columns) == FORETOLD_COLUMNS
    assert len(predictions) == 4 * (3 + 2 + 1)
    assert len(thresholds) == 3 * 3
    assert set(predictions["method"]) == {"two-step", "text loss", "curve", "repeat"}
    told = predictions[predictions["status"] == "predicted"]
    assert (told["low"] <= told["predicted"]).all() and (told["predicted"] <= told["high"]).all()
    np.testing.assert_allclose(told["error"], told["predicted"] - told["actual"])
    assert (predictions.loc[predictions["status"] == "refused", "reason"] != "").all()
    compared = compare_methods(predictions).set_index("method")
    assert (compared["predicted"] + compared["refused"] == 6).all()
    assert compared["common"].nunique() == 1
    assert np.isnan(compared.loc["repeat", "inside_share"])


def test_refusals_are_rows(bench: ModuleType) -> None:
    ladder = bench.simulate(bench.Truth(params=1e9), 4)
    predictions, thresholds = foretell_table(table_of(ladder))
    refused = thresholds[thresholds["status"] == "refused"]
    assert set(refused["method"]) >= {"two-step", "text loss"}
    assert refused["reason"].str.contains("leave guessing|text losses were given").any()
    assert (refused["verdict"] == "cannot say").all()
    assert predictions.groupby("method").size().nunique() == 1
    small = ladder.keep(ladder.params <= bench.SIZES[2])
    _, few = foretell_table(table_of(small))
    assert (few["status"] == "refused").all() and len(few) == 3
    with pytest.raises(TableError, match="target_nll"):
        foretell_table(table_of(ladder).drop(columns="target_nll"))


def test_law_of_size_recovers_either_form_and_five_sizes_allow_the_power_alone() -> None:
    params = 10.0 ** np.arange(2, 10, 0.5)
    noise = 0.005 * np.random.default_rng(0).normal(size=params.size)
    power = fit_size_law(params, np.log(40 * params**-0.3) + noise)
    assert not isinstance(power, str)
    assert power.form == "power"
    assert power.parameters["alpha"] == pytest.approx(0.3, abs=0.005)
    offset = fit_size_law(params, np.log(0.5 + 40 * params**-0.3) + noise)
    assert not isinstance(offset, str)
    assert offset.form == "offset"
    assert offset.parameters["E"] == pytest.approx(0.5, rel=0.05)
    few = fit_size_law(params[:5], np.log(0.5 + 40 * params[:5] ** -0.3))
    assert not isinstance(few, str)
    assert few.form == "power"
    assert isinstance(fit_size_law(params[:4], np.log(params[:4])), str)
    assert aicc(2.0, 5, 4) is None
    assert aicc(2.0, 10, 3) == pytest.approx(10 * np.log(0.2) + 6 + 2 * 3 * 4 / 6)


def test_text_losses_of_the_law_are_those_of_its_own_sizes() -> None:
    params = np.array([1e3, 3e3, 1e4, 3e4, 1e5, 3e5])
    size, tokens = (axis.ravel() for axis in np.meshgrid(params, [1e5, 4e5, 16e5, 64e5]))
    truth = {"E": 1.5, "A": 40.0, "alpha": 0.35, "B": 200.0, "beta": 0.4}
    loss = Chinchilla().predict(truth, {"N": size + 2000, "D": tokens})
    runs = pd.DataFrame(
        {"params_nonembedding": size, "params_total": size + 2000, "tokens": tokens,
         "horizon": tokens, "loss_text": loss}
    )  # fmt: skip
    predict = lawful_text_losses(runs)
    told = predict(tuple(params[:5]), params[5:])
    assert not isinstance(told, str)
    np.testing.assert_allclose(told, loss[(size == 3e5) & (tokens == 64e5)], rtol=1e-4)
    assert isinstance(predict(tuple(params[:2]), params[5:]), str)


def test_road_through_text_loss_refits_the_law_with_the_link(bench: ModuleType) -> None:
    ladder = bench.simulate(bench.Truth(params=30_000.0, seed_sd=0.02), 5)
    asked: list[tuple[float, ...]] = []
    log_loss = [
        np.log(ladder.longest.text_loss[ladder.longest.params == s].mean()) for s in bench.SIZES
    ]

    def losses(seen: tuple[float, ...], at: np.ndarray) -> np.ndarray:
        asked.append(seen)
        return np.exp(np.interp(np.log(at), np.log(bench.SIZES), log_loss))

    seen = ladder.keep(ladder.params <= bench.SIZES[5])
    made = foretell(text_loss_road(losses), seen, bench.SIZES[6:])
    assert isinstance(made, Foretelling)
    assert {len(sizes) for sizes in asked} == {5, 6}
    np.testing.assert_allclose(made.predicted, ladder.longest.means()[6:], atol=0.08)
    refused = foretell(text_loss_road(lambda seen, at: "no law"), seen, bench.SIZES[6:])
    assert refused == Refusal("no law")


def test_a_refit_that_never_crosses_opens_either_end(bench: ModuleType) -> None:
    """Its threshold is no number: the spread of the others alone would be an understatement."""
    ladder = bench.simulate(bench.Truth(params=30_000.0), 0)
    largest = ladder.sizes[-1]

    def road(top: float, seen: Ladder, like: Road | None = None) -> Road:
        reached = 1.0 if like is None or largest in seen.params else top

        def accuracy(params: np.ndarray) -> np.ndarray:
            shift = 0.05 * seen.sizes.size
            return reached / (1 + np.exp(-4 * (np.log10(params) - 4.5 - shift)))

        return Road(accuracy, "made up", 3)

    crosses = foretell(partial(road, 0.9), ladder, np.array([1e6]))
    never = foretell(partial(road, 0.4), ladder, np.array([1e6]))
    assert isinstance(crosses, Foretelling) and isinstance(never, Foretelling)
    assert crosses.log_threshold == never.log_threshold is not None
    assert crosses.num_lost == 0 and crosses.log_low is not None and crosses.log_high is not None
    assert never.num_lost == 1 and never.log_low is None and never.log_high is None
    assert np.isfinite(never.low).all()


def test_a_refit_that_crosses_out_of_reach_still_counts_by_its_value(bench: ModuleType) -> None:
    ladder = bench.simulate(bench.Truth(params=30_000.0), 0)
    largest = ladder.sizes[-1]

    def road(seen: Ladder, like: Road | None = None) -> Road:
        at = 5.0 if like is None or largest in seen.params else 7.3
        return Road(lambda params: 1 / (1 + np.exp(-4 * (np.log10(params) - at))), "made up", 100)

    made = foretell(road, ladder, np.array([1e6]))
    assert isinstance(made, Foretelling) and made.num_lost == 0
    assert made.log_range[1] == pytest.approx(7.2)
    low = 5.0 - stats.t.ppf(0.975, 100) * 2.3 * 7 / 8
    assert made.log_low == pytest.approx(low, abs=0.01) and made.log_high is None


def test_verdicts() -> None:
    sizes = np.repeat(10 ** np.linspace(3, 5, 8), 5)
    share = 1 / (1 + np.exp(-(np.log10(sizes) - 4) / 0.1))
    actual = threshold_along_scale(sizes, np.round(500 * share), np.full(40, 500), 0.0)
    assert actual.status == "crossed"
    assert judge(1e4, 5e3, 2e4, actual, False)["verdict"] == "agree"
    assert judge(1e5, 6e4, 2e5, actual, False)["verdict"] == "disagree"
    assert judge(1e4, 1e3, 2e5, actual, False)["verdict"] == "cannot say"
    assert judge(None, None, None, actual, False)["verdict"] == "cannot say"
    assert judge(1e6, 2e5, None, actual, False)["verdict"] == "disagree"
    never = threshold_along_scale(sizes, np.zeros(40), np.full(40, 500), 0.0)
    assert never.status == "above largest"
    assert judge(1e6, 2e5, None, never, False)["verdict"] == "agree"
    assert judge(1e6, 5e2, 7e2, never, False)["verdict"] == "disagree"
    assert "no foretelling" in str(judge(1e4, 5e3, 2e4, actual, True)["verdict_text"])
