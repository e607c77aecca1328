"""`saltus advise`: the optimum is the closed form's, and the promised gain is the gain."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from saltus.cli.main import main
from saltus.law.advise import belief_of, optimal_allocation, rank_candidates
from saltus.law.allocation import compute_optimal
from saltus.law.forms import Chinchilla

TRUTH = {"E": 1.7, "A": 406.0, "B": 1300.0, "alpha": 0.34, "beta": 0.37}


@pytest.fixture
def laws(tmp_path: Path) -> Path:
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(1e7, 1e10, 6), np.geomspace(1e9, 1e12, 6)))
    loss = Chinchilla().predict(TRUTH, {"N": n, "D": d})
    loss *= np.exp(np.random.default_rng(0).normal(0, 0.003, len(n)))
    pd.DataFrame({"N": n, "D": d, "loss": loss}).to_csv(tmp_path / "table.csv", index=False)
    out = tmp_path / "laws.json"
    assert main(["law", str(tmp_path / "table.csv"), "--json", str(out), "--bootstrap", "200"]) == 0
    return out


def test_the_optimum_is_the_closed_form_s(laws: Path) -> None:
    found = json.loads(laws.read_text())
    best = optimal_allocation(belief_of(found), 1e21)
    params, tokens = compute_optimal(found["parameters"], 1e21)
    assert best["params"] == pytest.approx(float(params), rel=1e-5)
    assert best["tokens"] == pytest.approx(float(tokens), rel=1e-5)
    assert best["params_interval"][0] < best["params"] < best["params_interval"][1]
    assert 6 * best["params"] * best["tokens"] == pytest.approx(1e21)


def test_the_gain_is_that_of_the_normal_posterior(laws: Path) -> None:
    """The update of the covariance against an information matrix inverted anew."""
    belief = belief_of(json.loads(laws.read_text()))
    ranked = rank_candidates(belief, 1e21, parameter="alpha")
    best = ranked["candidates"][0]
    slope = belief.slope(np.array([best["params"]]), np.array([best["tokens"]]))[0]
    information = np.linalg.inv(belief.covariance)
    after = np.linalg.inv(information + np.outer(slope, slope) / belief.replica_error**2)
    expected = 1 - np.sqrt(after[3, 3] / belief.covariance[3, 3])
    assert best["shrink"] == pytest.approx(expected, rel=1e-4)
    shrinks = [each["shrink"] for each in ranked["candidates"]]
    assert shrinks == sorted(shrinks, reverse=True) or np.all(np.diff(shrinks) < 1e-6)
    assert all(each["flops"] <= 1e21 * (1 + 1e-9) for each in ranked["candidates"])


def test_a_run_at_the_target_tells_most_about_a_well_known_law(laws: Path) -> None:
    belief = belief_of(json.loads(laws.read_text()))
    ranked = rank_candidates(belief, 1e24, target=(1e9, 1e11))
    assert ranked["target"] == {"params": 1e9, "tokens": 1e11}
    assert ranked["interval"][0] < ranked["value"] < ranked["interval"][1]


def test_the_command_prints_and_writes(laws: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = laws.with_name("advice.json")
    assert main(["advise", str(laws), "--budget", "1e21", "--json", str(out)]) == 0
    told = capsys.readouterr().out
    assert "compute-optimal at C = 1e+21 = 6 N D" in told
    assert "narrower by" in told
    assert json.loads(out.read_text())["quantity"] == "loss"


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--budget", "-1"), "--budget: found -1, expected positive FLOPs"),
        (("--budget", "10"), "--budget: found 10, expected at least"),
        (("--budget", "1e21", "--parameter", "alpa"), "(did you mean 'alpha'?)"),
        (("--budget", "1e21", "--target", "5"), "expected two positive numbers N,D"),
        (("--budget", "1e21", "--target", "1,2", "--parameter", "E"), "found both, expected one"),
    ],
)
def test_bad_options_get_one_line(
    laws: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], part: str
) -> None:
    capsys.readouterr()
    assert main(["advise", str(laws), *options]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert part in lines[0]


@pytest.mark.parametrize("text", ["{}", "[]", "no json", '{"chinchilla": {"form": "chinchilla"}}'])
def test_a_file_without_a_law_gets_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    path = tmp_path / "laws.json"
    path.write_text(text)
    assert main(["advise", str(path), "--budget", "1e21"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
