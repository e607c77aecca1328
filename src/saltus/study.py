"""The study file: frozen models, the only reader of YAML, and errors of one line.

A study is one complete YAML file. `load_study` validates all of it, cross-checks included, before
anything runs; an error names the key path, what was found, what was expected, the nearest spelling.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from saltus.data.arithmetic import ARMS, TASKS
from saltus.data.batches import ARITHMETIC, Drill, Mixture
from saltus.data.catalogue import Corpus, resolve
from saltus.data.writing import RELATIONS, SEPARATOR
from saltus.errors import StudyError
from saltus.model.count import count_parameters
from saltus.model.shape import Shape
from saltus.study_errors import one_line
from saltus.train.spec import Optimizer, Replica, TrainSpec

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
Blocks = tuple[tuple[Seed, ...], ...]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.]*$", max_length=40)]
DomainName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$", max_length=40)]
MAX_ROUNDING = 1e-6


class Section(BaseModel):
    """Base of every part of a study: frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Domain(Section):
    """A text domain: a catalogue name or a corpus of one's own, and its share of training rows."""

    corpus: str | Annotated[Corpus, Field(discriminator="kind")]
    share: Share


class Split(Section):
    """Shares of documents; the test split is what no training and no choice has seen."""

    train: Share = 0.9
    validation: Share = 0.05
    test: Share = 0.05


class Text(Section):
    """Text domains. A share of 0 makes a domain held-out only: evaluated, never trained on."""

    domains: dict[DomainName, Domain]
    split: Split = Split()


class TokenizerSection(Section):
    """Byte-level BPE; `vocabulary` counts bytes, specials and merges."""

    vocabulary: Annotated[int, Field(ge=8, le=1 << 20)] = 512


class DrillSection(Section):
    """One arithmetic task in one arm, and its weight among problems."""

    task: Literal[TASKS]  # type: ignore[valid-type]
    arm: Literal[ARMS] = "plain"  # type: ignore[valid-type]
    weight: Positive = 1.0


class Arithmetic(Section):
    """The arithmetic rows: their share of training, what is held out, and the drills."""

    share: Share
    held_out: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    drills: tuple[DrillSection, ...] = ()


class Size(Section):
    """One transformer size. `feedforward` is 8/3 of the width, to a multiple of 4, unless given.

    With several `processes`, a job is run by torchrun, and they share its batch: one GPU each, or
    on CPUs one core.
    """

    width: Count
    depth: Count
    heads: Count
    feedforward: Count | None = None
    blocks: Blocks | None = None
    processes: Count = 1

    def shape(self, vocabulary: int, context: int) -> Shape:
        """Return the architecture."""
        feedforward = self.feedforward or max(4, round(self.width * 8 / 3 / 4) * 4)
        return Shape(vocabulary, self.width, self.depth, self.heads, feedforward, context)


class Family(Section):
    """The sizes, and the seeds of each in blocks: a block is one job, trained as one program."""

    context: Annotated[int, Field(ge=8)] = 64
    blocks: Blocks
    sizes: dict[Name, Size]


class Rate(Section):
    """The learning-rate rule: coefficient · (N / reference)^exponent, N non-embedding, capped."""

    coefficient: Positive
    reference: Positive
    exponent: Annotated[float, Field(ge=-1, le=0)]
    ceiling: Positive = 1.0

    def at(self, nonembedding: int) -> float:
        """Return the peak rate of a size, to six digits so that it prints as it is."""
        rate = self.coefficient * (nonembedding / self.reference) ** self.exponent
        return float(f"{min(rate, self.ceiling):.6g}")


class Warmup(Section):
    """Warm-up: a number of tokens per non-embedding parameter, and at least so many steps."""

    tokens_per_parameter: Annotated[float, Field(ge=0)] = 1.0
    floor_steps: Count = 10


