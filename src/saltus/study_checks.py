"""What no single field of a study can know: checks across fields, each an error of one line."""

from itertools import pairwise
from pathlib import Path

from saltus.data.arithmetic import parse_task
from saltus.data.batches import ARITHMETIC
from saltus.data.catalogue import Corpus, LocalCorpus
from saltus.errors import CorpusError, StudyError, nearest
from saltus.study import MAX_ROUNDING, Study

NUM_BYTES = 256


def check(study: Study) -> None:
    """Raise `StudyError` at the first impossible combination."""
    _check_text(study)
    _check_tokenizer(study)
    _check_mixture(study)
    _check_sizes(study)
    _check_training(study)


def _require(condition: bool, key: str, message: str) -> None:
    if not condition:
        raise StudyError(f"{key}: {message}")


def _check_text(study: Study) -> None:
    _require(
        ARITHMETIC not in study.text.domains,
        f"text.domains.{ARITHMETIC}",
        "this name is taken by the generated problems (choose another)",
    )
    _require(bool(study.text.domains), "text.domains", "found none, expected at least one domain")
    for name in study.text.domains:
        try:
            study.corpus(name)
        except CorpusError as error:
            raise StudyError(f"text.domains.{name}.corpus: {error}") from error
        _check_local(f"text.domains.{name}.corpus.path", study.corpus(name))
    split = study.text.split
    total = split.train + split.validation + split.test
    _require(abs(total - 1) < MAX_ROUNDING, "text.split", f"sums to {total:g}, expected 1")
    for part in ("train", "validation", "test"):
        _require(getattr(split, part) > 0, f"text.split.{part}", "found 0, expected more")


def _check_local(key: str, corpus: Corpus) -> None:
    """Raise if a file or folder of the user's own is missing or empty."""
    if not isinstance(corpus, LocalCorpus):
        return
    path = Path(corpus.path).expanduser()
    if not path.exists():
        beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        raise StudyError(
            f"{key}: found no file '{path}'{nearest(path.name, beside)}, expected text of yours"
        )
    empty = not any(path.iterdir()) if path.is_dir() else path.stat().st_size == 0
    _require(not empty, key, f"found '{path}' empty, expected text")


def _check_tokenizer(study: Study) -> None:
    """Raise if the vocabulary cannot hold every byte and special token."""
    minimum = NUM_BYTES + len(study.specials)
    found = study.tokenizer.vocabulary
    _require(
        found >= minimum,
        "tokenizer.vocabulary",
        f"found {found}, expected at least {minimum} ({NUM_BYTES} bytes and "
        f"{len(study.specials)} special tokens)",
    )


def _check_mixture(study: Study) -> None:
    shares = {f"text.domains.{name}.share": d.share for name, d in study.text.domains.items()}
    shares["arithmetic.share"] = study.arithmetic.share
    total = sum(shares.values())
    terms = " + ".join(f"{key} {value:g}" for key, value in shares.items())
    _require(
        abs(total - 1) < MAX_ROUNDING,
        "arithmetic.share",
        f"the mixture sums to {total:g}, expected 1 ({terms})",
    )
    drills = study.arithmetic.drills
    _require(
        bool(drills) or study.arithmetic.share == 0,
        "arithmetic.drills",
        f"found none, expected at least one (arithmetic.share is {study.arithmetic.share:g})",
    )
    seen: set[tuple[str, str]] = set()
    for index, drill in enumerate(drills):
        pair = (drill.task, drill.arm)
        _require(pair not in seen, f"arithmetic.drills.{index}", f"{pair} stands twice")
        seen.add(pair)
    _require(
        any(d.share > 0 for d in study.text.domains.values()),
        "text.domains",
        "no domain has a share above 0: the loss law needs text that is trained on",
    )


def _check_sizes(study: Study) -> None:
    _require(bool(study.family.sizes), "family.sizes", "found none, expected at least one")
    _check_blocks("family.blocks", study.family.blocks)
    shapes: dict[object, str] = {}
    for name, size in study.family.sizes.items():
        key = f"family.sizes.{name}"
        if size.blocks is not None:
            _check_blocks(f"{key}.blocks", size.blocks)
        if size.width % size.heads:
            divisors = [n for n in range(1, size.width // 2 + 1) if size.width % (2 * n) == 0]
            close = sorted(divisors, key=lambda n: abs(n - size.heads))[:2]
            tries = " or ".join(map(str, sorted(close))) or "an even width"
            raise StudyError(
                f"{key}.heads: {size.heads} does not divide width {size.width} (try {tries})"
            )
        head = size.width // size.heads
        _require(
            head % 2 == 0,
            f"{key}.heads",
            f"{size.heads} gives heads of width {head}, expected an even width (rotary pairs)",
        )
        shape = study.shape(name)
        _require(
            shape not in shapes, key, f"the same architecture as {shapes.get(shape)}: name it once"
        )
        shapes[shape] = name


def _check_blocks(key: str, blocks: tuple[tuple[int, ...], ...]) -> None:
    _require(
        bool(blocks) and all(blocks), key, "expected lists of seeds, none empty, e.g. [[0, 1, 2]]"
    )
    seeds = [seed for block in blocks for seed in block]
    repeated = {seed for seed in seeds if seeds.count(seed) > 1}
    _require(not repeated, key, f"seed {min(repeated, default=0)} stands twice")


def _check_training(study: Study) -> None:
    training, context = study.training, study.family.context
    _require(
        training.batch_tokens % context == 0,
        "training.batch_tokens",
        f"{training.batch_tokens} is not a multiple of family.context {context} "
        f"(try {max(1, round(training.batch_tokens / context)) * context})",
    )
    for index, (before, after) in enumerate(pairwise(training.horizons)):
        _require(
            before < after,
            f"training.horizons.{index + 1}",
            f"{after} does not exceed {before} before it (expected ascending tokens)",
        )
    for index, horizon in enumerate(training.horizons):
        nearest = max(1, round(horizon / training.batch_tokens)) * training.batch_tokens
        _require(
            horizon == nearest,
            f"training.horizons.{index}",
            f"{horizon} is not a multiple of training.batch_tokens {training.batch_tokens} "
            f"(try {nearest})",
        )
    for name in study.family.sizes:
        spec = study.train_spec(name, 0)
        first = spec.anneal_start(training.horizons[0])
        _require(
            spec.warmup_steps <= first,
            "training.warmup",
            f"{spec.warmup_steps} steps of warm-up for {name}, but the first horizon's anneal "
            f"begins at step {first} (lower tokens_per_parameter or raise the first horizon)",
        )
    longest = max((_longest_problem(d.task) for d in study.arithmetic.drills), default=0)
    _require(
        context >= longest,
        "family.context",
        f"{context} tokens are fewer than the longest problem's {longest}",
    )
    values = training.rate_factors
    _require(len(set(values)) == len(values), "training.rate_factors", "a factor stands twice")


def _longest_problem(task: str) -> int:
    """Return the tokens of a task's longest problem with both separators."""
    kind, number = parse_task(task)
    prompt = 2 * (number + 1) if kind == "chain" else (5 if kind == "mul" else 2 * number + 2)
    return prompt + {"add": number + 1, "sub": number + 1, "mul": 3, "chain": 3}[kind] + 2
