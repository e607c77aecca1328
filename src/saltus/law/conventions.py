"""How the exponents move with what is counted: which parameters, and exact FLOPs or 6ND.

The convention is a choice and no interval carries it, so all of them are shown (Porian et al. 2024:
head FLOPs alone move an exponent of allocation from .84 to .70).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from saltus.errors import TableError
from saltus.law.allocation import FLOPS_PER_PAIR
from saltus.law.approaches import three_approaches
from saltus.law.criterion import Criterion
from saltus.law.describe import points_of_rows
from saltus.law.forecast import rms_percent
from saltus.law.forms import Chinchilla
from saltus.law.jackknife import jackknife
from saltus.law.solve import HUBER, fit
from saltus.law.table import Rows
from saltus.law.values import check_roles, positive

PARAMS = ("params_total", "params_nonembedding")
FLOPS = ("flops_exact", "flops_6nd")
KEPT = ("a", "interval", "reason", "interval_reason")  # of an approach's entry


def conventions(
    rows: Rows,
    *,
    counts: Mapping[str, Sequence[str]] | None = None,
    criterion: Criterion = HUBER,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Fit Chinchilla's law under every convention of N, and read a under every one of C.

    N is the column that was chosen, those of `counts["params"]`, and each of `params_total` and
    `params_nonembedding` that is there; C the chosen column, those of `counts["flops"]`,
    `flops_exact`, `flops_6nd`, and 6 N D with the N at hand. Intervals
    are the delete-one-size jackknife's, None where sizes are too few. The rows are those of a form
    in N and D. Raises `TableError` where the table has only one convention, or lacks one of
    `counts`.
    """
    frame, columns, more = rows.frame, rows.columns, counts or {}
    for role, named in more.items():
        check_roles(frame, [(f"--counts {role}", name) for name in dict.fromkeys(named)])
    names = list(dict.fromkeys([columns["params"], *more.get("params", ()), *PARAMS]))
    own = [columns["flops"]] if "flops" in columns else []
    computes = list(dict.fromkeys([*own, *more.get("flops", ()), *FLOPS]))
    names = [name for name in names if name in frame.columns]
    computes = [name for name in computes if name in frame.columns]
    if len(names) < 2 and not computes:
        raise TableError(
            "--conventions: found one column of parameters and none of FLOPs, expected "
            f"{', '.join(PARAMS)} or {', '.join(FLOPS)} beside it, or --counts params=COLUMN"
        )
    tokens = rows.variables["D"]
    form, told = Chinchilla(), []
    for name in names:
        params = positive(frame, name)
        variables = {"N": params, "D": tokens}
        fitted = fit(form, variables, rows.loss, criterion=criterion, seed=seed)
        errors = jackknife(fitted, variables, rows.loss, rows.sizes, rows.replicas)
        intervals = {} if errors is None else errors.parameter_intervals()
        for compute in [*computes, f"6 {name} D"]:
            product = FLOPS_PER_PAIR * params * tokens
            flops = positive(frame, compute) if compute in frame.columns else product
            points = points_of_rows(rows, flops).assign(params=params)
            found = three_approaches(points, fitted, errors).to_dict()
            told.append(
                {
                    "params": name,
                    "flops": compute,
                    "alpha": fitted.parameters["alpha"],
                    "alpha_interval": intervals.get("alpha"),
                    "beta": fitted.parameters["beta"],
                    "beta_interval": intervals.get("beta"),
                    "rms_percent": rms_percent(fitted.residuals),
                    "status": fitted.certificate.status,
                    "a": {
                        approach: {key: entry[key] for key in KEPT}
                        for approach, entry in found["approaches"].items()
                    },
                    "verdict": found["verdict"],
                }
            )
    return told
