r"""Which run to train next: the one that narrows what one wants to know most, within a budget.

Let t be what one wants to know, a predicted log loss or a reported parameter, and z the log loss
predicted for a new run, whose own scatter about the law has variance s^2. The refits give both, and
so their covariance; taken as jointly normal, having seen the run leaves

    var(t | run) = var(t) - cov(t, z)^2 / (s^2 + var(z)),

the linear-Gaussian update (Chaloner and Verdinelli 1995, section 2.2: c-optimality for one point).
Nothing is linearised in the parameters, so a weak term, whose parameters wander, does no harm.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from saltus.errors import TableError, nearest
from saltus.law.allocation import cost_exponents, log_optimum
from saltus.law.belief import Belief
from saltus.law.ends import Rule
from saltus.law.intervals import LARGEST_LOG
from saltus.law.likelihood import ALLOCATION
from saltus.law.solve import predict_log

Array = NDArray[np.float64]

GRID = 25  # values of N, and of D, among the candidates
BEYOND = 10.0  # the default target is the optimum at so many budgets
SPAN = 2.0  # candidates go so far beyond the table, or to the optimum of the budget
FURTHEST = 1e4  # times the table's largest C: a larger budget is refused
EDGE = 1e6  # times the table's N and D, either way: no optimum is looked for beyond
NEGLIGIBLE = 1e-12  # standard error below which nothing is left to narrow


def optimum(belief: Belief, flops: float) -> tuple[Array, NDArray[np.bool_]]:
    """Return log N* and log D* (1 + m, 2) of the law and of its refits, and which rest on an edge.

    N and D stay within a millionfold of the table's; where the law falls on beyond, the optimum is
    at that edge, and no optimum.
    """
    cost = belief.cost
    powers = belief.form.powers(np.concatenate([belief.theta[None], belief.refits]))
    assert powers is not None
    log_params = log_optimum(powers, np.log([flops]), cost)[0][:, 0]
    per = float(np.log(flops / cost.coefficient))
    (least, most), (shortest, longest) = (
        (np.log(low / EDGE), np.log(high * EDGE))
        for low, high in (belief.reach["N"], belief.reach["D"])
    )
    low = max(least, (per - longest) / cost.exponent)
    high = min(most, (per - shortest) / cost.exponent)
    kept = np.clip(log_params, low, high)
    return np.stack([kept, per - cost.exponent * kept], axis=1), kept != log_params


def check_budget(belief: Belief, flops: float) -> None:
    """Raise `TableError` for a budget below the least candidate's or far beyond the table."""
    least = float(belief.cost.flops(belief.reach["N"][0], belief.reach["D"][0]))
    most = FURTHEST * belief.reach["C"][1]
    if not least * (1 - 1e-9) <= flops <= most:
        raise TableError(
            f"--budget: found {flops:g}, expected {least:.3g} to {most:.3g} FLOPs: from the "
            f"table's smallest N and D to {FURTHEST:,.0f} times its largest C"
        )


def optimal_allocation(belief: Belief, flops: float) -> dict[str, Any]:
    """Return the compute-optimal N and D at `flops` with intervals, and the loss expected there.

    The intervals of N and D are of the refits' own optima, that of the loss of the law at the N and
    D given, all by the rule of the law's intervals. `at_edge` says that the law has no optimum
    within reach, `refits_at_edge` how many refits have none; `beyond_table` that the budget, N or D
    lies beyond the table. Raises `TableError` for a budget out of range.
    """
    check_budget(belief, flops)
    logs, at_edge = optimum(belief, flops)
    params, tokens = (float(value) for value in np.exp(logs[0]))
    low, high = belief.rule.ends(logs[0], logs[1:])
    whole, parts = _log_losses(belief, np.array([params]), np.array([tokens]))
    here = belief.rule.ends(whole, parts)
    reach = belief.reach
    return {
        "flops": flops,
        "params": params,
        "params_interval": _exp(low[0], high[0]),
        "tokens": tokens,
        "tokens_interval": _exp(low[1], high[1]),
        "loss": float(np.exp(whole[0])),
        "loss_interval": _exp(here[0][0], here[1][0]),
        "beyond_table": any(
            value > (1 + 1e-9) * reach[name][1]
            for name, value in (("C", flops), ("N", params), ("D", tokens))
        ),
        "at_edge": bool(at_edge[0]),
        "refits": len(belief.refits),
        "refits_at_edge": int(at_edge[1:].sum()),
    }


def shrink(rule: Rule, wanted: Array, candidates: Array, noise: float) -> Array:
    """Return by which share the standard error of a quantity falls after each of c runs (c,).

    `wanted` (m,) and `candidates` (m, c) are the refits' values of the quantity and of the log
    losses of the runs, `noise` the standard deviation of a run about the law.
    """
    before = float(rule.covariance(wanted, wanted))
    shared = rule.covariance(wanted[:, None], candidates)
    gain = shared**2 / (noise**2 + rule.covariance(candidates, candidates))
    return np.asarray(1 - np.sqrt(np.clip(1 - gain / before, 0.0, 1.0)))


