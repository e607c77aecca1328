"""One form fitted to rows, what it foretells elsewhere, and how that came out. Legend: `n` row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saltus.errors import TableError
from saltus.law.criterion import Criterion
from saltus.law.descent import check_columns
from saltus.law.forms import Form
from saltus.law.intervals import Intervals
from saltus.law.jackknife import MIN_SIZES, Jackknife, jackknife
from saltus.law.solve import HUBER, Fit, fit

Array = NDArray[np.float64]

ROUNDING = 1e-9  # of a loss: intervals of exact tables are as narrow as rounding is wide


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows of a table: variables (n,) by name, `loss`, `flops` (n,), their sizes and replicas."""

    variables: Mapping[str, Array]
    loss: Array
    sizes: NDArray[np.str_]
    replicas: tuple[object, ...]
    flops: Array

    def __len__(self) -> int:
        return len(self.loss)

    def where(self, mask: NDArray[np.bool_]) -> "Sample":
        """Return the rows at which `mask` (n,) is true."""
        return Sample(
            {name: values[mask] for name, values in self.variables.items()},
            self.loss[mask],
            self.sizes[mask],
            tuple(replica for replica, kept in zip(self.replicas, mask, strict=True) if kept),
            self.flops[mask],
        )


def rows_of(
    table: Mapping[str, ArrayLike],
    loss: ArrayLike,
    sizes: Sequence[str] | None = None,
    replicas: Sequence[object] | None = None,
    flops: ArrayLike | None = None,
    *,
    single: bool = False,
) -> Sample:
    """Return checked rows of raw variables N and D, with U where unique tokens are known.

    By default every distinct N is a size, every row a replica, and compute 6 N D. A `single`
    variable stands in the place of all three. Raises `TableError` for a missing or short column
    and for values that are not positive numbers.
    """
    for name in () if single else ("N", "D"):
        if name not in table:
            raise TableError(f"a comparison of forms needs variable {name}; found {sorted(table)}")
    columns = {name: np.asarray(values, dtype=float) for name, values in table.items()}
    num = np.asarray(loss).size
    compute: ArrayLike
    if single:
        (compute,) = columns.values()
    else:
        compute = 6.0 * columns["N"] * columns["D"] if flops is None else flops
    checked = {
        **columns,
        "loss": np.asarray(loss, dtype=float),
        "flops": np.asarray(compute, float),
    }
    check_columns(checked, num)
    first = next(iter(columns.values())) if single else columns["N"]
    labels = [f"{value:.17g}" for value in first] if sizes is None else map(str, sizes)
    names = np.array(list(labels), dtype=str)
    of = tuple(range(num)) if replicas is None else tuple(replicas)
    if len(names) != num or len(of) != num:
        raise TableError(f"{len(names)} sizes and {len(of)} replicas; expected {num}, as rows")
    return Sample(columns, checked["loss"], names, of, checked["flops"])


@dataclass(frozen=True, eq=False)
class Forecast:
    """A fitted form and the losses (n,) that it foretells, with the interval of a new replica.

    `low` and `high` are None, with a `reason`, when fewer than four sizes leave no interval.
    """

    fitted: Fit
    errors: Jackknife | None
    predicted: Array
    low: Array | None
    high: Array | None
    reason: str


def forecast(
    form: Form,
    rows: Sample,
    targets: Mapping[str, ArrayLike],
    *,
    criterion: Criterion = HUBER,
    seed: int = 0,
) -> Forecast:
    """Fit `form` to `rows` and predict at raw variables `targets` (n,)."""
    fitted = fit(form, rows.variables, rows.loss, criterion=criterion, seed=seed)
    errors = jackknife(fitted, rows.variables, rows.loss, list(rows.sizes), rows.replicas)
    low, high = (None, None) if errors is None else errors.prediction_interval(targets)
    num = len(set(rows.sizes))
    reason = "" if errors is not None else f"{num} sizes: without an interval, it needs {MIN_SIZES}"
    return Forecast(fitted, errors, fitted.predict(targets), low, high, reason)


@dataclass(frozen=True, eq=False)
class Score:
    """Predicted and actual losses (n,); `repeated` is the baseline's, NaN where it has none."""

    predicted: Array
    low: Array | None
    high: Array | None
    actual: Array
    repeated: Array

    @property
    def error_percent(self) -> Array:
        """Errors (n,) in percent of the actual loss; predicted above actual is positive."""
        return np.asarray(100.0 * (self.predicted / self.actual - 1.0))

    @property
    def inside(self) -> NDArray[np.bool_] | None:
        """Which actual losses (n,) lie in their interval; None without intervals."""
        if self.low is None or self.high is None:
            return None
        low, high = self.low * (1 - ROUNDING), self.high * (1 + ROUNDING)
        return np.asarray((low <= self.actual) & (self.actual <= high))

    @property
    def baseline_percent(self) -> Array:
        """Errors (n,) of the baseline, NaN where it has none."""
        return np.asarray(100.0 * (self.repeated / self.actual - 1.0))

    @property
    def mean_absolute_error_percent(self) -> float | None:
        """Mean absolute error; None of no rows."""
        return float(np.mean(np.abs(self.error_percent))) if len(self.actual) else None

    @property
    def inside_share(self) -> float | None:
        """Share of the actual losses inside; None without intervals or rows."""
        inside = self.inside
        return None if inside is None or not len(inside) else float(np.mean(inside))

    @property
    def baseline_error_percent(self) -> float | None:
        """Mean absolute error of the baseline; None unless it predicts every row."""
        errors = self.baseline_percent
        return None if not len(errors) or np.isnan(errors).any() else float(np.mean(np.abs(errors)))


def repeat(tokens: Array, loss: Array, wanted: Array) -> Array:
    """Return the mean `loss` at the same tokens for each of `wanted` (n,); NaN where none is."""
    means = {value: float(np.mean(loss[tokens == value])) for value in np.unique(tokens)}
    return np.array([means.get(value, np.nan) for value in wanted], dtype=float)


def rms_percent(residuals: Array) -> float:
    """Return the root mean square of log residuals (n,) as percent of the measured loss."""
    return float(np.sqrt(np.mean((100.0 * np.expm1(residuals)) ** 2)))


def interval_entries(errors: Intervals | None) -> dict[str, Any]:
    """Return how intervals were made and how many refits fell short; nulls without any."""
    return {
        "interval_method": errors and errors.method,
        "unconverged_refits": errors and errors.unconverged,
    }
