"""What is known before anything runs: which file a name means, the platform, the disk."""

import platform
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from saltus.cli.main import main
from saltus.errors import SpaceError, StudyError
from saltus.preflight import bytes_needed, check_machine, study_path
from saltus.study import Study, load_study

ROOT = Path(__file__).parents[1]
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(scope="module")
def smoke() -> Study:
    return load_study(ROOT / "studies" / "smoke.yaml")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory: a folder with two studies and a default one."""
    (tmp_path / "studies").mkdir()
    for name in ("smoke", "night"):
        shutil.copy(ROOT / "studies" / "smoke.yaml", tmp_path / "studies" / f"{name}.yaml")
    shutil.copy(ROOT / "studies" / "smoke.yaml", tmp_path / "config.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fill_the_disk(monkeypatch: pytest.MonkeyPatch, free: int) -> list[Path]:
    """Let every disk have `free` bytes left; return the list of paths that were asked about."""
    asked: list[Path] = []

    def disk_usage(path: Path) -> Usage:
        asked.append(Path(path))
        return Usage(free, 0, free)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    return asked


class TestStudyPath:
    def test_nothing_means_the_default(self, folder: Path) -> None:
        assert study_path(None, folder) == folder / "config.yaml"

    def test_a_name_means_a_file_of_studies(self, folder: Path) -> None:
        assert study_path("night", folder) == folder / "studies" / "night.yaml"

    @pytest.mark.parametrize("path", ["my.yaml", "/elsewhere/my.yml", "studies/none.yaml"])
    def test_a_path_is_taken_as_it_is(self, folder: Path, path: str) -> None:
        assert study_path(path, folder) == Path(path)

    def test_misspelt_name_gives_choices_and_the_nearest(self, folder: Path) -> None:
        with pytest.raises(StudyError) as caught:
            study_path("nihgt", folder)
        message = str(caught.value)
        assert message.startswith("study: found 'nihgt', expected one of night, smoke")
        assert message.endswith("(did you mean 'night'?)") and "\n" not in message


class TestDisk:
    def test_full_disk_names_what_is_free_and_what_is_needed(
        self, smoke: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        needed = bytes_needed(smoke)
        fill_the_disk(monkeypatch, needed - 1)
        with pytest.raises(SpaceError) as caught:
            check_machine(smoke, tmp_path / "results")
        message = str(caught.value)
        assert message.startswith(f"{tmp_path / 'results'}: found ") and "\n" not in message
        assert "expected at least" in message and f"{needed / 1e9:.2f} GB" in message
        fill_the_disk(monkeypatch, needed)
        check_machine(smoke, tmp_path / "results")

    def test_asks_for_the_disk_of_a_folder_not_there_yet(
        self, smoke: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = fill_the_disk(monkeypatch, 10**15)
        check_machine(smoke, tmp_path / "not" / "yet" / "results")
        assert asked == [tmp_path]

    def test_check_exits_with_2_and_writes_nothing(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fill_the_disk(monkeypatch, 1000)
        assert main(["check", "smoke"]) == 2
        said = capsys.readouterr()
        assert said.out == "" and said.err.count("\n") == 1
        assert said.err.startswith("saltus check: results: found 0.00 GB free, expected at least")
        assert not (folder / "results").exists()

    @pytest.mark.parametrize("command", ["prepare", "train"])
    def test_no_stage_begins_on_a_full_disk(
        self,
        command: str,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        manifest = folder / "results" / "smoke" / "shards" / "manifest.json"
        manifest.parent.mkdir(parents=True)
        manifest.write_text("{}")
        fill_the_disk(monkeypatch, 1000)
        assert main([command, "smoke"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "expected at least" in error
        assert [path for path in folder.rglob("results/**/*") if path.is_file()] == [manifest]

    def test_estimate_grows_with_sizes_seeds_and_horizons(self, smoke: Study) -> None:
        base = bytes_needed(smoke)
        raw = smoke.model_dump()
        raw["family"]["blocks"] = ((0, 1), (2, 3))
        more_seeds = bytes_needed(Study.model_validate(raw))
        raw["training"]["horizons"] = (16384, 65536, 131072)
        more_horizons = bytes_needed(Study.model_validate(raw))
        raw["family"]["sizes"]["s5"] = {"width": 64, "depth": 3, "heads": 4}
        more_sizes = bytes_needed(Study.model_validate(raw))
        assert 0 < base < more_seeds < more_horizons < more_sizes


class TestPlatform:
    @pytest.mark.parametrize("here", [("Linux", "x86_64"), ("Darwin", "arm64")])
    def test_known(
        self, here: tuple[str, str], smoke: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(platform, "system", lambda: here[0])
        monkeypatch.setattr(platform, "machine", lambda: here[1])
        check_machine(smoke, tmp_path)

    @pytest.mark.parametrize(
        "here", [("Windows", "AMD64"), ("Darwin", "x86_64"), ("Linux", "riscv64")]
    )
    def test_others_are_refused_in_one_line(
        self, here: tuple[str, str], smoke: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(platform, "system", lambda: here[0])
        monkeypatch.setattr(platform, "machine", lambda: here[1])
        with pytest.raises(StudyError) as caught:
            check_machine(smoke, tmp_path)
        message = str(caught.value)
        assert message.startswith(f"platform: found {' '.join(here)}, expected one of")
        assert "Linux x86_64" in message and "Darwin arm64" in message and "\n" not in message


def test_a_sound_study_says_what_it_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    said = capsys.readouterr()
    assert said.err == "" and said.out.count("\n") == 1
    assert said.out.startswith("smoke: 4 sizes, 4 jobs, 16 annealed models")
    assert not (folder / "results").exists()
