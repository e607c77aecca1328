"""`saltus advise`: what it prints, and one line for whatever cannot be advised on."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from saltus.cli.main import main
from saltus.law.advise import optimal_allocation
from saltus.law.allocation import compute_optimal
from saltus.law.belief import belief_of
from saltus.law.forms import Chinchilla

TRUTH = {"E": 1.7, "A": 406.0, "B": 1300.0, "alpha": 0.34, "beta": 0.37}


@pytest.fixture(scope="module")
def laws(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("laws")
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(1e7, 1e10, 6), np.geomspace(1e9, 1e12, 6)))
    loss = Chinchilla().predict(TRUTH, {"N": n, "D": d})
    loss *= np.exp(np.random.default_rng(0).normal(0, 0.003, len(n)))
    pd.DataFrame({"N": n, "D": d, "loss": loss}).to_csv(folder / "table.csv", index=False)
    out = folder / "laws.json"
    assert main(["law", str(folder / "table.csv"), "--json", str(out), "--bootstrap", "200"]) == 0
    return out


def test_the_optimum_is_the_closed_form_s(laws: Path) -> None:
    found = json.loads(laws.read_text())
    best = optimal_allocation(belief_of(found), 1e21)
    params, tokens = compute_optimal(found["parameters"], 1e21)
    assert best["params"] == pytest.approx(float(params))
    assert best["tokens"] == pytest.approx(float(tokens))
    assert best["params_interval"][0] < best["params"] < best["params_interval"][1]
    assert 6 * best["params"] * best["tokens"] == pytest.approx(1e21)


def test_the_command_prints_and_writes(laws: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = laws.with_name("advice.json")
    assert main(["advise", str(laws), "--budget", "1e21", "--json", str(out)]) == 0
    told = capsys.readouterr().out
    assert "compute-optimal at C = 1e+21 = 6 N D" in told
    assert "narrower by" in told
    assert "beyond the table" not in told and "edge of the search" not in told
    assert json.loads(out.read_text())["quantity"] == "loss"
    assert main(["advise", str(laws), "--budget", "1e25", "--parameter", "beta"]) == 0
    assert "beyond the table" in capsys.readouterr().out


@pytest.mark.parametrize("interval", ["bootstrap", "profile"])
def test_a_form_s_own_a_and_the_exponent_of_allocation_are_two(
    interval: str, laws: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The over-training law has a coefficient a, and N* of it grows as C to another a."""
    out = laws.with_name(f"over-{interval}.json")
    words = ["law", str(laws.with_name("table.csv")), "--form", "over-training", "--json", str(out)]
    words += ["--interval", interval, "--loss", "squared"]
    words += ["--bootstrap", "100"] if interval == "bootstrap" else []
    assert main(words) == 0
    found = json.loads(out.read_text())
    assert found["parameters"]["a"] > 1 > found["allocation"]["a"] > 0
    low, high = found["intervals"]["a"]
    assert low <= found["parameters"]["a"] <= high
    if interval == "profile":
        assert found["allocation"]["interval"] is None
        assert found["interval_notes"]["allocation"].startswith("none: a profile")
        return
    advice = laws.with_name("advice.json")
    asked = ["advise", str(out), "--budget", "1e21", "--json", str(advice), "--parameter"]
    assert main([*asked, "a"]) == 0
    assert json.loads(advice.read_text())["value"] == pytest.approx(found["parameters"]["a"])
    # Of this law N* and D grow alike with C, whatever its coefficients.
    assert found["allocation"]["a"] == pytest.approx(0.5)
    capsys.readouterr()
    assert main([*asked, "allocation"]) == 2
    assert "allocation: no refit moves it" in capsys.readouterr().err


