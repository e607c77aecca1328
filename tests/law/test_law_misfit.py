"""Lack of fit: how often it is called where there is none, and what it is held against."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from saltus.law.criterion import Criterion
from saltus.law.forms import Chinchilla, PowerLaw
from saltus.law.misfit import lack_of_fit
from saltus.law.solve import fit
from saltus.law.table import read_rows

TRUTH = {"E": 1.7, "A": 406.0, "B": 1300.0, "alpha": 0.34, "beta": 0.37}
SQUARES = Criterion("squared")


def ladder(generator: np.random.Generator, shared: float, sizes: int = 6) -> pd.DataFrame:
    """Return sizes x 4 seeds x 4 horizons of the law; a share of the variance is a replica's."""
    n, seed, d = (
        axis.ravel()
        for axis in np.meshgrid(
            np.geomspace(1e6, 1e9, sizes), np.arange(4), np.geomspace(1e8, 1e10, 4), indexing="ij"
        )
    )
    noise = np.sqrt(1 - shared) * generator.normal(size=len(n))
    noise += np.sqrt(shared) * np.repeat(generator.normal(size=4 * sizes), 4)
    loss = Chinchilla().predict(TRUTH, {"N": n, "D": d}) * np.exp(0.01 * noise)
    return pd.DataFrame({"N": n, "D": d, "seed": seed, "loss": loss})


@pytest.mark.parametrize("shared", [0.0, 0.8])
def test_a_true_law_is_seldom_called_a_misfit(shared: float) -> None:
    """100 ladders at level .05, also where horizons share a trunk: 12 is 3.2 errors above."""
    generator, called = np.random.default_rng(3), 0
    form = Chinchilla()
    for _ in range(100):
        rows = read_rows(ladder(generator, shared), form)
        fitted = fit(form, rows.variables, rows.loss, criterion=SQUARES, starts=2)
        called += lack_of_fit(fitted, rows)["status"] != "none seen"
    assert called <= 12


def test_rows_without_seeds_are_held_against_the_f_distribution() -> None:
    """A pure power law is a line in logarithms, and its F that of nested regressions."""
    generator = np.random.default_rng(5)
    x = np.repeat(np.geomspace(1, 100, 6), 5)
    loss = 3 * x**-0.3 * np.exp(0.01 * generator.normal(size=len(x)))
    form = PowerLaw("C")
    rows = read_rows(pd.DataFrame({"C": x, "loss": loss}), form)
    fitted = fit(form, rows.variables, rows.loss, criterion=SQUARES)
    found = lack_of_fit(fitted, rows)
    cells = sm.OLS(np.log(loss), pd.get_dummies(x).to_numpy(float)).fit()
    free = 3 - len(fitted.certificate.bounds_hit)
    value = (2 * fitted.objective - cells.ssr) / (6 - free) / (cells.ssr / 24)
    assert found["f"] == pytest.approx(value, rel=1e-4)
    assert found["reference"] == "the F distribution"
    assert found["seed_percent"] == pytest.approx(100 * np.sqrt(cells.ssr / 24))


def test_a_size_off_the_law_is_seen_at_once() -> None:
    frame = ladder(np.random.default_rng(1), 0.5)
    frame["loss"] *= np.where(np.isclose(frame["N"], frame["N"].unique()[2]), 1.03, 1.0)
    rows = read_rows(frame, Chinchilla())
    found = lack_of_fit(fit(Chinchilla(), rows.variables, rows.loss), rows)
    assert found["status"] in ("misfit", "does not fit")
    assert found["p"] < 0.01


def test_equal_losses_of_repeated_rows_say_nothing() -> None:
    frame = ladder(np.random.default_rng(1), 0.5)
    frame["loss"] = Chinchilla().predict(TRUTH, {"N": frame["N"], "D": frame["D"]})
    rows = read_rows(frame, Chinchilla())
    found = lack_of_fit(fit(Chinchilla(), rows.variables, rows.loss), rows)
    assert found["status"] == "cannot say"
    assert found["text"].endswith("have the same loss")
