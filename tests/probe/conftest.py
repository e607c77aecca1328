"""Two small replicas trained on arithmetic alone, so that some of their answers are right."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from saltus.data.batches import ARITHMETIC, Batches, Drill, Mixture
from saltus.data.writing import Alphabet
from saltus.model.shape import Shape
from saltus.model.transformer import unflatten
from saltus.train.engine import decide
from saltus.train.schedule import Branch
from saltus.train.spec import Optimizer, Replica, TrainSpec
from saltus.train.trainer import Trainer, fresh_snapshot

STEPS = 120


@dataclass(frozen=True)
class Pupils:
    """Parameters (R, P) of one shape, and what they were trained on."""

    flat: Tensor
    shape: Shape
    alphabet: Alphabet
    mixture: Mixture

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The named parameters."""
        return unflatten(self.flat, self.shape)

    def alone(self, replica: int) -> dict[str, Tensor]:
        """The named parameters of one replica."""
        return unflatten(self.flat[replica : replica + 1], self.shape)


@pytest.fixture(scope="session")
def pupils() -> Pupils:
    """Return two replicas that have learned how answers look, and some of them."""
    torch.set_num_threads(1)
    alphabet = Alphabet(tuple(range(13)), {"plain": 13, "reversed": 14, "padded": 15}, 16)
    drills = (Drill("chain_2", "plain", 3.0), Drill("mul_2x1", "reversed", 1.0))
    mixture = Mixture({ARITHMETIC: 1.0}, drills, 0.1, "salt")
    shape = Shape(17, width=16, depth=2, heads=2, feedforward=24, context=16)
    spec = TrainSpec(
        study="pupils",
        size="s1",
        block=0,
        shape=shape,
        replicas=(Replica("seed0", 0, 0.02), Replica("seed1", 1, 0.015)),
        mixture=mixture,
        batch_tokens=64 * 16,
        warmup_steps=10,
        anneal=0.25,
        optimizer=Optimizer("adamw", 0.9, 0.99, 1e-8, 0.95, 0.1, 1.0),
        precision="fp32",
        horizons=(STEPS * 64 * 16,),
    )
    batches = Batches(mixture, {}, alphabet, seeds=(0, 1), rows=spec.rows, context=16)
    start = fresh_snapshot(spec, torch.device("cpu"))
    device = torch.device("cpu")
    trainer = Trainer(spec, batches, device, decide(spec, device))
    ended = trainer.run(start, Branch(None, 0, STEPS), lambda snapshot: None)
    return Pupils(ended.optimizer.parameters.detach(), shape, alphabet, mixture)
