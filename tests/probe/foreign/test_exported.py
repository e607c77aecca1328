"""An export of saltus gives the rows of its checkpoint, token for token."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from saltus.cli.main import main
from saltus.data.shards import load_shard
from saltus.data.tokenizer import TextTokenizer, train_tokenizer
from saltus.files import read_json, read_table
from saltus.probe.foreign.job import probe_foreign
from saltus.probe.foreign.model import Foreign, load_foreign
from saltus.probe.foreign.sources import texts_of_file, texts_of_study
from saltus.probe.foreign.text import score_pages
from saltus.probe.job import run_probe
from saltus.probe.spec import ProbeSpec
from saltus.train.checkpoint import load_checkpoint
from saltus.train.job import run_job
from saltus.train.spec import TrainSpec

CPU = torch.device("cpu")
PROBE = ProbeSpec(40, 400, 200, 60, 0, ("markov", "other"), ("markov",))
RUN = "s1-seed1-h25600"
ORDER = {
    "items": ["shift", "task", "arm", "item"],
    "tokens": ["domain", "shift", "severity", "tempered"],
    "losses": ["domain", "split"],
}


@dataclass(frozen=True)
class Exported:
    """A checkpoint's own tables, and its export as it is loaded."""

    spec: TrainSpec
    own: dict[str, pd.DataFrame]
    model: Foreign
    tokenizer: Path


@pytest.fixture(scope="module")
def exported(
    transformers_library: Any,
    make_spec: Callable[..., TrainSpec],
    corpus_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Exported:
    folder = tmp_path_factory.mktemp("exported")
    spec, shards = make_spec((400,)), corpus_folder / "shards"
    tokenizer = corpus_folder / "tokenizer" / "tokenizer.json"
    run_job(spec, shards, folder / "train", folder / "states", CPU, "code")
    run_probe(spec, PROBE, shards, tokenizer, folder / "train", folder / "probe", CPU)
    checkpoint = folder / "train" / "seed1-h25600.safetensors"
    arguments = [checkpoint, folder / RUN, "--tokenizer", tokenizer]
    assert main(["export", *map(str, arguments)]) == 0
    own = {name: read_table(folder / "probe" / f"{name}.parquet") for name in ORDER}
    own = {name: table[table["run"] == RUN] for name, table in own.items()}
    return Exported(spec, own, load_foreign(folder / RUN, CPU), tokenizer)


def test_an_export_gives_the_rows_of_its_checkpoint(exported: Exported, shards: Path) -> None:
    texts = texts_of_study(exported.model, PROBE, shards, exported.tokenizer, 16)
    tables = probe_foreign(exported.model, PROBE, exported.spec.mixture, texts, 4).tables
    assert set(tables) == {*ORDER, "runs"}
    for name, keys in ORDER.items():
        ours, theirs = (
            table.sort_values(keys, kind="stable", ignore_index=True)
            for table in (exported.own[name], tables[name])
        )
        if name == "items":
            assert ours["exact"].any() and set(ours["arm"]) == {"reversed"}
            drawn = ["sampled", "sampled_exact"]  # by the run's name; not drawn again
            assert theirs[drawn].isna().all(axis=None)
            lists = [np.concatenate(list(table.pop("token_nll"))) for table in (ours, theirs)]
            np.testing.assert_allclose(*lists, rtol=1e-4, atol=1e-5)
            ours[drawn] = theirs[drawn]
        pd.testing.assert_frame_equal(ours, theirs, rtol=1e-4, atol=1e-5)
    row = tables["runs"].iloc[0]
    items = exported.own["items"]
    assert items["shift"].nunique() >= 3 and exported.own["tokens"]["severity"].max() == 5
    items, losses = (
        items[items["in_distribution"]],
        exported.own["losses"].set_index(["domain", "split"]),
    )
    assert row["architecture"] == "qwen3"
    assert row["params_total"] == load_count(exported)
    assert row["loss_text"] == pytest.approx(losses.loc[("markov", "test"), "loss"])
    assert row["loss_arithmetic"] == pytest.approx(
        items["target_nll"].sum() / items["target_tokens"].sum(), rel=1e-4
    )


def load_count(exported: Exported) -> int:
    folder = exported.model.model.config.name_or_path
    row, _ = load_checkpoint(Path(folder).parent / "train" / "seed1-h25600.safetensors")
    return row.numel()


def test_text_of_ones_own_is_read_as_a_shard(
    exported: Exported, shards: Path, tmp_path: Path
) -> None:
    """The documents of a shard, written to a file and asked again, give the shard's loss."""
    shard = load_shard(shards, "markov", "test")
    tokenizer = TextTokenizer.load(exported.tokenizer)
    texts = [tokenizer.decode(shard.document(n)[1:-1]) for n in range(shard.num_documents)]
    # Every fifth document of a file, from its first on, is for validation.
    lines = [line for n, text in enumerate(texts) for line in ([texts[0]] * (n % 4 == 0)) + [text]]
    path = tmp_path / "some.jsonl"
    path.write_text(
        "".join(pd.Series([line]).to_json(orient="values")[1:-1] + "\n" for line in lines)
    )
    asked = ProbeSpec(1, len(shard.tokens), 200, 60, 0, ("markov",), ("markov",))
    found, refused = texts_of_file(path, exported.model, asked, 16)
    assert refused == 0 and set(found.test) == {"some"}
    study = texts_of_study(
        exported.model,
        asked,
        shards,
        exported.tokenizer,
        16,
    )
    assert (found.test["some"].tokens == study.test["markov"].tokens).all()
    assert found.test["some"].bytes == study.test["markov"].bytes
    first, second = (
        score_pages(exported.model, each, 5, 0).losses[0]
        for each in (found.test["some"], study.test["markov"])
    )
    assert first == second


def test_an_export_of_another_study_reads_the_text_in_its_own_tokens(
    exported: Exported, shards: Path
) -> None:
    other = train_tokenizer(["ab ab ab ba ba"] * 3, 260, ("<|endoftext|>",))
    model = Foreign(**{**vars(exported.model), "saltus": other, "separator": other.separator})
    manifest = read_json(shards / "manifest.json")
    assert manifest["sha256_tokenizer"] != hashlib.sha256(other.to_json().encode()).hexdigest()
    texts = texts_of_study(model, PROBE, shards, exported.tokenizer, 16)
    shard = load_shard(shards, "markov", "test")
    own = TextTokenizer.load(exported.tokenizer)
    tokens = texts.test["markov"].tokens
    flat = [*tokens[:, :-1].ravel()]
    first = own.decode(shard.document(0)[1:-1])
    length = len(other.encode(first))
    assert flat[0] == other.separator and flat[length + 1] == other.separator
    assert other.decode(flat[1 : length + 1]) == first
