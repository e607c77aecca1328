"""A simulated study: every derived table, drawn from known laws, for tests and for the eye."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from saltus.calibrate.deltas import COMPARED
from saltus.calibrate.scaling import summarise_scaling
from saltus.emerge.seeds import seed_table
from saltus.figure.tables import Tables
from saltus.files import write_json, write_table

TRUTH = {"E": 1.72, "A": 28.0, "B": 265.0, "alpha": 0.31, "beta": 0.42}
LADDER = ((8, 2), (12, 2), (16, 2), (24, 2), (32, 2), (48, 2), (64, 3), (80, 3), (96, 4), (128, 4))
DIFFICULTY = {
    "add_1": 3.1,
    "add_2": 4.4,
    "add_3": 5.5,
    "chain_2": 3.8,
    "sub_2": 4.7,
    "mul_2x1": 7.5,
}
EASE = {"plain": 0.0, "padded": 0.25, "reversed": 0.6}


def loss_of(params_total: Any, tokens: Any) -> Any:
    """Return the true loss in nats per token."""
    law = TRUTH
    return law["E"] + law["A"] * params_total ** -law["alpha"] + law["B"] * tokens ** -law["beta"]


TABLES = (
    "runs", "losses", "curves", "scores", "thresholds", "calibration", "reliability",
    "calibration_sizes", "reliability_curves", "risk_curves", "seeds", "breakdown",
    "calibration_shift", "calibration_deltas",
)  # fmt: skip


def simulate(
    num_sizes: int = 8,
    num_seeds: int = 5,
    horizons: Sequence[int] = (524_288, 1_048_576, 2_097_152, 4_194_304),
    tasks: Sequence[str] = ("add_1", "chain_2", "add_2", "sub_2", "add_3", "mul_2x1"),
    arms: Sequence[str] = ("plain",),
    diverged: Collection[tuple[str, int]] = (("s2", 3),),
    fitted: bool = True,
    rates: bool = True,
    seed: int = 0,
) -> Tables:
    """Return the tables of a made-up study; `fitted=False` is one with too few sizes for a law."""
    rng = np.random.default_rng(seed)
    runs = _runs(rng, num_sizes, num_seeds, horizons, diverged)
    scores = _scores(rng, runs, tasks, arms)
    calibration = _calibration(rng, runs, scores)
    by_size = _by_size(rng, runs)
    swept = _rates(rng, runs) if rates else (None, None)
    return Tables(
        runs=runs,
        losses=_losses(runs),
        curves=_curves(rng, runs, horizons),
        scores=scores,
        thresholds=_thresholds(runs, scores, tasks, arms),
        calibration=calibration,
        reliability=_reliability(rng, runs),
        calibration_sizes=by_size,
        calibration_shift=_by_run(by_size, runs),
        calibration_deltas=_deltas(runs),
        reliability_curves=_curves_of_confidence(runs),
        risk_curves=_risks(runs),
        seeds=seed_table(scores),
        breakdown=_breakdown(rng, scores),
        laws=_laws(rng, runs) if fitted else _refused(runs),
        emergence=_emergence(tasks, arms),
        scaling=summarise_scaling(calibration, runs),
        study={
            "name": "simulated",
            "description": "A made-up study with known laws.",
            "sizes": sorted(runs["size"].unique()),
        },
        machine={
            "machine": "x86_64", "cpu": "an example", "cores": 8, "device": "cpu",
            "python": "3.12.4", "torch": "2.13.0", "started": "2026-01-02T03:04:05Z",
            "seconds": 5123.0,
        },
        rates_rows=swept[0],
        rates=swept[1],
    )  # fmt: skip


def write(tables: Tables, directory: Path) -> None:
    """Lay the tables out on disk as a finished study does."""
    for name in TABLES:
        write_table(directory / "tables" / f"{name}.parquet", getattr(tables, name))
    for name in ("laws", "emergence", "study", "machine"):
        write_json(directory / f"{name}.json", getattr(tables, name))
    write_json(directory / "calibration.json", tables.scaling)
    if tables.rates is not None and tables.rates_rows is not None:
        swept = [
            tables.runs.assign(rate_factor=factor, run=tables.runs["run"] + f"-x{factor}",
                               replica=10 + place, learning_rate=0.006 * factor)
            for place, factor in enumerate((0.5, 2.0))
        ]  # fmt: skip
        write_table(directory / "tables" / "runs.parquet", pd.concat([tables.runs, *swept]))
        sizes = pd.DataFrame(tables.rates["sizes"])
        sizes = sizes.rename(columns={"cost_percent": "rule_cost_percent"})
        write_table(directory / "tables" / "rates.parquet", sizes)
        rule = {key: value for key, value in tables.rates["rule"].items() if key != "interval"}
        intervals = {"exponent": tables.rates["rule"]["interval"]}
        write_json(directory / "rates.json", {**rule, "intervals": intervals})


def _runs(rng: Any, num_sizes: int, num_seeds: int, horizons: Any, diverged: Any) -> pd.DataFrame:
    rows = []
    for index, (width, depth) in enumerate(LADDER[:num_sizes]):
        size, body = f"s{index}", depth * (12 * width**2 + 13 * width)
        for replica in range(num_seeds):
            lucky = rng.normal(0, 0.006)
            for horizon in horizons:
                bad = (size, replica) in diverged
                total = body + 512 * width
                loss = loss_of(total, horizon) * np.exp(lucky + rng.normal(0, 0.003))
                seconds = np.nan if bad else 3e-11 * 8 * total * horizon + 4
                rows.append({
                    "run": f"{size}-seed{replica}-h{horizon}", "architecture": "transformer",
                    "size": size, "replica": replica, "seed": replica, "horizon": horizon,
                    "block": 0, "width": width, "depth": depth, "heads": max(width // 16, 1),
                    "params_total": total, "params_embedding": 512 * width, "params_head": 0,
                    "params_nonembedding": body, "tokens": horizon,
                    "tokens_text": int(0.4 * horizon), "tokens_arithmetic": int(0.6 * horizon),
                    "tokens_unique": int(0.35 * horizon), "epochs": 1.1, "precision": "float32",
                    "flops_exact": 6.4 * total * horizon, "flops_6nd": 6.0 * total * horizon,
                    "loss_text": np.nan if bad else loss,
                    "loss_validation": np.nan if bad else loss * 1.002,
                    "bits_per_byte": np.nan if bad else loss / np.log(2) / 2.6,
                    "loss_arithmetic": np.nan if bad else max(0.6 * loss - 1.2, 0.01),
                    "learning_rate": 0.006, "rate_factor": 1.0, "batch_tokens": 1024,
                    "status": "diverged" if bad else "ok", "seconds": seconds,
                    "tokens_per_second": horizon / seconds, "peak_memory_bytes": 3e8,
                    "device": "cpu", "code": "c0de" * 4, "config_hash": "ab12cd34ef56",
                })  # fmt: skip
    return pd.DataFrame(rows)


def _losses(runs: pd.DataFrame) -> pd.DataFrame:
    rows = runs[runs["status"] == "ok"]
    return pd.DataFrame({
        "run": rows["run"], "domain": "text", "split": "test", "tokens": 40_000,
        "bytes": 104_000, "loss": rows["loss_text"], "bits_per_byte": rows["bits_per_byte"],
    })  # fmt: skip


def _curves(rng: Any, runs: pd.DataFrame, horizons: Sequence[int]) -> pd.DataFrame:
    parts = []
    for (size, seed), rows in runs.groupby(["size", "seed"]):
        total = rows["params_total"].iloc[0]
        stop = 0.3 if (rows["status"] == "diverged").all() else 1.0
        stretches = [("trunk", None, 4096, int(0.8 * max(horizons)))]
        if stop == 1.0:
            stretches += [("anneal", horizon, int(0.8 * horizon), horizon) for horizon in horizons]
        for branch, horizon, start, end in stretches:
            tokens = np.linspace(start, end * stop, 160 if branch == "trunk" else 25)
            high = loss_of(total, tokens) + 0.28 + 3 * np.exp(-tokens / 30_000)
            ramp = 1.0 if horizon is None else 1 - (tokens - start) / (end - start)
            text = loss_of(total, tokens) + (high - loss_of(total, tokens)) * ramp
            text = text * np.exp(rng.normal(0, 0.02, len(tokens)))
            parts.append(pd.DataFrame({
                "size": size, "block": 0, "replica": seed, "seed": seed, "branch": branch,
                "horizon": horizon, "step": (tokens // 1024).astype(int), "tokens": tokens,
                "loss": text * 0.8, "loss_text": text,
                "loss_arithmetic_rows": np.maximum(0.6 * text - 1.2, 0.01),
                "learning_rate": 0.006 * ramp,
            }))  # fmt: skip
    frame = pd.concat([part.astype({"horizon": "float64"}) for part in parts], ignore_index=True)
    return frame


def _scores(rng: Any, runs: pd.DataFrame, tasks: Any, arms: Any) -> pd.DataFrame:
    rows = []
    for run in runs[runs["status"] == "ok"].itertuples():
        for task in tasks:
            for arm in arms:
                reach = np.log10(run.params_nonembedding) + 0.8 * np.log10(run.tokens / 4e6)
                steep = (reach - DIFFICULTY[task] + EASE[arm] + rng.normal(0, 0.12)) / 0.16
                guess = 0.1 if task == "add_1" else 0.02
                truth = guess + (1 - guess - 0.01) / (1 + np.exp(-steep))
                items = 300 if task != "add_1" else 45
                successes = int(rng.binomial(items, truth))
                low, high = stats.binomtest(successes, items).proportion_ci(method="wilson")
                nll = -np.log(np.clip(truth, 1e-4, 0.999)) * 1.25 + 0.02
                rows.append({
                    "run": run.run, "size": run.size, "seed": run.seed, "horizon": run.horizon,
                    "params_nonembedding": run.params_nonembedding,
                    "params_total": run.params_total, "tokens": run.tokens,
                    "flops_exact": run.flops_exact, "loss_text": run.loss_text, "task": task,
                    "arm": arm, "items": items, "successes": successes,
                    "exact_match": successes / items, "exact_match_low": low,
                    "exact_match_high": high, "expected_exact_match": np.exp(-nll),
                    "digit_accuracy": truth**0.5, "edit_distance": 2 * (1 - truth),
                    "target_nll": nll, "confidence": 0.2 + 0.75 * truth, "guess_rate": guess,
                    "distinct_items": items,
                })  # fmt: skip
    return pd.DataFrame(rows)


def _emergence(tasks: Any, arms: Any) -> dict[str, Any]:
    """Return made-up verdicts with the widths that `_scores` has."""
    words = ("sharp", "smooth", "metric-induced", "undecided")
    pairs = [(task, arm) for task in tasks for arm in arms]
    return {"verdicts": [
        {
            "task": task, "arm": arm, "verdict": words[place % 4], "reason": "made up",
            "nll": {
                "width": 0.7, "low": 0.4, "high": None, "location": DIFFICULTY[task] - EASE[arm],
                "start": 4.9, "end": 0.03, "phi": 1.0, "rss": 2.0,
            },
            "accuracy": None, "p_nll": 1.0, "p_accuracy": None, "p_adjusted": 1.0,
            "rivals": [{"name": "step", "parameters": 3, "aicc": 1.0, "heldout": 0.2}],
            "power": {"sharp": 0.1, "smooth": 0.9, "sizes": None, "seeds": None,
                      "sufficient": False, "text": "no design tried is sufficient"},
            "sizes": 8, "replicas": 40,
        }
        for place, (task, arm) in enumerate(pairs)
    ]}  # fmt: skip


def _thresholds(runs: pd.DataFrame, scores: pd.DataFrame, tasks: Any, arms: Any) -> pd.DataFrame:
    largest, smallest = runs["params_nonembedding"].max(), runs["params_nonembedding"].min()
    rows = []
    for task in tasks:
        for arm in arms:
            estimate = 10 ** (DIFFICULTY[task] - EASE[arm]) * (runs["tokens"].max() / 4e6) ** -0.8
            status = "crossed"
            if estimate > largest:
                status = "above largest"
            elif estimate < smallest:
                status = "below smallest"
            inside = status == "crossed"
            limits = (estimate / 1.4, estimate * 1.5) if inside else (largest, np.inf)
            if status == "below smallest":
                limits = (-np.inf, smallest)
            label = {
                "crossed": f"{estimate / 1e3:.0f}k "
                f"[{limits[0] / 1e3:.0f}k, {limits[1] / 1e3:.0f}k]",
                "above largest": f"> {largest / 1e3:.0f}k",
                "below smallest": f"< {smallest / 1e3:.1f}k",
            }[status]
            rows.append({
                "task": task, "arm": arm, "axis": "params_nonembedding", "size": None,
                "level": 0.5, "status": status, "estimate": estimate if inside else np.nan,
                "low": limits[0], "high": limits[1], "label": label,
                "censored": "none" if inside else "right",
                "n50": estimate if inside else np.nan, "n50_low": limits[0] if inside else np.nan,
                "n50_high": limits[1] if inside else np.nan, "width_decades": 0.3,
                "width_low": 0.2, "width_high": 0.5, "overdispersion": 0.2,
                "heterogeneity": 1.0, "fit_p_value": 0.4, "fit_status": "converged",
                "largest": largest,
                "smallest": smallest, "num_replicas": runs["seed"].nunique(), "num_items": 300,
                "guess_rate": 0.02, "reason": "",
            })  # fmt: skip
    return pd.DataFrame(rows)


def _floor(n: int) -> float:
    return 1.2 / np.sqrt(n)


def _calibration(rng: Any, runs: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for run in runs[runs["status"] == "ok"].itertuples():
        reach = np.log10(run.params_nonembedding)
        for level, n in (("token", 4000), ("answer", 900), ("answer:add_2:plain", 300)):
            for tempered in (False, True):
                gap = (0.14 - 0.03 * (reach - 3)) * (1 if level != "token" else 0.3)
                gap = gap * (0.25 if tempered else 1) + rng.normal(0, 0.008)
                accuracy = 0.15 + 0.12 * (reach - 3)
                rows.append({
                    "run": run.run, "size": run.size, "seed": run.seed, "horizon": run.horizon,
                    "params_nonembedding": run.params_nonembedding,
                    "params_total": run.params_total, "loss_text": run.loss_text, "level": level,
                    "tempered": tempered, "temperature": 1.3 if tempered else 1.0, "n": n,
                    "accuracy": accuracy, "confidence": accuracy + gap,
                    "ece": np.hypot(gap, _floor(n)), "ece_equal_mass": np.hypot(gap, _floor(n)),
                    "l2_squared_debiased": gap**2, "brier": 0.18, "nll": run.loss_text,
                    "over_error": max(gap, 0) * 0.6, "excess_aurc": 0.2 - 0.03 * reach,
                    "smooth_ece": np.hypot(gap, _floor(n)), "floor_smooth_ece": _floor(n),
                    "overconfidence": gap, "floor_ece": _floor(n),
                    "overconfidence_low": gap - 0.02, "overconfidence_high": gap + 0.02,
                    "brier_low": 0.17, "brier_high": 0.19,
                })  # fmt: skip
    return pd.DataFrame(rows)


def _deltas(runs: pd.DataFrame) -> pd.DataFrame:
    """Give every error the change .01 per step of severity, known to a tenth of that."""
    rows = []
    for size, params in _ladder(runs):
        for level, shift, severity in (("token", "noise", 3), ("answer", "longer", 1)):
            for tempered in (False, True):
                for error in COMPARED:
                    change = 0.01 * severity
                    rows.append({
                        "size": size, "params_nonembedding": params, "level": level,
                        "tempered": tempered, "shift": shift, "severity": severity,
                        "error": error, "delta": change, "low": 0.9 * change,
                        "high": 1.1 * change, "num_seeds": 5, "num_dropped": 0,
                    })  # fmt: skip
    return pd.DataFrame(rows)


def _breakdown(rng: Any, scores: pd.DataFrame) -> pd.DataFrame:
    """Split the answers of every run evenly by carries, fewer right the more there are."""
    rows = []
    for row in scores.to_dict("records"):
        left, items = row["successes"], row["items"] // 3
        for value in range(3):
            right = int(min(items, left, rng.binomial(items, row["exact_match"] ** (1 + value))))
            rows.append({
                **{key: row[key] for key in ("run", "size", "seed", "horizon", "task", "arm")},
                "by": "carries", "value": value, "items": items, "successes": right,
                "exact_match": right / items,
            })  # fmt: skip
            left -= right
    return pd.DataFrame(rows)


def _reliability(rng: Any, runs: pd.DataFrame) -> pd.DataFrame:
    rows = []
    edges = np.linspace(0, 1, 16)
    for size, group in runs.groupby("size"):
        reach = np.log10(group["params_nonembedding"].iloc[0])
        for level, n in (("token", 20_000), ("answer", 4_500)):
            for tempered in (False, True):
                peak = (0.8, 6 - 0.7 * (reach - 3)) if level == "token" else (1.1, 1.4)
                share = np.diff(stats.beta.cdf(edges, *peak))
                for index, part in enumerate(share):
                    count = int(part * n)
                    if count == 0:
                        continue
                    confidence = (edges[index] + edges[index + 1]) / 2
                    power = 1 if tempered else 1.7 - 0.2 * (reach - 3)
                    right = int(rng.binomial(count, confidence**power))
                    low, high = stats.binomtest(right, count).proportion_ci(method="wilson")
                    rows.append({
                        "size": size, "params_nonembedding": group["params_nonembedding"].iloc[0],
                        "level": level, "tempered": tempered, "bin": index,
                        "confidence_low": edges[index], "confidence_high": edges[index + 1],
                        "confidence": confidence, "accuracy": right / count, "n": count,
                        "accuracy_low": low, "accuracy_high": high, "share": part,
                    })  # fmt: skip
    return pd.DataFrame(rows)


def _by_size(rng: Any, runs: pd.DataFrame) -> pd.DataFrame:
    shifts = {
        "token": [(None, 0), *(("noise", k) for k in range(1, 6)), ("domain", 1)],
        "answer": [(None, 0), *((kind, 1) for kind in ("longer", "phrasing", "out_of_range"))],
    }
    rows = []
    for size, params in _ladder(runs):
        for level, kinds in shifts.items():
            for shift, severity in kinds:
                for tempered in (False, True):
                    gap = 0.02 * severity * (1 - 0.5 * tempered) + rng.normal(0, 0.01)
                    excess = 0.3 - 0.04 * np.log10(params)
                    rows.append({
                        "size": size, "params_nonembedding": params, "level": level,
                        "shift": shift, "severity": severity, "tempered": tempered, "n": 1000,
                        "overconfidence": gap, "overconfidence_low": gap - 0.02,
                        "overconfidence_high": gap + 0.02, "excess_aurc": excess,
                        "excess_aurc_low": excess - 0.02, "excess_aurc_high": excess + 0.02,
                        "ece": abs(gap), "ece_low": max(abs(gap) - 0.02, 0.0),
                        "ece_high": abs(gap) + 0.02, "floor_ece": 0.01,
                        "smooth_ece": abs(gap), "smooth_ece_low": max(abs(gap) - 0.02, 0.0),
                        "smooth_ece_high": abs(gap) + 0.02, "floor_smooth_ece": 0.02,
                    })  # fmt: skip
    return pd.DataFrame(rows)


def _by_run(by_size: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Return over-confidence under shift by seed: the pooled one, a little apart."""
    latest = runs[(runs["status"] == "ok") & (runs["horizon"] == runs["horizon"].max())]
    rows = by_size[by_size["shift"].notna()]
    names = ["size", "level", "tempered", "shift", "severity", "overconfidence"]
    joined = latest[["run", "size", "seed", "horizon"]].merge(rows[names], on="size")
    middle = joined.groupby("size")["seed"].transform("mean")
    return joined.assign(overconfidence=joined["overconfidence"] + 0.02 * (joined["seed"] - middle))


