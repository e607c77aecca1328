"""What `laws.json` tells of a law's doubt, written and read: the refits, not a summary of them.

A covariance of the internal vector says little where a term is weak: log E of a refit may rest on
its lower bound, at -20, while every prediction hardly moves. So the refits themselves are kept, and
each statistic is computed in every one of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saltus.errors import TableError
from saltus.law.allocation import Cost, fit_cost
from saltus.law.ends import DeleteOne, Percentiles, Rule
from saltus.law.forms import FORMS, Form
from saltus.law.intervals import Intervals
from saltus.law.misfit import NO_FIT
from saltus.law.parametric import UNUSABLE
from saltus.law.table import Rows

Array = NDArray[np.float64]
Span = tuple[float, float]

MOST_REFITS = 500  # of a bootstrap that are kept, evenly spaced
KINDS = (DeleteOne.kind, Percentiles.kind)


def uncertainty_entry(spread: Intervals | None, rows: Rows) -> dict[str, Any] | None:
    """Return the `uncertainty` of a fit's entry; None without refits, or of a form not in N and D.

    `theta` (p,) and `refits` (m, p) are internal vectors in raw units; `kind`, `level` and `dof`
    (null of percentiles) say how they become intervals. `cost` is C = k N^p D of the table, `reach`
    its lowest and highest N, D and C.
    """
    if spread is None or spread.fitted.form.powers(spread.fitted.theta) is None:
        return None
    num = len(spread.theta)
    kept = np.arange(num)
    if num > MOST_REFITS:
        kept = np.linspace(0, num - 1, MOST_REFITS).round().astype(int)
    params, tokens = rows.variables["N"], rows.variables["D"]
    cost = fit_cost(params, tokens, rows.flops)
    flops = cost.flops(params, tokens) if rows.flops is None else rows.flops
    rule = spread.rule
    return {
        "method": spread.method,
        "kind": rule.kind,
        "level": rule.level,
        "dof": rule.dof if isinstance(rule, DeleteOne) else None,
        "theta": spread.fitted.theta.tolist(),
        "refits": spread.theta[kept].tolist(),
        "replica_error": spread.replica_error,
        "cost": asdict(cost),
        "reach": {
            name: [float(values.min()), float(values.max())]
            for name, values in (("N", params), ("D", tokens), ("C", flops))
        },
    }


@dataclass(frozen=True, eq=False)
class Belief:
    """A fitted law as its file tells it: form, internal vector (p,), refits (m, p), their rule.

    `replica_error` is the standard deviation of a new run's log loss about the law. `reach` holds
    the lowest and highest N, D and C of the table. `parameters` and `intervals` are the public
    ones; an interval is None where the law has none. `warnings` say what speaks against the law.
    """

    form: Form
    theta: Array
    refits: Array
    rule: Rule
    replica_error: float
    cost: Cost
    reach: dict[str, Span]
    parameters: Mapping[str, float]
    intervals: Mapping[str, Span | None]
    warnings: tuple[str, ...]


def belief_of(laws: Mapping[str, Any]) -> Belief:
    """Read a belief from `laws.json` of a study or of `saltus law --json`.

    Raises `TableError`, in one line that names the key, where there is no law, where its intervals
    cannot be given, and where the file is malformed or of an older make.
    """
    entry = laws.get("chinchilla", laws)
    if not isinstance(entry, Mapping) or "form" not in entry:
        raise TableError("no fitted law in it; expected the file of saltus law --json or laws.json")
    if entry.get("parameters") is None:
        raise TableError(f"no law was fitted: {entry.get('reason') or 'no reason given'}")
    form = FORMS.get(str(entry["form"]))
    if form is None or set(form.variables) != {"N", "D"}:
        raise TableError(f"form: found {entry['form']}; advice needs a law in N and D")
    status = _at(entry, "certificate.status", str)
    if status in UNUSABLE:
        raise TableError(f"the law's certificate says {status}: no interval follows from it")
    told = entry.get("uncertainty", {"covariance": None})
    if isinstance(told, Mapping) and "covariance" in told:
        raise TableError(
            "uncertainty: the refits are not in it, as in files of an earlier version; make it "
            "anew (saltus law --json, or saltus analyse)"
        )
    if told is None:
        method = entry.get("interval_method") or "none"
        raise TableError(
            f"uncertainty: null, since its intervals come from no refits ({method}); fit with "
            "saltus law --interval jackknife or bootstrap"
        )
    num = len(form.parameters)
    refits = _vectors(entry, "uncertainty.refits", form, (None, num))
    if len(refits) < 2:
        raise TableError(f"uncertainty.refits: found {len(refits)}, expected at least 2")
    return Belief(
        form=form,
        theta=_vectors(entry, "uncertainty.theta", form, (num,)),
        refits=refits,
        rule=_rule(entry),
        replica_error=_number(entry, "uncertainty.replica_error", least=0.0),
        cost=Cost(*(_number(entry, f"uncertainty.cost.{key}") for key in asdict(Cost()))),
        reach={name: _span(entry, f"uncertainty.reach.{name}") for name in ("N", "D", "C")},
        parameters={name: _number(entry, f"parameters.{name}", None) for name in form.parameters},
        intervals={name: _interval(entry, f"intervals.{name}") for name in form.parameters},
        warnings=_warnings(entry, status),
    )


def _warnings(entry: Mapping[str, Any], status: str) -> tuple[str, ...]:
    """Return what the law's own file says against it: its certificate, its lack of fit."""
    told = []
    if status != "converged":
        told.append(f"not certain: the law's certificate says {status}")
    lack = entry.get("lack_of_fit")
    if isinstance(lack, Mapping) and lack.get("status") == NO_FIT:
        told.append(f"{lack.get('text')}; no interval here covers that")
    return tuple(told)


