"""Forms: gradients against central differences, parameters there and back, changes of units."""

import numpy as np
import pytest
from scipy import optimize

from saltus.law.forms import Chinchilla, Form, PowerLaw
from saltus.law.projection import exponent_grid, nonnegative_least_squares, project

STEP = np.finfo(float).eps ** (1 / 3)
CASES = [
    (Chinchilla(), {"E": 1.69337, "A": 406.4, "B": 410.72, "alpha": 0.33917, "beta": 0.28491}),
    (PowerLaw("C"), {"E": 1.5, "A": 90.0, "alpha": 0.15}),
]


def rows(form: Form, num: int = 11) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(4)
    return {name: np.exp(generator.uniform(8, 25, num)) for name in form.variables}


def logs_of(table: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.log(values) for name, values in table.items()}


@pytest.mark.parametrize(("form", "parameters"), CASES)
def test_gradient_is_that_of_central_differences(form: Form, parameters: dict[str, float]) -> None:
    logs, theta = logs_of(rows(form)), form.internal(parameters)
    _, gradient = form.evaluate(theta, logs)
    for j in range(len(theta)):
        shift = np.zeros_like(theta)
        shift[j] = STEP * max(1.0, abs(theta[j]))
        above, below = form.evaluate(theta + shift, logs)[0], form.evaluate(theta - shift, logs)[0]
        np.testing.assert_allclose(gradient[:, j], (above - below) / (2 * shift[j]), atol=1e-8)


@pytest.mark.parametrize(("form", "parameters"), CASES)
def test_curvature_is_that_of_differenced_gradients(
    form: Form, parameters: dict[str, float]
) -> None:
    logs = logs_of(rows(form))
    theta = np.stack([form.internal(parameters), form.internal(parameters) * 1.02])
    weights = np.random.default_rng(0).normal(size=(2, 11))
    numeric = Form.curvature(form, theta, logs, weights)
    np.testing.assert_allclose(form.curvature(theta, logs, weights), numeric, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("form", "parameters"), CASES)
def test_parameters_survive_the_round_trip(form: Form, parameters: dict[str, float]) -> None:
    assert form.public(form.internal(parameters)) == pytest.approx(parameters, rel=1e-14)
    assert set(form.parameters) == set(parameters)


def test_prediction_is_the_printed_equation() -> None:
    form, parameters = CASES[0]
    table = rows(form)
    expected = 1.69337 + 406.4 / table["N"] ** 0.33917 + 410.72 / table["D"] ** 0.28491
    np.testing.assert_allclose(form.predict(parameters, table), expected, rtol=1e-12)


@pytest.mark.parametrize(("form", "parameters"), CASES)
def test_rescaled_parameters_predict_the_same_losses(
    form: Form, parameters: dict[str, float]
) -> None:
    table = rows(form)
    units = {name: 3.0 + i for i, name in enumerate(form.variables)}
    moved = form.rescale(form.internal(parameters), units)
    divided = {name: np.log(values) - units[name] for name, values in table.items()}
    np.testing.assert_allclose(
        np.exp(form.evaluate(moved, divided)[0]), form.predict(parameters, table), rtol=1e-12
    )


@pytest.mark.parametrize("seed", range(20))
def test_nonnegative_least_squares_is_that_of_scipy(seed: int) -> None:
    generator = np.random.default_rng(seed)
    matrix, target = generator.normal(size=(9, 3)), generator.normal(size=9)
    value, solution = nonnegative_least_squares(matrix.T @ matrix, matrix.T @ target)
    expected, norm = optimize.nnls(matrix, target)
    np.testing.assert_allclose(solution, expected, atol=1e-9)
    assert value + target @ target == pytest.approx(norm**2, abs=1e-9)


def test_projection_weights_are_repeated_rows() -> None:
    generator = np.random.default_rng(1)
    x, log_loss = generator.normal(size=(2, 12)), generator.normal(1.0, 0.1, 12)
    counts = generator.integers(0, 3, 12)
    grid = exponent_grid(2, 4)
    weighted = project(x, log_loss, counts[None].astype(float), grid)
    repeated = np.repeat(np.arange(12), counts)
    plain = project(x[:, repeated], log_loss[repeated], np.ones((1, len(repeated))), grid)
    np.testing.assert_allclose(weighted[0], plain[0], rtol=1e-9)
    np.testing.assert_allclose(weighted[1], plain[1], rtol=1e-6, atol=1e-9)
