r"""What a profile rests on: a log likelihood of the fit, or its objective with clusters' scores.

Under **squares of log residuals** it is the normal one, of rows whitened by the components of
scatter (`scatter`), held at their estimates. **Huber's loss** is none (a free scale would drive it
to an absolute loss), so W is divided by Godambe's ratio nu = (H^-1 K H^-1)_psi / (H^-1)_psi, H the
Hessian and K the sum over clusters of the outer products of their scores (Godambe 1960; Chandler
and Bate 2007): refused where fewer than a quarter of the residuals are within delta, since H then
rests on few rows. Absolute losses have no curvature.

psi = c is one linear condition on the internal vector for every parameter of every form, and for
a = beta / (alpha + p beta): v^T theta = k, so the refit runs in its null space.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg

from saltus.law.components import NoScatterError, numbered
from saltus.law.criterion import Penalty
from saltus.law.descent import Table, prepare
from saltus.law.forms.base import Array, Surface
from saltus.law.forms.restricted import Restricted, Whitened
from saltus.law.jackknife import SIZE_PARAMETERS
from saltus.law.minimise import minimise, model
from saltus.law.scatter import SQUARES, scatter_of
from saltus.law.solve import Fit

LEAST_INSIDE = 0.25  # share of Huber residuals that must be within delta
LOWER = 1e-6  # of W: what a held fit may be below the free one; more tells of another minimum
ALLOCATION = "allocation"


class NoLikelihoodError(ValueError):
    """Why there is no profile, in words for a report."""


@dataclass(frozen=True, eq=False)
class Likelihood:
    """A surface with its log losses and weights, in centred variables, and what W is held against.

    `cluster_scores` (g, p) are the derivatives of f by cluster, or None if f is a likelihood.
    `cost_exponent` is p in C = k N^p D, which `a` is the allocation of.
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
    cost_exponent: float

    def condition(self, name: str, value: float) -> tuple[Array, float]:
        """Return (v, k) with v^T theta = k, theta centred, where the reported `name` is `value`."""
        form = self.fitted.form
        place = form.parameters.index
        raw = np.zeros(len(form.parameters))
        level = 0.0
        if name == ALLOCATION:
            raw[place("beta")] = 1.0 - self.cost_exponent * value
            raw[place("alpha")] = -value
        elif name in form.scaled_by:
            raw[place(name)], raw[place(form.scaled_by[name])] = 1.0, -value
        else:
            raw[place(name)], level = 1.0, value
        offset = self.table.to_raw(form, np.zeros_like(raw))
        linear = self.table.to_raw(form, np.eye(len(raw))) - offset  # (p, p): rows are images
        return linear @ raw, level - float(raw @ offset)

    def statistic(self, name: str, value: float, start: Array) -> tuple[float, Array, bool]:
        """Return W at `value`, the centred theta (p,) that attains it, and whether it converged.

        The refit sets out from `start` and from the minimum. Raises `NoLikelihoodError` where it
        is lower than the minimum: then that was none.
        """
        v, k = self.condition(name, value)
        origin = start + v * (k - v @ start) / (v @ v)
        held = Restricted(self.surface, linalg.null_space(v[None]), origin)
        num = held.basis.shape[1]
        free = np.full(num, np.inf)
        weights = np.ones_like(self.log_loss)
        starts = np.stack([np.zeros(num), held.basis.T @ (self.theta - origin)])
        ends, values, converged = minimise(
            held, self.table.logs, self.log_loss, weights, self.penalty, starts, (-free, free)
        )
        best = int(np.argmin(values))
        gain = 2.0 * (float(values[best]) - self.value) / self._ratio(v)
        if gain < -LOWER:
            raise NoLikelihoodError(
                f"another minimum is lower: {name} held at {value:.4g} gains {-gain / 2:.2g}"
            )
        return max(gain, 0.0), held.theta(ends[best]), bool(converged[best])

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
    cost_exponent: float = 1.0,
) -> Likelihood:
    """Return the likelihood of a fit; raise `NoLikelihoodError` where it has none.

    With `sizes` (n,) and `replicas` (n,), scatter has their components and freedom is S - 3;
    without them rows are independent and freedom is n - p.
    """
    criterion, certificate = fitted.criterion, fitted.certificate
    if not criterion.smooth or criterion.raw:
        raise NoLikelihoodError(f"{criterion} is no likelihood")
    if certificate.status != "converged":
        hit = ", ".join(certificate.bounds_hit)
        told = f"{certificate.status}: {hit}" if hit else certificate.status
        raise NoLikelihoodError(f"the fit is not inside its bounds, certified and curved ({told})")
    num_rows, num_parameters = len(fitted.residuals), len(fitted.theta)
    size = numbered(range(num_rows) if sizes is None else sizes)
    replica = numbered(range(num_rows) if replicas is None else replicas)
    num_sizes = int(size.max()) + 1
    dof = num_rows - num_parameters if sizes is None else num_sizes - SIZE_PARAMETERS
    if dof < 1:
        raise NoLikelihoodError(f"{num_sizes} sizes leave no degree of freedom")
    told = f"t with {dof} degree{'' if dof == 1 else 's'} of freedom"
    if criterion.loss == "huber":
        clusters = "rows" if sizes is None else "sizes"
        return _of_huber(
            fitted, prepare(fitted.form, variables, loss, None), size, dof,
            f"profile with Godambe's ratio over {clusters}, {told}", cost_exponent,
        )  # fmt: skip
    try:
        found = scatter_of(fitted, variables, loss, size, replica)
    except NoScatterError as error:
        raise NoLikelihoodError(str(error)) from error
    surface = Whitened(fitted.form, found.root)
    mixed = found.root @ found.table.log_loss
    free = np.full(num_parameters, np.inf)
    here = model(
        surface, found.table.logs, mixed[None], np.ones((1, num_rows)), SQUARES,
        found.theta[None], (-free, free),
    )  # fmt: skip
    scatter = "independent rows" if sizes is None else "components of scatter"
    return Likelihood(
        fitted, found.table, surface, mixed, SQUARES, found.theta, found.value, here.hessian[0],
        None, dof, f"profile of a normal likelihood, {scatter}, {told}",
        cost_exponent,
    )  # fmt: skip


def _of_huber(
    fitted: Fit,
    table: Table,
    cluster: NDArray[np.intp],
    dof: int,
    method: str,
    cost_exponent: float,
) -> Likelihood:
    """Return Huber's objective with the scores of its clusters (n,), numbered from 0."""
    criterion, form = fitted.criterion, fitted.form
    inside = float(np.mean(np.abs(fitted.residuals) < criterion.delta))
    if inside < LEAST_INSIDE:
        raise NoLikelihoodError(
            f"{100 * inside:.0f} % of residuals are within delta = {criterion.delta:g}; "
            f"Huber's loss needs {100 * LEAST_INSIDE:.0f} % for a profile"
        )
    theta = table.to_centred(form, fitted.theta)
    free = np.full(len(theta), np.inf)
    here = model(
        form, table.logs, table.log_loss[None], table.weights[None], criterion.penalty,
        theta[None], (-free, free),
    )  # fmt: skip
    slope = form.evaluate(theta, table.logs)[1]
    psi = np.clip(fitted.residuals, -criterion.delta, criterion.delta)
    scores = np.zeros((int(cluster.max()) + 1, len(theta)))
    np.add.at(scores, cluster, slope * psi[:, None])
    return Likelihood(
        fitted, table, form, table.log_loss, criterion.penalty, theta, float(here.objective[0]),
        here.hessian[0], scores, dof, method, cost_exponent,
    )  # fmt: skip
