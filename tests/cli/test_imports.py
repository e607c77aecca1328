"""What may import what: light commands stay light, and stages do not carry the workflow along."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import saltus
from saltus.cli.main import COMMANDS

PACKAGE = Path(saltus.__file__).parent
PUBLISHED = Path(__file__).parents[2] / "results" / "reference" / "rates"
ANALYSIS = ("law", "emerge", "calibrate", "figure", "report")
STAGES = ("data", "model", "train", "probe")

LOADED = """
import json, sys
from importlib import import_module
heavy = json.loads(sys.argv[1])
for name in sys.argv[2:]:
    import_module(name)
    found = [each for each in heavy if each in sys.modules]
    if found:
        sys.exit(f"{name} imports {found}")
"""

COMMAND = """
import json, sys
from saltus.cli.main import main
for arguments in json.loads(sys.argv[1]):
    code = main(arguments)
    found = [each for each in ("torch", "snakemake", "datasets") if each in sys.modules]
    if code or found:
        sys.exit(f"{arguments}: exit code {code}, imports {found}")
"""

CODE = """
import sys
from saltus.code import code_hash
print(*map(code_hash, sys.argv[1:]))
sys.exit(" ".join(name for name in ("torch", "scipy", "matplotlib") if name in sys.modules) or None)
"""


def python(script: str, *arguments: str) -> str:
    """Run a script in a fresh interpreter and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def modules(*packages: str) -> list[str]:
    """Return the names of all modules of the packages."""
    return [
        f"saltus.{package}.{path.stem}"
        for package in packages
        for path in sorted((PACKAGE / package).glob("*.py"))
        if path.stem != "__init__"
    ]


def imports(path: Path, *, inside_functions: bool = True) -> Iterator[str]:
    """Yield the absolute names that a file imports, the names of `from x import y` joined."""
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef) and not inside_functions:
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_analysis_runs_without_torch() -> None:
    light = ["code", "plan", "preflight", "study", "study_checks", "tables", "workflow"]
    names = [*modules(*ANALYSIS), *(f"saltus.{name}" for name in light)]
    python(LOADED, json.dumps(["torch", "snakemake", "datasets", "transformers"]), *names)


def test_stages_carry_neither_the_workflow_nor_the_study() -> None:
    roots = [
        "saltus.data.corpus",
        "saltus.data.tokenizer",
        "saltus.data.shards",
        "saltus.law.summary",
        "saltus.law.rates",
        "saltus.emerge.summary",
        "saltus.emerge.scores",
        "saltus.calibrate.summary",
        "saltus.figure.catalogue",
        "saltus.report.render",
        "saltus.tables",
        "saltus.cli.stage",
        "saltus.train.job",
        "saltus.probe.job",
        "saltus.probe.foreign.job",
    ]
    python(LOADED, json.dumps(["snakemake", "datasets", "pydantic", "transformers"]), *roots)


def test_hashing_code_imports_none_of_it() -> None:
    roots = ["saltus.train.job", "saltus.probe.job", "saltus.law.summary", "saltus.report.render"]
    hashes = python(CODE, *roots).split()
    assert len(set(hashes)) == len(roots)


def test_light_commands_import_no_torch(finished: Path) -> None:
    commands: list[list[str]] = [
        ["check"],
        ["plan"],
        ["where"],
        ["schema"],
        ["publish"],
        ["figures", str(finished), "--only", "law-fit"],
        ["sweep", str(PUBLISHED)],
    ]
    python(COMMAND, json.dumps(commands))
    assert (finished / "figures" / "law-fit.svg").read_text() != "drawn"


@pytest.mark.parametrize("package", STAGES)
def test_stage_packages_import_one_way(package: str) -> None:
    later = STAGES[STAGES.index(package) + 1 :]
    forbidden = (*later, *ANALYSIS, "cli", "study", "workflow", "plan", "preflight")
    for path in (PACKAGE / package).rglob("*.py"):
        for name in imports(path):
            assert not any(f"{name}.".startswith(f"saltus.{each}.") for each in forbidden), (
                f"{path.name} imports {name}"
            )


@pytest.mark.parametrize("package", ANALYSIS)
def test_analysis_packages_import_one_way(package: str) -> None:
    earlier = ANALYSIS[: ANALYSIS.index(package)]
    permitted = (package, *earlier, "errors", "files")
    for path in (PACKAGE / package).glob("*.py"):
        ours = [name for name in imports(path) if name.startswith("saltus.")]
        for name in ours:
            assert name.split(".")[1] in permitted, f"{path.name} imports {name}"


def test_nothing_imports_the_command_line() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name != "cli" and path.name != "__main__.py":
            assert not any(name.startswith("saltus.cli") for name in imports(path)), path


def test_only_the_study_reads_yaml() -> None:
    readers = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(name.split(".")[0] == "yaml" for name in imports(path))
    }
    assert len(readers) == 1 and all(name.startswith("study") for name in readers)


def test_every_command_has_a_module_and_every_module_says_what_it_is() -> None:
    for command in COMMANDS:
        tree: Any = ast.parse((PACKAGE / "cli" / f"{command}.py").read_text())
        assert (ast.get_docstring(tree) or "").startswith(f"`saltus {command}")
