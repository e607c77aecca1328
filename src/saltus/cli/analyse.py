"""`saltus analyse [STUDY]`: prediction, tables, laws, and all after it, without Snakemake."""

import argparse
from pathlib import Path

from saltus.cli import stages
from saltus.cli.options import add_study, results_of, study_of
from saltus.errors import TableError
from saltus.workflow import Jobs, stage_code


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_study(parser)


def run(options: argparse.Namespace) -> None:
    """Run every stage after probing."""
    study = study_of(options)
    jobs, root = Jobs(study), results_of(study)
    trained = [Path(folder) for folder in jobs.folders(str(root / "train"))]
    probed = [Path(folder) for folder in jobs.folders(str(root / "probe"))]
    for folder in probed:
        if not (folder / "losses.parquet").exists():
            raise TableError(f"{folder}: missing; run saltus train and saltus probe first")
    tables = root / "tables"

    def named(*names: str) -> list[Path]:
        return [tables / f"{name}.parquet" for name in names]

    call = stages.call
    known = [
        *jobs.folders(str(root / "train"), below_largest=True),
        *jobs.folders(str(root / "probe"), below_largest=True),
    ]
    foretold = root / "prediction.json"
    call(
        stages.prediction,
        foretold,
        jobs.prediction(),
        input=[Path(folder) for folder in known],
        code=stage_code("prediction"),
    )
    call(stages.tables, tables, jobs.tables(), input=trained + probed)
    call(stages.laws, root, jobs.laws(), input=[*named("runs"), foretold])
    call(stages.thresholds, tables, jobs.laws(), input=named("items", "runs"))
    calibrated = named("tokens", "items", "runs")
    call(stages.calibration, tables, jobs.calibration(), input=calibrated)
    call(stages.figures, root / "figures", input=[root])
    call(stages.report, root / "report.html", input=[root])
    print(root / "report.html")
