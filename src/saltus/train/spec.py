"""What one training job is: plain frozen data that travels as canonical JSON. No torch.

The key of a job's state hashes all of it but the horizons, so that a new horizon continues the
trunks; nothing else in here may depend on the horizons or on other sizes.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from saltus.data.batches import Drill, Mixture
from saltus.model.shape import Shape


@dataclass(frozen=True)
class Replica:
    """One member of a block: its name in the tables, its seed, its learning rate."""

    name: str
    seed: int
    rate: float
    rate_factor: float = 1.0

    @property
    def number(self) -> int:
        """Return the seed as the study file names it."""
        return int(self.name.removeprefix("seed").split("-")[0])


@dataclass(frozen=True)
class Optimizer:
    """The optimizer, `adamw` or `muon`, and the clipping norm of one replica's gradient.

    The betas and `epsilon` are AdamW's, `momentum` is Muon's; with `muon`, AdamW still trains the
    embedding and the norms.
    """

    name: str
    beta1: float
    beta2: float
    epsilon: float
    momentum: float
    decay: float
    clip: float


@dataclass(frozen=True)
class TrainSpec:
    """One (size, replica block).

    `horizons` are in tokens, ascending, multiples of `batch_tokens`; `anneal` is the share of a
    horizon spent decaying; `warmup_steps` belongs to the size.
    """

    study: str
    size: str
    block: int
    shape: Shape
    replicas: tuple[Replica, ...]
    mixture: Mixture
    batch_tokens: int
    warmup_steps: int
    anneal: float
    optimizer: Optimizer
    precision: str
    horizons: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Return the rows of a batch, B."""
        return self.batch_tokens // self.shape.context

    def steps(self, horizon: int) -> int:
        """Return the steps of a horizon."""
        return horizon // self.batch_tokens

    def anneal_start(self, horizon: int) -> int:
        """Return the step at which the decay branch of a horizon leaves the trunk."""
        steps = self.steps(horizon)
        return steps - max(1, round(self.anneal * steps))

    def to_json(self) -> str:
        """Return canonical JSON: sorted keys, no spaces."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "TrainSpec":
        """Return the spec that `to_json` wrote."""
        raw: dict[str, Any] = json.loads(text)
        mixture = raw["mixture"]
        raw |= {
            "shape": Shape(**raw["shape"]),
            "replicas": tuple(Replica(**replica) for replica in raw["replicas"]),
            "optimizer": Optimizer(**raw["optimizer"]),
            "horizons": tuple(raw["horizons"]),
            "mixture": Mixture(
                **(mixture | {"drills": tuple(Drill(**drill) for drill in mixture["drills"])})
            ),
        }
        return cls(**raw)

    def identity(self) -> str:
        """Return the JSON of all that decides a trunk: all but horizons and the study's name."""
        raw = json.loads(self.to_json())
        for key in ("study", "horizons"):
            del raw[key]
        return json.dumps(raw, sort_keys=True, separators=(",", ":"))


def state_key(spec: TrainSpec, **surroundings: str) -> str:
    """Return the content address of a job's state.

    `surroundings` are hashed along: the data's manifest, the stage's code, the torch version, the
    device type.
    """
    text = spec.identity() + json.dumps(surroundings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]
