"""Forms: gradients against central differences, parameters there and back, changes of units."""

import numpy as np
import pytest
from scipy import optimize

from saltus.law.forms import (
    Broken,
    Chinchilla,
    DataConstrained,
    Form,
    Kaplan,
    OuterExponent,
    OverTraining,
    PowerLaw,
)
from saltus.law.forms.projection import exponent_grid, nonnegative_least_squares, project
from saltus.law.solve import fit

STEP = np.finfo(float).eps ** (1 / 3)
CASES = [
    (Chinchilla(), {"E": 1.69337, "A": 406.4, "B": 410.72, "alpha": 0.33917, "beta": 0.28491}),
    (PowerLaw("C"), {"E": 1.5, "A": 90.0, "alpha": 0.15}),
    (Kaplan(), {"N_c": 8.8e13, "D_c": 5.4e13, "alpha_N": 0.076, "alpha_D": 0.095}),
    (
        OuterExponent(),
        {"E": 1.5, "A": 900.0, "B": 4000.0, "alpha": 0.6, "beta": 0.7, "gamma": 0.5},
    ),
    (OverTraining(), {"E": 1.8, "a": 450.0, "b": 1500.0, "eta": 0.17}),
    (
        DataConstrained(),
        {"E": 1.869, "A": 520.8, "B": 1487.7, "alpha": 0.34, "beta": 0.36, "R_N": 5.3, "R_D": 15.4},
    ),
    (Broken("D"), {"a": 1.2, "b": 60.0, "c_0": 0.1, "c_1": 0.3, "d_1": 1e7, "f_1": 0.4}),
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
        np.testing.assert_allclose(
            gradient[:, j], (above - below) / (2 * shift[j]), rtol=1e-6, atol=1e-8
        )


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


def test_the_data_constrained_law_has_its_published_value() -> None:
    """Muennighoff et al. 2023: 6.3B parameters, 242B tokens of which 25B are unique."""
    log_values = {"E": 0.6254804, "A": 6.255414, "B": 7.3049974}
    exponents = {"alpha": 0.3526596, "beta": 0.3526596, "R_N": 5.309743, "R_D": 15.387756}
    parameters = {name: float(np.exp(value)) for name, value in log_values.items()} | exponents
    table = {"N": np.array([6.34e9]), "D": np.array([242e9]), "U": np.array([25e9])}
    predicted = DataConstrained().predict(parameters, table)
    assert predicted[0] == pytest.approx(2.2256441, abs=1e-7)


def test_unique_tokens_leave_chinchilla_s_law() -> None:
    parameters = {"E": 1.9, "A": 520.0, "B": 1490.0, "alpha": 0.34, "beta": 0.36}
    table = {"N": np.geomspace(1e6, 1e9, 5), "D": np.full(5, 1e12), "U": np.full(5, 1e12)}
    constrained = DataConstrained().predict(parameters | {"R_N": 5.0, "R_D": 15.0}, table)
    np.testing.assert_allclose(constrained, Chinchilla().predict(parameters, table), rtol=1e-12)


def test_an_outer_exponent_of_one_is_chinchilla_s_law() -> None:
    table, parameters = rows(CASES[0][0]), CASES[0][1]
    np.testing.assert_allclose(
        OuterExponent().predict(parameters | {"gamma": 1.0}, table),
        Chinchilla().predict(parameters, table),
        rtol=1e-12,
    )


def test_a_broken_law_without_a_change_is_a_power_law() -> None:
    table = {"x": np.geomspace(1e3, 1e9, 9)}
    broken = {"a": 1.5, "b": 90.0, "c_0": 0.15, "c_1": 0.0, "d_1": 1e6, "f_1": 0.3}
    np.testing.assert_allclose(
        Broken().predict(broken, table),
        PowerLaw().predict({"E": 1.5, "A": 90.0, "alpha": 0.15}, table),
        rtol=1e-12,
    )


def test_over_training_is_one_exponent_of_compute_at_each_ratio() -> None:
    """At D = M N and C = 6 N D: L = E + (a 6^eta M^eta + b M^-eta) C^-eta."""
    parameters = {"E": 1.8, "a": 450.0, "b": 1500.0, "eta": 0.17}
    params = np.geomspace(1e6, 1e10, 5)
    for ratio in (5.0, 20.0, 640.0):
        table = {"N": params, "D": ratio * params}
        excess = OverTraining().predict(parameters, table) - 1.8
        flops = 6 * params * table["D"]
        a, b = 6**0.17 * 450.0, 1500.0
        expected = (a * ratio**0.17 + b * ratio**-0.17) * flops**-0.17
        np.testing.assert_allclose(excess, expected, rtol=1e-10)


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
    units |= {name: units[other] for name, other in form.unit_of.items()}
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


@pytest.mark.parametrize(("form", "parameters"), CASES)
def test_every_form_is_recovered_from_an_exact_table(
    form: Form, parameters: dict[str, float]
) -> None:
    n, d = np.meshgrid(np.geomspace(1e7, 1e10, 7), np.geomspace(1e9, 1e12, 7))
    table = {"N": n.ravel(), "D": d.ravel()}
    unique = np.random.default_rng(0).choice([1e9, 1e10, 1e11], 49)
    table |= {"C": 6 * table["N"] * table["D"], "U": np.minimum(table["D"], unique)}
    if form.name == "broken":
        table = {"D": np.geomspace(1e4, 1e10, 40)}
    fitted = fit(form, table, form.predict(parameters, table))
    assert fitted.certificate.status == "converged"
    assert fitted.parameters == pytest.approx(parameters, rel=1e-6)
