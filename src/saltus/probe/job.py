"""One probing job: every checkpoint of a block at once, stacked on the replica axis."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from saltus.data.shards import load_shard
from saltus.data.tokenizer import TextTokenizer
from saltus.device import use_one_thread
from saltus.files import read_json, write_table
from saltus.model.transformer import unflatten
from saltus.probe.arithmetic import answer_temperature, item_table, no_items
from saltus.probe.exam import make_exams
from saltus.probe.noise import noise_table
from saltus.probe.shifted import shifted_exams
from saltus.probe.spec import ProbeSpec
from saltus.probe.text import TextScores, domain_shift, prediction_table, score_text, temperature_of
from saltus.train.checkpoint import load_stacked
from saltus.train.job import checkpoint_name, load_alphabet, run_name
from saltus.train.spec import TrainSpec


def run_probe(
    spec: TrainSpec,
    probe: ProbeSpec,
    shards: Path,
    tokenizer: Path,
    trained: Path,
    out: Path,
    device: torch.device,
) -> None:
    """Probe all checkpoints under `trained`; write `items`, `tokens` and `losses` to `out`.

    `tokenizer` is the file that the text was encoded with. Shifts are asked of the last horizon.
    """
    if device.type == "cpu":
        use_one_thread()
    pairs = [(replica, horizon) for horizon in spec.horizons for replica in spec.replicas]
    runs = [run_name(spec, replica, horizon) for replica, horizon in pairs]
    flat, shape = load_stacked([trained / checkpoint_name(*pair) for pair in pairs])
    parameters = unflatten(flat.to(device), shape)
    last = slice(-len(spec.replicas), None)  # horizons ascend
    final = {name: value[last] for name, value in parameters.items()}
    text_tokenizer = TextTokenizer.load(tokenizer)
    token_bytes = np.array(read_json(shards / "token_bytes.json"))

    losses: list[pd.DataFrame] = []
    texts: dict[tuple[str, str], TextScores] = {}
    for domain in probe.domains:
        splits = {"test": probe.text_tokens}
        if domain in probe.training_domains:
            splits["validation"] = probe.validation_tokens
        for split, tokens in splits.items():
            scores = score_text(
                parameters,
                load_shard(shards, domain, split),  # type: ignore[arg-type]
                shape,
                token_bytes,
                max_tokens=tokens,
                sampled=probe.sampled_tokens,
                seed=probe.seed,
            )
            texts[domain, split] = scores
            losses.append(
                pd.DataFrame(
                    {
                        "run": runs,
                        "domain": domain,
                        "split": split,
                        "tokens": scores.tokens,
                        "bytes": scores.bytes,
                        "loss": scores.losses,
                        "bits_per_byte": scores.bits_per_byte,
                    }
                )
            )
    temperatures = temperature_of(texts[probe.training_domains[0], "validation"])
    predictions = [
        prediction_table(
            texts[domain, "test"],
            runs,
            domain,
            temperatures,
            **domain_shift(domain, probe.training_domains),
        )
        for domain in probe.domains
    ]
    predictions += [
        noise_table(
            final,
            load_shard(shards, domain, "test"),
            shape,
            text_tokenizer,
            runs[last],
            domain,
            temperatures[last],
            max_tokens=probe.text_tokens,
            sampled=probe.sampled_tokens,
            seed=probe.seed,
        )
        for domain in probe.training_domains
    ]
    write_table(out / "losses.parquet", pd.concat(losses, ignore_index=True))
    write_table(out / "tokens.parquet", pd.concat(predictions, ignore_index=True))

    alphabet = load_alphabet(shards)
    exams = [
        exam
        for drill in spec.mixture.drills
        if (exam := make_exams(drill, spec.mixture, alphabet, probe.items, probe.seed)) is not None
    ]
    items = []
    if exams:
        answers = answer_temperature(parameters, [validation for _, validation in exams], shape)
        items = [
            item_table(parameters, exam, shape, alphabet, runs, answers, probe.seed)
            for exam, _ in exams
        ]
        (space,) = text_tokenizer.encode(" ")
        items += [
            item_table(final, shifted, shape, alphabet, runs[last], answers[last], probe.seed)
            for exam, validation in exams
            for shifted in shifted_exams(
                exam,
                validation,
                spec.mixture,
                alphabet,
                space=space,
                context=shape.context,
                seed=probe.seed,
            )
        ]
    write_table(
        out / "items.parquet",
        pd.concat(items, ignore_index=True) if items else no_items(),
    )
