"""A working directory with a tiny study, and a finished study of simulated tables beside it."""

import shutil
import sys
from pathlib import Path

import pytest

for name in ("figure", "cli"):
    sys.path.insert(0, str(Path(__file__).parents[1] / name))

STUDY = """\
name: tiny
text:
  domains:
    markov: {corpus: {kind: synthetic, documents: 120, document_words: 40}, share: 0.5}
  split: {train: 0.8, validation: 0.1, test: 0.1}
tokenizer: {vocabulary: 270}
arithmetic:
  share: 0.5
  drills: [{task: add_1}, {task: chain_2}]
family:
  context: 16
  blocks: [[0], [1]]
  sizes:
    s1: {width: 4, depth: 2, heads: 1}
    s2: {width: 8, depth: 2, heads: 2}
training:
  batch_tokens: 64
  horizons: [512, 1024]
  anneal: 0.25
  warmup: {tokens_per_parameter: 0, floor_steps: 2}
  rate: {coefficient: 0.01, reference: 2000, exponent: -0.2}
  device: cpu
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory, with the tiny study as config.yaml and as studies/tiny.yaml."""
    (tmp_path / "studies").mkdir()
    for path in (tmp_path / "config.yaml", tmp_path / "studies" / "tiny.yaml"):
        path.write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def simulated_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return results as a finished run leaves them, tables simulated, all else a stand-in."""
    from simulated import simulate, write

    results = tmp_path_factory.mktemp("simulated")
    write(simulate(num_sizes=4, num_seeds=2, horizons=(524_288, 1_048_576), rates=False), results)
    stand_ins = {
        "tables/items.parquet": "large",
        "tables/foretold.parquet": "copied, not read",
        "tables/tokens.parquet": "large",
        "figures/law-fit.svg": "drawn",
        "figures/law-fit.png": "drawn",
        "figures/loss-curves.svg": "drawn",
        "figures/loss-curves.png": "drawn",
        "train/s1/block0/seed0-h512.safetensors": "weights",
        "logs/laws.log": "",
        "report.html": "<html></html>",
    }
    for name, content in stand_ins.items():
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        (results / name).write_text(content)
    return results


@pytest.fixture
def finished(folder: Path, simulated_results: Path) -> Path:
    """Return the results of the tiny study, finished."""
    results = folder / "results" / "tiny"
    shutil.copytree(simulated_results, results)
    return results