def _rule(entry: Mapping[str, Any]) -> Rule:
    kind = _at(entry, "uncertainty.kind", str)
    if kind not in KINDS:
        raise TableError(f"uncertainty.kind: found '{kind}', expected {' or '.join(KINDS)}")
    level = _number(entry, "uncertainty.level")
    if level >= 1:
        raise TableError(f"uncertainty.level: found {level:g}, expected a number below 1")
    if kind == Percentiles.kind:
        return Percentiles(level)
    return DeleteOne(int(_number(entry, "uncertainty.dof", least=1.0)), level)


def _at(entry: Mapping[str, Any], path: str, kind: Any) -> Any:
    """Return the value at a dotted path; `TableError` if it is missing or no `kind`."""
    value: Any = entry
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            raise TableError(f"{path}: missing; make the file anew (saltus law --json)")
        value = value[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        wanted = {str: "text", Sequence: "a list"}.get(kind, "a number")
        raise TableError(f"{path}: found {_told(value)}, expected {wanted}")
    return value


def _number(entry: Mapping[str, Any], path: str, least: float | None = 1e-300) -> float:
    """Return a finite number of at least `least`: above 0 unless told otherwise."""
    given = _at(entry, path, int | float)
    value = float(given) if abs(given) < 1e300 else np.inf
    if not np.isfinite(value) or (least is not None and value < least):
        wanted = "a number above 0" if least == 1e-300 else f"at least {least:g}"
        raise TableError(f"{path}: found {value:g}, expected {wanted}")
    return value


def _numbers(entry: Mapping[str, Any], path: str, shape: tuple[int | None, ...]) -> Array:
    """Return an array of finite numbers of a `shape`, whose None is any length."""
    listed = _at(entry, path, Sequence)
    wanted = " × ".join("m" if length is None else str(length) for length in shape)
    try:
        found = np.array(listed)
    except ValueError:  # rows of unequal lengths
        found = np.array(None)
    found = found.astype(float) if found.dtype.kind in "iuf" else np.array(np.nan)
    fits = found.ndim == len(shape) and all(
        length in (None, have) for length, have in zip(shape, found.shape, strict=False)
    )
    if not fits or not np.isfinite(found).all():
        raise TableError(f"{path}: found {_told(listed)}, expected {wanted} numbers")
    return found


def _vectors(
    entry: Mapping[str, Any], path: str, form: Form, shape: tuple[int | None, ...]
) -> Array:
    """Return internal vectors (..., p) of laws that fall with N and D."""
    theta = _numbers(entry, path, shape)
    with np.errstate(all="ignore"):
        powers = form.powers(theta)
    assert powers is not None
    if not (np.isfinite(powers).all() and (powers[..., 2:] > 0).all()):
        raise TableError(f"{path}: found an exponent of 0 or less, expected all above 0")
    return theta


def _span(entry: Mapping[str, Any], path: str) -> Span:
    low, high = (float(value) for value in _numbers(entry, path, (2,)))
    if not 0 < low <= high:
        raise TableError(f"{path}: found [{low:g}, {high:g}], expected lowest and highest above 0")
    return low, high


def _interval(entry: Mapping[str, Any], path: str) -> Span | None:
    head, name = path.split(".")
    ends = entry[head].get(name) if isinstance(entry.get(head), Mapping) else None
    if ends is None or (isinstance(ends, list) and None in ends):
        return None
    low, high = (float(value) for value in _numbers(entry, path, (2,)))
    return low, high


def _told(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 40 else f"{text[:40]}…"
