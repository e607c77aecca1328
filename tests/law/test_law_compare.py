"""Forms compared by prediction: the right one wins, and the largest size decides nothing."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from saltus.errors import TableError
from saltus.law.choice import CANDIDATES, GIVEN, MIDDLE, choose_form, middle_of_compute
from saltus.law.compare import Comparison, compare_forms
from saltus.law.forecast import Score, repeat, rows_of
from saltus.law.forms import Chinchilla, DataConstrained, Form, Kaplan, OuterExponent

TRUTHS: dict[str, tuple[Form, dict[str, float]]] = {
    "chinchilla": (
        Chinchilla(), {"E": 1.7, "A": 20.0, "B": 300.0, "alpha": 0.31, "beta": 0.42},
    ),
    "kaplan": (Kaplan(), {"N_c": 1e12, "D_c": 3e9, "alpha_N": 0.08, "alpha_D": 0.16}),
}  # fmt: skip
PAIR = (Chinchilla(), Kaplan())


@dataclass(frozen=True)
class Ladder:
    table: dict[str, np.ndarray]
    loss: np.ndarray
    sizes: list[str]
    replicas: list[tuple[str, int]]

    def compare(self, loss: np.ndarray | None = None, **options: Any) -> Comparison:
        used = self.loss if loss is None else loss
        return compare_forms(self.table, used, self.sizes, self.replicas, **options)


def ladder(
    truth: str = "chinchilla", sizes: int = 8, seeds: int = 2, horizons: int = 5, seed: int = 0
) -> Ladder:
    """Draw losses from a law with .4 % of noise common to a replica and as much of each row."""
    generator = np.random.default_rng(seed)
    form, parameters = TRUTHS[truth]
    cells = [
        (n, d, f"s{i}", s)
        for i, n in enumerate(np.geomspace(1e4, 3e6, sizes))
        for s in range(seeds)
        for d in np.geomspace(1e6, 256e6, horizons)
    ]
    table = {"N": np.array([c[0] for c in cells]), "D": np.array([c[1] for c in cells])}
    replicas = [(c[2], c[3]) for c in cells]
    common = {replica: generator.normal(0, 0.004) for replica in dict.fromkeys(replicas)}
    noise = np.array([common[replica] for replica in replicas])
    noise += generator.normal(0, 0.004, len(cells))
    loss = form.predict(parameters, table) * np.exp(noise)
    return Ladder(table, loss, [c[2] for c in cells], replicas)


@pytest.mark.parametrize("truth", TRUTHS)
def test_the_form_that_made_the_losses_predicts_best(truth: str) -> None:
    found = ladder(truth).compare(forms=PAIR)
    errors = {
        trial.form.name: trial.score.mean_absolute_error_percent
        for trial in found.choice.trials
        if trial.score is not None
    }
    assert min(errors, key=errors.__getitem__) == truth  # type: ignore[arg-type]
    assert found.choice.form is not None and found.choice.form.name == truth
    assert found.score is not None and found.largest == "s7"
    error, baseline = found.score.mean_absolute_error_percent, found.score.baseline_error_percent
    assert error is not None and baseline is not None and error < 2 and error < baseline
    assert len(found.score.actual) == 2 * 5


def test_intervals_cover_above_the_cut_and_at_the_largest_size() -> None:
    """Over six ladders of the right form: nominal 95 %, and never so wide as to say nothing."""
    shares, held, widths = [], [], []
    for seed in range(6):
        found = ladder(seed=seed).compare(forms=(Chinchilla(),))
        score, above = found.score, found.choice.trials[0].score
        assert score is not None and above is not None and score.low is not None
        assert score.high is not None
        shares.append(above.inside_share)
        held.append(score.inside_share)
        widths.append(np.max(score.high / score.low - 1))
    assert np.mean(shares) > 0.85 and np.mean(held) > 0.85
    assert np.median(widths) < 0.2


def test_the_largest_size_decides_nothing_but_the_score() -> None:
    drawn = ladder("kaplan")
    largest = np.array(drawn.sizes) == "s7"
    first = drawn.compare(forms=PAIR)
    changed = drawn.loss.copy()
    changed[largest] = np.random.default_rng(1).permutation(changed[largest]) * 3
    second = drawn.compare(changed, forms=PAIR)
    assert first.choice.to_dict() == second.choice.to_dict()
    assert first.made is not None and second.made is not None
    assert np.array_equal(first.made.predicted, second.made.predicted)
    assert first.made.fitted.parameters == second.made.fitted.parameters
    assert first.to_dict()["largest"] != second.to_dict()["largest"]


def test_only_certified_fits_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = ladder("kaplan")
    name = "saltus.law.choice.Trial.converged"
    monkeypatch.setattr(name, property(lambda trial: trial.form.name != "kaplan"))
    second = drawn.compare(forms=PAIR).choice
    assert second.form == Chinchilla()
    errors = [trial.to_dict()["mean_absolute_error_percent"] for trial in second.trials]
    assert errors[1] < errors[0]
    monkeypatch.setattr(name, property(lambda _: False))
    none = drawn.compare(forms=PAIR)
    assert none.choice.form is None and none.made is None and none.score is None
    assert "no form was both tested and certified as converged" in none.choice.reason
    told = none.to_dict()
    assert told["chosen"] is None and told["largest"]["mean_absolute_error_percent"] is None
    json.dumps(told, allow_nan=False)


def test_everything_is_json_and_counted() -> None:
    drawn = ladder(sizes=6, horizons=4)
    told = json.loads(json.dumps(drawn.compare(forms=CANDIDATES).to_dict(), allow_nan=False))
    assert told["rows_below"] + told["rows_above"] == 5 * 2 * 4
    assert told["cut_rule"] == MIDDLE
    assert told["cut_range"][0] < told["cut"] < told["cut_range"][1]
    names = [trial["form"] for trial in told["forms"]]
    assert names == ["chinchilla", "kaplan", "outer", "over-training", "data-constrained"]
    tested = [trial for trial in told["forms"] if trial["status"] == "tested"]
    assert len(tested) == 4
    for trial in tested:
        assert trial["mean_absolute_error_percent"] > 0 and trial["rms_percent"] > 0
        assert trial["certificate"]["status"] in ("converged", "boundary", "flat", "failed")
    chosen = next(trial for trial in tested if trial["form"] == told["chosen"])
    others = [trial for trial in tested if trial["certificate"]["status"] == "converged"]
    assert chosen in others
    assert all(
        chosen["mean_absolute_error_percent"] <= trial["mean_absolute_error_percent"]
        for trial in others
    )
    assert told["forms"][4]["status"] == "refused"
    assert told["forms"][4]["reason"] == "needs U, which the table lacks"


@pytest.mark.parametrize(
    ("sizes", "horizons", "form", "reason"),
    [
        (3, 5, Chinchilla(), "2 sizes below the cut, needs 3"),
        (4, 1, Chinchilla(), "2 sizes below the cut, needs 3"),
        (6, 2, OuterExponent(), "5 points (N, D) below the cut for 6 parameters"),
    ],
)
def test_forms_with_too_little_are_refused(
    sizes: int, horizons: int, form: Form, reason: str
) -> None:
    found = ladder(sizes=sizes, horizons=horizons).compare(forms=(form,))
    assert [trial.reason for trial in found.choice.trials] == [reason]
    assert found.choice.form is None and found.score is None
    assert f"{form.name}: {reason}" in found.choice.reason
    json.dumps(found.to_dict(), allow_nan=False)


def test_rows_on_both_sides_are_needed() -> None:
    drawn = ladder()
    flops = 6 * drawn.table["N"] * drawn.table["D"]
    nothing = drawn.compare(forms=PAIR, cut=float(flops.max()))
    assert {trial.reason for trial in nothing.choice.trials} == {"0 rows above the cut, needs 3"}
    assert nothing.choice.rule == GIVEN
    below = np.sort(flops)[5]
    few = drawn.compare(forms=(Chinchilla(),), cut=float(below))
    assert "below the cut" in few.choice.trials[0].reason
    with pytest.raises(TableError, match="positive amount of compute"):
        drawn.compare(forms=PAIR, cut=-1.0)


def test_repeated_tokens_are_asked_for_before_their_law() -> None:
    drawn = ladder(sizes=5, horizons=3)
    once = {**drawn.table, "U": drawn.table["D"]}
    found = compare_forms(once, drawn.loss, drawn.sizes, forms=(DataConstrained(),))
    assert found.choice.trials[0].reason == "no row below the cut repeats a token"


def test_three_sizes_below_predict_without_an_interval() -> None:
    drawn = ladder("kaplan", sizes=4, horizons=6)
    found = drawn.compare(forms=(Kaplan(),))
    trial = found.choice.trials[0]
    assert trial.score is not None and trial.score.inside_share is None
    assert "without an interval" in trial.reason
    assert found.made is not None and found.made.low is None


def test_a_table_from_outside_needs_n_d_and_loss_alone() -> None:
    drawn = ladder("kaplan")
    found = compare_forms(drawn.table, drawn.loss, forms=(Kaplan(),))
    assert found.largest == f"{drawn.table['N'].max():.17g}"
    assert found.choice.to_dict()["sizes_below"] <= 7
    told = drawn.compare(forms=(Kaplan(),))
    assert found.made is not None and told.made is not None
    assert found.made.fitted.parameters == told.made.fitted.parameters
    with pytest.raises(TableError, match="needs variable D"):
        compare_forms({"N": drawn.table["N"]}, drawn.loss)
    with pytest.raises(TableError, match="loss is -1"):
        compare_forms(drawn.table, np.where(drawn.loss == drawn.loss[3], -1.0, drawn.loss))
    with pytest.raises(TableError, match="expected 80, as rows"):
        compare_forms(drawn.table, drawn.loss, ["a"])
    with pytest.raises(TableError, match="needs rows"):
        compare_forms({"N": [], "D": []}, [])


def test_the_default_cut_depends_on_the_ends_of_the_design_alone() -> None:
    drawn = ladder()
    rows = rows_of(drawn.table, drawn.loss, drawn.sizes, drawn.replicas)
    ends = rows.flops.min(), rows.flops.max()
    assert middle_of_compute(rows.flops) == pytest.approx(np.sqrt(ends[0] * ends[1]))
    thinned = rows.where((np.arange(len(rows)) % 3 == 0) | np.isin(rows.flops, ends))
    assert middle_of_compute(thinned.flops) == middle_of_compute(rows.flops)
    assert choose_form(rows, forms=(Kaplan(),)).cut == middle_of_compute(rows.flops)


def test_a_score_is_what_it_says() -> None:
    actual = np.array([2.0, 4.0])
    score = Score(np.array([2.2, 3.8]), actual - 0.1, actual + 0.3, actual, np.array([3.0, np.nan]))
    assert score.error_percent == pytest.approx([10, -5])
    assert score.mean_absolute_error_percent == pytest.approx(7.5)
    assert score.inside_share == 1.0
    assert score.baseline_error_percent is None and score.baseline_percent[0] == pytest.approx(50)
    means = repeat(np.array([1.0, 1, 2]), np.array([3.0, 5, 7]), np.array([2.0, 1, 9]))
    assert means[:2].tolist() == [7, 4] and np.isnan(means[2])
