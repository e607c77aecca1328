"""The default intervals of a law: the delete-one-size jackknife.

Rows of one size share whatever that size got wrong, and horizons of one replica share a trunk, so
rows are no sampling units. Leaving out one size at a time and taking t on S - 3 degrees of freedom
(S sizes; E, A and alpha are what sizes determine) covers .95 or more in simulation, also when every
size is off the law (bench/coverage.py); bootstraps of rows or of replicas cover less.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saltus.law.ends import DeleteOne
from saltus.law.intervals import Intervals
from saltus.law.solve import Fit, refit

Array = NDArray[np.float64]

SIZE_PARAMETERS = 3  # E, A and alpha; t on S - 3 holds for other forms (bench/coverage_forms.csv)
MIN_SIZES = SIZE_PARAMETERS + 1


def degrees_of_freedom(num_sizes: int) -> int:
    """Return S - 3, which is below 1 when there are too few sizes for an interval."""
    return num_sizes - SIZE_PARAMETERS


@dataclass(frozen=True, eq=False)
class Jackknife(Intervals):
    """Refits without one size each; `sizes` (S,) are the labels in the order of `theta`.

    `what` they label may be clusters of another kind. `replica_dof` are the degrees of freedom of
    `replica_error`, R - p, or those of the law where a size has hardly a seed more.
    """

    sizes: tuple[str, ...] = field(kw_only=True)
    replica_dof: int = field(kw_only=True)
    what: str = field(default="size", kw_only=True)

    @property
    def kind(self) -> str:
        return "jackknife" if self.what == "size" else f"jackknife of {self.what}s"

    @property
    def dof(self) -> int:
        """Degrees of freedom of the t quantile; at least 1."""
        return degrees_of_freedom(len(self.sizes))

    @property
    def rule(self) -> DeleteOne:
        return DeleteOne(self.dof, self.level, self.replica_dof)

    @property
    def method(self) -> str:
        return self.rule.method(self.what)


def replica_error(residuals: Array, replicas: Iterable[object], num_parameters: int) -> float:
    """Standard deviation of a new replica's log loss about the law, from log residuals (n,).

    Rows of a replica move together, so the mean square is scaled by R / (R - p) with R replicas,
    not rows; the law can absorb at most p of them.
    """
    spare = replica_freedom(replicas, num_parameters)
    return float(np.sqrt(np.mean(residuals**2) * len(set(replicas)) / spare))


def replica_freedom(replicas: Iterable[object], num_parameters: int) -> int:
    """Degrees of freedom R - p of that standard deviation, at least 1."""
    return max(len(set(replicas)) - num_parameters, 1)


def jackknife(
    fitted: Fit,
    variables: Mapping[str, ArrayLike],
    loss: ArrayLike,
    sizes: Sequence[object],
    replicas: Sequence[object] | None = None,
    *,
    what: str = "size",
    level: float = 0.95,
) -> Jackknife | None:
    """Refit without each size in turn; None when fewer than 4 sizes leave no degree of freedom.

    `sizes` (n,) labels the rows; `replicas` (n,) names the (size, seed) of each, by default the
    row itself. `what` says what `sizes` are.
    """
    labels = np.array([str(label) for label in sizes])
    groups = tuple(dict.fromkeys(labels.tolist()))
    if degrees_of_freedom(len(groups)) < 1:
        return None
    weights = np.stack([(labels != group).astype(float) for group in groups])
    refits = refit(fitted, variables, loss, weights)
    names = list(range(len(labels))) if replicas is None else list(replicas)
    return Jackknife(
        fitted=fitted,
        sizes=groups,
        what=what,
        theta=refits.theta,
        unconverged=int(np.sum(~refits.converged)),
        replica_error=replica_error(fitted.residuals, names, len(fitted.theta)),
        replica_dof=max(replica_freedom(names, len(fitted.theta)), degrees_of_freedom(len(groups))),
        variables=variables,
        level=level,
    )
