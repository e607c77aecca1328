"""What a stage loads is what its hash covers; what analysis loads has no torch in it."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import saltus
from saltus.code import files_beside, stage_modules
from saltus.train.spec import TrainSpec
from saltus.workflow import ANALYSIS

PACKAGE_FOLDER = Path(saltus.__file__).parent
RULES = Path(__file__).parents[1] / "workflow" / "rules"
NO_TORCH = ("law", "emerge", "calibrate", "figure")


def run_python(script: str, *arguments: str, path: Path | None = None) -> Any:
    """Run a script in a new process and return the JSON of the last line it prints."""
    folders = [str(path)] * (path is not None) + [each for each in sys.path if each]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(folders), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


RUN_STAGES = """
import json, sys
from saltus.cli.main import main

def loaded():
    return sorted(name for name in sys.modules if name.split(".")[0] == "saltus")

found = []
for arguments in json.loads(sys.argv[1]):
    assert main(arguments) == 0
    found.append(loaded())
print(json.dumps(found))
"""


def test_a_job_loads_no_module_that_its_hash_does_not_cover(
    make_spec: Callable[..., TrainSpec], corpus_folder: Path, tmp_path: Path
) -> None:
    spec = make_spec((4,))
    tokenizer = str(corpus_folder / "tokenizer")
    probe = {
        "items": 10,
        "text_tokens": 256,
        "validation_tokens": 256,
        "sampled_tokens": 50,
        "seed": 0,
        "domains": ["markov"],
        "training_domains": ["markov"],
    }
    probe_spec = json.dumps({"train": json.loads(spec.to_json()), "probe": probe})
    trained, out = str(tmp_path / "train"), str(tmp_path / "probe")
    states, shards = str(tmp_path / "states"), str(corpus_folder / "shards")
    options = {
        "train": ["--spec", spec.to_json(), "--out", trained, "--states", states],
        "probe": ["--spec", probe_spec, "--out", out, "--input", trained, tokenizer],
    }
    common = ["--shards", shards, "--device", "cpu", "--code", "x"]
    commands = [["stage", stage, *own, *common] for stage, own in options.items()]
    for root, loaded in zip(
        ("saltus.train.job", "saltus.probe.job"),
        run_python(RUN_STAGES, json.dumps(commands)),
        strict=True,
    ):
        covered = set(stage_modules(root))
        assert root in loaded
        assert {name for name in loaded if not name.startswith("saltus.cli")} <= covered


@cache
def graph_of(root: str) -> frozenset[str]:
    """What the hash of a stage covers."""
    return frozenset(stage_modules(root))


@cache
def rules() -> dict[str, set[str]]:
    """The stages that the workflow's rules call, and the modules whose hash they pass."""
    found: dict[str, set[str]] = {}
    for file in sorted(RULES.glob("*.smk")):
        text = file.read_text()
        named = dict(re.findall(r'^(\w+) = code_hash\("([\w.]+)"\)', text, re.MULTILINE))
        for block in re.split(r"^\s*rule\b", text, flags=re.MULTILINE)[1:]:
            for stage in re.findall(r"(?:saltus|\}) stage (\w+)", block):
                roots = set(re.findall(r'code_hash\("([\w.]+)"\)', block))
                roots |= {root for name, root in named.items() if f"code={name}" in block}
                for shared in re.findall(r'stage_code\("(\w+)"\)', block):
                    roots |= set(ANALYSIS[shared])
                found[stage] = {module for root in roots for module in graph_of(root)}
    return found


def imports_of_stage(stage: str) -> set[str]:
    """The `saltus` modules that a function of `cli/stages.py` and its helpers import."""
    tree = ast.parse((PACKAGE_FOLDER / "cli" / "stages.py").read_text())
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    waiting, seen, modules = [stage], set(), set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        for node in ast.walk(functions[name]):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("saltus."):
                modules.add(str(node.module))
            elif isinstance(node, ast.Name) and node.id in functions and node.id not in seen:
                waiting.append(node.id)
    return modules


@pytest.mark.parametrize("stage", sorted(rules()))
def test_a_rule_passes_the_hash_of_all_that_its_stage_uses(stage: str) -> None:
    used = {found for module in imports_of_stage(stage) for found in graph_of(module)}
    assert used, stage
    missing = {name for name in used if not name.startswith("saltus.cli")} - rules()[stage]
    assert not missing, f"a change of {sorted(missing)} would not run {stage} again"


def test_saltus_run_counts_every_stage_that_saltus_analyse_calls() -> None:
    """`saltus run` keeps a report as long as the code of the stages of `ANALYSIS` is the same."""
    analyse = (PACKAGE_FOLDER / "cli" / "analyse.py").read_text()
    called = set(re.findall(r"call\(\s*stages\.(\w+)", analyse))
    assert {"thresholds", "report"} <= called
    assert called == set(ANALYSIS)
    covered = {name for roots in ANALYSIS.values() for root in roots for name in graph_of(root)}
    assert {"saltus.emerge.verdict", "saltus.emerge.power", "saltus.emerge.foretell"} <= covered


def test_every_stage_has_a_rule() -> None:
    from saltus.cli.stage import STAGES

    assert set(rules()) == set(STAGES)


