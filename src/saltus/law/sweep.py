"""One size of a learning-rate sweep: its losses over rates, the best rate, the loss in between.

Per size, losses at the longest horizon are averaged over seeds and a parabola in log rate is laid
through those near the lowest; a lowest loss at the edge of the sweep gives no best rate, only a
side to extend it to. Validation loss, so that the test split stays untouched by the choice.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from saltus.errors import TableError

Array = NDArray[np.float64]

NEAR = np.log(2.0) * 1.001  # rates within a factor of two of the best belong to the parabola
MIN_RATES = 3
COLUMNS = (
    "size", "seed", "horizon", "params_nonembedding", "learning_rate", "rate_factor",
    "loss_validation", "status",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Sweep:
    """Losses of one size over its rates, and the best rate if it lies inside.

    `log_rates` (n,) ascend; `seed_losses` (n, k) are nats per token, a column per seed, and
    `losses` (n,) their means. `parabolas` (3, k) has curvature, slope and level of each seed about
    `centre`, the log of the rate with the lowest mean; since the fit is linear in the losses, their
    mean is the parabola of the means. `best_rate` is None with a `reason` when it is not bracketed;
    `best_loss` is then the lowest mean that was run.
    """

    size: str
    params: float
    horizon: int
    log_rates: Array
    seed_losses: Array
    num_seeds: int
    diverged_rates: int
    best_rate: float | None
    best_loss: float
    reason: str
    centre: float
    parabolas: Array | None
    reach: tuple[float, float]

    @property
    def losses(self) -> Array:
        """Mean over seeds (n,)."""
        return np.asarray(self.seed_losses.mean(axis=1))

    @property
    def parabola(self) -> tuple[float, float, float] | None:
        """Curvature, slope and level of the means about `centre`."""
        if self.parabolas is None:
            return None
        curvature, slope, level = (float(value) for value in self.parabolas.mean(axis=1))
        return curvature, slope, level

    def seed_losses_at(self, rate: float) -> Array | None:
        """Interpolated loss (k,) of every seed at `rate`; None outside the rates that were run.

        The parabola near the best, else `blended`; both are linear in the losses, so the mean of
        the seeds' values is the value of their mean.
        """
        x = float(np.log(rate))
        known = self.log_rates
        if not len(known) or x < known[0] - 1e-9 or x > known[-1] + 1e-9:
            return None
        if self.parabolas is not None and self.reach[0] <= x <= self.reach[1]:
            return np.asarray(np.polyval(self.parabolas, x - self.centre))
        return blended(known, self.seed_losses, x)

    def loss_at(self, rate: float) -> float | None:
        """Interpolated mean loss at `rate`; None outside the rates that were run."""
        found = self.seed_losses_at(rate)
        return None if found is None else float(found.mean())


def blended(places: Array, values: Array, x: float) -> Array:
    """Interpolate `values` (n, k) at `x` within ascending `places` (n,): parabolic blending.

    Between two places the parabolas through either and its neighbours are mixed linearly
    (Overhauser 1968): continuous, and exact on a parabola, where chords lie above the loss. Below
    three places it is the chord.
    """
    num = len(places)
    if num < MIN_RATES:
        return np.array([np.interp(x, places, column) for column in values.T])
    left = int(np.clip(np.searchsorted(places, x) - 1, 0, num - 2))
    share = (x - places[left]) / (places[left + 1] - places[left])
    before, after = max(left - 1, 0), min(left, num - 3)
    ends = [_through_three(places[a : a + 3], values[a : a + 3], x) for a in (before, after)]
    return np.asarray((1.0 - share) * ends[0] + share * ends[1])


def _through_three(places: Array, values: Array, x: float) -> Array:
    """Lagrange's parabola through three points, at `x`."""
    a, b, c = places
    weights = np.array(
        [
            (x - b) * (x - c) / ((a - b) * (a - c)),
            (x - a) * (x - c) / ((b - a) * (b - c)),
            (x - a) * (x - b) / ((c - a) * (c - b)),
        ]
    )
    return np.asarray(weights @ values)


