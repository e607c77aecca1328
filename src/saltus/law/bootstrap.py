"""Bootstraps of a fitted law: rows, clusters, replicas within size, and draws from the law itself.

A resample is a weighting of the same rows, so thousands are refitted at once. Each starts at the
fitted law, at its next best minimum and, where the form has guesses, at the best exponents of
its own variable projection; the start of lowest objective is polished, and a random two percent
are audited by a quarter of the dispersed starts of a fit. Intervals are percentiles. Rows of one
size or trunk are not independent: what each bootstrap covers is in `coverage.csv`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saltus.law.components import numbered
from saltus.law.descent import Refits, descend, prepare, typical_loss
from saltus.law.ends import Percentiles
from saltus.law.intervals import Intervals
from saltus.law.jackknife import replica_error
from saltus.law.scatter import scatter_of
from saltus.law.solve import Fit, refit

Array = NDArray[np.float64]

NUM_RESAMPLES = 4000
AUDITED = 0.02  # share of resamples that are fitted again from all starts
IMPROVABLE = 1e-6  # relative gain of objective that counts
SMALL = 100_000  # weights in all, below which every start is polished: it costs no time
STARTS_SPARED = 4  # an audit has a quarter of the starts of a fit: each is dear, and most agree
AUDIT_CHUNK = 150_000  # numbers of an audit worked on at once; its descents are long
BLOCK = 2_000_000  # weights (resamples x rows) held at once


@dataclass(frozen=True, eq=False)
class Bootstrap(Intervals):
    """Refits of resamples: `what` was drawn, `audited` fitted anew, `improvable` found better."""

    what: str = field(kw_only=True)
    audited: int = field(kw_only=True)
    improvable: int = field(kw_only=True)

    @property
    def method(self) -> str:
        return f"bootstrap of {self.what}, {len(self.theta):,} resamples, percentiles"

    @property
    def kind(self) -> str:
        return self.what

    @property
    def rule(self) -> Percentiles:
        return Percentiles(self.level)


def row_draws(num_rows: int, num: int, generator: np.random.Generator) -> Array:
    """Return how often each row is drawn (num, n)."""
    return generator.multinomial(num_rows, np.full(num_rows, 1 / num_rows), size=num).astype(float)


def cluster_draws(
    clusters: NDArray[np.intp], strata: NDArray[np.intp], num: int, generator: np.random.Generator
) -> Array:
    """Return how often each row is drawn (num, n) when whole clusters are, within each stratum.

    `clusters` and `strata` (n,) are numbers from 0; a cluster lies in one stratum.
    """
    weights = np.empty((num, len(clusters)))
    for stratum in range(int(strata.max()) + 1):
        rows = np.flatnonzero(strata == stratum)
        names, place = np.unique(clusters[rows], return_inverse=True)
        drawn = row_draws(len(names), num, generator)
        weights[:, rows] = drawn[:, place]
    return weights


def bootstrap(
    fitted: Fit,
    variables: Mapping[str, ArrayLike],
    loss: ArrayLike,
    *,
    what: str = "rows",
    sizes: Sequence[object] | None = None,
    replicas: Sequence[object] | None = None,
    clusters: Sequence[object] | None = None,
    num: int = NUM_RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
    audit: float = AUDITED,
) -> Bootstrap:
    """Refit `num` resamples of `what`, and audit a share `audit` of them.

    `rows`; `clusters` (n,), whole; `replicas within size`, whole `replicas` (n,) drawn within each
    of `sizes` (n,); `the law`, losses drawn from the fitted law with the components of scatter that
    the table shows (`scatter`). `replicas`, by default the rows, are what a new one's error is
    counted by, whatever is drawn. Raises `NoScatterError` where the table shows no scatter.
    """
    losses = np.asarray(loss, dtype=float)
    num_rows = len(losses)
    groups = numbered(range(num_rows) if replicas is None else replicas)
    strata = numbered([0] * num_rows if sizes is None else sizes)
    generator = np.random.default_rng(seed)
    parts: list[Refits] = []
    audited = improvable = 0
    drawer = None
    if what == "the law":
        drawer = (
            scatter_of(fitted, variables, losses, strata, groups).components, strata, groups,
        )  # fmt: skip
    for count in _blocks(num, max(1, BLOCK // num_rows)):
        redrawn: Array = losses
        if drawer is not None:
            made, size, replica = drawer
            weights = np.ones((count, num_rows))
            clean = fitted.predict(variables)
            redrawn = clean * np.exp(made.draw(size, replica, count, generator))
        elif what == "rows":
            weights = row_draws(num_rows, count, generator)
        elif what == "clusters" and clusters is not None:
            whole = numbered(clusters)
            weights = cluster_draws(whole, np.zeros_like(whole), count, generator)
        elif what == "replicas within size":
            weights = cluster_draws(groups, strata, count, generator)
        else:
            raise ValueError(f"no bootstrap of {what}")
        polish: Literal["every", "best"] = "every" if num * num_rows < SMALL else "best"
        refits = refit(fitted, variables, redrawn, weights, polish=polish)
        chosen = generator.random(count) < audit
        chosen[0] |= audit > 0 and not parts  # one at least
        picked = np.flatnonzero(chosen)
        improvable += _audit(fitted, variables, redrawn, weights, refits, picked, generator)
        audited += len(picked)
        parts.append(refits)
    converged = np.concatenate([part.converged for part in parts])
    return Bootstrap(
        fitted=fitted,
        theta=np.concatenate([part.theta for part in parts]),
        unconverged=int(np.sum(~converged)),
        replica_error=replica_error(fitted.residuals, list(groups), len(fitted.theta)),
        variables=variables,
        level=level,
        what=what,
        audited=audited,
        improvable=improvable,
    )


def _blocks(num: int, most: int) -> list[int]:
    """Return `num` split into parts of at most `most`."""
    return [min(most, num - done) for done in range(0, num, most)]


def _audit(
    fitted: Fit,
    variables: Mapping[str, ArrayLike],
    loss: Array,
    weights: Array,
    refits: Refits,
    picked: NDArray[np.intp],
    generator: np.random.Generator,
) -> int:
    """Fit the `picked` resamples from dispersed starts of the whole table; count the gains."""
    form, criterion = fitted.form, fitted.criterion
    table = prepare(form, variables, typical_loss(loss), None)
    num = form.num_starts // STARTS_SPARED
    starts = form.starts(table.logs, table.log_loss, table.weights, num, generator)
    better = 0
    for part in np.array_split(
        picked, max(1, len(picked) * len(starts) * len(table.weights) // AUDIT_CHUNK)
    ):
        if not len(part):
            continue
        tiled = np.tile(starts, (len(part), 1))
        weighting = np.repeat(weights[part], len(starts), axis=0)
        own = np.log(loss) if loss.ndim == 1 else np.repeat(np.log(loss[part]), len(starts), axis=0)
        found = descend(form, table, criterion, weighting, tiled, own)[1]
        lowest = found.reshape(len(part), -1).min(axis=1)
        floor = criterion.floor(weights[part], table.log_loss)
        gain = refits.objectives[part] - lowest
        better += int(np.sum(gain > IMPROVABLE * np.maximum(lowest, floor)))
    return better
