"""The hash of a stage's code: its module and every `saltus` module that it imports, at any depth.

Snakemake does not see modules under `src/`, and a git commit would retrain all for a caption.
Comments, docstrings and layout do not count. C counts with its package, a table (`name.csv`) with
the module `name` beside it, both as they stand.
"""

import ast
import hashlib
from functools import lru_cache
from pathlib import Path

PACKAGE = "saltus"


def stage_modules(root: str) -> list[str]:
    """Return the names of `root` and all `saltus` modules it imports; imports none of them."""
    found: set[str] = set()
    waiting = [root]
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found.add(module)
        waiting += _imports(module)
    return sorted(found)


@lru_cache
def code_hash(root: str) -> str:
    """Return twelve hexadecimal digits that change when the stage `root` may act differently."""
    digest = hashlib.sha256()
    for module in stage_modules(root):
        digest.update(f"{module}\0{ast.unparse(_without_docstrings(_tree(module)))}\0".encode())
        for source in files_beside(module):
            digest.update(f"{source.name}\0{source.read_text(encoding='utf-8')}\0".encode())
    return digest.hexdigest()[:12]


def files_beside(module: str) -> list[Path]:
    """Return the C files in a package, or the table that has a module's name."""
    path = _path(module)
    assert path is not None, module
    if path.stem == "__init__":
        return sorted(path.parent.glob("*.[ch]"))
    table = path.with_suffix(".csv")
    return [table] if table.is_file() else []


@lru_cache
def _path(module: str) -> Path | None:
    base = Path(__file__).parent.parent.joinpath(*module.split("."))
    for path in (base / "__init__.py", base.with_name(base.name + ".py")):
        if path.is_file():
            return path
    return None


def _tree(module: str) -> ast.Module:
    path = _path(module)
    assert path is not None, module
    return ast.parse(path.read_text(encoding="utf-8"))


def _imports(module: str) -> set[str]:
    """Return the `saltus` modules that `module` imports anywhere in its text, and its packages."""
    names: set[str] = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    parts = module.split(".")
    names |= {".".join(parts[:depth]) for depth in range(1, len(parts))}
    ours = {name for name in names if name == PACKAGE or name.startswith(PACKAGE + ".")}
    return {name for name in ours if _path(name) is not None}


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            body = [
                each
                for each in node.body
                if not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
            ]
            node.body = body or [ast.Pass()]
    return tree
