r"""Profile likelihood of one parameter, or of the allocation, at a time.

psi is held at c, everything else is refitted, and the interval is every c with

    W(c) = 2 (min f given psi = c, less min f) <= t(.975; freedom)^2.

f must be a log likelihood. Under **squares of log residuals** it is the normal one, of rows
whitened by the components of scatter (`components`), held at their estimates. **Huber's loss** is
none (a free scale would drive it to an absolute loss), so W is divided by Godambe's ratio
nu = (H^-1 K H^-1)_psi / (H^-1)_psi, H the Hessian and K the sum over clusters of the outer products
of their scores (Godambe 1960; Chandler and Bate 2007): refused where fewer than a quarter of the
residuals are within delta, since H then rests on few rows. Absolute losses have no curvature.

psi = c is one linear condition on the internal vector for every parameter of every form, and for
a = beta / (alpha + beta): v^T theta = k, so the refit runs in its null space.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg, optimize, stats

from saltus.law.bootstrap import components_of
from saltus.law.components import numbered
from saltus.law.criterion import Penalty
from saltus.law.descent import Table, prepare
from saltus.law.forms.base import Array, Form, Surface
from saltus.law.forms.restricted import Restricted, Whitened
from saltus.law.intervals import SIZE_PARAMETERS
from saltus.law.minimise import minimise, model
from saltus.law.solve import Fit

LEAST_INSIDE = 0.25  # share of Huber residuals that must be within delta
FURTHEST = 30.0  # Wald errors from the estimate, beyond which an interval is open
ALLOCATION = "a"


class NoLikelihoodError(ValueError):
    """Why there is no profile, in words for a report."""


@dataclass(frozen=True)
class Profile:
    """Profile intervals of the reported parameters and of the allocation; None where open."""

    method: str
    reported: dict[str, tuple[float | None, float | None]]


@dataclass(frozen=True, eq=False)
class Likelihood:
    """A surface with its log losses and weights, in centred variables, and what W is held against.

    `cluster_scores` (g, p) are the derivatives of f by cluster, or None if f is a likelihood.
    """

    fitted: Fit
    table: Table
    surface: Surface
    log_loss: Array
    penalty: Penalty
    theta: Array  # (p,), centred, at the minimum of f
    value: float
    hessian: Array
    cluster_scores: Array | None
    dof: int
    method: str

    def condition(self, name: str, value: float) -> tuple[Array, float]:
        """Return (v, k) with v^T theta = k, theta centred, where the reported `name` is `value`."""
        form = self.fitted.form
        place = form.parameters.index
        raw = np.zeros(len(form.parameters))
        level = 0.0
        if name == ALLOCATION:
            raw[place("beta")], raw[place("alpha")] = 1.0 - value, -value
        elif name in form.scaled_by:
            raw[place(name)], raw[place(form.scaled_by[name])] = 1.0, -value
        else:
            raw[place(name)], level = 1.0, value
        offset = self.table.to_raw(form, np.zeros_like(raw))
        linear = self.table.to_raw(form, np.eye(len(raw))) - offset  # (p, p): rows are images
        return linear @ raw, level - float(raw @ offset)

    def statistic(self, name: str, value: float, start: Array) -> tuple[float, Array]:
        """Return W at `value`, and the centred theta (p,) that attains it, from one near it."""
        v, k = self.condition(name, value)
        origin = start + v * (k - v @ start) / (v @ v)
        held = Restricted(self.surface, linalg.null_space(v[None]), origin)
        num = held.basis.shape[1]
        free = np.full(num, np.inf)
        weights = np.ones_like(self.log_loss)
        ends, values, _ = minimise(
            held, self.table.logs, self.log_loss, weights, self.penalty,
            np.zeros((1, num)), (-free, free),
        )  # fmt: skip
        gain = 2.0 * (float(values[0]) - self.value) / self._ratio(v)
        return max(gain, 0.0), held.theta(ends[0])

    def _ratio(self, v: Array) -> float:
        """Return Godambe's ratio along v; 1 of a likelihood."""
        if self.cluster_scores is None:
            return 1.0
        along = np.asarray(np.linalg.solve(self.hessian, v))
        num = len(self.cluster_scores)
        scores = self.cluster_scores @ along
        return float(num / (num - 1) * np.sum(scores**2) / (v @ along))

    def error(self, name: str, value: float) -> float:
        """Return the Wald standard error of a reported parameter, to scale the search."""
        v, k = self.condition(name, value)
        step = 1e-4 * max(1.0, abs(value))
        shift, level = self.condition(name, value + step)
        slope = ((level - shift @ self.theta) - (k - v @ self.theta)) / step
        along = np.asarray(np.linalg.solve(self.hessian, v))
        return float(
            np.sqrt(max(float(v @ along) * self._ratio(v), 1e-300)) / max(abs(slope), 1e-12)
        )


