"""`saltus advise LAWS --budget FLOPS`: the compute-optimal run, and the most informative ones."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from saltus.cli.foreign import is_folder
from saltus.cli.lines import aligned, digits
from saltus.cli.outputs import check_outputs, write_numbers
from saltus.cli.parser import whole
from saltus.errors import SaltusError, TableError
from saltus.law.advise import optimal_allocation, rank_candidates
from saltus.law.belief import belief_of
from saltus.law.values import RANGE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add(
        "laws",
        type=Path,
        metavar="LAWS",
        help="a study's folder or laws.json, or that of saltus law",
    )
    add("--budget", type=float, required=True, metavar="FLOPS", help="compute of one new run")
    add("--parameter", metavar="NAME", help="rank by this parameter's interval, or by that "
        "of a, the exponent of N* in C")  # fmt: skip
    add("--target", metavar="N,D", help="rank by the interval of the loss predicted there "
        "(default: the compute-optimal point at ten times the budget)")  # fmt: skip
    add("--top", type=whole(1), default=8, metavar="NUM", help="candidates to print (default: 8)")
    add("--json", type=Path, metavar="OUT.json", help="write all candidates there")


def run(options: argparse.Namespace) -> None:
    """Read the law, rank, print. Raises `SaltusError` in one line."""
    laws_file = options.laws / "laws.json" if is_folder(options.laws) else options.laws
    check_outputs({"--json": options.json}, [laws_file])
    target = _target(options.target)
    if target is not None and options.parameter is not None:
        raise SaltusError("--target and --parameter: found both, expected one")
    try:
        laws = json.loads(laws_file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SaltusError(f"{laws_file}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise SaltusError(f"{laws_file}: not JSON ({error})") from error
    try:
        belief = belief_of(laws if isinstance(laws, dict) else {})
        best = optimal_allocation(belief, options.budget)
        ranked = rank_candidates(belief, options.budget, parameter=options.parameter, target=target)
    except TableError as error:
        raise TableError(f"{laws_file}: {error}") from error
    if options.json is not None:
        write_numbers(options.json, {"optimum": best, **ranked, "warnings": list(belief.warnings)})
    print("\n".join(_told(best, ranked, belief.warnings, str(belief.cost), options.top)))


def _target(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        params, tokens = (float(part) for part in text.split(","))
    except ValueError:
        params = tokens = 0.0
    if not (RANGE[0] <= params <= RANGE[1] and RANGE[0] <= tokens <= RANGE[1]):
        raise SaltusError(f"--target: found '{text}', expected two positive numbers N,D")
    return params, tokens


def _told(
    best: Mapping[str, Any],
    ranked: Mapping[str, Any],
    warnings: Sequence[str],
    cost: str,
    top: int,
) -> list[str]:
    lines = [
        *(f"warning: {each}" for each in warnings),
        f"compute-optimal at C = {best['flops']:.3g} = {cost}:",
        f"  N = {digits(best['params'], 3)} {_ends(best['params_interval'])}, "
        f"D = {digits(best['tokens'], 3)} {_ends(best['tokens_interval'])}, "
        f"loss {digits(best['loss'])} {_ends(best['loss_interval'], 4)}"
        + ("   (beyond the table: an extrapolation)" if best["beyond_table"] else ""),
        *_edges(best),
        "",
    ]
    what = ranked["quantity"]
    if ranked["target"] is not None:
        goal = ranked["target"]
        what = f"the loss at N = {goal['params']:.3g}, D = {goal['tokens']:.3g}"
        what += " (the edge of the search)" if goal["at_edge"] else ""
    known = f"{digits(ranked['value'])} {_ends(ranked['interval'], 4)}"
    lines.append(f"one run that narrows {what} = {known} most:")
    rows = [["N", "D", "FLOPs", "of the budget", "expected loss", "narrower by"]]
    edge = False
    for each in ranked["candidates"][:top]:
        share = 100 * each["flops"] / best["flops"]
        edge = edge or each["at_edge"]
        rows.append(
            [digits(each["params"], 3) + ("*" if each["at_edge"] else ""),
             digits(each["tokens"], 3), digits(each["flops"], 3),
             f"{share:.3g} %", digits(each["loss"]), f"{100 * each['shrink']:.1f} %"]
        )  # fmt: skip
    lines += [f"  {line}" for line in aligned(rows)]
    lines.append(f"of {len(ranked['candidates'])} candidates within the budget; one seed each")
    if edge:
        lines.append(
            "*: at the edge of the N or D looked at (the table's least to twice its largest, or to "
            "the optimum of the budget): a run beyond may narrow it more, and extrapolates more"
        )
    return lines


def _edges(best: Mapping[str, Any]) -> list[str]:
    """Return what is to be said of optima at the edge of the search; nothing if all are inside."""
    if best["at_edge"]:
        return [
            "  at the edge of the search, a million times beyond the table: the law has no optimum "
            "there, and N and D are no advice"
        ]
    if best["refits_at_edge"]:
        return [
            f"  {best['refits_at_edge']} of {best['refits']} refits have no optimum within a "
            "million times the table: the intervals are wider still"
        ]
    return []


def _ends(ends: list[float], num: int = 3) -> str:
    return f"[{digits(ends[0], num)}, {digits(ends[1], num)}]"
