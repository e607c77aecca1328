"""What every figure reads: the small derived tables of one study, loaded once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from saltus.errors import TableError
from saltus.files import read_json, read_table

NEEDED: Mapping[str, tuple[str, ...]] = {
    "runs": (
        "run", "size", "seed", "horizon", "params_total", "params_nonembedding", "tokens",
        "flops_exact", "loss_text", "status",
    ),
    "losses": ("run", "domain", "split", "loss"),
    "curves": ("size", "seed", "branch", "horizon", "tokens"),
    "scores": (
        "run", "size", "seed", "horizon", "params_nonembedding", "loss_text", "task", "arm",
        "items", "successes", "exact_match", "expected_exact_match", "target_nll", "guess_rate",
    ),
    "thresholds": ("task", "arm", "axis", "size", "status", "estimate", "low", "high", "label"),
    "seeds": (
        "task", "arm", "size", "params_nonembedding", "level", "num_seeds", "num_learnt",
        "learnt_low", "learnt_high", "spread_given_learnt", "p_value", "reason",
    ),
    "breakdown": (
        "run", "size", "seed", "horizon", "task", "arm", "by", "value", "items", "successes",
        "exact_match",
    ),
    "calibration": (
        "run", "size", "seed", "horizon", "params_nonembedding", "level", "tempered", "n",
        "accuracy", "confidence", "ece", "smooth_ece", "overconfidence", "floor_ece",
        "floor_smooth_ece", "overconfidence_low", "overconfidence_high", "loss_text",
    ),
    "reliability": (
        "size", "params_nonembedding", "level", "tempered", "confidence", "accuracy", "n",
        "accuracy_low", "accuracy_high", "share",
    ),
    "calibration_sizes": (
        "size", "params_nonembedding", "level", "shift", "severity", "tempered", "n",
        "overconfidence", "overconfidence_low", "overconfidence_high", "excess_aurc",
        "excess_aurc_low", "excess_aurc_high", "smooth_ece", "smooth_ece_low", "smooth_ece_high",
        "floor_smooth_ece", "ece", "ece_low", "ece_high", "floor_ece",
    ),
    "calibration_shift": (
        "size", "seed", "horizon", "level", "tempered", "shift", "severity", "overconfidence",
    ),
    "calibration_deltas": (
        "size", "level", "tempered", "shift", "severity", "error", "delta", "low", "high",
        "num_seeds", "num_dropped",
    ),
    "reliability_curves": (
        "size", "level", "tempered", "at", "accuracy", "low", "high", "density",
    ),
    "risk_curves": ("size", "level", "tempered", "coverage", "risk"),
    "rates": (
        "size", "params_nonembedding", "best_rate", "in_rule", "reason", "rule_cost_percent",
    ),
}  # fmt: skip
"""The columns of each table without which no figure of it can be drawn."""

SWEPT = ("learning_rate", "rate_factor", "loss_validation")
"""The columns that `runs` needs besides after a learning-rate sweep."""


@dataclass(frozen=True)
class Tables:
    """The derived tables of a study; units are in the column names or in `docs/tables.md`.

    `scaling` is `calibration.json`. `rates` and `rates_rows` are there only after a learning-rate
    sweep.
    """

    runs: pd.DataFrame
    losses: pd.DataFrame
    curves: pd.DataFrame
    scores: pd.DataFrame
    thresholds: pd.DataFrame
    calibration: pd.DataFrame
    reliability: pd.DataFrame
    calibration_sizes: pd.DataFrame
    calibration_shift: pd.DataFrame
    calibration_deltas: pd.DataFrame
    reliability_curves: pd.DataFrame
    risk_curves: pd.DataFrame
    seeds: pd.DataFrame
    breakdown: pd.DataFrame
    laws: Mapping[str, Any]
    emergence: Mapping[str, Any] = field(default_factory=dict)
    scaling: Mapping[str, Any] = field(default_factory=dict)
    study: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    rates_rows: pd.DataFrame | None = None
    rates: Mapping[str, Any] | None = None

    def sizes(self) -> list[str]:
        """Return the names of the sizes, smallest first; a diverged size keeps its place."""
        counts = self.runs.groupby("size", sort=False)["params_nonembedding"].max()
        return [str(name) for name in counts.sort_values(kind="stable", na_position="last").index]

    def count(self, size: str, column: str = "params_nonembedding") -> float:
        """Return a parameter count of a size (NaN when no row of it has one)."""
        return float(self.runs.loc[self.runs["size"] == size, column].astype(float).max())

    def horizons(self) -> list[int]:
        """Return the training lengths in tokens, shortest first."""
        return sorted(int(value) for value in self.runs["horizon"].dropna().unique())

    def finished(self) -> pd.DataFrame:
        """Return the rows of `runs` that did not diverge and have a loss."""
        rows = self.runs[(self.runs["status"] == "ok") & self.runs["loss_text"].notna()]
        return rows.reset_index(drop=True)

    def num_diverged(self) -> int:
        """Return how many rows of `runs` diverged."""
        return int((self.runs["status"] != "ok").sum())

    def at_largest(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of `table` at the study's largest horizon."""
        horizons = self.horizons()
        if not horizons or table.empty:
            return table.iloc[:0]
        return table[table["horizon"] == horizons[-1]].reset_index(drop=True)

    def tasks(self) -> list[tuple[str, str]]:
        """Return the (task, arm) pairs that were scored, by kind of task, digits and arm."""
        pairs = self.scores[["task", "arm"]].drop_duplicates()
        order = {"add": 0, "sub": 1, "mul": 2, "chain": 3}
        names = [(str(task), str(arm)) for task, arm in pairs.itertuples(index=False)]
        return sorted(
            names,
            key=lambda name: (
                order.get(name[0].split("_")[0], 9), name[0], name[1] != "plain", name[1]
            ),
        )  # fmt: skip

    def arms(self) -> list[str]:
        """Return the arms that were scored, the plain one first."""
        return sorted({arm for _, arm in self.tasks()}, key=lambda arm: (arm != "plain", arm))

    def law(self, name: str) -> Mapping[str, Any] | None:
        """Return the fitted law `name` of `laws.json`, or None when it was refused or is absent."""
        law = self.laws.get(name)
        if not isinstance(law, Mapping):
            return None
        return law if law.get("rows" if name == "heldout" else "parameters") else None

    def refusal(self, name: str) -> str:
        """Return why the law `name` was not fitted, as one phrase."""
        law = self.laws.get(name)
        if not isinstance(law, Mapping):
            return "not fitted"
        reason = str(law.get("reason", "") or "")
        return ": ".join(part for part in (str(law.get("status", "not fitted")), reason) if part)