def _curves_of_confidence(runs: pd.DataFrame) -> pd.DataFrame:
    at = np.linspace(0, 1, 101)
    parts = [
        pd.DataFrame({
            "size": size, "level": level, "tempered": tempered, "at": at,
            "accuracy": at**power, "low": np.clip(at**power - 0.03, 0, 1),
            "high": np.clip(at**power + 0.03, 0, 1), "density": stats.beta.pdf(at, 2, 3),
        })
        for size, _ in _ladder(runs) for level in ("token", "answer")
        for tempered, power in ((False, 1.5), (True, 1.1))
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _risks(runs: pd.DataFrame) -> pd.DataFrame:
    share = np.linspace(0.02, 1, 50)
    parts = [
        pd.DataFrame({
            "size": size, "level": level, "tempered": tempered, "coverage": share,
            "risk": share / np.log10(params),
        })
        for size, params in _ladder(runs) for level in ("token", "answer")
        for tempered in (False, True)
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _ladder(runs: pd.DataFrame) -> list[tuple[str, float]]:
    counts = runs.groupby("size")["params_nonembedding"].first()
    return [(str(size), float(params)) for size, params in counts.items()]


def _laws(rng: Any, runs: pd.DataFrame) -> dict[str, Any]:
    rows = runs[runs["status"] == "ok"]
    held = sorted(rows["size"].unique(), key=lambda name: int(name[1:]))[-1]
    predicted = loss_of(rows["params_total"], rows["tokens"])
    residual = 100 * (predicted / rows["loss_text"] - 1)
    kept = rows["size"] != held
    fitted = [
        {"run": row.run, "size": row.size, "seed": int(row.seed), "tokens": int(row.tokens),
         "predicted": float(p), "actual": float(row.loss_text), "residual_percent": float(r)}
        for row, p, r in zip(rows.itertuples(), predicted, residual, strict=True)
    ]  # fmt: skip
    held_rows = [
        {"seed": row["seed"], "tokens": row["tokens"], "predicted": row["predicted"],
         "low": row["predicted"] * 0.98, "high": row["predicted"] * 1.02, "actual": row["actual"],
         "error_percent": 100 * (row["predicted"] / row["actual"] - 1),
         "inside": bool(abs(row["actual"] / row["predicted"] - 1) < 0.02)}
        for row in fitted if row["size"] == held
    ]  # fmt: skip
    widths = {"E": 0.12, "A": 9.0, "B": 110.0, "alpha": 0.04, "beta": 0.05}
    exponent = TRUTH["beta"] / (TRUTH["alpha"] + TRUTH["beta"])
    points = _envelope(rows)
    flops, losses = (np.array([p[key] for p in points]) for key in ("flops_exact", "loss"))
    slope, height = np.polyfit(np.log(flops), np.log(losses - 1.9), 1)
    return {
        "chinchilla": {
            "form": "chinchilla", "parameters": dict(TRUTH),
            "intervals": {k: [TRUTH[k] - w, TRUTH[k] + w] for k, w in widths.items()},
            "interval_method": "jackknife over sizes",
            "certificate": {"status": "converged", "newton_decrement": 3e-14, "starts": 24,
                            "agreeing": 21, "bounds_hit": []},
            "unconverged_refits": 0,
            "allocation": {"a": exponent, "b": 1 - exponent,
                           "interval": [exponent - 0.05, exponent + 0.05],
                           "cost": {"coefficient": 6.4, "exponent": 1.0}},
            "residuals": {"rms_percent": float(np.sqrt(np.mean(residual**2))),
                          "max_percent": float(np.abs(residual).max())},
            "lack_of_fit": {"status": "none seen", "seed_percent": 0.67, "ratio": 1.1, "p": 0.4},
            "rows": int(kept.sum()),
            "range": {"tokens": [int(rows["tokens"].min()), int(rows["tokens"].max())]},
            "band": [
                {"size": size, "tokens": float(tokens), "low": 0.99 * law, "high": 1.01 * law}
                for size, total in rows.groupby("size")["params_total"].first().items()
                for tokens in np.geomspace(rows["tokens"].min(), rows["tokens"].max(), 12)
                for law in [float(loss_of(total, tokens))]
            ],
            "sensitivity": [
                {"minimum_tokens": least, "alpha": 0.31 + shift, "beta": 0.42 - shift, "E": 1.7,
                 "rms_percent": 0.6, "status": "converged", "bounds_hit": [], "rows": 40}
                for least, shift in ((0, 0.0), (1_048_576, 0.02))
            ],
        },
        "heldout": {
            "size": held, "rows": held_rows,
            "mean_absolute_error_percent": float(
                np.mean([abs(row["error_percent"]) for row in held_rows])),
            "inside_share": float(np.mean([row["inside"] for row in held_rows])),
            "baseline": "mean loss of the next smaller size", "baseline_error_percent": 4.2,
            "certificate": {"status": "converged", "bounds_hit": []},
        },
        "envelope": {
            "points": points,
            "parameters": {"E": 1.9, "A": float(np.exp(height)), "alpha": float(-slope)},
            "certificate": {"status": "converged", "bounds_hit": []},
            "intervals": {"E": [1.8, 2.0], "A": None,
                          "alpha": [float(-slope) - 0.03, float(-slope) + 0.03]},
        },
        "fitted": fitted,
    }  # fmt: skip


def _envelope(rows: pd.DataFrame) -> list[dict[str, Any]]:
    mean = rows.groupby(["size", "tokens"])[["flops_exact", "loss_text"]].mean().reset_index()
    best, points = np.inf, []
    for row in mean.sort_values("flops_exact").itertuples():
        if row.loss_text < best:
            best = row.loss_text
            points.append({"flops_exact": float(row.flops_exact), "loss": float(row.loss_text),
                           "size": row.size, "tokens": int(row.tokens)})  # fmt: skip
    return points


def _refused(runs: pd.DataFrame) -> dict[str, Any]:
    refused = {"status": "too few sizes", "reason": "3 sizes, 5 parameters need at least 5 sizes"}
    return {
        "chinchilla": refused, "heldout": refused,
        "envelope": {"status": "too few points", "reason": "3 points",
                     "points": _envelope(runs[runs["status"] == "ok"])},
        "fitted": [],
    }  # fmt: skip


def _rates(rng: Any, runs: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Any]]:
    sizes = runs.drop_duplicates("size").sort_values("params_nonembedding").iloc[::3]
    rows, best = [], []
    for size in sizes.itertuples():
        optimum = 0.0047 * (size.params_nonembedding / 1e5) ** -0.33
        for factor in (0.25, 0.5, 1.0, 2.0, 4.0):
            for seed in range(3):
                rate = 0.0047 * factor
                loss = loss_of(size.params_total, 1e6) + 0.08 * np.log2(rate / optimum) ** 2
                bad = factor == 4.0 and seed == 2
                rows.append({
                    "size": size.size, "params_nonembedding": size.params_nonembedding,
                    "learning_rate": rate, "rate_factor": factor, "seed": seed,
                    "loss_validation": np.nan if bad else loss * np.exp(rng.normal(0, 0.004)),
                })  # fmt: skip
        best.append({
            "size": size.size, "params_nonembedding": int(size.params_nonembedding),
            "best_rate": optimum, "in_rule": True, "reason": "", "cost_percent": 0.4,
        })  # fmt: skip
    rule = {"coefficient": 0.0047, "reference": 1e5, "exponent": -0.33, "interval": [-0.45, -0.21]}
    return pd.DataFrame(rows), {"rule": rule, "sizes": best}
