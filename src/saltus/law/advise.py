r"""Which run to train next: the one that narrows what one wants to know most, within a budget.

With the internal vector theta ~ N(theta_hat, Sigma) and one new run at (N, D) of log loss
log L(theta) + noise of variance s^2, linear in theta with slope J, the covariance becomes

    Sigma' = Sigma - Sigma J J^T Sigma / (s^2 + J^T Sigma J)

(Chaloner and Verdinelli 1995, section 2.2, c-optimality for one point), so the standard error of a
quantity with slope g, a predicted log loss or a parameter, shrinks by the factor
sqrt(g^T Sigma' g / g^T Sigma g). The compute-optimal N is found numerically along C = k N D and its
interval by the delta method.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from saltus.errors import TableError, nearest
from saltus.law.forms import FORMS, Form

Array = NDArray[np.float64]

GRID = 25  # values of N, and of D, among the candidates
BEYOND = 10.0  # the default target is the optimum at so many budgets
SPAN = 2.0  # candidates go so far beyond the table, or to the optimum of the budget


@dataclass(frozen=True, eq=False)
class Belief:
    """A fitted law as its file tells it: form, internal vector, covariance, scatter of one run.

    `quantile` turns a standard error into half an interval; `flops_per_pair` is k in C = k N D;
    `reach` holds lowest and highest N and D of the table.
    """

    form: Form
    theta: Array
    covariance: Array
    replica_error: float
    quantile: float
    flops_per_pair: float
    reach: dict[str, tuple[float, float]]
    status: str

    def log_loss(self, params: Array, tokens: Array, theta: Array | None = None) -> Array:
        """Return log losses (n,)."""
        logs = {"N": np.log(params), "D": np.log(tokens)}
        return self.form.evaluate(self.theta if theta is None else theta, logs)[0]

    def slope(self, params: Array, tokens: Array) -> Array:
        """Return the slopes of log loss (n, p) in the internal vector."""
        return self.form.evaluate(self.theta, {"N": np.log(params), "D": np.log(tokens)})[1]

    def optimum(self, flops: float, theta: Array | None = None) -> tuple[float, float]:
        """Return the log N and log D of least loss at compute `flops`."""
        pairs = float(np.log(flops / self.flops_per_pair))

        def loss(log_params: float) -> float:
            params, tokens = np.exp([log_params]), np.exp([pairs - log_params])
            return float(self.log_loss(params, tokens, theta)[0])

        grid = np.linspace(0.02 * pairs, 0.98 * pairs, 129)
        best = int(np.argmin([loss(point) for point in grid]))
        bracket = (grid[max(best - 1, 0)], grid[min(best + 1, 128)])
        found = optimize.minimize_scalar(loss, bounds=bracket, options={"xatol": 1e-11})
        return float(found.x), pairs - float(found.x)


def belief_of(laws: Mapping[str, Any]) -> Belief:
    """Read a belief from `laws.json` of a study or of `saltus law --json`; `TableError` if none."""
    entry = laws.get("chinchilla", laws)
    if not isinstance(entry, Mapping) or "form" not in entry:
        raise TableError("no fitted law in it; expected the file of saltus law --json or laws.json")
    reason = entry.get("reason") or "its intervals come from no refits: fit with another --interval"
    if not entry.get("uncertainty"):
        raise TableError(f"the law has no covariance ({reason})")
    form = FORMS.get(str(entry["form"]))
    if form is None or set(form.variables) != {"N", "D"}:
        raise TableError(f"form {entry['form']}: advice needs a law in N and D")
    told = entry["uncertainty"]
    reach = told["reach"]
    return Belief(
        form=form,
        theta=np.array(told["theta"], dtype=float),
        covariance=np.array(told["covariance"], dtype=float),
        replica_error=float(told["replica_error"]),
        quantile=float(told["quantile"]),
        flops_per_pair=float(told["flops_per_pair"]),
        reach={name: (float(reach[name][0]), float(reach[name][1])) for name in ("N", "D")},
        status=str(entry["certificate"]["status"]),
    )


def optimal_allocation(belief: Belief, flops: float) -> dict[str, Any]:
    """Return the compute-optimal N and D at `flops` with intervals, and the loss expected there."""
    log_params, log_tokens = belief.optimum(flops)
    gradient = np.empty(len(belief.theta))
    for j in range(len(gradient)):
        step = 1e-4 * max(1.0, abs(float(belief.theta[j])))
        shift = np.zeros_like(belief.theta)
        shift[j] = step
        above = belief.optimum(flops, belief.theta + shift)[0]
        below = belief.optimum(flops, belief.theta - shift)[0]
        gradient[j] = (above - below) / (2 * step)
    half = belief.quantile * _error(belief.covariance, gradient)
    params, tokens = float(np.exp(log_params)), float(np.exp(log_tokens))
    here = (np.array([params]), np.array([tokens]))
    value = float(belief.log_loss(*here)[0])
    spread = belief.quantile * _error(belief.covariance, belief.slope(*here)[0])
    return {
        "flops": flops,
        "params": params,
        "params_interval": _around(log_params, half),
        "tokens": tokens,
        "tokens_interval": _around(log_tokens, half),
        "loss": float(np.exp(value)),
        "loss_interval": _around(value, spread),
        "beyond_table": bool(params > belief.reach["N"][1] or tokens > belief.reach["D"][1]),
    }


def rank_candidates(
    belief: Belief,
    flops: float,
    *,
    parameter: str | None = None,
    target: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """Rank candidate runs within `flops` by how much each would shrink one interval.

    The quantity is a reported `parameter`, or the loss predicted at `target` (N, D), by default the
    compute-optimal point at ten times the budget. Returns it with the candidates (N, D, FLOPs,
    `shrink`: the share by which the interval narrows), the best first.
    """
    if parameter is not None and parameter not in belief.form.parameters:
        raise TableError(
            f"--parameter: found '{parameter}', expected {', '.join(belief.form.parameters)}"
            f"{nearest(parameter, belief.form.parameters)}"
        )
    if target is None:
        target = tuple(np.exp(belief.optimum(BEYOND * flops)))
    assert target is not None
    if parameter is None:
        wanted = belief.slope(np.array([target[0]]), np.array([target[1]]))[0]
        centre = float(belief.log_loss(np.array([target[0]]), np.array([target[1]]))[0])
    else:
        wanted, centre = _slope_of_parameter(belief, parameter)
    best = np.exp(belief.optimum(flops))
    axes = []
    for name, optimum in zip(("N", "D"), best, strict=True):
        low, high = belief.reach[name]
        axes.append(np.geomspace(low, max(high * SPAN, float(optimum)), GRID))
    params, tokens = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    cost = belief.flops_per_pair * params * tokens
    inside = cost <= flops * (1 + 1e-9)
    if not inside.any():
        least = float(cost.min())
        raise TableError(f"--budget: found {flops:.3g}, expected at least {least:.3g} FLOPs")
    params, tokens, cost = params[inside], tokens[inside], cost[inside]
    slopes = belief.slope(params, tokens)
    pulled = slopes @ belief.covariance
    gain = (pulled @ wanted) ** 2 / (belief.replica_error**2 + np.sum(pulled * slopes, axis=1))
    before = float(wanted @ belief.covariance @ wanted)
    left = np.clip(1 - gain / max(before, 1e-300), 0.0, 1.0)
    shrink = 1 - np.sqrt(left)
    order = np.lexsort((cost, -np.round(shrink, 6)))
    error = belief.quantile * np.sqrt(max(before, 0.0))
    logarithmic = parameter is None or parameter in belief.form.log_parameters
    return {
        "quantity": parameter or "loss",
        "target": None if parameter else {"params": float(target[0]), "tokens": float(target[1])},
        "value": float(np.exp(centre)) if logarithmic else centre,
        "interval": _around(centre, error) if logarithmic else [centre - error, centre + error],
        "candidates": [
            {
                "params": float(params[i]),
                "tokens": float(tokens[i]),
                "flops": float(cost[i]),
                "shrink": float(shrink[i]),
                "loss": float(np.exp(belief.log_loss(params[i : i + 1], tokens[i : i + 1])[0])),
            }
            for i in order
        ],
    }


def _slope_of_parameter(belief: Belief, name: str) -> tuple[Array, float]:
    """Return the slope (p,) and value of a reported parameter."""
    j = belief.form.parameters.index(name)
    gradient = np.empty(len(belief.theta))
    for k in range(len(gradient)):
        step = 1e-6 * max(1.0, abs(float(belief.theta[k])))
        shift = np.zeros_like(belief.theta)
        shift[k] = step
        above = belief.form.report(belief.theta + shift)[j]
        gradient[k] = (above - belief.form.report(belief.theta - shift)[j]) / (2 * step)
    return gradient, float(belief.form.report(belief.theta)[j])


def _error(covariance: Array, gradient: Array) -> float:
    return float(np.sqrt(max(float(gradient @ covariance @ gradient), 0.0)))


def _around(log_value: float, half: float) -> list[float]:
    low, high = np.clip([log_value - half, log_value + half], -690, 690)
    return [float(np.exp(low)), float(np.exp(high))]
