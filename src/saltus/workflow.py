"""What the rules ask of a study: each job's data as canonical JSON. No torch, no paths of its own.

A rule's parameters are the data of its stage and nothing else, so that an edit of the study reruns
the stages whose data it changes and no others.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from saltus.code import code_hash
from saltus.data.catalogue import LocalCorpus
from saltus.device import gpu_is_there
from saltus.figure.names import drawn_names
from saltus.model.count import count_parameters, flops_per_token
from saltus.probe.spec import ProbeSpec
from saltus.study import Study

SHUTDOWN_SECONDS = 120
"""What torchrun leaves its processes to save in, once it is asked to stop; 30 if nobody says."""
ANALYSIS = {
    "prediction": ("saltus.law.predict", "saltus.tables"),
    "tables": ("saltus.tables",),
    "laws": ("saltus.law.summary", "saltus.law.rates"),
    "thresholds": (
        "saltus.emerge.study",
        "saltus.emerge.summary",
        "saltus.emerge.breakdown",
        "saltus.emerge.seeds",
        "saltus.law.plain",
    ),
    "calibration": (
        "saltus.calibrate.summary",
        "saltus.calibrate.sizes",
        "saltus.calibrate.scaling",
        "saltus.calibrate.deltas",
        "saltus.law.plain",
    ),
    "figures": ("saltus.figure.catalogue",),
    "report": ("saltus.report.render",),
}
"""The stages after probing, and the modules whose code decides what each writes."""


CALIBRATION_TABLES = (
    "calibration",
    "calibration_shift",
    "calibration_deltas",
    "reliability",
    "calibration_sizes",
    "reliability_curves",
    "risk_curves",
)
"""What the calibration stage writes beside `calibration.json`."""


def stage_code(stage: str) -> str:
    """Return the hash of the code of a stage of `ANALYSIS`: its modules' hashes, joined."""
    return "".join(map(code_hash, ANALYSIS[stage]))


