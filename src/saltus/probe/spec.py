"""What a probe asks of every checkpoint: plain data that travels as JSON. No torch."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class ProbeSpec:
    """Problems per drill, text tokens per domain, sampled predictions, and the seed of the choice.

    `domains` are all text domains, `training_domains` those with a share in training: the fitted
    temperature comes from the validation text of the first of these.
    """

    items: int
    text_tokens: int
    validation_tokens: int
    sampled_tokens: int
    seed: int
    domains: tuple[str, ...]
    training_domains: tuple[str, ...]

    def to_json(self) -> str:
        """Return canonical JSON."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "ProbeSpec":
        """Return the spec that `to_json` wrote."""
        raw = json.loads(text)
        for key in ("domains", "training_domains"):
            raw[key] = tuple(raw[key])
        return cls(**raw)