def test_the_exponent_of_allocation_can_be_asked_for(
    laws: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, found = laws.with_name("advice_a.json"), json.loads(laws.read_text())
    words = ["advise", str(laws), "--budget", "1e21", "--parameter", "a", "--json", str(out)]
    assert main(words) == 0
    told, made = capsys.readouterr().out, json.loads(out.read_text())
    assert made["quantity"] == "a"
    assert made["value"] == pytest.approx(found["allocation"]["a"])
    assert made["interval"] == pytest.approx(found["allocation"]["interval"])
    assert made["candidates"][0]["shrink"] > 0.01
    best = made["candidates"][:8]
    assert ("*: at the edge" in told) == any(each["at_edge"] for each in best)
    edges = {each["params"] for each in made["candidates"] if each["at_edge"]}
    assert max(each["params"] for each in made["candidates"]) in edges


def test_an_edge_is_said(laws: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(laws.read_text())
    found["uncertainty"]["theta"][1] = -90.0
    path = tmp_path / "laws.json"
    path.write_text(json.dumps(found))
    assert main(["advise", str(path), "--budget", "1e21"]) == 0
    assert "at the edge of the search" in capsys.readouterr().out


def one_line(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(["advise", *words]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--budget", "1e21", "--top", "0"), "--top: found '0', expected a whole number from 1 on"),
        (("--budget", "-1"), "--budget: found -1, expected 6e+16 to 6e+26 FLOPs"),
        (("--budget", "nan"), "--budget: found nan, expected"),
        (("--budget", "1"), "--budget: found 1, expected"),
        (("--budget", "1e300"), "to 10,000 times its largest C"),
        (("--budget", "1e21", "--parameter", "alpa"), "(did you mean 'alpha'?)"),
        (("--budget", "1e21", "--target", "5"), "expected two positive numbers N,D"),
        (("--budget", "1e21", "--target", "1e9,inf"), "expected two positive numbers N,D"),
        (("--budget", "1e21", "--target", "1,2", "--parameter", "E"), "found both, expected one"),
    ],
)
def test_bad_options_get_one_line(
    laws: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], part: str
) -> None:
    assert part in one_line(capsys, str(laws), *options)


def test_the_law_that_is_read_is_not_written_over(
    laws: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = laws.read_bytes()
    said = one_line(capsys, str(laws), "--budget", "1e21", "--json", str(laws))
    assert "which is read; expected a file of its own" in said
    absent = laws.parent / "none" / "advice.json"
    said = one_line(capsys, str(laws), "--budget", "1e21", "--json", str(absent))
    assert "expected a name in a folder that exists" in said
    assert laws.read_bytes() == before


@pytest.mark.parametrize("text", ["{}", "[]", "no json", '{"chinchilla": {"form": "chinchilla"}}'])
def test_a_file_without_a_law_gets_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    path = tmp_path / "laws.json"
    path.write_text(text)
    assert one_line(capsys, str(path), "--budget", "1e21")


Spoil = Callable[[dict[str, Any]], object]


def old(law: dict[str, Any]) -> None:
    law["uncertainty"] = {"theta": [0.0] * 5, "covariance": [[0.0] * 5] * 5, "quantile": 2.0}


SPOILT: list[tuple[Spoil, str]] = [
    (old, "uncertainty: the refits are not in it, as in files of an earlier version; make it anew"),
    (lambda law: law.pop("uncertainty"), "make it anew"),
    (lambda law: law.update(uncertainty=None), "its intervals come from no refits"),
    (lambda law: law.update(uncertainty=7), "uncertainty.refits: missing"),
    (lambda law: law.update(form="power"), "form: found power"),
    (lambda law: law["certificate"].update(status="flat"), "certificate says flat"),
    (lambda law: law["certificate"].update(status="failed"), "certificate says failed"),
    (lambda law: law.pop("certificate"), "certificate.status: missing"),
    (lambda law: law["intervals"].update(beta=None), "--parameter beta: the law has no interval"),
    (lambda law: law["intervals"].update(beta=[1]), "intervals.beta: found [1], expected 2"),
    (lambda law: law["parameters"].pop("beta"), "parameters.beta: missing"),
    *[
        (lambda law, key=key: law["uncertainty"].pop(key), f"uncertainty.{key}")
        for key in ("theta", "refits", "kind", "level", "cost", "reach", "replica_error")
    ],
    *[
        (lambda law, key=key, value=value: law["uncertainty"].update({key: value}), part)
        for key, value, part in (
            ("theta", [1.0, 2.0], "uncertainty.theta: found [1.0, 2.0], expected 5 numbers"),
            ("theta", "abcde", "uncertainty.theta: found abcde"),
            ("theta", [0.0, 1.0, 1.0, 0.3, None], "uncertainty.theta"),
            ("theta", [0.0, 1.0, 1.0, -0.3, 0.4], "uncertainty.theta: found an exponent of 0"),
            ("refits", [[1.0] * 5, [1.0] * 4], "uncertainty.refits: found"),
            ("refits", [["1"] * 5] * 3, "expected m × 5 numbers"),
            ("refits", [], "uncertainty.refits"),
            ("refits", [[0.5, 6.0, 7.0, 0.3, 0.4]], "uncertainty.refits: found 1, expected"),
            ("kind", "guess", "uncertainty.kind: found 'guess', expected jackknife or percentiles"),
            ("kind", "jackknife", "uncertainty.dof: found None, expected a number"),
            ("level", 2, "uncertainty.level: found 2"),
            ("cost", {"coefficient": 0, "exponent": 1}, "uncertainty.cost.coefficient: found 0"),
            ("cost", {"coefficient": 6}, "uncertainty.cost.exponent: missing"),
            ("reach", {"N": [2, 1], "D": [1, 2], "C": [1, 2]}, "uncertainty.reach.N: found [2, 1]"),
            ("replica_error", "none", "uncertainty.replica_error: found none, expected a number"),
            ("replica_error", 10**400, "uncertainty.replica_error: found inf"),
        )
    ],
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "part"), SPOILT, ids=range(len(SPOILT)))
def test_a_file_that_cannot_be_advised_on_gets_one_line(
    laws: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Spoil, part: str
) -> None:
    found = copy.deepcopy(json.loads(laws.read_text()))
    spoil(found)
    path = tmp_path / "laws.json"
    path.write_text(json.dumps(found))
    words = (str(path), "--budget", "1e21", "--parameter", "beta")
    assert part in one_line(capsys, *words)


def test_a_name_too_long_gets_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["advise", "n" * 300, "--budget", "1e21"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "File name too long" in said
