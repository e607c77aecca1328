"""What each stage reads and writes; imports are inside, so that a stage loads only what it uses."""

import argparse
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saltus.files import read_json, read_table, sha256_of, write_json, write_table, write_text

if TYPE_CHECKING:
    import pandas as pd


Stage = Callable[[argparse.Namespace], None]


def call(stage: Stage, out: Path, spec: str = "{}", **paths: Path | list[Path] | str) -> None:
    """Run a stage without a rule: `spec` is its data as JSON, `paths` its other options."""
    stage(argparse.Namespace(spec=json.loads(spec), out=out, **paths))


def corpus(options: argparse.Namespace) -> None:
    """Write a corpus's canonical text and manifest."""
    from saltus.data.catalogue import from_mapping
    from saltus.data.corpus import build_corpus

    build_corpus(from_mapping(options.spec), options.out, options.cache)


def _shares(raw: dict[str, float]) -> Any:
    from saltus.data.shards import Shares

    return Shares(validation=raw["validation"], test=raw["test"])


def tokenizer(options: argparse.Namespace) -> None:
    """Train the tokenizer on the training split of the corpora in `--input`."""
    from itertools import chain

    from saltus.data.corpus import read_texts
    from saltus.data.shards import texts_of
    from saltus.data.tokenizer import train_tokenizer

    spec = options.spec
    shares = _shares(spec["split"])
    texts = chain.from_iterable(
        texts_of(read_texts(folder), "train", shares) for folder in options.input
    )
    trained = train_tokenizer(texts, spec["vocabulary"], tuple(spec["specials"]))
    trained.save(options.out / "tokenizer.json")


def shards(options: argparse.Namespace) -> None:
    """Encode the corpora in `--input` (folders named by domain, the tokenizer's folder last)."""
    from saltus.data.corpus import read_texts
    from saltus.data.shards import build_shards
    from saltus.data.tokenizer import TextTokenizer

    *folders, tokenizer_folder = options.input
    text_tokenizer = TextTokenizer.load(tokenizer_folder / "tokenizer.json")
    domains = {folder.name: read_texts(folder) for folder in folders}
    build_shards(
        domains,
        text_tokenizer,
        options.out,
        _shares(options.spec["split"]),
        held_out_only=options.spec["held_out_only"],
    )


def train(options: argparse.Namespace) -> None:
    """Train one (size, replica block); `SALTUS_TENSORBOARD` may name a folder for TensorBoard."""
    from saltus.cli.progress import live_line
    from saltus.device import resolve_device
    from saltus.train.job import run_job, training_device
    from saltus.train.spec import TrainSpec

    spec = TrainSpec.from_json(json.dumps(options.spec))
    wanted = os.environ.get("SALTUS_TENSORBOARD")
    with training_device(resolve_device(options.device)) as device:
        run_job(
            spec,
            options.shards,
            options.out,
            options.states,
            device,
            options.code,
            watch=live_line(Path(wanted) if wanted else None),
        )


def probe(options: argparse.Namespace) -> None:
    """Probe one (size, replica block): `--input` is its folder, then the tokenizer's."""
    from saltus.device import resolve_device
    from saltus.probe.job import run_probe
    from saltus.probe.spec import ProbeSpec
    from saltus.train.spec import TrainSpec

    spec = TrainSpec.from_json(json.dumps(options.spec["train"]))
    asked = ProbeSpec.from_json(json.dumps(options.spec["probe"]))
    device = resolve_device(options.device)
    trained, encoder = options.input
    file = encoder / "tokenizer.json"
    run_probe(spec, asked, options.shards, file, trained, options.out, device)


def _joined(folders: Sequence[Path], name: str) -> "pd.DataFrame":
    import pandas as pd

    found = [read_table(folder / name) for folder in folders]
    return pd.concat([table for table in found if len(table)] or found[:1], ignore_index=True)


def _runs(
    folders: Sequence[Path], domains: Sequence[str]
) -> tuple["pd.DataFrame", list[dict[str, Any]], "pd.DataFrame", "pd.DataFrame"]:
    """Return the runs of training folders, then probing folders; statuses, losses and items."""
    from saltus.tables import runs_table

    half = len(folders) // 2
    statuses = [read_json(folder / "status.json") for folder in folders[:half]]
    losses, items = (_joined(folders[half:], f"{name}.parquet") for name in ("losses", "items"))
    return runs_table(statuses, losses, items, domains), statuses, losses, items


def tables(options: argparse.Namespace) -> None:
    """Join the jobs' outputs: `--input` holds all training folders, then all probing folders."""
    from saltus.cli.machine import machine_of
    from saltus.tables import with_runs

    half = len(options.input) // 2
    trained, probed = options.input[:half], options.input[half:]
    runs, statuses, losses, items = _runs(options.input, options.spec["training_domains"])
    write_table(options.out / "runs.parquet", runs)
    write_table(options.out / "curves.parquet", _joined(trained, "curve.parquet"))
    for name, table in (
        ("items", items),
        ("losses", losses),
        ("tokens", _joined(probed, "tokens.parquet")),
    ):
        write_table(options.out / f"{name}.parquet", with_runs(table, runs))
    study = options.out.parent
    write_json(study / "study.json", options.spec["study"])
    write_json(study / "machine.json", machine_of(statuses))