def rank_candidates(
    belief: Belief,
    flops: float,
    *,
    parameter: str | None = None,
    target: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """Rank candidate runs within `flops` by how much each would narrow one interval.

    The quantity is a reported `parameter`, the exponent `a` of N* in C, or the loss predicted at
    `target` (N, D), by default the compute-optimal point at ten times the budget. Returns it with
    the candidates (N, D, FLOPs, `shrink`: the share by which its standard error falls, `at_edge`
    of those looked at), the best first. Raises `TableError` for a budget out of range, an unknown
    parameter, or a quantity that no refit moves.
    """
    check_budget(belief, flops)
    at_edge = False
    if parameter is not None:
        told, wanted = _parameter(belief, parameter)
    else:
        if target is None:
            logs, edges = optimum(belief, BEYOND * flops)
            target, at_edge = (float(np.exp(logs[0, 0])), float(np.exp(logs[0, 1]))), bool(edges[0])
        point = np.array([target[0]]), np.array([target[1]])
        whole, parts = _log_losses(belief, *point)
        low, high = belief.rule.ends(whole, parts)
        told = {"value": float(np.exp(whole[0])), "interval": _exp(low[0], high[0])}
        wanted = parts[:, 0]
    if float(belief.rule.covariance(wanted, wanted)) <= NEGLIGIBLE**2:
        raise TableError(f"{parameter or 'the loss there'}: no refit moves it; nothing to narrow")
    params, tokens, edge = _grid(belief, flops)
    cost = belief.cost.flops(params, tokens)
    expected, parts = _log_losses(belief, params, tokens)
    gained = shrink(belief.rule, wanted, parts, belief.replica_error)
    return {
        "quantity": parameter or "loss",
        "target": None
        if target is None
        else {"params": target[0], "tokens": target[1], "at_edge": at_edge},
        **told,
        "candidates": [
            {
                "params": float(params[i]),
                "tokens": float(tokens[i]),
                "flops": float(cost[i]),
                "shrink": float(gained[i]),
                "loss": float(np.exp(expected[i])),
                "at_edge": bool(edge[i]),
            }
            for i in np.lexsort((cost, -np.round(gained, 6)))
        ],
    }


def _grid(belief: Belief, flops: float) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return N and D (c,) of the candidates within `flops`, and which have the largest or least.

    Beyond the edge of the grid a run may narrow more: a candidate there is the edge's, not the
    best of all.
    """
    best = np.exp(optimum(belief, flops)[0][0])
    axes = []
    for name, value in zip(("N", "D"), best, strict=True):
        low, high = belief.reach[name]
        axes.append(np.geomspace(low, max(high * SPAN, float(value)), GRID))
    params, tokens = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    inside = belief.cost.flops(params, tokens) <= flops * (1 + 1e-9)
    edge = np.zeros(len(params), dtype=bool)
    for values in (params, tokens):
        edge |= (values == values.min()) | (values == values.max())
    return params[inside], tokens[inside], edge[inside]


def _parameter(belief: Belief, name: str) -> tuple[dict[str, Any], Array]:
    """Return the value and interval of a parameter or of the allocation's exponent a, and the
    refits' values (m,). A form with a parameter `a` of its own has the exponent as `allocation`.

    Those of a parameter are on the report's scale, its value and interval the file's.
    """
    short = () if "a" in belief.form.parameters else ("a",)
    names = [*belief.form.parameters, *short, ALLOCATION]
    if name not in names:
        raise TableError(
            f"--parameter: found '{name}', expected {', '.join(names)}{nearest(name, names)}"
        )
    if name in (*short, ALLOCATION):
        powers = belief.form.powers(np.concatenate([belief.theta[None], belief.refits]))
        assert powers is not None
        values, _ = cost_exponents(powers[:, 2], powers[:, 3], belief.cost)
        low, high = belief.rule.ends(values[0], values[1:])
        most = 1.0 / belief.cost.exponent  # where all growth goes to N
        interval = [max(float(low), 0.0), min(float(high), most)]
        return {"value": float(values[0]), "interval": interval}, values[1:]
    ends = belief.intervals[name]
    if ends is None:
        raise TableError(f"--parameter {name}: the law has no interval of it to narrow")
    reported = belief.form.report(belief.refits)[:, names.index(name)]
    return {"value": belief.parameters[name], "interval": list(ends)}, reported


def _log_losses(belief: Belief, params: Array, tokens: Array) -> tuple[Array, Array]:
    """Return log losses (n,) by the law and (m, n) by its refits."""
    table = {"N": params, "D": tokens}
    return (
        predict_log(belief.form, belief.theta, table),
        predict_log(belief.form, belief.refits, table),
    )


def _exp(low: float, high: float) -> list[float]:
    return [float(end) for end in np.exp(np.clip([low, high], -LARGEST_LOG, LARGEST_LOG))]
