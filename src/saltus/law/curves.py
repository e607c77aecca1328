"""Loss along compute, size by size: what the envelope and the isoFLOP parabolas are read off.

A curve is one size's losses over its horizons, in logs, interpolated between them and never beyond.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]

ALIKE = 0.01  # sizes without a label are one where their N differ by less than this share


@dataclass(frozen=True, eq=False)
class Curve:
    """One size: its log N, and log C, log D and log loss (k,) by growing compute."""

    size: str
    log_params: float
    log_flops: Array
    log_tokens: Array
    log_loss: Array

    def covers(self, log_flops: float) -> bool:
        """Return whether a compute lies between the first and last horizon."""
        return bool(self.log_flops[0] <= log_flops <= self.log_flops[-1])

    def at(self, log_flops: float) -> tuple[float, float]:
        """Return log loss and log D at a compute that the curve covers, linear in log C."""
        return (
            float(np.interp(log_flops, self.log_flops, self.log_loss)),
            float(np.interp(log_flops, self.log_flops, self.log_tokens)),
        )


def merge_alike(params: Array) -> list[str]:
    """Return a label for each N (n,): runs whose N differ by less than one percent share one."""
    order = np.argsort(params, kind="stable")
    labels = np.empty(len(params), dtype=object)
    first = float(params[order[0]])
    for i in order:
        if params[i] > first * (1 + ALIKE):
            first = float(params[i])
        labels[i] = f"{first:.6g}"
    return list(labels)


def mean_points(
    sizes: Sequence[object], params: Array, tokens: Array, flops: Array, loss: Array
) -> pd.DataFrame:
    """Return one row per size and D, means over seeds: size, params, tokens, flops, loss."""
    table = pd.DataFrame(
        {
            "size": [str(size) for size in sizes],
            "params": params,
            "tokens": tokens,
            "flops": flops,
            "loss": loss,
        }
    )
    means: pd.DataFrame = table.groupby(["size", "tokens"], sort=False, as_index=False).mean()
    return means[["size", "params", "tokens", "flops", "loss"]]


def curves_of(points: pd.DataFrame) -> list[Curve]:
    """Return the curves of `mean_points`, by growing N; a size needs two horizons to have one."""
    curves = []
    for size, rows in points.groupby("size", sort=False):
        rows = rows.sort_values("flops").drop_duplicates("flops")
        if len(rows) >= 2:
            curves.append(
                Curve(
                    size=str(size),
                    log_params=float(np.log(rows["params"].mean())),
                    log_flops=np.log(rows["flops"].to_numpy(dtype=float)),
                    log_tokens=np.log(rows["tokens"].to_numpy(dtype=float)),
                    log_loss=np.log(rows["loss"].to_numpy(dtype=float)),
                )
            )
    return sorted(curves, key=lambda curve: curve.log_params)


def compute_range(curves: Sequence[Curve]) -> tuple[float, float]:
    """Return the lowest and highest log C that any curve covers."""
    return (
        min(float(curve.log_flops[0]) for curve in curves),
        max(float(curve.log_flops[-1]) for curve in curves),
    )