def prediction(options: argparse.Namespace) -> None:
    """Predict the largest size and write it down before anything of it is read.

    `--input` holds all training folders, then all probing folders, of the sizes below it; of the
    largest the spec has the design: N, horizons, FLOPs.
    """
    import pandas as pd

    from saltus.law.criterion import Criterion
    from saltus.law.predict import Target, predict_largest
    from saltus.law.runs import COLUMNS, usable_runs

    spec = options.spec
    runs = pd.DataFrame(columns=list(COLUMNS))
    if options.input:
        runs = _runs(options.input, spec["training_domains"])[0]
    kept, dropped = usable_runs(runs, spec["minimum_tokens"])
    found = predict_largest(
        kept,
        Target(**spec["target"]),
        minimum_tokens=spec["minimum_tokens"],
        criterion=Criterion(delta=spec["delta"]),
    )
    write_json(options.out, {**found, "dropped": dropped, "code": options.code})


def laws(options: argparse.Namespace) -> None:
    """Fit the laws; with learning-rate factors, the rate rule as well.

    `--input` is runs, then the prediction that is now held to them.
    """
    from saltus.law.criterion import Criterion
    from saltus.law.rates import fit_rate_rule
    from saltus.law.summary import summarise_laws

    runs = read_table(options.input[0])
    if options.spec["sweep"]:
        rule, rows = fit_rate_rule(runs)
        write_table(options.out / "tables" / "rates.parquet", rows)
        write_json(options.out / "rates.json", rule)
    spec = options.spec
    criterion = Criterion(delta=spec["delta"])
    found = summarise_laws(
        runs,
        criterion=criterion,
        minimum_tokens=spec["minimum_tokens"],
        prediction=read_json(options.input[1]),
    )
    found["heldout"]["prediction_sha256"] = sha256_of(options.input[1])
    write_json(options.out / "laws.json", found)


def thresholds(options: argparse.Namespace) -> None:
    """Score the items, find thresholds, judge: `--input` is items, then runs."""
    from saltus.emerge.breakdown import breakdown_table
    from saltus.emerge.resolution import probability_table
    from saltus.emerge.scores import score_table
    from saltus.emerge.seeds import seed_table
    from saltus.emerge.study import summarise_study
    from saltus.emerge.summary import summarise_thresholds
    from saltus.law.plain import plain

    items, runs = map(read_table, options.input)
    runs = runs[runs["rate_factor"] == 1.0]
    items = items[items["run"].isin(runs["run"])]
    scores = score_table(items, runs)
    found, foretold = summarise_study(scores, items, options.spec["minimum_tokens"])
    made = {
        "scores": scores,
        "thresholds": summarise_thresholds(scores),
        "breakdown": breakdown_table(items, runs),
        "seeds": seed_table(scores),
        "probabilities": probability_table(items),
        **foretold,
    }
    for name, table in made.items():
        write_table(options.out / f"{name}.parquet", table)
    write_json(options.out.parent / "emergence.json", plain(found))


def calibration(options: argparse.Namespace) -> None:
    """Measure calibration: `--input` is tokens, items, runs."""
    from saltus.calibrate import sizes, summary
    from saltus.calibrate.deltas import shift_deltas
    from saltus.calibrate.scaling import summarise_scaling
    from saltus.law.plain import plain

    tokens, items, runs = map(read_table, options.input)
    runs = runs[runs["rate_factor"] == 1.0]
    tokens, items = (table[table["run"].isin(runs["run"])] for table in (tokens, items))
    domains = options.spec["training_domains"]
    errors = summary.summarise_calibration(tokens, items, runs, domains=domains)
    pools = sizes.pools(tokens, items, runs, domains)
    under_shift = summary.summarise_shift(tokens, items, runs)
    made = {
        "calibration": errors,
        "calibration_shift": under_shift,
        "calibration_deltas": shift_deltas(errors, under_shift),
        "reliability": summary.summarise_reliability(tokens, items, runs, domains=domains),
        "calibration_sizes": sizes.size_errors(pools),
        "reliability_curves": sizes.size_curves(pools),
        "risk_curves": sizes.size_risks(pools),
    }
    for name, table in made.items():
        write_table(options.out / f"{name}.parquet", table)
    write_json(options.out.parent / "calibration.json", plain(summarise_scaling(errors, runs)))


def figures(options: argparse.Namespace) -> None:
    """Draw all figures of the study folder in `--input`."""
    from saltus.figure.catalogue import draw_all
    from saltus.figure.tables import load_tables

    draw_all(load_tables(options.input[0]), options.out)


def report(options: argparse.Namespace) -> None:
    """Write the report of the study folder in `--input`, its figures in `figures`."""
    from saltus.figure.tables import load_tables
    from saltus.report.render import render

    folder = options.input[0]
    write_text(options.out, render(load_tables(folder), folder / "figures"))
