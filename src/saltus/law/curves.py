"""Every size's loss along compute, on one grid of compute: what two of the approaches read.

Legend: `S` size, in order of its parameters; `G` point of the grid. A size's tokens are linear in
log compute, and its log loss a monotone cubic in log tokens (PCHIP: Fritsch and Butland 1984; with
two horizons a line), between its own horizons and never beyond them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from saltus.errors import TableError
from saltus.law.alike import merge_alike

Array = NDArray[np.float64]

COLUMNS = ("params", "tokens", "flops", "loss")
GRID_PER_DECADE = 16


@dataclass(frozen=True, eq=False)
class Curves:
    """Sizes on one grid of compute; NaN, and segment -1, where a size has no horizons around.

    `segment` numbers the pair of neighbouring horizons that a value lies between. `left_out` counts
    sizes without a curve: those of a single horizon, or whose compute does not rise with tokens.
    """

    sizes: tuple[str, ...]  # (S,)
    log_params: Array  # (S,)
    log_flops: Array  # (G,)
    log_tokens: Array  # (S, G)
    loss: Array  # (S, G)
    segment: NDArray[np.int64]  # (S, G)
    left_out: int

    def without(self, index: int) -> "Curves":
        """Return the curves of all other sizes, on the same grid."""
        kept = np.arange(len(self.sizes)) != index
        return Curves(
            tuple(size for i, size in enumerate(self.sizes) if i != index),
            self.log_params[kept], self.log_flops, self.log_tokens[kept], self.loss[kept],
            self.segment[kept], self.left_out,
        )  # fmt: skip


def labelled(points: pd.DataFrame) -> pd.DataFrame:
    """Check the columns, and label sizes by their parameters where a table has no `size`.

    Rows of one size and equal tokens are averaged. Sorted by parameters, then tokens.
    Raises `TableError` if there are no rows, a column is missing or a value is not positive.
    """
    if not len(points):
        raise TableError("points: no rows")
    for name in COLUMNS:
        if name not in points.columns:
            raise TableError(f"points: column {name} is missing; found {list(points.columns)}")
        values = points[name].to_numpy(dtype=float)
        bad = ~(np.isfinite(values) & (values > 0))
        if bad.any():
            row = int(np.argmax(bad))
            raise TableError(f"points: {name} is {values[row]} in row {row}; expected above 0")
    table = points[list(COLUMNS)].astype(float)
    if "size" in points.columns:
        table["size"] = points["size"].astype(str)
    else:
        table["size"] = merge_alike(table["params"].to_numpy())
    means = table.groupby(["size", "tokens"], as_index=False)[["params", "flops", "loss"]].mean()
    means["params"] = means.groupby("size")["params"].transform("mean")
    sorted_means: pd.DataFrame = means.sort_values(["params", "size", "tokens"])
    return sorted_means.reset_index(drop=True)


def grid_of(table: pd.DataFrame) -> Array:
    """Return log compute (G,) from the least to the most of the table, 16 values a decade or so."""
    logs = np.log(table["flops"].to_numpy(dtype=float))
    low, high = float(logs.min()), float(logs.max())
    return np.linspace(low, high, 1 + max(round((high - low) / np.log(10) * GRID_PER_DECADE), 1))


def curves_of(table: pd.DataFrame, loss: Sequence[float] | Array | None = None) -> Curves:
    """Return the curves of a `labelled` table; `loss` (n,) takes the place of its own."""
    values = table["loss"].to_numpy(dtype=float) if loss is None else np.asarray(loss, dtype=float)
    grid = grid_of(table)
    groups = table.groupby("size", sort=False).indices
    log_flops = np.log(table["flops"].to_numpy(dtype=float))
    sizes = [
        size
        for size, rows in groups.items()
        if len(rows) > 1 and np.all(np.diff(log_flops[rows]) > 0)
    ]
    shape = (len(sizes), len(grid))
    log_tokens, losses = np.full(shape, np.nan), np.full(shape, np.nan)
    segment = np.full(shape, -1, dtype=np.int64)
    log_params = np.empty(len(sizes))
    for i, size in enumerate(sizes):
        rows = np.asarray(groups[size])
        part = table.iloc[rows]
        log_params[i] = np.log(part["params"].iloc[0])
        tokens, flops = np.log(part["tokens"].to_numpy()), log_flops[rows]
        slack = 1e-9 * np.abs(flops).max()
        here = (grid >= flops[0] - slack) & (grid <= flops[-1] + slack)
        log_tokens[i, here] = np.interp(grid[here], flops, tokens)
        curve = PchipInterpolator(tokens, np.log(values[rows]))
        losses[i, here] = np.exp(curve(log_tokens[i, here]))
        below = np.searchsorted(flops, grid[here], side="right") - 1
        segment[i, here] = np.clip(below, 0, len(flops) - 2)
    return Curves(
        tuple(str(size) for size in sizes), log_params, grid, log_tokens, losses, segment,
        len(groups) - len(sizes),
    )  # fmt: skip
