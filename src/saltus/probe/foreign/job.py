"""Probing one foreign model: its four tables, with the columns of a study's own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from saltus.data.batches import Mixture
from saltus.files import write_table
from saltus.probe.arithmetic import no_items
from saltus.probe.foreign.answers import answer_temperature, item_table
from saltus.probe.foreign.lines import LineNotation
from saltus.probe.foreign.model import Foreign
from saltus.probe.foreign.questions import FamilyNotation, Notation, TooLongError
from saltus.probe.foreign.sources import Texts
from saltus.probe.foreign.text import score_pages, text_temperature, token_table
from saltus.probe.noise import NOISE_SAMPLED
from saltus.probe.spec import ProbeSpec
from saltus.probe.text import domain_shift


@dataclass(frozen=True)
class Probed:
    """A model's tables, by name, the last one `runs`; and of which tasks a shift did not fit."""

    tables: dict[str, pd.DataFrame]
    too_long: tuple[str, ...]


def probe_foreign(
    model: Foreign, probe: ProbeSpec, mixture: Mixture, texts: Texts, shots: int
) -> Probed:
    """Return `losses`, `tokens`, `items` and the one row of `runs`.

    `mixture` says which tasks are asked and which problems are held out; `shots` is how many solved
    problems stand before each question, of no account for an export of saltus. Raises
    `SaltusError` if the held-out problems do not fit the model's context.
    """
    items, too_long = _items(model, probe, mixture, shots)
    first = texts.validation[texts.trained[0]]
    temperature = text_temperature(model, first, probe.sampled_tokens, probe.seed)
    losses, tokens = [], []
    for split, pages_by_domain in (("test", texts.test), ("validation", texts.validation)):
        for domain, pages in pages_by_domain.items():
            scores = score_pages(model, pages, probe.sampled_tokens, probe.seed)
            losses.append(
                {
                    "run": model.name,
                    "domain": domain,
                    "split": split,
                    "tokens": scores.tokens,
                    "bytes": scores.bytes,
                    "loss": float(scores.losses[0]),
                    "bits_per_byte": float(scores.bits_per_byte[0]),
                }
            )
            if split == "test":
                shift = domain_shift(domain, texts.trained)
                tokens.append(token_table(scores, model.name, domain, temperature, **shift))
    sampled = min(probe.sampled_tokens, NOISE_SAMPLED)
    for domain, noisy in texts.noise.items():
        for severity, pages in enumerate(noisy, 1):
            scores = score_pages(model, pages, sampled, probe.seed)
            shift = {"shift": "noise", "severity": severity}
            tokens.append(token_table(scores, model.name, domain, temperature, **shift))
    loss_table = pd.DataFrame(losses)
    tables = {
        "losses": loss_table,
        "tokens": pd.concat(tokens, ignore_index=True),
        "items": items,
        "runs": run_table(model, loss_table, items, texts.trained),
    }
    return Probed(tables, too_long)


def write_tables(tables: dict[str, pd.DataFrame], out: Path) -> None:
    """Write each table to `out`; `runs`, the last one, says that all are there."""
    (out / "runs.parquet").unlink(missing_ok=True)
    for name, table in tables.items():
        write_table(out / f"{name}.parquet", table)


def _items(
    model: Foreign, probe: ProbeSpec, mixture: Mixture, shots: int
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return the `items` rows, held-out problems first, and the tasks whose shift is too long."""
    notation: Notation = (
        LineNotation(model, mixture, shots, probe.seed)
        if model.saltus is None
        else FamilyNotation(model, mixture)
    )
    exams = notation.exams(probe.items, probe.seed)
    if not exams:
        return no_items(), ()
    asked = [notation.ask(exam) for exam, _ in exams]
    temperature = answer_temperature(model, [notation.ask(exam) for _, exam in exams])
    too_long = []
    for exam, validation in exams:
        for shifted in notation.shifted(exam, validation, probe.seed):
            try:
                asked.append(notation.ask(shifted))
            except TooLongError:
                too_long.append(f"{exam.drill.task} ({shifted.shift})")
    parts = [item_table(model, notation, questions, temperature) for questions in asked]
    return pd.concat(parts, ignore_index=True), tuple(too_long)


def run_table(
    model: Foreign, losses: pd.DataFrame, items: pd.DataFrame, trained: tuple[str, ...]
) -> pd.DataFrame:
    """Return the row of `runs`: what is known of the model; of its training nothing is."""
    config = model.model.config.get_text_config()
    inside = losses[losses["domain"].isin(trained)]
    row: dict[str, Any] = {
        "run": model.name,
        "architecture": str(model.model.config.model_type),
        "size": model.name,
        **dict.fromkeys(("seed", "horizon", "tokens"), None),
        "width": getattr(config, "hidden_size", None),
        "depth": getattr(config, "num_hidden_layers", None),
        "heads": getattr(config, "num_attention_heads", None),
        **model.parameters(),
        "status": "ok",
        **_measured(inside[inside["split"] == "test"], "loss_text"),
        "loss_validation": _measured(inside[inside["split"] == "validation"], "loss")["loss"],
    }
    held_out = items[items["in_distribution"].astype(bool)]
    if len(held_out):
        row["loss_arithmetic"] = held_out["target_nll"].sum() / held_out["target_tokens"].sum()
    table = pd.DataFrame([row])
    counts = ["seed", "horizon", "tokens", "width", "depth", "heads"]
    return table.astype(dict.fromkeys(counts, "Int64"))


def _measured(losses: pd.DataFrame, name: str) -> dict[str, float]:
    """Return the loss over domains, weighted by tokens, as `name`, and its bits per byte."""
    nats = float(np.dot(losses["loss"], losses["tokens"]))
    return {
        name: nats / int(losses["tokens"].sum()),
        "bits_per_byte": nats / np.log(2) / int(losses["bytes"].sum()),
    }
