"""`saltus publish`: small tables and figures of a finished study, all of them or none."""

import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from saltus.cli.main import main
from saltus.cli.publish import DOCUMENTS, MAX_TABLE_BYTES, OPTIONAL, TABLES

NEEDED = [
    *(f"tables/{name}.parquet" for name in TABLES if name not in OPTIONAL),
    *(name for name in DOCUMENTS if name not in OPTIONAL),
]


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder, by relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def reference(finished: Path) -> Path:
    """Return where the tiny study is published; nothing is there yet."""
    return finished.parent / "reference" / "tiny"


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["publish", "tiny"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("saltus publish: ") and error.count("\n") == 1
    return error


def test_copies_small_tables_documents_and_figures_alone(finished: Path, reference: Path) -> None:
    before = files_of(finished)
    assert main(["publish", "tiny"]) == 0
    assert files_of(finished) == before
    published = files_of(reference)
    figures = {name for name in before if name.startswith("figures/")}
    assert set(published) == {*NEEDED, *figures}
    assert all(published[name] == before[name] for name in published)
    assert not [name for name in published if "items" in name or "tokens.parquet" in name]
    assert not [name for name in published if name.endswith((".safetensors", ".log"))]
    assert [path.name for path in reference.parent.iterdir()] == ["tiny"]


ANOTHER = '{"machine": "another"}\n'


def test_needs_what_figures_and_report_of_a_study_cite() -> None:
    read = {"runs", "losses", "curves", "scores", "thresholds", "calibration", "reliability"}
    read |= {"calibration_sizes", "reliability_curves", "risk_curves", "seeds", "breakdown"}
    read |= {"calibration_deltas"}
    assert read | {"foretold", "calibration_shift"} == {
        name.removeprefix("tables/").removesuffix(".parquet")
        for name in NEEDED
        if name.startswith("tables/")
    }
    assert {"laws.json", "study.json", "machine.json"} <= set(NEEDED)


@pytest.mark.parametrize("name", NEEDED)
def test_unfinished_study_is_refused(
    name: str, finished: Path, reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (finished / name).unlink()
    assert Path(name).name in refused(capsys)
    assert not reference.parent.exists()


def test_study_without_figures_is_refused(
    finished: Path, reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(finished / "figures")
    assert "figures" in refused(capsys)
    assert not reference.parent.exists()


def test_study_never_run_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "missing" in refused(capsys)
    assert not (folder / "results").exists()


def test_large_table_is_refused(
    finished: Path, reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (finished / "tables" / "curves.parquet").open("ab") as stream:
        stream.write(bytes(MAX_TABLE_BYTES))
    error = refused(capsys)
    assert "curves.parquet: found" in error and "expected at most 3 MB" in error
    assert not reference.parent.exists()


def test_table_without_a_needed_column_is_refused(
    finished: Path, reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = finished / "tables" / "scores.parquet"
    pd.read_parquet(path).drop(columns="exact_match").to_parquet(path)
    assert "scores.parquet: lacks the column exact_match" in refused(capsys)
    assert not reference.parent.exists()


class TestAgain:
    @pytest.fixture
    def old(self, finished: Path, reference: Path) -> dict[str, bytes]:
        """Publish once; let the study change; return the published files."""
        assert main(["publish", "tiny"]) == 0
        (finished / "machine.json").write_text(ANOTHER)
        (finished / "figures" / "law-fit.svg").unlink()
        return files_of(reference)

    def test_replaces_everything(
        self, finished: Path, reference: Path, old: dict[str, bytes]
    ) -> None:
        assert main(["publish", "tiny"]) == 0
        new = files_of(reference)
        assert set(old) - set(new) == {"figures/law-fit.svg"}
        assert new["machine.json"] == ANOTHER.encode()
        assert [path.name for path in reference.parent.iterdir()] == ["tiny"]

    def test_refusal_leaves_the_old(
        self,
        finished: Path,
        reference: Path,
        old: dict[str, bytes],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        (finished / "laws.json").unlink()
        refused(capsys)
        assert files_of(reference) == old

    def test_failing_copy_leaves_the_old(
        self, reference: Path, old: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        copy, done = shutil.copyfile, []

        def fail_at_the_fifth(source: Any, target: Any, **options: Any) -> Any:
            done.append(target)
            if len(done) == 5:
                raise OSError(28, "No space left on device")
            return copy(source, target, **options)

        monkeypatch.setattr(shutil, "copyfile", fail_at_the_fifth)
        with pytest.raises(OSError, match="No space"):
            main(["publish", "tiny"])
        assert len(done) == 5
        assert files_of(reference) == old

    @pytest.mark.parametrize("failing", [1, 2])
    def test_failing_rename_never_loses_both(
        self,
        failing: int,
        reference: Path,
        old: dict[str, bytes],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        calls: list[Any] = []

        def counted(rename: Any) -> Any:
            def call(source: Any, target: Any, **options: Any) -> Any:
                calls.append(target)
                if len(calls) == failing:
                    raise OSError(16, "Device or resource busy")
                return rename(source, target, **options)

            return call

        for name in ("rename", "replace"):
            monkeypatch.setattr(os, name, counted(getattr(os, name)))
        if failing == 1:
            with pytest.raises(OSError, match="busy"):
                main(["publish", "tiny"])
            assert files_of(reference) == old
        else:
            try:
                assert main(["publish", "tiny"]) == 0
            except OSError:
                assert files_of(reference) == old
            else:
                assert files_of(reference)["machine.json"] == ANOTHER.encode()
