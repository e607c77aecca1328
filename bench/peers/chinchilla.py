"""The peer: Chinchilla's parametric law as it is usually fitted, with SciPy and numeric gradients.

    python bench/peers/chinchilla.py table.csv        # columns N, D, loss

Written anew from the descriptions of Hoffmann et al. 2022 (section 3.3, appendix D.3) and Besiroglu
et al. 2024: L = E + A / N^alpha + B / D^beta as a log-sum-exp over theta = (log A, log B, log E,
alpha, beta); the sum over rows of Huber's loss, delta 1e-3, of log residuals; L-BFGS-B from each of
4,500 starts, the best kept; then 4,000 resamples of the rows, each by BFGS from the full table's
optimum. Gradients are SciPy's default forward differences and tolerances its defaults. The
residuals and the Huber are plain NumPy in few operations, which favours the peer.
It knows nothing of saltus. Legend: `n` row.
"""

import itertools
import sys
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Array = NDArray[np.float64]

DELTA = 1e-3
GRID = {
    "log A": (0.0, 5.0, 10.0, 15.0, 20.0, 25.0),
    "log B": (0.0, 5.0, 10.0, 15.0, 20.0, 25.0),
    "log E": (-1.0, -0.5, 0.0, 0.5, 1.0),
    "alpha": (0.0, 0.5, 1.0, 1.5, 2.0),
    "beta": (0.0, 0.5, 1.0, 1.5, 2.0),
}
NUM_STARTS = 4500
NUM_BOOTSTRAPS = 4000


def starts() -> Array:
    """Return the grid of starts (4500, 5)."""
    return np.array(list(itertools.product(*GRID.values())))


def objective(theta: Array, log_n: Array, log_d: Array, log_loss: Array) -> float:
    """Return the summed Huber loss of log residuals over the rows (n,)."""
    log_a, log_b, log_e, alpha, beta = theta
    z = np.stack([log_a - alpha * log_n, log_b - beta * log_d, np.full_like(log_n, log_e)])
    top = z.max(axis=0)
    predicted = top + np.log(np.exp(z - top).sum(axis=0))
    size = np.abs(predicted - log_loss)
    inner = np.minimum(size, DELTA)
    return float(np.sum(inner * (size - 0.5 * inner)))


def descend(start: Array, rows: tuple[Array, Array, Array]) -> tuple[Array, float]:
    """Return where L-BFGS-B with SciPy's settings ends from one start, and its objective."""
    with np.errstate(all="ignore"):  # a line search may go far out
        found = minimize(objective, start, args=rows, method="L-BFGS-B")
    return found.x, float(found.fun)


def fit(rows: tuple[Array, Array, Array], chosen: Iterable[Array]) -> tuple[Array, Array]:
    """Return the ends (m, 5) and objectives (m,) of the `chosen` starts, the best first."""
    ends, values = zip(*(descend(start, rows) for start in chosen), strict=True)
    order = np.argsort(values, kind="stable")
    return np.array(ends)[order], np.array(values)[order]


def bootstrap(theta: Array, rows: tuple[Array, Array, Array], num: int, seed: int) -> Array:
    """Return the optima (num, 5) of resampled rows, each by BFGS from `theta`."""
    generator = np.random.default_rng(seed)
    ends = []
    for _ in range(num):
        picked = generator.integers(len(rows[0]), size=len(rows[0]))
        resampled = tuple(column[picked] for column in rows)
        with np.errstate(all="ignore"):
            ends.append(minimize(objective, theta, args=resampled, method="BFGS").x)
    return np.array(ends)


def logs(table: dict[str, Array]) -> tuple[Array, Array, Array]:
    """Return log N, log D and log loss (n,) of a table."""
    return np.log(table["N"]), np.log(table["D"]), np.log(table["loss"])


def main() -> None:
    """Fit the table of a file and print its parameters with their bootstrap intervals."""
    read = np.genfromtxt(sys.argv[1], delimiter=",", names=True)
    rows = logs({name: np.asarray(read[name]) for name in ("N", "D", "loss")})
    ends, values = fit(rows, starts())
    low, high = np.quantile(bootstrap(ends[0], rows, NUM_BOOTSTRAPS, 0), [0.025, 0.975], axis=0)
    print(f"objective {values[0]:.9g}")
    for name, value, *interval in zip(GRID, ends[0], low, high, strict=True):
        print(f"{name:6} {value:.5g} [{interval[0]:.5g}, {interval[1]:.5g}]")


if __name__ == "__main__":
    main()
