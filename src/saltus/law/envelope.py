"""The lower envelope of all runs over compute, and the power law of its losses."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from saltus.law.criterion import Criterion
from saltus.law.forms import PowerLaw
from saltus.law.jackknife import Jackknife, degrees_of_freedom, replica_error, replica_freedom
from saltus.law.solve import HUBER, Fit, fit


def lower_envelope(points: pd.DataFrame) -> pd.DataFrame:
    """Keep the points that no cheaper or equally cheap point matches.

    `points` has `flops_exact` and `loss`; the result is sorted by compute, its losses falling. On a
    sparse grid of sizes and horizons the envelope lies on or above that of all possible runs.
    """
    ordered = points.sort_values(["flops_exact", "loss"], kind="stable")
    before = np.r_[np.inf, np.minimum.accumulate(ordered["loss"].to_numpy(dtype=float))[:-1]]
    falling = ordered["loss"].to_numpy(dtype=float) < before
    envelope: pd.DataFrame = ordered.loc[falling].reset_index(drop=True)
    return envelope


def average_seeds(runs: pd.DataFrame) -> pd.DataFrame:
    """Average `loss_text` and `flops_exact` over seeds: one row per size and horizon.

    An envelope of single runs would reward the luckiest seed.
    """
    grouped = runs.groupby(["size", "horizon"], sort=False, as_index=False)
    means = grouped.agg(
        flops_exact=("flops_exact", "mean"), loss=("loss_text", "mean"), tokens=("tokens", "first")
    )
    columns: pd.DataFrame = means[["flops_exact", "loss", "size", "tokens"]]
    return columns


@dataclass(frozen=True, eq=False)
class Envelope:
    """The envelope's points, its power law in compute, and the jackknife over sizes.

    `fitted` is None with a `reason` when the points are too few.
    """

    points: pd.DataFrame
    fitted: Fit | None
    errors: Jackknife | None
    reason: str


def fit_envelope(points: pd.DataFrame, *, criterion: Criterion = HUBER, seed: int = 0) -> Envelope:
    """Fit L = E + A/C^alpha to the lower envelope of `points` (flops_exact, loss, size, tokens).

    The jackknife leaves out a size with all its points and draws the envelope anew, so its interval
    carries the choice of points; it is None when some envelope without a size is too short.
    """
    form = PowerLaw("C")
    needed = len(form.parameters) + 2
    envelope = lower_envelope(points)
    if len(envelope) < needed:
        reason = f"the envelope has {len(envelope)} points; E + A/C^alpha needs {needed}"
        return Envelope(envelope, None, None, reason)

    def fitted_to(table: pd.DataFrame, starts: int) -> Fit:
        compute = {"C": table["flops_exact"].to_numpy(dtype=float)}
        loss = table["loss"].to_numpy(dtype=float)
        return fit(form, compute, loss, criterion=criterion, starts=starts, seed=seed)

    whole = fitted_to(envelope, 24)
    sizes = tuple(dict.fromkeys(str(size) for size in points["size"]))
    parts = [lower_envelope(points[points["size"].astype(str) != size]) for size in sizes]
    if degrees_of_freedom(len(sizes)) < 1 or min(len(part) for part in parts) < len(
        form.parameters
    ):
        return Envelope(envelope, whole, None, "too few sizes for an interval")
    refits = [fitted_to(part, 6) for part in parts]
    errors = Jackknife(
        fitted=whole,
        sizes=sizes,
        theta=np.stack([part.theta for part in refits]),
        unconverged=sum(not part.certificate.settled for part in refits),
        replica_error=replica_error(whole.residuals, range(len(envelope)), len(whole.theta)),
        replica_dof=replica_freedom(range(len(envelope)), len(whole.theta)),
        variables={"C": envelope["flops_exact"].to_numpy(dtype=float)},
    )
    return Envelope(envelope, whole, errors, "")