def load_tables(directory: Path) -> Tables:
    """Read the derived tables of a study directory.

    Raises `TableError`, in one line, when a table or a column that figures need is missing.
    """
    directory = Path(directory)
    frames = {name: _frame(directory, name) for name in NEEDED if name != "rates"}
    rates_rows, rates = _sweep(directory, frames["runs"])
    return Tables(
        **_without_sweep(frames),
        laws=_document(directory, "laws.json"),
        emergence=_document(directory, "emergence.json"),
        scaling=_document(directory, "calibration.json"),
        study=_document(directory, "study.json"),
        machine=_document(directory, "machine.json"),
        rates_rows=rates_rows,
        rates=rates,
    )


def _without_sweep(frames: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Leave the runs of a learning-rate sweep (`rate_factor` not 1) to the figure of the rates."""
    runs = frames["runs"]
    if "rate_factor" not in runs.columns or (runs["rate_factor"] == 1.0).all():
        return frames
    kept = runs[runs["rate_factor"] == 1.0].reset_index(drop=True)
    losses, curves = frames["losses"], frames["curves"]
    replica = [name for name in ("size", "block", "replica") if name in curves and name in kept]
    curves = curves.merge(kept[replica].drop_duplicates(), on=replica)
    losses = losses[losses["run"].isin(kept["run"])]
    return {**frames, "runs": kept, "losses": losses, "curves": curves}


def _sweep(
    directory: Path, runs: pd.DataFrame
) -> tuple[pd.DataFrame | None, Mapping[str, Any] | None]:
    """Return the rows and the results of a learning-rate sweep, or (None, None) without one.

    `rates.json` has the rule, `rates.parquet` one row per size, and the rows swept are in `runs`.
    """
    if not (directory / "rates.json").exists():
        return None, None
    rule = _document(directory, "rates.json")
    absent = [name for name in SWEPT if name not in runs.columns]
    if absent:
        raise TableError(f"{directory / 'tables' / 'runs.parquet'}: lacks {', '.join(absent)}")
    sizes = [
        {
            "size": str(row["size"]),
            "params_nonembedding": row["params_nonembedding"],
            "best_rate": row["best_rate"],
            "in_rule": bool(row["in_rule"]),
            "reason": str(row["reason"] or ""),
            "cost_percent": row["rule_cost_percent"],
        }
        for row in _frame(directory, "rates").to_dict("records")
    ]
    rule = {**rule, "interval": (rule.get("intervals") or {}).get("exponent")}
    longest = runs.groupby("size")["horizon"].transform("max")  # of each size, as the rule has it
    rows = runs[runs["horizon"] == longest].reset_index(drop=True)
    return rows, {"rule": rule, "sizes": sizes}


def _frame(directory: Path, name: str) -> pd.DataFrame:
    path = directory / "tables" / f"{name}.parquet"
    if not path.is_file():
        raise TableError(f"{path}: missing; `snakemake figures` writes it, or name another study")
    frame = read_table(path)
    absent = [column for column in NEEDED[name] if column not in frame.columns]
    if absent:
        raise TableError(f"{path}: lacks the column{'s' * (len(absent) > 1)} {', '.join(absent)}")
    return frame


def _document(directory: Path, name: str) -> Mapping[str, Any]:
    path = directory / name
    if not path.is_file():
        raise TableError(f"{path}: missing; `snakemake figures` writes it, or name another study")
    try:
        value = read_json(path)
    except ValueError as error:
        raise TableError(f"{path}: not JSON ({error})") from error
    if not isinstance(value, Mapping):
        raise TableError(f"{path}: holds {type(value).__name__}, expected an object")
    return value
