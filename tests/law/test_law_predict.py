"""The prediction of the largest size where unique tokens are known of some horizons only."""

import json
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from saltus.errors import TableError
from saltus.law.forms import Chinchilla
from saltus.law.heldout import score_prediction
from saltus.law.predict import predict_largest, without_largest
from saltus.law.runs import unique_tokens, usable_runs

MakeRuns = Callable[..., pd.DataFrame]
LAW = {"E": 1.7, "A": 20.0, "B": 300.0, "alpha": 0.31, "beta": 0.42}


class Unique(Chinchilla):
    """Chinchilla's law of unique tokens: a form that asks for U and is soon fitted."""

    name: ClassVar[str] = "unique"

    @property
    def terms(self) -> tuple[tuple[str, str, str], ...]:
        return (("A", "alpha", "N"), ("B", "beta", "U"))


@pytest.fixture
def repeated(make_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Return runs whose losses follow the unique tokens: of the longer horizons ever fewer."""
    monkeypatch.setattr("saltus.law.choice.CANDIDATES", (Unique(),))
    runs = make_runs(sizes=7, seeds=2, horizons=6)
    unique = (runs["tokens"].astype(float) ** 0.9).astype(int)
    clean = Unique().predict(LAW, {"N": runs["params_total"], "U": unique})
    noise = np.random.default_rng(0).normal(0, 0.004, len(runs))
    return runs.assign(
        tokens_text=runs["tokens"], tokens_unique=unique, loss_text=clean * np.exp(noise)
    )


def foretold(runs: pd.DataFrame, cut_off: int) -> dict[str, Any]:
    target = without_largest(runs)[1]
    smaller = without_largest(usable_runs(runs, cut_off)[0])[0]
    return predict_largest(smaller, target, minimum_tokens=cut_off)


def test_unique_tokens_are_asked_for_where_it_is_scored_alone(repeated: pd.DataFrame) -> None:
    horizons = sorted(int(value) for value in repeated["tokens"].unique())
    told = foretold(repeated, horizons[2])
    json.dumps(told, allow_nan=False)
    assert told["form"] == "unique" and told["comparison"]["forms"][0]["reason"] == ""
    assert [loss["tokens"] for loss in told["losses"]] == horizons
    for loss in told["losses"][:2]:
        assert not loss["scored"]
        assert loss["predicted"] is loss["low"] is loss["high"] is None
    for loss in told["losses"][2:]:
        assert loss["scored"] and loss["low"] < loss["predicted"] < loss["high"]
    held = score_prediction(told, usable_runs(repeated, horizons[2])[0])
    assert len(held["rows"]) == 2 * 4 and held["mean_absolute_error_percent"] < 2
    whole = foretold(repeated, 0)
    assert all(loss["predicted"] is not None for loss in whole["losses"])
    with pytest.raises(TableError, match=f"no horizon of {horizons[0]} tokens"):
        score_prediction({**told, "rows_sha256": whole["rows_sha256"]}, repeated)


def test_the_reason_for_want_of_unique_tokens_is_the_true_one(repeated: pd.DataFrame) -> None:
    def reason(runs: pd.DataFrame, cut_off: int = 0) -> str:
        told = foretold(runs, cut_off)
        assert told["status"] == "no form chosen" and told["losses"] == []
        return str(told["comparison"]["forms"][0]["reason"])

    longest = int(repeated["tokens"].max())
    largest = repeated["size"] == "s6"
    unseen = repeated[largest | (repeated["tokens"] < longest)]
    assert reason(unseen) == f"needs U, not known at {longest:,} tokens"
    without = repeated.drop(columns="tokens_unique")
    assert reason(without) == "needs U, which the table lacks"
    once = repeated.assign(tokens_unique=repeated["tokens_text"])
    assert reason(once) == "no row below the cut repeats a token"
    gap = repeated.assign(tokens_unique=repeated["tokens_unique"].astype(float))
    gap.loc[gap["tokens"] == longest, "tokens_unique"] = np.nan
    assert longest not in unique_tokens(gap) and len(unique_tokens(gap)) == 5
    assert reason(gap) == f"needs U, not known at {longest:,} tokens"
