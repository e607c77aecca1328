"""`saltus analyse [STUDY]`: tables, laws, thresholds, calibration, figures, without Snakemake."""

import argparse
import json
from pathlib import Path
from types import SimpleNamespace

from saltus.cli import stages
from saltus.cli.options import add_study, results_of, study_of
from saltus.errors import TableError
from saltus.workflow import Jobs


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

    def call(stage: object, out: Path, inputs: list[Path], spec: str = "{}") -> None:
        assert callable(stage)
        stage(SimpleNamespace(spec=json.loads(spec), out=out, input=inputs))

    def named(*names: str) -> list[Path]:
        return [tables / f"{name}.parquet" for name in names]

    call(stages.tables, tables, trained + probed, jobs.tables())
    call(stages.laws, root, named("runs"), jobs.laws())
    call(stages.thresholds, tables, named("items", "runs"))
    call(stages.calibration, tables, named("tokens", "items", "runs"), jobs.calibration())
    call(stages.figures, root / "figures", [root])
    call(stages.report, root / "report.html", [root])
    print(root / "report.html")
