"""`saltus stage NAME`: one stage of the workflow, its paths and its spec given by the rule.

A rule passes data, never the study: an edit of the study reruns the stages whose data it changes.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from saltus.cli import stages


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; every stage uses some of them."""
    parser.add_argument("stage", choices=sorted(STAGES))
    parser.add_argument("--spec", type=json.loads, default={}, help="the stage's data, as JSON")
    parser.add_argument("--code", default="", help="hash of the stage's modules")
    parser.add_argument("--input", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shards", type=Path)
    parser.add_argument("--states", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--device", default="auto")


def run(options: argparse.Namespace) -> None:
    """Run the stage."""
    STAGES[options.stage](options)


STAGES: dict[str, Callable[[argparse.Namespace], None]] = {
    "corpus": stages.corpus,
    "tokenizer": stages.tokenizer,
    "shards": stages.shards,
    "train": stages.train,
    "probe": stages.probe,
    "prediction": stages.prediction,
    "tables": stages.tables,
    "laws": stages.laws,
    "thresholds": stages.thresholds,
    "calibration": stages.calibration,
    "figures": stages.figures,
    "report": stages.report,
}
