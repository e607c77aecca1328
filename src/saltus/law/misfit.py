r"""Lack of fit: what a law leaves over, held against rows that differ in nothing it knows.

Rows that share every variable of a form make a cell, and their scatter within cells is pure error,
which no law of those variables can explain. With m cells of n rows, q free parameters and sums of
squares of log residuals about the law and within cells,

    F = [(SS_law - SS_cells) / (m - q)] / [SS_cells / (n - m)]

(Draper and Smith 1998, section 2.1). SS_law is that of least squares at the law's linearisation: a
Huber fit would leave more. Rows of one replica share a trunk; where replicas have several rows, F
is held against draws in which a replica has a scatter of its own, in the share that the cells show,
else against the F distribution. Legend: `n` row, `q` parameter.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from saltus.law.components import Components, numbered
from saltus.law.descent import prepare
from saltus.law.forecast import rms_percent
from saltus.law.minimise import linearise
from saltus.law.solve import Fit
from saltus.law.table import Rows

Array = NDArray[np.float64]
Labels = NDArray[np.intp]

MISFIT = 1.5  # r.m.s. residual over the spread of seeds above which a law does not fit
LEVEL = 0.05  # of the test
NO_FIT, SOME, NONE_SEEN, UNKNOWN = "does not fit", "misfit", "none seen", "cannot say"  # `status`
DRAWS = 2000
NOTHING = 1e-9  # a pure error of log loss below this is rounding


def cells_of(rows: Rows, names: Sequence[str]) -> Labels:
    """Return the cell (n,) of each row: those alike in the variables `names`, from 0."""
    return numbered(list(zip(*(rows.variables[name].tolist() for name in names), strict=True)))


def lack_of_fit(fitted: Fit, rows: Rows) -> dict[str, Any]:
    """Return `status`, `text`, and the test: nulls and a reason where no cell has two rows.

    `status` is `does not fit` where residuals are 1.5 times the pure error, else `misfit` where the
    test says so at .05, else `none seen`; or `cannot say`. `cells` are the distinct points of
    `rows`. `seed_percent` is the pure error, the standard deviation of log losses within cells in
    percent, and `ratio` the residuals' r.m.s. over it. `f` is the mean square of cells' means about
    the law over that within cells, with its two degrees of `freedom`, and `p` its p-value by the
    distribution named in `reference`.
    """
    cell = cells_of(rows, fitted.form.variables)
    logs = np.log(rows.loss)
    num, many = len(cell), int(cell.max()) + 1
    rms = rms_percent(fitted.residuals)
    entry: dict[str, Any] = {
        "status": UNKNOWN, "cells": many, "rows": num, "seed_percent": None, "ratio": None,
        "f": None, "freedom": None, "p": None, "reference": None,
    }  # fmt: skip
    alike = ", ".join(fitted.form.variables)
    if many == num:
        return entry | {"text": f"cannot say: no two rows are alike in {alike}"}
    within = _within(logs, cell)
    pure = float(np.sqrt(within @ within / (num - many)))
    if pure <= NOTHING:
        said = f"cannot say: rows alike in {alike} have the same loss"
        return entry | {"seed_percent": 0.0, "text": said}
    ratio = rms / (100 * pure)
    entry |= {"seed_percent": 100 * pure, "ratio": ratio}
    said = f"residuals {rms:.2g} % r.m.s., rows alike in {alike} {100 * pure:.2g} %"
    basis = _basis(fitted, rows)
    freedom = many - basis.shape[1], num - many
    if freedom[0] >= 1:
        value = float(_ratio(fitted.residuals[:, None], basis, cell, freedom)[0])
        reference, p = _tail(value, freedom, basis, cell, within, rows)
        entry |= {"f": value, "freedom": list(freedom), "p": p, "reference": reference}
        said += f"; F({freedom[0]}, {freedom[1]}) = {value:.3g}, p = {p:.2g} by {reference}"
    elif ratio <= MISFIT:
        return entry | {"text": f"cannot say: {many} cells for {basis.shape[1]} parameters"}
    if ratio > MISFIT:
        return entry | {
            "status": NO_FIT,
            "text": f"the law does not fit: it leaves {ratio:.2g} times the scatter of repeated "
            f"rows ({said})",
        }
    if entry["p"] < LEVEL:
        return entry | {"status": SOME, "text": f"some, beyond repeated rows ({said})"}
    return entry | {"status": NONE_SEEN, "text": f"none seen ({said})"}


def _within(values: Array, cell: Labels) -> Array:
    """Return values (n, ...) less the mean of their cell."""
    counts = np.bincount(cell).astype(float)
    sums = np.zeros((len(counts), *values.shape[1:]))
    np.add.at(sums, cell, values)
    return np.asarray(values - (sums / counts.reshape(-1, *[1] * (values.ndim - 1)))[cell])


def _basis(fitted: Fit, rows: Rows) -> Array:
    """Return an orthonormal basis (n, q) of the law's slopes, those on a bound left out."""
    form = fitted.form
    table = prepare(form, rows.variables, rows.loss, None)
    theta = table.to_centred(form, fitted.theta)
    slope = linearise(form, table.logs, table.log_loss, theta, False)[1]
    free = [name not in fitted.certificate.bounds_hit for name in form.parameters]
    slope = slope[:, free]
    left, singular, _ = np.linalg.svd(
        slope / np.maximum(np.linalg.norm(slope, axis=0), 1e-300), full_matrices=False
    )
    return np.asarray(left[:, singular > 1e-9 * singular[0]])


def _ratio(residuals: Array, basis: Array, cell: Labels, freedom: tuple[int, int]) -> Array:
    """Return F (k,) of log residuals (n, k)."""
    left = residuals - basis @ (basis.T @ residuals)
    inside = np.sum(_within(residuals, cell) ** 2, axis=0)
    between = np.maximum(np.sum(left**2, axis=0) - inside, 0.0)
    return np.asarray(between / freedom[0] / (inside / freedom[1]))


def _tail(
    value: float,
    freedom: tuple[int, int],
    basis: Array,
    cell: Labels,
    within: Array,
    rows: Rows,
) -> tuple[str, float]:
    """Return what F is held against, and its share beyond `value`."""
    if rows.replicas is None or len(set(rows.replicas)) == rows.num:
        return "the F distribution", float(stats.f.sf(value, *freedom))
    replica = numbered(rows.replicas)
    shared = np.zeros(int(replica.max()) + 1)
    np.add.at(shared, replica, within)
    counts = np.bincount(cell)[cell]
    kept = np.where(counts > 1, 1 - 1 / counts, 0.0)  # of a scatter, after the cell's mean
    pairs = np.zeros_like(shared)
    np.add.at(pairs, replica, kept)
    own = np.zeros_like(shared)
    np.add.at(own, replica, within**2)
    most = np.bincount(replica) - 1
    expected = float(pairs @ most)  # products of two rows of a replica, in shares of its variance
    total = float(np.sum(within**2) / freedom[1])
    common = float(np.sum(shared**2 - own)) / expected if expected > 0 else 0.0
    common = min(max(common, 0.0), total)
    made = Components(0.0, float(np.sqrt(common)), float(np.sqrt(total - common)))
    drawn = made.draw(np.zeros_like(replica), replica, DRAWS, np.random.default_rng(0))
    beyond = int(np.sum(_ratio(drawn.T, basis, cell, freedom) >= value))
    return f"{DRAWS:,} draws by replica", (1 + beyond) / (1 + DRAWS)
