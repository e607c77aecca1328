"""How straight and how abrupt a rise is: BIG-bench's linearity and breakthroughness.

With accuracies y over sizes in order, the signed improvement is

    I = sign(argmax y - argmin y) · (max y - min y)

and each score divides it by a typical step: linearity by the root mean square of the steps,
breakthroughness by the root of their median square (Srivastava et al. 2022). A rise in equal steps
has both equal to the number of steps; a leap between plateaus has a small median and so a large B.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def linearity(values: ArrayLike) -> float | None:
    """L = I / sqrt(mean(diff²)) of values (S,) in order of size; None where nothing changes.

    Raises ValueError for fewer than two values.
    """
    improvement, squares = _steps(values)
    typical = float(squares.mean())
    return improvement / typical**0.5 if typical > 0 else None


def breakthroughness(values: ArrayLike) -> float | None:
    """B = I / sqrt(median(diff²)) of values (S,) in order of size; None for a median of zero.

    Of an even number of squared steps the two middle ones are averaged. Raises ValueError for
    fewer than two values.
    """
    improvement, squares = _steps(values)
    typical = float(np.median(squares))
    return improvement / typical**0.5 if typical > 0 else None


def _steps(values: ArrayLike) -> tuple[float, NDArray[np.float64]]:
    """I, and the squared steps (S - 1,)."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size < 2:
        raise ValueError(f"values: found shape {array.shape}, expected (S,) with S of 2 or more")
    sign = float(np.sign(int(array.argmax()) - int(array.argmin())))
    return sign * float(array.max() - array.min()), np.diff(array) ** 2