class OptimizerSection(Section):
    """AdamW, or Muon for the matrices; betas and `epsilon` are AdamW's, `momentum` Muon's."""

    name: Literal["adamw", "muon"] = "adamw"
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.99
    epsilon: Positive = 1e-8
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
    decay: Annotated[float, Field(ge=0)] = 0.1
    clip: Positive = 1.0


class Training(Section):
    """How every size is trained; horizons and batches are in tokens."""

    batch_tokens: Count
    horizons: Annotated[tuple[Count, ...], Field(min_length=1)]
    anneal: Annotated[float, Field(gt=0, lt=1)] = 0.2
    warmup: Warmup = Warmup()
    rate: Rate
    rate_factors: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1.0,)
    optimizer: OptimizerSection = OptimizerSection()
    precision: Literal["fp32", "bf16"] = "fp32"
    device: Literal["auto", "cpu", "cuda"] = "auto"


class Probe(Section):
    """What every checkpoint is asked: items per drill, text tokens, sampled predictions."""

    items: Annotated[int, Field(ge=10)] = 300
    text_tokens: Annotated[int, Field(ge=256)] = 20_480
    validation_tokens: Annotated[int, Field(ge=256)] = 10_240
    sampled_tokens: Annotated[int, Field(ge=50)] = 1_000


class Law(Section):
    """How laws are fitted: Huber's δ on log residuals, and from which horizon on.

    Runs below `minimum_tokens` are dropped and counted: a model that has not left the unigram loss
    is on no power law.
    """

    delta: Positive = 1e-3
    minimum_tokens: Annotated[int, Field(ge=0)] = 0


class Study(Section):
    """A whole study."""

    name: Name
    description: str = ""
    seed: Seed = 0
    text: Text
    tokenizer: TokenizerSection = TokenizerSection()
    arithmetic: Arithmetic
    family: Family
    training: Training
    probe: Probe = Probe()
    law: Law = Law()

    @property
    def salt(self) -> str:
        """Return the salt of everything that is held out: the same for every size and arm."""
        return f"saltus held-out {self.seed}"

    @property
    def arms(self) -> tuple[str, ...]:
        """Return the arms that occur, in a fixed order."""
        return tuple(arm for arm in ARMS if any(d.arm == arm for d in self.arithmetic.drills))

    @property
    def specials(self) -> tuple[str, ...]:
        """Return the special tokens: the separator and the relation signs of the arms."""
        signs = (RELATIONS[arm] for arm in self.arms)
        return (SEPARATOR, *(sign for sign in signs if sign.startswith("<|")))

    def corpus(self, domain: str) -> Corpus:
        """Return the catalogue entry of a domain."""
        corpus = self.text.domains[domain].corpus
        return resolve(corpus) if isinstance(corpus, str) else corpus

    def shape(self, size: str) -> Shape:
        """Return the architecture of a size."""
        return self.family.sizes[size].shape(self.tokenizer.vocabulary, self.family.context)

    def resolved_shape(self, size: str) -> dict[str, Any]:
        """Return the architecture of a size as plain data."""
        return dataclasses.asdict(self.shape(size))

    def blocks(self, size: str) -> tuple[tuple[int, ...], ...]:
        """Return the seeds of each block of a size."""
        own = self.family.sizes[size].blocks
        return self.family.blocks if own is None else own

    def mixture(self) -> Mixture:
        """Return the shares of the training rows, sources of share 0 left out."""
        shares = {ARITHMETIC: self.arithmetic.share}
        shares |= {name: domain.share for name, domain in self.text.domains.items()}
        drills = tuple(Drill(d.task, d.arm, d.weight) for d in self.arithmetic.drills)
        return Mixture(
            {name: share for name, share in shares.items() if share > 0},
            drills,
            self.arithmetic.held_out,
            self.salt,
        )

    def warmup_steps(self, size: str) -> int:
        """Return the warm-up of a size; it depends on the size alone."""
        warmup = self.training.warmup
        count = count_parameters(self.shape(size)).nonembedding
        tokens = warmup.tokens_per_parameter * count
        return max(warmup.floor_steps, round(tokens / self.training.batch_tokens))

    def train_spec(self, size: str, block: int) -> TrainSpec:
        """Return the job of one (size, replica block)."""
        training, shape = self.training, self.shape(size)
        rate = training.rate.at(count_parameters(shape).nonembedding)
        replicas = tuple(
            Replica(
                f"seed{seed}" + (f"-rate{factor:g}" if len(training.rate_factors) > 1 else ""),
                _replica_seed(shape, seed),
                rate * factor,
                factor,
            )
            for seed in self.blocks(size)[block]
            for factor in training.rate_factors
        )
        return TrainSpec(
            study=self.name,
            size=size,
            block=block,
            shape=shape,
            replicas=replicas,
            mixture=self.mixture(),
            batch_tokens=training.batch_tokens,
            warmup_steps=self.warmup_steps(size),
            anneal=training.anneal,
            optimizer=Optimizer(**training.optimizer.model_dump()),
            precision=training.precision,
            horizons=training.horizons,
        )

    def train_specs(self) -> list[TrainSpec]:
        """Return every training job, smallest size first."""
        return [
            self.train_spec(size, block)
            for size in self.family.sizes
            for block in range(len(self.blocks(size)))
        ]