def check_sweep(runs: pd.DataFrame) -> None:
    """Raise `TableError` on a missing column, a value no sweep can have, or seeds that differ.

    Rows are counted from 1, in the order of the table. A seed shifts all losses of its size, so a
    mean over other seeds at another rate would pass for an effect of the rate.
    """
    missing = [name for name in COLUMNS if name not in runs.columns]
    if missing:
        raise TableError(f"runs: column {missing[0]} is missing; a rate sweep needs it")
    if not len(runs):
        raise TableError("runs: found no row, expected one per size, seed and rate")
    ok = (runs["status"] == "ok").to_numpy(dtype=bool)
    always = np.ones(len(runs), dtype=bool)
    # A diverged run may lack its loss, never what was set before it ran; its rate is not used.
    for name, needed in (("params_nonembedding", always), ("horizon", always),
                         ("learning_rate", ok), ("rate_factor", always)):  # fmt: skip
        values = pd.to_numeric(runs[name], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        bad = np.flatnonzero(needed & ~((values > 0) & np.isfinite(values)))
        if len(bad):
            found = runs[name].iloc[bad[0]]
            raise TableError(
                f"runs: row {bad[0] + 1}, {name}: found {found}, expected a positive number"
            )
    losses = pd.to_numeric(runs["loss_validation"], errors="coerce")
    bad = np.flatnonzero((losses.isna() & runs["loss_validation"].notna()).to_numpy())
    if len(bad):
        found = runs["loss_validation"].iloc[bad[0]]
        raise TableError(
            f"runs: row {bad[0] + 1}, loss_validation: found {found}, expected nats per token"
        )
    for name in ("size", "seed"):
        bad = np.flatnonzero(runs[name].isna().to_numpy())
        if len(bad):
            raise TableError(f"runs: row {bad[0] + 1}, {name}: found nothing, expected a value")
    _check_seeds(runs)


def _check_seeds(runs: pd.DataFrame) -> None:
    for size, rows in runs.groupby(runs["size"].astype(str), sort=False):
        counts = rows["params_nonembedding"].astype(float).unique()
        if len(counts) > 1:
            raise TableError(
                f"runs: size {size}: found params_nonembedding {counts[0]:g} and {counts[1]:g}, "
                "expected one"
            )
        last = rows[rows["horizon"] == rows["horizon"].max()]
        twice = last.duplicated(["rate_factor", "seed"])
        if twice.any():
            row = last[twice].iloc[0]
            place = int(np.flatnonzero(runs.index == row.name)[0]) + 1
            raise TableError(
                f"runs: row {place}: size {size} has seed {row['seed']} twice at rate "
                f"{row['learning_rate']:g}, expected one run per size, seed, rate and horizon"
            )
        every = set(last["seed"])
        finished = last[last["status"] == "ok"]
        pairs = finished[["rate_factor", "learning_rate"]].drop_duplicates()
        for one, other in (("rate_factor", "learning_rate"), ("learning_rate", "rate_factor")):
            if pairs[one].duplicated().any():
                value = pairs.loc[pairs[one].duplicated(), one].iloc[0]
                raise TableError(
                    f"runs: size {size}: found several values of {other} at {one} {value:g}, "
                    "expected one"
                )
        for _, part in last.groupby("rate_factor"):
            absent = sorted(map(str, every - set(part["seed"])))
            if absent:
                raise TableError(
                    f"runs: size {size}, rate {part['learning_rate'].max():g}: lacks seed "
                    f"{absent[0]}, expected the same {len(every)} seeds at every rate"
                )


def sweep_of(runs: pd.DataFrame, size: str) -> Sweep:
    """Find the best rate of one size of checked `runs` at its longest horizon.

    A rate at which any seed diverged, or left no loss, is left out and counted: the mean of its
    survivors would flatter it.
    """
    rows = runs[(runs["size"].astype(str) == size)]
    horizon = int(rows["horizon"].max())
    rows = rows[rows["horizon"] == horizon]
    known = np.isfinite(rows["loss_validation"].to_numpy(dtype=float, na_value=np.nan))
    diverged = set(rows.loc[(rows["status"] != "ok") | ~known, "rate_factor"])
    kept = rows[~rows["rate_factor"].isin(diverged)]
    table = kept.pivot(index="rate_factor", columns="seed", values="loss_validation").sort_index()
    rates = kept.groupby("rate_factor")["learning_rate"].mean().sort_index()
    log_rates = np.log(rates.to_numpy(dtype=float))
    seed_losses = table.to_numpy(dtype=float)
    losses = seed_losses.mean(axis=1) if len(table) else np.empty(0)
    lowest = int(np.argmin(losses)) if len(losses) else 0

    reason, rate, parabolas = "", None, None
    best_loss = float(losses[lowest]) if len(losses) else float("nan")
    centre = float(log_rates[lowest]) if len(losses) else 0.0
    reach = (centre, centre)
    if len(losses) < MIN_RATES:
        finished = f"{len(losses)} rate{'' if len(losses) == 1 else 's'} finished"
        reason = f"{finished} without a divergence; a minimum needs {MIN_RATES}"
    elif lowest in (0, len(losses) - 1):
        side, found = ("lower", "lowest") if lowest == 0 else ("higher", "highest")
        reason = f"at the edge: the best rate is the {found} that finished; try {side} ones"
    else:
        near = np.abs(log_rates - centre) <= NEAR
        near[lowest - 1 : lowest + 2] = True
        x = log_rates[near] - centre
        fitted = np.asarray(np.polyfit(x, seed_losses[near], 2))
        curvature, slope, _ = (float(value) for value in fitted.mean(axis=1))
        vertex = -slope / (2.0 * curvature) if curvature > 0 else float("nan")
        if not x[0] <= vertex <= x[-1]:
            reason = "the losses near the best rate do not curve upwards around it"
        else:
            parabolas = fitted
            reach = (centre + float(x[0]), centre + float(x[-1]))
            rate = float(np.exp(centre + vertex))
            best_loss = float(np.polyval(fitted.mean(axis=1), vertex))
    return Sweep(
        size=size,
        params=float(rows["params_nonembedding"].iloc[0]),
        horizon=horizon,
        log_rates=log_rates,
        seed_losses=seed_losses,
        num_seeds=int(rows["seed"].nunique()),
        diverged_rates=len(diverged),
        best_rate=rate,
        best_loss=best_loss,
        reason=reason,
        centre=centre,
        parabolas=parabolas,
        reach=reach,
    )