def likelihood(
    fitted: Fit,
    variables: Mapping[str, ArrayLike],
    loss: ArrayLike,
    *,
    sizes: Sequence[object] | None = None,
    replicas: Sequence[object] | None = None,
) -> Likelihood:
    """Return the likelihood of a fit; raise `NoLikelihoodError` where it has none.

    With `sizes` (n,) and `replicas` (n,), scatter has their components and freedom is S - 3;
    without them rows are independent and freedom is n - p.
    """
    criterion, form = fitted.criterion, fitted.form
    if not criterion.smooth or criterion.raw:
        raise NoLikelihoodError(f"no profile: {criterion} is no likelihood")
    if fitted.certificate.bounds_hit or fitted.certificate.status == "flat":
        raise NoLikelihoodError(f"the fit is not inside its bounds ({fitted.certificate.status})")
    losses = np.asarray(loss, dtype=float)
    table = prepare(form, variables, losses, None)
    theta = table.to_centred(form, fitted.theta)
    num_rows, num_parameters = len(losses), len(theta)
    size = numbered(range(num_rows) if sizes is None else sizes)
    replica = numbered(range(num_rows) if replicas is None else replicas)
    num_sizes = int(size.max()) + 1
    dof = num_rows - num_parameters if sizes is None else num_sizes - SIZE_PARAMETERS
    if dof < 1:
        raise NoLikelihoodError(f"{num_sizes} sizes leave no degree of freedom")
    told = f"t with {dof} degree{'' if dof == 1 else 's'} of freedom"
    free = (np.full(num_parameters, -np.inf), np.full(num_parameters, np.inf))
    ones = np.ones(num_rows)
    if criterion.loss == "huber":
        inside = float(np.mean(np.abs(fitted.residuals) < criterion.delta))
        if inside < LEAST_INSIDE:
            raise NoLikelihoodError(
                f"{100 * inside:.0f} % of residuals are within delta = {criterion.delta:g}; "
                f"Huber's loss needs {100 * LEAST_INSIDE:.0f} % for a profile"
            )
        here = model(
            form, table.logs, table.log_loss[None], ones[None], criterion.penalty, theta[None], free
        )
        slope = form.evaluate(theta, table.logs)[1]
        psi = np.clip(fitted.residuals, -criterion.delta, criterion.delta)
        scores = np.zeros((num_sizes, num_parameters))
        np.add.at(scores, size, slope * psi[:, None])
        clusters = "rows" if sizes is None else "sizes"
        return Likelihood(
            fitted, table, form, table.log_loss, criterion.penalty, theta, float(here.objective[0]),
            here.hessian[0], scores, dof, f"profile with Godambe's ratio over {clusters}, {told}",
        )  # fmt: skip
    if sizes is None:
        error = float(np.sqrt(np.sum(fitted.residuals**2) / dof))
        root = np.eye(num_rows) / error
        scatter = "independent rows"
    else:
        made = components_of(fitted, variables, losses, size, replica)
        root = np.zeros((num_rows, num_rows))
        for s in range(num_sizes):
            rows = np.flatnonzero(size == s)
            lower = np.linalg.cholesky(made.covariance(replica[rows]))
            root[np.ix_(rows, rows)] = np.linalg.inv(lower)
        scatter = "components of scatter"
    surface = Whitened(form, root)
    mixed = root @ table.log_loss
    penalty = Penalty(np.inf)
    ends, values, _ = minimise(surface, table.logs, mixed, ones, penalty, theta[None], free)
    here = model(surface, table.logs, mixed[None], ones[None], penalty, ends, free)
    return Likelihood(
        fitted, table, surface, mixed, penalty, ends[0], float(values[0]), here.hessian[0],
        None, dof, f"profile of a normal likelihood, {scatter}, {told}",
    )  # fmt: skip


def profile(
    fitted: Fit,
    variables: Mapping[str, ArrayLike],
    loss: ArrayLike,
    *,
    sizes: Sequence[object] | None = None,
    replicas: Sequence[object] | None = None,
    level: float = 0.95,
) -> Profile:
    """Return the profile intervals of all reported parameters, and of `a` where the form has it.

    Raises `NoLikelihoodError` where there is no likelihood. An end is None where the profile stays
    below its limit as far as thirty standard errors.
    """
    made = likelihood(fitted, variables, loss, sizes=sizes, replicas=replicas)
    form = fitted.form
    reported = dict(zip(form.parameters, _reported(form, made), strict=True))
    if {"alpha", "beta"} <= set(form.parameters):
        reported[ALLOCATION] = reported["beta"] / (reported["alpha"] + reported["beta"])
    limit = float(stats.t.ppf(0.5 + level / 2, made.dof))
    found = {
        name: (_end(made, name, value, -1, limit), _end(made, name, value, 1, limit))
        for name, value in reported.items()
    }
    return Profile(made.method, found)


def _reported(form: Form, made: Likelihood) -> list[float]:
    return [float(value) for value in form.report(made.table.to_raw(form, made.theta))]


def _end(made: Likelihood, name: str, value: float, side: int, limit: float) -> float | None:
    """Return where the signed root of W crosses `limit` on one side of the estimate."""
    error = made.error(name, value)
    near = made.theta

    def excess(steps: float) -> float:
        nonlocal near
        found, near = made.statistic(name, value + side * steps * error, near)
        return float(np.sqrt(found)) - limit if np.isfinite(found) else limit

    inner, outer = 0.0, limit
    while excess(outer) < 0:
        inner, outer = outer, outer * 1.5
        if outer > FURTHEST:
            return None
    crossing = _root(excess, inner, outer)
    return value + side * crossing * error


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    return float(optimize.brentq(function, low, high, xtol=1e-3, rtol=1e-4))
