"""A small generated language, cut into shards by the workflow's own stages, and a tiny job on it.

Fixtures for the tests of training, probing, export and the code hash; nothing is imported or built
until one of those asks.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from saltus.train.spec import TrainSpec

VOCABULARY = 280
SPLIT = {"train": 0.8, "validation": 0.1, "test": 0.1}


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `shards` and `tokenizer`; `markov` is trained on, `other` is not."""
    from saltus.cli import stages

    folder = tmp_path_factory.mktemp("corpus")
    corpora = {"markov": 0, "other": 1}
    for name, seed in corpora.items():
        spec = {"kind": "synthetic", "documents": 200, "document_words": 40, "seed": seed}
        stages.corpus(
            argparse.Namespace(spec=spec, out=folder / name, cache=folder / "cache", input=[])
        )
    specials = ("<|endoftext|>", "<|reversed|>", "<|padded|>")
    stages.tokenizer(
        argparse.Namespace(
            spec={"vocabulary": VOCABULARY, "specials": specials, "split": SPLIT},
            input=[folder / "markov"],
            out=folder / "tokenizer",
        )
    )
    stages.shards(
        argparse.Namespace(
            spec={"split": SPLIT, "held_out_only": ["other"]},
            input=[folder / "markov", folder / "other", folder / "tokenizer"],
            out=folder / "shards",
        )
    )
    return folder


@pytest.fixture(scope="session")
def shards(corpus_folder: Path) -> Path:
    """Return the folder of shards."""
    return corpus_folder / "shards"


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., "TrainSpec"]:
    """Return a maker of a tiny job: two replicas, 64 tokens a step, horizons given in steps."""
    import dataclasses

    from saltus.data.batches import ARITHMETIC, Drill, Mixture
    from saltus.model.shape import Shape
    from saltus.train.spec import Optimizer, Replica, TrainSpec

    base = TrainSpec(
        study="tiny",
        size="s1",
        block=0,
        shape=Shape(VOCABULARY, width=8, depth=2, heads=2, feedforward=12, context=16),
        replicas=(Replica("seed0", 11, 0.01), Replica("seed1", 12, 0.02)),
        mixture=Mixture(
            {ARITHMETIC: 0.5, "markov": 0.5},
            (Drill("add_1", "plain", 1.0), Drill("chain_2", "reversed", 2.0)),
            0.1,
            "salt",
        ),
        batch_tokens=64,
        warmup_steps=3,
        anneal=0.25,
        optimizer=Optimizer("adamw", 0.9, 0.99, 1e-8, momentum=0.95, decay=0.1, clip=1.0),
        precision="fp32",
        horizons=(12 * 64,),
    )

    def make(steps: tuple[int, ...] = (12,), **changes: Any) -> TrainSpec:
        horizons = tuple(each * base.batch_tokens for each in steps)
        return dataclasses.replace(base, **{"horizons": horizons, **changes})

    return make


@pytest.fixture(scope="session")
def no_compiler() -> str | None:
    """Return why compiled C cannot be had here, None where it can."""
    from saltus.model.native.library import NoCompilerError, library_file

    try:
        library_file()
    except NoCompilerError as error:
        return str(error)
    return None


@pytest.fixture(scope="session")
def c_compiler(no_compiler: str | None) -> None:
    """Skip what needs compiled C where it cannot be had."""
    if no_compiler is not None:
        pytest.skip(no_compiler)
