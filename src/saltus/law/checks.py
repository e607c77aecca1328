"""What the numbers of a fitted law rest on: the seeds' own spread, the cut-off, the band."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from saltus.law.criterion import Criterion
from saltus.law.forecast import rms_percent
from saltus.law.forms import Chinchilla
from saltus.law.intervals import Intervals
from saltus.law.jackknife import MIN_SIZES
from saltus.law.runs import sizes_in_order, variables_of
from saltus.law.solve import fit

NUM_BAND_TOKENS = 12
MIN_HORIZONS = 3  # B, beta and their sum with E: fewer fix no exponent of tokens
Usable = Callable[[int], pd.DataFrame]


def band(runs: pd.DataFrame, errors: Intervals) -> list[dict[str, Any]]:
    """Return the law's 95 % jackknife band: rows of size, tokens, low, high (nats per token).

    Every size at the same log-spaced tokens, from the shortest to the longest horizon fitted.
    """
    tokens = np.geomspace(runs["tokens"].min(), runs["tokens"].max(), NUM_BAND_TOKENS)
    rows = []
    for size in sizes_in_order(runs):
        params = float(runs.loc[runs["size"].astype(str) == size, "params_total"].iloc[0])
        low, high = errors.band({"N": np.full(len(tokens), params), "D": tokens})
        rows += [
            {"size": size, "tokens": float(t), "low": float(below), "high": float(above)}
            for t, below, above in zip(tokens, low, high, strict=True)
        ]
    return rows


def cut_offs(runs: pd.DataFrame, minimum_tokens: int) -> list[int]:
    """Return the cut-offs to compare: none, the study's own, and the next larger horizon.

    `runs` are usable without a cut-off. Those that leave fewer than three horizons are left out,
    and so is the study's own if it drops nothing.
    """
    horizons = np.unique(runs["tokens"].to_numpy(dtype=int))
    kept = horizons[horizons >= minimum_tokens]
    wanted = [0, minimum_tokens if len(kept) < len(horizons) else 0, *kept[1:2].tolist()]
    enough = [cut for cut in wanted if int((horizons >= cut).sum()) >= MIN_HORIZONS]
    return sorted({int(cut) for cut in enough})


def sensitivity(
    usable: Usable, minimum_tokens: int, criterion: Criterion, seed: int
) -> list[dict[str, Any]]:
    """Return the law's exponents, E and residuals at each cut-off; `status` is the certificate's.

    `usable`(cut-off) returns the rows that a law may use.
    """
    form, rows = Chinchilla(), []
    for cut in cut_offs(usable(0), minimum_tokens):
        runs = usable(cut)
        if runs["size"].nunique() < MIN_SIZES or len(runs) < len(form.parameters) + 2:
            continue
        loss = runs["loss_text"].to_numpy(dtype=float)
        fitted = fit(form, variables_of(runs), loss, criterion=criterion, seed=seed)
        rows.append(
            {
                "minimum_tokens": cut,
                **{name: fitted.parameters[name] for name in ("alpha", "beta", "E")},
                "rms_percent": rms_percent(fitted.residuals),
                "status": fitted.certificate.status,
                "bounds_hit": list(fitted.certificate.bounds_hit),
                "rows": len(runs),
            }
        )
    return rows