def _replica_seed(shape: Shape, seed: int) -> int:
    """Return the seed of weights and data order: seeds are never paired across sizes."""
    text = f"{dataclasses.astuple(shape)}:{seed}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big")


class UniqueKeyLoader(yaml.SafeLoader):
    """The safe loader, but a key that stands twice is an error instead of its last value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping of a node. Raises `StudyError` for a repeated key."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        repeated = [key for index, key in enumerate(keys) if key in keys[:index]]
        if repeated:
            line = node.start_mark.line + 1
            raise StudyError(
                f"{repeated[0]}: stands twice in the mapping that begins on line {line}, "
                "expected each key once"
            )
        return super().construct_mapping(node, deep)


def load_study(path: Path, overrides: Mapping[str, Any] | None = None) -> Study:
    """Return the validated study of a YAML file, with `overrides` merged into it key by key.

    Raises `StudyError`, in one line, for anything misspelt or impossible.
    """
    try:
        raw = yaml.load(Path(path).read_text(encoding="utf-8"), UniqueKeyLoader)
    except FileNotFoundError as error:
        raise StudyError(f"{path}: no such study file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: not YAML: {_told(error)}") from error
    except OSError as error:
        raise StudyError(f"{path}: {error.strerror}") from error
    if not isinstance(raw, dict):
        raise StudyError(f"{path}: expected a mapping of keys, found {type(raw).__name__}")
    return parse_study(_merged(raw, overrides or {}))


def parse_study(raw: Mapping[str, Any]) -> Study:
    """Return the validated study of plain data. Raises `StudyError`."""
    from saltus.study_checks import check

    _refuse_booleans(raw, "")
    try:
        study = Study.model_validate(raw)
    except ValidationError as error:
        raise StudyError(one_line(error, Study)) from error
    check(study)
    return study


def _told(error: Exception) -> str:
    """Return what is wrong with a file that is no YAML, and where, in one line."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    what = str(getattr(error, "problem", "")).replace("'\\t'", "a tab")
    if "a tab" in what:
        what = "found a tab, expected spaces"
    return f"line {mark.line + 1}, column {mark.column + 1}: {what}"


def _refuse_booleans(value: Any, key: str) -> None:
    """Raise for `yes`, `no`, `true` or `false`: no key takes one, they would be 1 or 0."""
    if isinstance(value, bool):
        raise StudyError(f"{key}: found {str(value).lower()}, expected a number or text")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _refuse_booleans(inner, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _refuse_booleans(inner, f"{key}.{index}")


def _merged(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        both = isinstance(old, dict) and isinstance(value, Mapping)
        result[key] = _merged(old, value) if both else value  # type: ignore[arg-type]
    return result
