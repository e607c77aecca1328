"""What no single field of a study can know: checks across fields, each an error of one line."""

from itertools import pairwise

from saltus.data.arithmetic import parse_task
from saltus.data.batches import ARITHMETIC
from saltus.errors import CorpusError, StudyError
from saltus.study import MAX_ROUNDING, Study

NUM_BYTES = 256


def check(study: Study) -> None:
    """Raise `StudyError` at the first impossible combination."""
    _require(
        study.name != "reference",
        "name",
        "found 'reference', expected another: published studies lie in results/reference",
    )
    _check_text(study)
    _check_tokenizer(study)
    _check_mixture(study)
    _check_sizes(study)
    _check_training(study)
    _check_processes(study)


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
    split = study.text.split
    total = split.train + split.validation + split.test
    _require(abs(total - 1) < MAX_ROUNDING, "text.split", f"sums to {total:g}, expected 1")
    for part in ("train", "validation", "test"):
        _require(getattr(split, part) > 0, f"text.split.{part}", "found 0, expected more")


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
        possible = _num_held_out_units(drill.task)
        _require(
            possible == 0 or study.arithmetic.held_out * possible >= 1,
            "arithmetic.held_out",
            f"{study.arithmetic.held_out:g} holds out none of {drill.task}'s {possible} problems, "
            f"expected at least {1 / max(possible, 1):.2g}",
        )
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


def _check_processes(study: Study) -> None:
    for name, size in study.family.sizes.items():
        if size.processes == 1:
            continue
        key, rows = f"family.sizes.{name}.processes", study.train_spec(name, 0).rows
        for block in study.blocks(name):
            _require(
                len(block) * len(study.training.rate_factors) == 1,
                key,
                f"{size.processes} with {len(block) * len(study.training.rate_factors)} replicas "
                "in a block, expected blocks of one seed and one rate",
            )
        found = study.training.optimizer.name
        _require(found == "adamw", key, f"{size.processes} with {found}, expected adamw")
        divisors = [n for n in range(1, rows + 1) if rows % n == 0]
        nearest = min(divisors, key=lambda n: abs(n - size.processes))
        _require(
            size.processes in divisors,
            key,
            f"{size.processes} do not divide the {rows} rows of a batch (try {nearest})",
        )


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
    repeated = {value for value in values if values.count(value) > 1}
    _require(
        not repeated, "training.rate_factors", f"factor {min(repeated, default=0):g} stands twice"
    )
    _require(
        1.0 in values,
        "training.rate_factors",
        f"found {', '.join(f'{value:g}' for value in values)}, expected 1 among them: laws and "
        "thresholds are of the runs at the rule's own rate",
    )


def _num_held_out_units(task: str) -> int:
    """Return how many pairs or chains a task holds out from; 0 if it serves training only."""
    kind, number = parse_task(task)
    if kind == "chain":
        return int(10 ** (number + 1) * 2**number)
    if kind == "mul":
        return 90 * 9
    operands = 9 * 10 ** (number - 1)
    return 0 if number == 1 else operands * (operands + 1) // 2


def _longest_problem(task: str) -> int:
    """Return the tokens of a task's longest problem with both separators."""
    kind, number = parse_task(task)
    prompt = 2 * (number + 1) if kind == "chain" else (5 if kind == "mul" else 2 * number + 2)
    return prompt + {"add": number + 1, "sub": number + 1, "mul": 3, "chain": 3}[kind] + 2
