# The whole study as a DAG: text -> tokenizer -> shards -> train -> probe -> prediction -> tables ->
# laws, thresholds, calibration -> figures -> report. Paths are known here and in workflow/rules only.
#
#   snakemake --cores 2                          the default study, config.yaml
#   snakemake --cores 2 --config study=smoke     studies/smoke.yaml, or any path to a study file

import sys
from importlib.metadata import version
from pathlib import Path

from saltus.code import code_hash
from saltus.errors import SaltusError
from saltus.preflight import (
    check_machine,
    check_options,
    check_texts,
    hold_folder,
    study_path,
)
from saltus.study import load_study
from saltus.workflow import CALIBRATION_TABLES, Jobs, stage_code

try:
    check_options(config)
    OVERRIDES = {key: value for key, value in config.items() if key != "study"}
    STUDY_FILE = study_path(config.get("study"), Path(workflow.basedir))
    STUDY = load_study(STUDY_FILE, OVERRIDES)
    check_machine(STUDY, Path("results"))
    if not Path("results", STUDY.name, "shards", "manifest.json").exists():
        check_texts(STUDY)
    if not (workflow.output_settings.dryrun or workflow.remote_exec):
        LOCK = hold_folder(Path(".snakemake/saltus.lock"))
except SaltusError as error:
    print(f"saltus: {error}", file=sys.stderr)
    sys.exit(2)

JOBS = Jobs(STUDY)
ROOT = f"results/{STUDY.name}"
STATES = "results/.state"
CACHE = "results/.cache"


wildcard_constraints:
    block=r"\d+",


rule all:
    default_target: True
    input:
        f"{ROOT}/report.html",
        expand(
            f"{ROOT}/tables/{{name}}.parquet",
            name=["breakdown", "seeds", "probabilities", "foretold"],
        ),


include: "workflow/rules/corpus.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/probe.smk"
include: "workflow/rules/law.smk"
include: "workflow/rules/figure.smk"
