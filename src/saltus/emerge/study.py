"""What a study says of its abilities beside thresholds and verdicts: the rest of `emergence.json`.

Arms against each other, accuracy against loss, the collapse on its axis, tokens to learn against
size, thresholds foretold from smaller sizes, and whether draws agree with their probability.
"""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from saltus.emerge.ability import summarise_emergence
from saltus.emerge.agreement import compare_methods
from saltus.emerge.arms import arm_table
from saltus.emerge.collapse import Collapse, collapse, settle
from saltus.emerge.foretell import foretell_table
from saltus.emerge.links import link_rows
from saltus.emerge.logistic import Runs
from saltus.emerge.resolution import agreement_table
from saltus.emerge.shape import shape_table
from saltus.emerge.textloss import lawful_text_losses
from saltus.emerge.token_slope import slope_of_scores

Tables = dict[str, pd.DataFrame]


def summarise_study(
    scores: pd.DataFrame, items: pd.DataFrame, minimum_tokens: int = 0
) -> tuple[dict[str, Any], Tables]:
    """Return the content of `emergence.json`, and the long tables of what was foretold, by name.

    `minimum_tokens` is the law's: shorter runs do not enter the law of text loss by which
    thresholds are foretold. Raises `TableError` for a missing column.
    """
    found = summarise_emergence(scores)
    if scores.empty:
        return found, {"foretold": foretell_table(scores)[0]}
    losses = None
    if scores["loss_text"].notna().any():
        losses = lawful_text_losses(scores, minimum_tokens)
    foretold, thresholds = foretell_table(scores, losses)
    agreement = agreement_table(items)
    found |= {
        "arms": arm_table(scores).to_dict("records"),
        "shapes": shape_table(scores).to_dict("records"),
        "links": link_rows(scores),
        "collapse": _collapses(scores),
        "token_slopes": [
            {"task": task, "arm": arm, **asdict(slope_of_scores(cell))}
            for (task, arm), cell in scores.groupby(["task", "arm"], sort=True)
        ],
        "foretold": {
            "methods": compare_methods(foretold).to_dict("records"),
            "thresholds": thresholds.to_dict("records"),
        },
        "agreement": {
            "runs": len(agreement),
            "draws": int(agreement["sampled"].sum()),
            "smallest_p": float(agreement["p_value"].min()) if len(agreement) else None,
        },
    }
    return found, {"foretold": foretold}


def _collapses(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the test of the collapse on text loss of every task and arm, p adjusted by Holm."""
    names: list[dict[str, Any]] = []
    found: list[Collapse] = []
    for (task, arm), cell in scores.dropna(subset=["loss_text"]).groupby(["task", "arm"]):
        runs = Runs(
            loss=cell["loss_text"].to_numpy(np.float64),
            successes=cell["successes"].to_numpy(np.float64),
            trials=cell["items"].to_numpy(np.float64),
            size=cell["params_nonembedding"].to_numpy(np.float64),
            guess=float(cell["guess_rate"].mean()),
        )
        names.append({"task": task, "arm": arm})
        found.append(collapse(runs, cell["seed"].to_numpy(np.float64)))
    return [{**name, **asdict(each)} for name, each in zip(names, settle(found), strict=True)]
