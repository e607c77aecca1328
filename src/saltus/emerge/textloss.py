"""Text losses that Chinchilla's law predicts for larger sizes, made from the smaller ones alone."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from saltus.emerge.roads import TextLosses
from saltus.emerge.scores import require_columns
from saltus.errors import TableError
from saltus.law.forms import FORMS
from saltus.law.solve import Fit, fit

FloatArray = NDArray[np.float64]

_NEEDED = ("params_nonembedding", "params_total", "tokens", "horizon", "loss_text")


def lawful_text_losses(runs: pd.DataFrame, minimum_tokens: int = 0) -> TextLosses:
    """Predicted text loss (nats per token) at the longest horizon, from the sizes that are named.

    runs: usable rows of the `runs` or `scores` table (a run standing twice counts once). For each
    set of sizes the law is fitted once to their rows of at least `minimum_tokens`, by the Huber
    objective of `saltus law`, and kept. The law's N is `params_total`, which follows from the
    non-embedding count by straight lines in logs through the ladder's design. Asked for sizes that
    do not fix the law, it says why in a string. Raises TableError for a missing column or no rows.
    """
    require_columns(runs, "runs", _NEEDED)
    keys = ["run"] if "run" in runs.columns else list(_NEEDED)
    table = runs.drop_duplicates(keys).dropna(subset=list(_NEEDED))
    if table.empty:
        raise TableError("runs: found no row with a text loss, expected at least one")
    tokens = float(table.loc[table["horizon"] == table["horizon"].max(), "tokens"].iloc[0])
    design = table.drop_duplicates("params_nonembedding").sort_values("params_nonembedding")
    log_small = np.log(design["params_nonembedding"].to_numpy(np.float64))
    log_total = np.log(design["params_total"].to_numpy(np.float64))
    usable = table[table["tokens"] >= minimum_tokens]
    fits: dict[tuple[float, ...], Fit | str] = {}

    def total(params: FloatArray) -> FloatArray:
        """All parameters at non-embedding ones; the end slopes go on beyond the ladder."""
        x = np.log(params)
        if log_small.size == 1:
            return np.asarray(np.exp(log_total[0] + x - log_small[0]))
        i = np.clip(np.searchsorted(log_small, x) - 1, 0, log_small.size - 2)
        slope = np.diff(log_total)[i] / np.diff(log_small)[i]
        return np.asarray(np.exp(log_total[i] + slope * (x - log_small[i])))

    def law(seen: tuple[float, ...]) -> Fit | str:
        rows = usable[usable["params_nonembedding"].isin(seen)]
        law_form = FORMS["chinchilla"]
        points = len(rows.drop_duplicates(["params_total", "tokens"]))
        if rows["params_total"].nunique() < 4 or points < len(law_form.parameters) + 2:
            return f"{rows['params_total'].nunique()} sizes do not fix the law of text loss"
        variables = {"N": rows["params_total"], "D": rows["tokens"]}
        found = fit(law_form, variables, rows["loss_text"].to_numpy(np.float64))
        if found.certificate.status == "failed":
            return "the law of text loss did not converge"
        return found

    def predicted(seen: tuple[float, ...], at: FloatArray) -> FloatArray | str:
        if seen not in fits:
            fits[seen] = law(seen)
        found = fits[seen]
        if isinstance(found, str):
            return found
        return found.predict({"N": total(at), "D": np.full(at.size, tokens)})

    return predicted