HASHES = """
import json, sys
from pathlib import Path
import saltus
from saltus.code import code_hash

ROOT = "saltus.data.writing"
data = Path(saltus.__file__).parent / "data"
assert "tmp" in str(data) or "pytest" in str(data)

def hash_with(name, old, new):
    path = data / name
    text = path.read_text()
    assert old in text, (name, old)
    path.write_text(text.replace(old, new, 1))
    code_hash.cache_clear()
    found = code_hash(ROOT)
    path.write_text(text)
    return found

one, other = "writing.py", "arithmetic.py"
print(json.dumps({
    "same": [
        hash_with(one, "", ""),
        hash_with(one, "BLANK = -1", "BLANK = -1  # nothing stands here"),
        hash_with(one, "BLANK = -1", "# A remark.\\n\\n\\nBLANK = (-1)"),
        hash_with(one, 'return "".join(', "return ''.join("),
        hash_with(other, "Return the problems at", "Give the problems at"),
        hash_with("batches.py", "CHUNK_ROWS = 1024", "CHUNK_ROWS = 512"),
    ],
    "different": [
        hash_with(one, "BLANK = -1", "BLANK = -2"),
        hash_with(one, '"mul": 3', '"mul": 4'),
        hash_with(other, "ENUMERATED_DIGITS = 3", "ENUMERATED_DIGITS = 2"),
        hash_with("__init__.py", '"', 'X = 1\\n"'),
    ],
}))
"""


def test_the_hash_follows_code_and_not_comments(tmp_path: Path) -> None:
    for path in PACKAGE_FOLDER.rglob("*.py"):
        copy = tmp_path / "tmp" / "saltus" / path.relative_to(PACKAGE_FOLDER)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    found = run_python(HASHES, path=tmp_path / "tmp")
    assert len(set(found["same"])) == 1
    assert len({*found["different"], found["same"][0]}) == 1 + len(found["different"])


def test_the_c_between_matrix_products_is_hashed_with_training() -> None:
    def sources(root: str) -> set[str]:
        return {path.name for module in stage_modules(root) for path in files_beside(module)}

    there = {path.name for path in (PACKAGE_FOLDER / "model" / "native").glob("*.[ch]")}
    assert sources("saltus.train.job") == there >= {"lanes.h", "head.c", "attention.c"}
    assert sources("saltus.law.summary") == {"coverage.csv"}
    assert sources("saltus.law.predict") == set()


def test_every_table_counts_with_the_module_of_its_name() -> None:
    tables = sorted(PACKAGE_FOLDER.rglob("*.csv"))
    assert tables
    for path in tables:
        parts = path.relative_to(PACKAGE_FOLDER.parent).with_suffix("").parts
        assert files_beside(".".join(parts)) == [path]


def test_a_prediction_is_not_made_again_for_what_comes_after_it() -> None:
    after = {"summary", "heldout", "compare", "describe", "doubt", "coverage", "bootstrap"}
    modules = {f"saltus.law.{name}" for name in after}
    assert modules <= graph_of("saltus.law.summary")
    assert not modules & graph_of("saltus.law.predict")
    rule = (RULES / "law.smk").read_text().split("rule prediction:")[1].split("rule laws:")[0]
    analyse = (PACKAGE_FOLDER / "cli" / "analyse.py").read_text()
    for text in (rule, analyse):
        assert re.findall(r'code=stage_code\("(\w+)"\)', text) == ["prediction"]


def test_training_does_not_depend_on_analysis() -> None:
    modules = stage_modules("saltus.train.job")
    assert {"saltus.train.job", "saltus.model.transformer", "saltus.data.batches"} <= set(modules)
    analysis = ("figure", "report", "law", "emerge", "calibrate", "cli", "probe", "tables", "study")
    assert not [name for name in modules if name.split(".")[1:2] and name.split(".")[1] in analysis]
    assert modules == sorted(set(modules))


def test_what_training_says_of_itself_is_no_part_of_it() -> None:
    """A printed line must not retrain everything."""
    assert "saltus.cli.progress" not in stage_modules("saltus.train.job")
    assert "saltus.train.trainer" in stage_modules("saltus.cli.progress")


def modules_of(part: str) -> list[str]:
    names = []
    for path in sorted((PACKAGE_FOLDER / part).rglob("*.py")):
        parts = path.relative_to(PACKAGE_FOLDER.parent).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


@pytest.mark.parametrize("part", NO_TORCH)
def test_no_module_behind_analysis_imports_torch(part: str) -> None:
    behind = {found for module in modules_of(part) for found in graph_of(module)}
    assert f"saltus.{part}" in behind
    for module in behind:
        path = PACKAGE_FOLDER.parent / Path(*module.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] == "torch"], module


WITHOUT_TORCH = """
import json, sys
from importlib import import_module

for module in json.loads(sys.argv[1]):
    import_module(module)
print(json.dumps("torch" in sys.modules))
"""


def test_analysis_loads_no_torch() -> None:
    modules = [module for part in NO_TORCH for module in modules_of(part)]
    modules += ["saltus.tables", "saltus.study", "saltus.workflow", "saltus.cli.stage"]
    assert run_python(WITHOUT_TORCH, json.dumps(modules)) is False


HASH_ALL = """
import json, sys
from saltus.code import code_hash
for root in json.loads(sys.argv[1]):
    code_hash(root)
print(json.dumps([name for name in ("torch", "pandas", "scipy") if name in sys.modules]))
"""


def test_hashing_a_stage_imports_nothing_that_is_heavy() -> None:
    # The Snakefile hashes every stage at each start, on machines without torch as well.
    roots = ["saltus.train.job", "saltus.probe.job", "saltus.law.summary", "saltus.tables"]
    assert run_python(HASH_ALL, json.dumps(roots)) == []
