"""From pydantic's validation errors to one line: key path, found, expected, nearest spelling."""

from dataclasses import fields
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from saltus.data.catalogue import Corpus
from saltus.errors import nearest

UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
"""A misspelt key is named before the key that is missing because of it."""
KINDS = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    "string_type": "text",
}
"""What values of a type are called."""


def one_line(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first problem of `error` in one line."""
    problems = error.errors(include_url=False)
    problem = min(problems, key=lambda each: (_is_wrong_branch(each), each["type"] not in UNKNOWN))
    location = _without_branches(problem["loc"])
    key = ".".join(str(part) for part in location)
    if problem["type"] == "unexpected_keyword_argument":
        known = _corpus_keys(problem["loc"])
        return f"{key}: unknown key{nearest(str(location[-1]), known)}; expected one of " + (
            ", ".join(known)
        )
    if problem["type"] == "union_tag_not_found":
        kinds = ", ".join(each.kind for each in get_args(Corpus))
        return f"{key}.kind: missing; expected one of {kinds}"
    if problem["type"] == "union_tag_invalid":
        context = problem["ctx"]
        kinds = context["expected_tags"].replace("'", "")
        hint = nearest(context["tag"], kinds.split(", "))
        return f"{key}.kind: found '{context['tag']}', expected one of {kinds}{hint}"
    if problem["type"] == "extra_forbidden":
        known = _known_keys(model, location[:-1])
        expected = f"expected one of {', '.join(known)}" if known else "expected no such key"
        word = str(location[-1])
        hint = nearest(word, known) or _elsewhere(model, word)
        return f"{key}: unknown key{hint}; {expected}"
    if problem["type"] == "missing":
        known = _known_keys(model, location)
        return f"{key}: missing; expected " + (
            f"a mapping of {', '.join(known)}" if known else "a value"
        )
    found = "nothing" if problem.get("input") is None else _shown(problem.get("input"))
    if problem["type"] == "literal_error":
        choices = str(problem.get("ctx", {}).get("expected", ""))
        words = [word.strip(" '") for word in choices.replace(" or ", ", ").split(",")]
        hint = nearest(str(problem.get("input")), words)
        return f"{key}: found {found}, expected {choices}{hint}"
    if problem["type"] == "value_error":
        return f"{key}.{problem['ctx']['error']}"
    if problem["type"] in ("model_type", "dict_type", "dataclass_type"):
        known = [] if problem["type"] == "dict_type" else _known_keys(model, location)
        return f"{key}: found {found}, expected a mapping" + (
            f" of {', '.join(known)}" if known else ""
        )
    if problem["type"] == "tuple_type":
        return f"{key}: found {found}, expected a list"
    if problem["type"] == "too_short":
        return f"{key}: found {found}, expected at least {problem['ctx']['min_length']} entry"
    if problem["type"] == "string_pattern_mismatch":
        marks = "_ or ." if "." in problem["ctx"]["pattern"] else "_"
        return f"{key}: found {found}, expected a name of letters, digits and {marks}"
    if problem["type"] in KINDS:
        return f"{key}: found {found}, expected {KINDS[problem['type']]}"
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{key}: found {found}, {message.replace('input should be', 'expected')}"


def _is_wrong_branch(problem: Any) -> bool:
    """Tell whether a mapping was tried as a corpus's name: the other branch says what is wrong."""
    return problem["loc"][-1:] == ("str",) and isinstance(problem.get("input"), dict)


def _corpus_keys(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys of the corpus kind that pydantic names in an error's location."""
    kinds = {each.__name__: each for each in get_args(Corpus)}
    kinds |= {each.kind: each for each in get_args(Corpus)}
    for part in reversed(location[:-1]):
        if part in kinds:
            return sorted(field.name for field in fields(kinds[str(part)]))
    return []


def _without_branches(location: tuple[int | str, ...]) -> list[int | str]:
    """Return a location without the names of union branches that pydantic puts after `corpus`."""
    location = tuple(part for part in location if part != "[key]")
    if "corpus" not in location:
        return list(location)
    end = location.index("corpus") + 1
    names = {"str", *(each.kind for each in get_args(Corpus))}
    names |= {each.__name__ for each in get_args(Corpus)}
    rest = [part for part in location[end:] if part not in names and "[" not in str(part)]
    return [*location[:end], *rest]


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "…"


def _known_keys(model: type[BaseModel], location: list[int | str]) -> list[str]:
    """Return the field names at `location`, walking through mappings and lists of models."""
    current: Any = model
    for part in location:
        fields = getattr(current, "model_fields", None)
        if fields is None or part not in fields:
            continue
        current = _model_within(fields[str(part)].annotation)
        if current is None:
            return []
    return sorted(getattr(current, "model_fields", {}))


def _elsewhere(model: type[BaseModel], word: str) -> str:
    """Return a hint at a section that has the key: a heading may have been lost above it."""
    for name, field in model.model_fields.items():
        within = _model_within(field.annotation)
        if word in getattr(within, "model_fields", {}):
            return f" (did you mean {name}.{word}?)"
    return ""


def _model_within(annotation: Any) -> Any:
    """Return the first model class inside an annotation, or None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_within(argument)
        if found is not None:
            return found
    return None
