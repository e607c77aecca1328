"""`saltus probe --model DIR`: a study's questions to any model in Hugging Face format."""

import argparse
import sys
from pathlib import Path

import pandas as pd

from saltus.cli.options import results_of, study_of
from saltus.data.batches import Mixture
from saltus.device import resolve_device
from saltus.errors import SaltusError
from saltus.workflow import Jobs

MAX_WINDOW = 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that ask another model."""
    parser.add_argument(
        "--model",
        type=Path,
        metavar="DIR",
        help="probe the model in this folder instead: Hugging Face format, ours or anybody's",
    )
    parser.add_argument(
        "--text", type=Path, metavar="FILE", help="with --model: a text instead of the study's"
    )
    parser.add_argument(
        "--shots",
        type=int,
        metavar="K",
        help="with --model: solved problems before each question (default: 4)",
    )
    parser.add_argument(
        "--window",
        type=int,
        metavar="TOKENS",
        help="with --model: tokens of text read at once (default: its context, 1024 at most)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="with --model: the tables' folder (default: results/STUDY/models/NAME)",
    )


def refuse_without_model(options: argparse.Namespace) -> None:
    """Raise `SaltusError` for an option that means nothing without `--model`."""
    for name in ("text", "shots", "window", "out"):
        if getattr(options, name) is not None:
            raise SaltusError(f"--{name}: found '{getattr(options, name)}' without --model")


def run(options: argparse.Namespace) -> None:
    """Probe the model, write its tables, and print one line of them."""
    from saltus.probe.foreign.job import probe_foreign, write_tables
    from saltus.probe.foreign.lines import SHOTS
    from saltus.probe.foreign.model import load_foreign
    from saltus.probe.foreign.sources import texts_of_file, texts_of_study

    study = study_of(options)
    root, asked = results_of(study), Jobs(study).probe_spec()
    name = options.model.resolve().name
    out = root / "models" / name if options.out is None else options.out
    if out.exists() and not out.is_dir():
        raise SaltusError(f"--out: found '{out}', a file; expected the name of a folder")
    if (options.shots or 0) < 0:
        raise SaltusError(f"--shots: found {options.shots}, expected 0 or more")
    model = load_foreign(options.model, resolve_device(options.device or study.training.device))
    if model.saltus is not None and options.shots is not None:
        raise SaltusError(
            f"--shots: found {options.shots}, expected none: "
            "an export of saltus is asked as the family is"
        )
    window = _window(options.window, model.context, is_export=model.saltus is not None)
    if options.text is None:
        tokenizer = root / "tokenizer" / "tokenizer.json"
        texts = texts_of_study(model, asked, root / "shards", tokenizer, window)
    else:
        texts, refused = texts_of_file(options.text, model, asked, window)
        if refused:
            what = "document" if refused == 1 else "documents"
            print(f"saltus probe: {refused} {what} of {options.text} refused", file=sys.stderr)
    shots = SHOTS if options.shots is None else options.shots
    mixture = study.train_specs()[0].mixture
    probed = probe_foreign(model, asked, mixture, texts, shots)
    tables = probed.tables
    write_tables(tables, out)
    if unasked := _unasked(mixture, tables["items"]):
        print(
            f"saltus probe: not asked in the arms {', '.join(unasked)}, "
            "for which the model's tokenizer has no sign",
            file=sys.stderr,
        )
    if probed.too_long:
        print(
            f"saltus probe: not asked, too long for the model's {model.context} tokens: "
            f"{', '.join(probed.too_long)}",
            file=sys.stderr,
        )
    print(_summary(tables))
    print(out)


def _window(wanted: int | None, context: int | None, *, is_export: bool) -> int:
    """Return how many tokens of text are read at once; an export reads its whole context."""
    most = MAX_WINDOW if context is None else context
    if wanted is None:
        return most if is_export else min(most, MAX_WINDOW)
    if is_export and wanted != context:
        raise SaltusError(f"--window: found {wanted}, expected the export's context {context}")
    if not 1 <= wanted <= (wanted if context is None else context):
        raise SaltusError(f"--window: found {wanted}, expected 1 to the model's {most}")
    return wanted


def _unasked(mixture: Mixture, items: pd.DataFrame) -> list[str]:
    """Return the arms of the study in which none of its held-out problems was asked."""
    tasks, arms = set(items["task"]), set(items["arm"])
    return sorted({each.arm for each in mixture.drills if each.task in tasks} - arms)


def _summary(tables: dict[str, pd.DataFrame]) -> str:
    """Return a line: parameters, held-out problems and their accuracy, loss and bits per byte."""
    row, items = tables["runs"].iloc[0], tables["items"]
    items = items[items["in_distribution"].astype(bool)]
    answers = f"n {len(items)}, accuracy {items['exact'].mean():.3f}" if len(items) else "n 0"
    return (
        f"{row['run']} ({row['architecture']}, {row['params_total']:,} parameters): {answers}, "
        f"loss {row['loss_text']:.3f} nats/token, {row['bits_per_byte']:.3f} bits/byte"
    )
