"""What is known before anything runs: the study file as a file, the platform, the disk."""

import platform
import re
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import yaml

from saltus.cli.main import main
from saltus.errors import SpaceError, StudyError
from saltus.preflight import bytes_needed, check_machine, study_path
from saltus.study import Study, load_study

ROOT = Path(__file__).parents[1]
SMOKE = ROOT / "studies" / "smoke.yaml"
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(scope="module")
def smoke() -> Study:
    return load_study(SMOKE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory: a folder with two studies and a default one."""
    (tmp_path / "studies").mkdir()
    for name in ("smoke", "night"):
        shutil.copy(SMOKE, tmp_path / "studies" / f"{name}.yaml")
    shutil.copy(SMOKE, tmp_path / "config.yaml")
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


class TestStudyFile:
    def message(self, path: Path) -> str:
        with pytest.raises(StudyError) as caught:
            load_study(path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def written(self, folder: Path, text: str) -> Path:
        path = folder / "study.yaml"
        path.write_text(text)
        return path

    def test_missing(self, tmp_path: Path) -> None:
        path = tmp_path / "none.yaml"
        assert self.message(path) == f"{path}: no such study file"

    def test_folder(self, tmp_path: Path) -> None:
        assert self.message(tmp_path).startswith(f"{tmp_path}: ")

    @pytest.mark.parametrize("text", ["", "- 1\n- 2\n", "just words\n", "3\n"])
    def test_no_mapping(self, tmp_path: Path, text: str) -> None:
        path = self.written(tmp_path, text)
        message = self.message(path)
        assert message.startswith(f"{path}: ") and "expected a mapping" in message

    @pytest.mark.parametrize("text", ["name: [1\nseed: }", "name:\n\t- a", "a: b: c"])
    def test_broken_yaml_names_the_line(self, tmp_path: Path, text: str) -> None:
        path = self.written(tmp_path, text)
        message = self.message(path)
        assert message.startswith(f"{path}") and re.search(r"line [12]\b", message)

    def test_a_tab_is_called_one(self, tmp_path: Path) -> None:
        (tmp_path / "x.yaml").write_text("training:\n\tanneal: 0.2\n")
        with pytest.raises(StudyError, match=r"line 2, column 1: found a tab, expected spaces$"):
            load_study(tmp_path / "x.yaml")

    def test_not_text(self, tmp_path: Path) -> None:
        path = tmp_path / "study.yaml"
        path.write_bytes(b"\xff\xfe\x00name")
        assert self.message(path).startswith(f"{path}: ")

    def test_key_twice_at_the_top(self, tmp_path: Path) -> None:
        text = SMOKE.read_text() + "\nname: again\n"
        message = self.message(self.written(tmp_path, text))
        assert "name" in message and "twice" in message and "expected" in message

    def test_key_twice_within(self, tmp_path: Path) -> None:
        text = SMOKE.read_text().replace("depth: 2", "depth: 2, depth: 3", 1)
        message = self.message(self.written(tmp_path, text))
        assert "depth" in message and "twice" in message

    def test_number_as_key(self, tmp_path: Path) -> None:
        text = "7: x\n" + SMOKE.read_text()
        message = self.message(self.written(tmp_path, text))
        assert message.startswith("7: ")

    def test_overrides_are_merged_and_text_is_coerced(self, tmp_path: Path) -> None:
        path = self.written(tmp_path, SMOKE.read_text())
        overrides = {"training": {"horizons": ["32768", "65536"], "anneal": "0.5"}}
        study = load_study(path, overrides)
        assert study.training.horizons == (32768, 65536)
        assert study.training.anneal == 0.5
        assert study.training.batch_tokens == 512
        assert load_study(path) == load_study(SMOKE)

    def test_misspelt_override(self, tmp_path: Path) -> None:
        path = self.written(tmp_path, SMOKE.read_text())
        with pytest.raises(StudyError, match=r"^training\.aneal: unknown key \(did you mean"):
            load_study(path, {"training": {"aneal": "0.5"}})


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


class TestTexts:
    """A study that names a text of the user's own."""

    @pytest.fixture
    def local(self, folder: Path) -> Path:
        """Return the text that the default study names, not there yet."""
        path = folder / "config.yaml"
        raw = yaml.safe_load(path.read_text())
        own = {"corpus": {"kind": "local", "path": "texts/mine.txt"}, "share": 0.0}
        raw["text"]["domains"]["mine"] = own
        path.write_text(yaml.safe_dump(raw))
        return folder / "texts" / "mine.txt"

    def refused(self, capsys: pytest.CaptureFixture[str]) -> str:
        for command in ("check", "prepare"):
            assert main([command]) == 2
            said = capsys.readouterr().err
            assert said.count("\n") == 1
        return said.removeprefix("saltus prepare: text.domains.mine.corpus.path: found ")

    def test_missing(self, local: Path, capsys: pytest.CaptureFixture[str]) -> None:
        told = "no file 'texts/mine.txt', expected text of yours\n"
        assert self.refused(capsys) == told
        local.parent.mkdir()
        local.with_name("mina.txt").write_text("text")
        assert "(did you mean 'mina.txt'?)" in self.refused(capsys)

    @pytest.mark.parametrize("kind", ["file", "folder"])
    def test_empty(self, kind: str, local: Path, capsys: pytest.CaptureFixture[str]) -> None:
        local.parent.mkdir()
        local.touch() if kind == "file" else local.mkdir()
        assert self.refused(capsys) == "'texts/mine.txt' empty, expected text\n"

    @pytest.mark.parametrize("name", ["paper.pdf", "mine.txt/paper.pdf"])
    def test_none_that_can_be_read(
        self, name: str, local: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = local.parent / name
        path.parent.mkdir(parents=True)
        path.write_text("words")
        config = Path("config.yaml")
        config.write_text(
            config.read_text().replace("texts/mine.txt", f"texts/{name.removesuffix('/paper.pdf')}")
        )
        message = self.refused(capsys)
        assert message.startswith("'texts/")
        assert "expected text whose name ends in .txt" in message and ".parquet" in message

    def test_there(self, local: Path, capsys: pytest.CaptureFixture[str]) -> None:
        local.parent.mkdir()
        local.write_text("words")
        assert main(["check"]) == 0

    def test_a_plan_needs_none_and_says_so(
        self, local: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["plan"]) == 0
        assert (
            "not to be run yet: text.domains.mine.corpus.path: found no file 'texts/mine.txt'"
            in capsys.readouterr().out
        )


def test_a_sound_study_says_what_it_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    said = capsys.readouterr()
    assert said.err == "" and said.out.count("\n") == 1
    assert said.out.startswith("smoke: 4 sizes, 4 jobs, 16 annealed models")
    assert not (folder / "results").exists()
