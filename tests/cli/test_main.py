"""The command line as a whole: commands, help, exit codes, and errors of one line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from saltus import __version__
from saltus.cli.main import COMMANDS, main
from saltus.study import load_study

SALTUS = [sys.executable, "-m", "saltus"]


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line that a command says when it exits with 2."""
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "Traceback" not in said.err
    return said.err.rstrip()


@pytest.mark.parametrize(
    ("word", "nearest"),
    [("figure", "figures"), ("chek", "check"), ("publsh", "publish"), ("trian", "train")],
)
def test_unknown_command_gives_the_nearest(
    word: str, nearest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refusal([word], capsys)
    assert message == f"saltus: unknown command '{word}' (did you mean '{nearest}'?)"


def test_unknown_command_unlike_any(capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(["qqqq"], capsys) == "saltus: unknown command 'qqqq'"


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_usage_lists_every_command(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0
    said = capsys.readouterr().out
    for command, text in COMMANDS.items():
        assert f"  {command} " in said and text in said


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert f"usage: saltus {command}" in said and COMMANDS[command] in said


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_refuses_an_unknown_option_in_one_line(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refusal([command, "--hepl"], capsys)
    assert message.startswith(f"saltus {command}: ")
    assert "(did you mean '--help'?)" in message or "found nothing, expected a value" in message


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize(
    "command", ["plan", "check", "prepare", "train", "probe", "analyse", "publish", "where"]
)
class TestEveryStudyCommand:
    def test_misspelt_study(
        self, command: str, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        message = refusal([command, "tiyn"], capsys)
        assert message.startswith(f"saltus {command}: study: found 'tiyn', expected one of tiny")
        assert message.endswith("(did you mean 'tiny'?)")

    def test_misspelt_key(
        self, command: str, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = folder / "config.yaml"
        path.write_text(path.read_text().replace("anneal:", "aneal:"))
        message = refusal([command], capsys)
        assert message.startswith(f"saltus {command}: training.aneal: unknown key")
        assert "(did you mean 'anneal'?)" in message
        assert not (folder / "results").exists()


@pytest.mark.parametrize(
    ("old", "new", "key", "fragment"),
    [
        ("heads: 2", "heads: 3", "family.sizes.s2.heads", "3 does not divide width 8"),
        ("[512, 1024]", "[1024, 512]", "training.horizons.1", "expected ascending"),
        ("share: 0.5}", "share: 0.6}", "arithmetic.share", "expected 1"),
        ("{vocabulary: 270}", "{vocabulary: 100}", "tokenizer.vocabulary", "at least 257"),
    ],
)
def test_check_as_a_process(old: str, new: str, key: str, fragment: str, folder: Path) -> None:
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace(old, new))
    done = subprocess.run([*SALTUS, "check"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"saltus check: {key}: ") and fragment in done.stderr
    assert not (folder / "results").exists()


def test_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert "properties" in json.loads(capsys.readouterr().out)


class TestPlan:
    def test_prints_every_job_and_the_totals(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["plan", "--cores", "2"]) == 0
        said = capsys.readouterr().out
        rows = [line.split() for line in said.splitlines() if line.startswith(("s1", "s2"))]
        assert [row[:3] for row in rows] == [
            ["s1", "0", "1"],
            ["s1", "1", "1"],
            ["s2", "0", "1"],
            ["s2", "1", "1"],
        ]
        assert "horizons 512, 1,024 tokens" in said and "on 2 cores" in said
        assert not (folder / "results").exists()

    @pytest.mark.parametrize("cores", ["0", "-1"])
    def test_no_cores(self, cores: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        message = refusal(["plan", "--cores", cores], capsys)
        assert message == (
            f"saltus plan: --cores: found '{cores}', expected a whole number from 1 on"
        )


class TestTrain:
    @pytest.fixture
    def shards(self, folder: Path) -> Path:
        """Return a folder that claims to hold shards."""
        shards = folder / "results" / "tiny" / "shards"
        shards.mkdir(parents=True)
        manifest = {"vocabulary": 270, "domains": {}}
        (shards / "manifest.json").write_text(json.dumps(manifest))
        return shards

    def test_without_shards(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        message = refusal(["train"], capsys)
        assert "shards: missing" in message and "saltus prepare" in message
        assert not (folder / "results").exists()

    def test_misspelt_size(self, shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
        message = refusal(["train", "--size", "s11"], capsys)
        assert "no size 's11' (did you mean 's1'?)" in message

    def test_block_that_is_not_there(
        self, shards: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        message = refusal(["train", "--block", "2"], capsys)
        assert "--block" in message and "2" in message

    def test_shards_of_another_vocabulary(
        self, shards: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = Path("config.yaml")
        path.write_text(path.read_text().replace("vocabulary: 270", "vocabulary: 280"))
        message = refusal(["train"], capsys)
        assert "270" in message and "280" in message and "saltus prepare" in message


def test_probe_and_analyse_before_training(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "found nothing trained; run saltus train first" in refusal(["probe"], capsys)
    message = refusal(["analyse"], capsys)
    assert "missing; run saltus train and saltus probe first" in message
    assert not (folder / "results" / "tiny" / "tables").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--device", "tpu"], "--device: found 'tpu', expected one of auto, cpu, cuda"),
        (["--time-limit", "-3"], "--time-limit: found '-3', expected a number from 0 to inf"),
        (["--time-limit", "nan"], "--time-limit: found 'nan', expected a number from 0 to inf"),
    ],
)
def test_options_of_training_that_cannot_be(
    options: list[str], expected: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("train", "run"):
        assert expected in refusal([command, *options], capsys)


class TestWhere:
    def test_before_the_run(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "report.html: not there yet" in refusal(["where"], capsys)

    def test_after_it(self, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["where", "tiny"]) == 0
        said = capsys.readouterr().out
        assert str(finished / "figures") in said and str(finished / "report.html") in said


class TestStage:
    def test_failing_stage_says_one_line_and_leaves_nothing(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        spec = json.dumps({"kind": "local", "path": "none.txt"})
        arguments = ["stage", "corpus", "--spec", spec, "--cache", "cache", "--out", "made"]
        message = refusal(arguments, capsys)
        assert message.startswith("saltus stage: none.txt: no such file")
        assert not (folder / "made").exists() or not list((folder / "made").iterdir())

    def test_misspelt_stage(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        message = refusal(["stage", "corpuss", "--out", "made"], capsys)
        assert message.startswith("saltus stage: stage: found 'corpuss', expected one of ")
        assert message.endswith("(did you mean 'corpus'?)")


def test_the_tiny_study_of_these_tests_is_sound(folder: Path) -> None:
    assert load_study(folder / "config.yaml").name == "tiny"
