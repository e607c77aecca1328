"""From pydantic's validation errors to one line: key path, found, expected, nearest spelling."""

from typing import Any

from pydantic import BaseModel, ValidationError

from saltus.errors import nearest


def one_line(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first problem of `error` in one line."""
    problem = error.errors(include_url=False)[0]
    location = [part for part in problem["loc"] if not _is_branch(part)]
    key = ".".join(str(part) for part in location)
    if problem["type"] == "extra_forbidden":
        known = _known_keys(model, location[:-1])
        expected = f"expected one of {', '.join(known)}" if known else "expected no such key"
        return f"{key}: unknown key{nearest(str(location[-1]), known)}; {expected}"
    if problem["type"] == "missing":
        return f"{key}: missing; expected a value"
    found = _shown(problem.get("input"))
    if problem["type"] == "literal_error":
        choices = str(problem.get("ctx", {}).get("expected", ""))
        words = [word.strip(" '") for word in choices.replace(" or ", ", ").split(",")]
        hint = nearest(str(problem.get("input")), words)
        return f"{key}: found {found}, expected {choices}{hint}"
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{key}: found {found}, {message.replace('input should be', 'expected')}"


def _is_branch(part: int | str) -> bool:
    """Tell whether pydantic put the name of a union's branch into the path."""
    return isinstance(part, str) and (part == "str" or part.endswith("Corpus") or "[" in part)


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


def _model_within(annotation: Any) -> Any:
    """Return the first model class inside an annotation, or None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_within(argument)
        if found is not None:
            return found
    return None
