"""Which runs are of one size where a table does not say: those whose N are nearly equal."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ALIKE = 0.01  # sizes without a label are one where their N differ by less than this share


def merge_alike(params: Array) -> list[str]:
    """Return a label for each N (n,): within one percent of the smallest of them, N are one size.

    Counts read off a published figure differ in their last digits.
    """
    order = np.argsort(params, kind="stable")
    labels = np.empty(len(params), dtype=object)
    first = float(params[order[0]])
    for i in order:
        if params[i] > first * (1 + ALIKE):
            first = float(params[i])
        labels[i] = f"{first:.6g}"
    return list(labels)
