"""`saltus probe [STUDY]`: probe what was trained, without Snakemake; with `--model`, any model."""

import argparse
from pathlib import Path

from saltus.cli import probe_model
from saltus.cli.options import add_device, add_study, results_of, study_of
from saltus.device import resolve_device
from saltus.errors import SaltusError
from saltus.files import read_table
from saltus.probe.job import run_probe
from saltus.train.job import run_name
from saltus.train.spec import TrainSpec
from saltus.workflow import Jobs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_study(parser)
    add_device(parser)
    probe_model.add_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Probe every trained block that has no tables yet, or the one model that is named."""
    if options.model is not None:
        probe_model.run(options)
        return
    probe_model.refuse_without_model(options)
    study = study_of(options)
    root, asked = results_of(study), Jobs(study).probe_spec()
    shards, tokenizer = root / "shards", root / "tokenizer" / "tokenizer.json"
    device = resolve_device(options.device or study.training.device)
    if not any((root / "train").glob("*/*/status.json")):
        raise SaltusError(f"{root / 'train'}: found nothing trained; run saltus train first")
    for spec in study.train_specs():
        part = f"{spec.size}/block{spec.block}"
        trained, out = root / "train" / part, root / "probe" / part
        if (trained / "status.json").exists() and not _is_probed(spec, out):
            run_probe(spec, asked, shards, tokenizer, trained, out, device)
            print(out)


def _is_probed(spec: TrainSpec, out: Path) -> bool:
    """Tell whether the tables under `out` hold every run of `spec`; items are written last."""
    if not (out / "items.parquet").exists():
        return False
    probed = set(read_table(out / "losses.parquet")["run"])
    return all(
        run_name(spec, replica, horizon) in probed
        for replica in spec.replicas
        for horizon in spec.horizons
    )