def canonical(value: Any) -> str:
    """Return JSON with sorted keys and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


class Jobs:
    """The jobs of one study."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.domains = list(study.text.domains)
        self.training_domains = [n for n, d in study.text.domains.items() if d.share > 0]
        wanted = study.training.device
        self.gpus = int(wanted == "cuda" or (wanted == "auto" and gpu_is_there()))
        self.is_sweep = len(study.training.rate_factors) > 1
        self.figures = drawn_names(swept=self.is_sweep)

    def corpus(self, domain: str) -> str:
        """Return the catalogue entry of a domain."""
        return canonical(dataclasses.asdict(self.study.corpus(domain)))

    def local_files(self, domain: str) -> list[str]:
        """Return the user's own files that a domain reads."""
        corpus = self.study.corpus(domain)
        if not isinstance(corpus, LocalCorpus):
            return []
        path = Path(corpus.path).expanduser()
        if not path.is_dir():
            return [str(path)]
        return sorted(str(each) for each in path.rglob("*") if each.is_file())

    def tokenizer(self) -> str:
        """Return what the tokenizer is trained with."""
        return canonical(
            {
                "vocabulary": self.study.tokenizer.vocabulary,
                "specials": self.study.specials,
                "split": self.study.text.split.model_dump(),
            }
        )

    def shards(self) -> str:
        """Return how documents are split, and which domains no training reads."""
        unread = [name for name in self.domains if name not in self.training_domains]
        return canonical({"split": self.study.text.split.model_dump(), "held_out_only": unread})

    def train(self, size: str, block: int) -> str:
        """Return the training job of a (size, replica block)."""
        return self.study.train_spec(size, block).to_json()

    def launcher(self, size: str) -> str:
        """Return the program that trains a size: saltus, or as many of it as it has processes."""
        processes = self.study.family.sizes[size].processes
        if processes == 1:
            return "saltus"
        patience = f"TORCH_ELASTIC_SHUTDOWN_TIMEOUT={SHUTDOWN_SECONDS}"
        return f"{patience} torchrun --standalone --nproc-per-node {processes} -m saltus"

    def gpus_of(self, size: str) -> int:
        """Return the GPUs that a training job of a size takes."""
        return self.gpus * self.study.family.sizes[size].processes

    def threads_of(self, size: str) -> int:
        """Return the cores that a training job of a size takes: one for each of its processes."""
        return self.study.family.sizes[size].processes

    def probe_spec(self) -> ProbeSpec:
        """Return what every checkpoint is asked."""
        probe = self.study.probe
        return ProbeSpec(
            items=probe.items,
            text_tokens=probe.text_tokens,
            validation_tokens=probe.validation_tokens,
            sampled_tokens=probe.sampled_tokens,
            seed=self.study.seed,
            domains=tuple(self.domains),
            training_domains=tuple(self.training_domains),
        )

    def probe(self, size: str, block: int) -> str:
        """Return the probing job of a (size, replica block)."""
        asked = json.loads(self.probe_spec().to_json())
        return canonical({"train": json.loads(self.train(size, block)), "probe": asked})

    def tables(self) -> str:
        """Return what joins the jobs' outputs, and the study as it was resolved."""
        return canonical({"training_domains": self.training_domains, "study": self.resolved()})

    def resolved(self) -> dict[str, Any]:
        """Return the study as plain data, with the counts of every size."""
        study = self.study
        sizes = {}
        for name in study.family.sizes:
            shape = study.shape(name)
            counts = dataclasses.asdict(count_parameters(shape))
            sizes[name] = {
                **dataclasses.asdict(shape),
                **{f"params_{key}": value for key, value in counts.items()},
                "learning_rate": study.training.rate.at(counts["nonembedding"]),
                "warmup_steps": study.warmup_steps(name),
                "seeds": [seed for block in study.blocks(name) for seed in block],
            }
        return {
            "name": study.name,
            "description": study.description,
            "sizes": sizes,
            "config": study.model_dump(mode="json"),
        }

    @property
    def largest(self) -> str:
        """Return the size that the laws are held to: the one with most parameters, N of the law."""
        sizes = self.study.family.sizes
        totals = {name: count_parameters(self.study.shape(name)).total for name in sizes}
        return max(reversed(list(sizes)), key=totals.__getitem__)

    def prediction(self) -> str:
        """Return what is predicted of the largest size, and how: its design and no result."""
        shape, horizons = self.study.shape(self.largest), self.study.training.horizons
        flops = flops_per_token(shape)
        target = {
            "size": self.largest,
            "params_total": count_parameters(shape).total,
            "tokens": horizons,
            "flops_exact": [float(flops) * horizon for horizon in horizons],
        }
        asked = {"training_domains": self.training_domains, "target": target}
        return canonical({**asked, **self.study.law.model_dump()})

    def laws(self) -> str:
        """Return how laws are fitted."""
        return canonical({"sweep": self.is_sweep, **self.study.law.model_dump()})

    def calibration(self) -> str:
        """Return which domains count as in distribution."""
        return canonical({"training_domains": self.training_domains})

    def law_outputs(self, root: str) -> list[str]:
        """Return the files of the law stage under `root`."""
        rates = [f"{root}/rates.json", f"{root}/tables/rates.parquet"]
        return [f"{root}/laws.json", *(rates if self.is_sweep else [])]

    def blocks(self) -> list[tuple[str, int]]:
        """Return every (size, replica block)."""
        return [
            (size, block)
            for size in self.study.family.sizes
            for block in range(len(self.study.blocks(size)))
        ]

    def folders(self, root: str, *, below_largest: bool = False) -> list[str]:
        """Return the folder of every (size, replica block) under `root`, or of smaller sizes."""
        kept = [(s, b) for s, b in self.blocks() if not (below_largest and s == self.largest)]
        return [f"{root}/{size}/block{block}" for size, block in kept]

    def files(self, root: str, names: list[str], *, below_largest: bool = False) -> list[str]:
        """Return the parquet files `names` of every such folder."""
        folders = self.folders(root, below_largest=below_largest)
        return [f"{folder}/{name}.parquet" for folder in folders for name in names]

    def priority(self, size: str) -> int:
        """Return the MFLOPs of a size's first block: the longest starts first."""
        tokens = max(self.study.training.horizons)
        replicas = len(self.study.train_spec(size, 0).replicas)
        return flops_per_token(self.study.shape(size)) * tokens * replicas // 10**6
