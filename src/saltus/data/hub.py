"""Datasets of the Hugging Face hub, through the package `datasets`, which is imported on use."""

from collections.abc import Iterator
from typing import Any

from saltus.data.catalogue import HubCorpus
from saltus.errors import CorpusError, nearest

REMEDIES = (
    "fill the cache once where there is a network and set HF_HOME to it, set HF_ENDPOINT to a "
    "mirror, or use a corpus of kind local"
)


def read_hub(corpus: HubCorpus) -> Iterator[Any]:
    """Yield the field of every row of one split at the pinned revision.

    Raises `CorpusError` if `datasets` is not installed, the hub does not answer and its cache lacks
    the dataset, or there is no such dataset, config, split or field. There is no substitute.
    """
    name = f"hub {corpus.dataset}"
    try:
        import datasets
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise CorpusError(
            f"{name}: needs the package datasets (`pip install datasets`): {error}"
        ) from error
    # The bases of the hub's error hold that of its HTTP library, whichever that is.
    unreachable: tuple[type[BaseException], ...] = (
        OSError,
        RuntimeError,
        *HfHubHTTPError.__bases__,
    )
    try:
        rows = datasets.load_dataset(
            corpus.dataset, corpus.config, split=corpus.split, revision=corpus.revision
        )
    except ValueError as error:
        raise CorpusError(f"{name}: {_line(error)}") from error
    except unreachable as error:
        raise CorpusError(f"{name}: {_line(error)}; {REMEDIES}") from error
    if corpus.field not in rows.column_names:
        raise CorpusError(
            f"{name}: no field {corpus.field!r}{nearest(corpus.field, rows.column_names)}; "
            f"found {', '.join(rows.column_names)}"
        )
    for row in rows.select_columns([corpus.field]):
        yield row[corpus.field]


def _line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300]
