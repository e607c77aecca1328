"""Fits and bootstraps of Chinchilla's law against usual practice: time, and objective reached.

    python bench/law.py [--rows 50 240 2000] [--noise none normal tail] [--seeds 5] [--quick]
    python bench/law.py --only bootstraps    (that part anew, the others as they stand in the file)

The peer is `peers/chinchilla.py`: 4,500 starts of L-BFGS-B and 4,000 resamples by BFGS, both with
numeric gradients. Both sides run in this process on one core with one thread, in turns, and seconds
are of the clock and of the processor (`cpu`), which a busy machine moves less. The peer's times
are those of a fresh random part of its starts and resamples in each round, scaled to all. Its
objective is the best of a random part of its starts (`--objective-starts`; 4500 are all, and the
column `peer_starts` says how many), and is then polished. Writes bench/law.csv after every table;
what the peer found is kept under `--work`, so a bench that was stopped is taken up again.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy is imported
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import common
import numpy as np
import scipy
from numpy.typing import NDArray
from peers import chinchilla as peer
from scipy.optimize import minimize

from saltus.code import code_hash
from saltus.law.bootstrap import Bootstrap, bootstrap
from saltus.law.forms import Chinchilla
from saltus.law.solve import Fit, fit

Array = NDArray[np.float64]
Table = dict[str, Array]

TRUTH = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}  # Hoffmann et al. 2022
NOISES = ("none", "normal", "tail")
NOISE = 0.01  # of the loss; `tail` is a t with 2 degrees of freedom times this
LINEARITY = (240, 480, 960, 2000, 4000)
POLISHED = 3  # ends of the peer that are polished, the best first
TOLERANCE = 1e-9  # relative; of n delta^2 where a table is (nearly) exact
PEER_ORDER = [1, 2, 0, 3, 4]  # our internal vector is log E, log A, log B, alpha, beta


def simulate(num: int, noise: str, seed: int) -> Table:
    """Return `num` rows of the law with N and D spread evenly in log over four decades each."""
    generator = np.random.default_rng([num, NOISES.index(noise), seed])
    table = {
        "N": 10 ** generator.uniform(6, 10, num),
        "D": 10 ** generator.uniform(8, 12, num),
    }
    drawn = {
        "none": lambda: np.zeros(num),
        "normal": lambda: generator.normal(size=num),
        "tail": lambda: generator.standard_t(2, size=num),
    }[noise]()
    table["loss"] = Chinchilla().predict(TRUTH, table) * np.exp(NOISE * drawn)
    return table


def ours_fit(table: Table) -> Fit:
    """Return our fit of a table."""
    return fit(Chinchilla(), table, table["loss"])


def polish(theta: Array, rows: tuple[Array, Array, Array]) -> tuple[Array, float]:
    """Return a point at least as good as `theta`, and its objective, by three of SciPy's methods.

    Central differences and tolerances near rounding, again until a round gains nothing.
    """
    best, value = theta, peer.objective(theta, *rows)
    for _ in range(4):
        before = value
        for method, options in (
            ("L-BFGS-B", {"ftol": 1e-16, "gtol": 1e-13, "maxiter": 2000, "maxfun": 20000}),
            ("BFGS", {"gtol": 1e-13}),
            ("Nelder-Mead", {"xatol": 1e-11, "fatol": 0.0, "maxfev": 3000, "adaptive": True}),
        ):
            jacobian = {} if method == "Nelder-Mead" else {"jac": "3-point"}
            with np.errstate(all="ignore"):
                made = minimize(
                    peer.objective, best, args=rows, method=method, options=options, **jacobian
                )
            if made.fun < value:
                best, value = made.x, float(made.fun)
        if not value < before * (1 - 1e-12):
            break
    return best, value


def peer_best(table: Table, num_starts: int, path: Path) -> dict[str, Any]:
    """Return the peer's best end of `num_starts` random starts, and its polished best.

    Found once: a record at `path` is read if it is of at least as many starts.
    """
    if path.exists():
        record: dict[str, Any] = json.loads(path.read_text())
        if record["starts"] >= num_starts:
            return record
    rows, grid = peer.logs(table), peer.starts()
    chosen = np.random.default_rng(1).permutation(len(grid))[:num_starts]
    begun = time.perf_counter()
    ends, values = peer.fit(rows, grid[chosen])
    seconds = time.perf_counter() - begun
    theta, value = min((polish(end, rows) for end in ends[:POLISHED]), key=lambda made: made[1])
    record = {
        "starts": num_starts,
        "objective": float(values[0]),
        "polished": value,
        "theta": list(theta),
        "seconds": seconds,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(record))
    temporary.replace(path)
    return record


@dataclass
class Times:
    """Seconds of each round: of the clock, and of this process on the processor."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, work: Callable[[], Any], scale: float = 1.0) -> None:
        """Time one call, `scale` times."""
        begun, spent = time.perf_counter(), time.process_time()
        work()
        self.cpu.append(scale * (time.process_time() - spent))
        self.wall.append(scale * (time.perf_counter() - begun))


