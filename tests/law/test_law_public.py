"""Known answers from published tables, where they are at hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from saltus.law.criterion import Criterion, Loss, Residual
from saltus.law.forms import Chinchilla
from saltus.law.jackknife import jackknife
from saltus.law.solve import Fit, fit

PUBLIC = Path(__file__).parents[2].parent / "shared" / "public-runs"
LOSS = "c4_en-validation/CrossEntropyLoss"


def ladder() -> tuple[pd.DataFrame, pd.DataFrame]:
    path = PUBLIC / "allenai_OLMo-ladder" / "ladder_final_movavg5.csv"
    if not path.exists():
        pytest.skip("the public tables are not beside the repository (../shared/public-runs)")
    table = pd.read_csv(path)
    return table[table["mode"] == "train"], table[table["mode"] != "train"]


def fit_ladder(table: pd.DataFrame) -> Fit:
    return fit(Chinchilla(), table[["N", "D"]].to_dict("series"), table[LOSS])


def test_the_olmo_ladder_has_its_known_law() -> None:
    train, held = ladder()
    fitted = fit_ladder(train)
    assert len(train) == 16
    assert fitted.certificate.status == "converged"
    assert fitted.certificate.agreeing >= 12
    assert fitted.certificate.distinct_minima >= 1
    expected = {"A": 12.483, "B": 33.477, "alpha": 0.1036, "beta": 0.1620, "E": 0.9344}
    for name, value in expected.items():
        assert fitted.parameters[name] == pytest.approx(value, rel=5e-4), name
    row = held[held["run"] == "13B-5T"] if "13B-5T" in set(held["run"]) else held.tail(1)
    predicted = fitted.predict(row[["N", "D"]].to_dict("series"))
    assert predicted[0] == pytest.approx(2.344387, abs=1e-6)
    assert 100 * (predicted[0] / row[LOSS].iloc[0] - 1) == pytest.approx(-3.8, abs=0.1)


def test_the_olmo_ladder_carries_its_doubt() -> None:
    train, held = ladder()
    fitted = fit_ladder(train)
    sizes = [name.split("-")[0] for name in train["run"]]
    errors = jackknife(fitted, train[["N", "D"]].to_dict("series"), train[LOSS], sizes)
    assert errors is not None
    assert errors.dof == 1
    low, high = errors.prediction_interval(held[["N", "D"]].to_dict("series"))
    assert np.all((low < held[LOSS]) & (held[LOSS] < high))


@pytest.mark.parametrize(
    ("loss", "residual", "objective"),
    [
        ("absolute", "log", 0.03878278),
        ("asymmetric", "log", 0.05932083),
        ("asymmetric", "raw", 0.18736993),
    ],
)
def test_the_olmo_ladder_under_absolute_losses(
    loss: Loss, residual: Residual, objective: float
) -> None:
    """A long valley: rounded losses stop short of the vertex, linear programmes reach it."""
    train, _ = ladder()
    criterion = Criterion(loss, residual=residual)
    table = train[["N", "D"]].to_dict("series")
    fitted = fit(Chinchilla(), table, train[LOSS], criterion=criterion)
    assert fitted.certificate.status == "converged"
    assert fitted.objective == pytest.approx(objective, rel=1e-5)


def test_the_olmo_ladder_s_absolute_raw_loss_has_no_single_minimum() -> None:
    """The signs of each size's residuals cancel: E and A/N^alpha may trade places at no cost."""
    train, _ = ladder()
    criterion = Criterion("absolute", residual="raw")
    table = train[["N", "D"]].to_dict("series")
    fitted = fit(Chinchilla(), table, train[LOSS], criterion=criterion)
    assert fitted.certificate.status == "flat"