def judge(ours: float, theirs: float, rows: int) -> tuple[float, bool]:
    """Return the relative difference of the objectives, and whether ours is worse.

    An objective counts as at least n delta^2 1e-9.
    """
    floor = rows * peer.DELTA**2 * TOLERANCE
    difference = (ours - theirs) / max(theirs, floor)
    return difference, ours - theirs > max(TOLERANCE * theirs, floor)


def measure(rows: int, noise: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """Return the row of one table: times of both sides in turns, then objectives."""
    table = simulate(rows, noise, seed)
    columns, grid = peer.logs(table), peer.starts()
    picks = np.random.default_rng(2)
    fitted = ours_fit(table)
    start = np.array(fitted.theta)[PEER_ORDER]
    ours_times, peer_times = Times(), Times()
    for _ in range(given.rounds):
        ours_times.add(lambda: ours_fit(table))
        part = grid[picks.choice(len(grid), given.peer_starts, replace=False)]
        scale = peer.NUM_STARTS / given.peer_starts
        peer_times.add(lambda part=part: peer.fit(columns, part), scale)
    record = peer_best(
        table, given.objective_starts, given.work / "law" / f"{rows}-{noise}-{seed}.json"
    )
    ours = peer.objective(start, *columns)
    difference, worse = judge(ours, record["polished"], rows)
    return {
        "part": "against",
        "rows": rows,
        "noise": noise,
        "seed": seed,
        **timing(ours_times, peer_times),
        "ours_objective": ours,
        "peer_objective": record["objective"],
        "peer_polished_objective": record["polished"],
        "relative_difference": difference,
        "worse": worse,
        "status": fitted.certificate.status,
        "agreeing": fitted.certificate.agreeing,
        "peer_starts": record["starts"],
        "slope": None,
        "label": f"peer extrapolated from {given.peer_starts} starts",
        **surroundings(),
    }


def measure_bootstraps(
    rows: int, noise: str, rounds: int, given: argparse.Namespace, *, beside: bool = True
) -> dict[str, Any]:
    """Return the row of one table's bootstraps, as many as `saltus law` draws, audit included.

    They are drawn as a user gets them: the best start of each resample is polished, above 100,000
    weights in all. `beside` asks for the peer's too.
    """
    table = simulate(rows, noise, 0)
    columns, fitted = peer.logs(table), ours_fit(table)
    start = np.array(fitted.theta)[PEER_ORDER]
    ours_times, peer_times = Times(), Times()
    audited = improvable = unconverged = 0
    for turn in range(rounds):
        made: list[Bootstrap] = []
        ours_times.add(
            lambda turn=turn, made=made: made.append(
                bootstrap(fitted, table, table["loss"], num=given.bootstraps, seed=turn)
            )
        )
        audited += made[0].audited
        improvable += made[0].improvable
        unconverged += made[0].unconverged
        if beside:
            scale = given.bootstraps / given.peer_bootstraps
            peer_times.add(
                lambda turn=turn: peer.bootstrap(start, columns, given.peer_bootstraps, turn), scale
            )
    said = f"peer extrapolated from {given.peer_bootstraps} bootstraps" if beside else ""
    return {
        "part": "bootstraps" if beside else "linearity of bootstraps",
        "rows": rows,
        "noise": noise,
        "seed": 0,
        **timing(ours_times, peer_times),
        "rounds": rounds,
        "bootstraps": given.bootstraps,
        "audited": audited,
        "improvable": improvable,
        "unconverged": unconverged,
        "ours_objective": fitted.objective,
        "status": fitted.certificate.status,
        "agreeing": fitted.certificate.agreeing,
        "label": said,
        **surroundings(),
    }


def timing(ours: Times, theirs: Times) -> dict[str, Any]:
    """Return medians of seconds over rounds, their extremes, and the ratio; null without rounds."""
    row: dict[str, Any] = {}
    for side, times in (("ours", ours), ("peer", theirs)):
        row[f"{side}_seconds"] = float(np.median(times.wall)) if times.wall else None
        row[f"{side}_seconds_min"] = min(times.wall, default=None)
        row[f"{side}_seconds_max"] = max(times.wall, default=None)
        row[f"{side}_cpu_seconds"] = float(np.median(times.cpu)) if times.cpu else None
        row[f"{side}_cpu_seconds_max"] = max(times.cpu, default=None)
    names = ("ratio", "ratio_low", "ratio_high", "ratio_min", "ratio_max", "rounds")
    both = bool(ours.wall) and bool(theirs.wall)
    found = common.compare(1 / np.array(ours.wall), 1 / np.array(theirs.wall)) if both else {}
    return row | {name: found.get(name) for name in names}


def with_slope(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows over growing tables, each with the slope of log processor seconds on log rows."""
    logs = np.log([row["rows"] for row in rows])
    seconds = np.log([row["ours_cpu_seconds"] for row in rows])
    slope = float(np.polyfit(logs, seconds, 1)[0])
    return [row | {"slope": slope} for row in rows]


def linearity(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Return our fits of growing tables."""
    tables = {num: simulate(num, "normal", 0) for num in given.linearity}
    fits = {num: ours_fit(table) for num, table in tables.items()}
    times = {num: Times() for num in tables}
    for _ in range(given.rounds):
        for num, table in tables.items():
            times[num].add(lambda table=table: ours_fit(table))
    rows = [
        {
            "part": "linearity",
            "rows": num,
            "noise": "normal",
            "seed": 0,
            **timing(times[num], Times()),
            "rounds": given.rounds,
            "ours_objective": fits[num].objective,
            "status": fits[num].certificate.status,
            "agreeing": fits[num].certificate.agreeing,
            "label": "",
            **surroundings(),
        }
        for num in tables
    ]
    return with_slope(rows)


def all_bootstraps(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows of bootstraps beside the peer's, and of ours on growing tables."""
    rows = []
    for num in given.rows:
        for noise in given.noise:
            rows.append(measure_bootstraps(num, noise, given.bootstrap_rounds, given))
            row = rows[-1]
            print(
                f"{num:5} {noise:6} {row['bootstraps']} bootstraps {row['ours_seconds']:.2f} s "
                f"({row['ours_cpu_seconds']:.2f} of the processor), peer "
                f"{row['peer_seconds']:.0f} s, ratio {row['ratio']:.0f}; {row['improvable']} of "
                f"{row['audited']} audited improvable",
                flush=True,
            )
    grown = [measure_bootstraps(num, "normal", 1, given, beside=False) for num in given.linearity]
    return rows + with_slope(grown)


def surroundings() -> dict[str, str]:
    """Return what every row is marked with."""
    versions = {"numpy": np.__version__, "scipy": scipy.__version__}
    load = {"load": f"{os.getloadavg()[0]:.1f}"} if hasattr(os, "getloadavg") else {"load": ""}
    return {**common.surroundings(), **versions, **load, "code": code_hash("saltus.law.solve")}


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows of both parts as one table; a column that a part lacks is empty."""
    names = {name: None for row in rows for name in row}
    common.write_csv(path, [names | row for row in rows])


def options() -> argparse.Namespace:
    """Return what is asked for."""
    parser = argparse.ArgumentParser(description="Fits of Chinchilla's law against usual practice.")
    parser.add_argument("--rows", type=int, nargs="+", default=[50, 240, 2000])
    parser.add_argument("--noise", nargs="+", choices=NOISES, default=list(NOISES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bootstrap-rounds", type=int, default=3, help="of bootstraps")
    parser.add_argument("--bootstraps", type=int, default=4000, help="of ours, a round")
    parser.add_argument("--peer-starts", type=int, default=10, help="timed, a round")
    parser.add_argument("--peer-bootstraps", type=int, default=10, help="timed, a round")
    parser.add_argument(
        "--objective-starts", type=int, default=100, help="of the peer's 4500, for the objective"
    )
    parser.add_argument("--only", choices=["bootstraps"], help="measure that part alone")
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--work", type=Path, default=common.ROOT / "results" / "bench")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--quick", action="store_true", help="a try of under a minute")
    given = parser.parse_args()
    given.linearity = list(LINEARITY)
    if given.quick:
        given.rows, given.seeds, given.rounds, given.bootstrap_rounds = [50, 240], 1, 2, 1
        given.noise = [noise for noise in given.noise if noise != "tail"]
        given.bootstraps, given.peer_starts, given.peer_bootstraps = 100, 2, 2
        given.objective_starts, given.linearity = 6, [240, 480]
    return given


def main() -> None:
    """Measure every table and write ours beside the peer's."""
    given = options()
    common.pin(given.core)
    rows: list[dict[str, Any]] = []
    if given.only is not None:
        kept = [row for row in common.read_csv(given.out) if "bootstraps" not in row["part"]]
        write(given.out, kept + all_bootstraps(given))
        return
    for num in given.rows:
        for seed in range(given.seeds):
            for noise in given.noise:
                row = measure(num, noise, seed, given)
                rows.append(row)
                write(given.out, rows)
                said = f"{num:5} {noise:6} {seed} ours {row['ours_seconds']:.3f} s"
                said += f" peer {row['peer_seconds']:.0f} s ratio {row['ratio']:.0f}"
                said += f" objective {row['relative_difference']:+.1e}"
                print(said, "WORSE" if row["worse"] else row["status"], flush=True)
    for more in (linearity(given), all_bootstraps(given)):
        rows += more
        write(given.out, rows)
        print(f"slope of {more[-1]['part']}: {more[-1]['slope']:.2f}")
    sys.exit(any(row.get("worse") for row in rows))


if __name__ == "__main__":
    main()
