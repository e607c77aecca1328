"""AdamW over replicas: parity with PyTorch's, clipping, own rates, and frozen replicas."""

import math

import pytest
import torch
from torch import Tensor

from saltus.model.initialise import initial_parameters
from saltus.model.shape import Shape, layout, num_parameters
from saltus.train.optimizer import OptimizerState, optimizer_step
from saltus.train.spec import Optimizer

SHAPE = Shape(20, width=6, depth=2, heads=1, feedforward=8, context=8)
OPTIONS = Optimizer(
    name="adamw", beta1=0.9, beta2=0.98, epsilon=1e-8, momentum=0.95, decay=0.3, clip=1.0
)
RATES = (0.01, 0.003, 0.1)


def fresh_state(replicas: int = 3) -> OptimizerState:
    parameters = initial_parameters(SHAPE, list(range(replicas)))
    zeros = torch.zeros_like(parameters)
    return OptimizerState(parameters, zeros, zeros.clone(), torch.ones(replicas, dtype=torch.bool))


def random_gradients(steps: int, replicas: int = 3) -> Tensor:
    """Gradients (steps, R, P), of norms both far below and far above the clipping norm."""
    generator = torch.Generator().manual_seed(5)
    size = num_parameters(SHAPE)
    scales = 10 ** torch.empty(steps, replicas, 1).uniform_(-4, 2, generator=generator)
    return torch.randn(steps, replicas, size, generator=generator) * scales


def run_ours(
    state: OptimizerState, gradients: Tensor, rates: Tensor, losses: Tensor | None = None
) -> OptimizerState:
    """All steps; `losses` is (steps, R)."""
    for step, gradient in enumerate(gradients):
        loss = torch.ones(len(rates)) if losses is None else losses[step]
        optimizer_step(state, gradient.clone(), loss, rates, step, SHAPE, OPTIONS)
    return state


def test_fifty_steps_equal_torch_with_decay_groups_and_clipping() -> None:
    gradients = random_gradients(50)
    ours = run_ours(fresh_state(), gradients, torch.tensor(RATES))
    start = fresh_state().parameters
    sizes = [entry.size for entry in layout(SHAPE)]
    for r, rate in enumerate(RATES):
        tensors = [t.clone().requires_grad_() for t in start[r].double().split(sizes)]
        decayed = [t for t, e in zip(tensors, layout(SHAPE), strict=True) if e.role == "matrix"]
        others = [t for t, e in zip(tensors, layout(SHAPE), strict=True) if e.role != "matrix"]
        theirs = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": OPTIONS.decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=rate,
            betas=(OPTIONS.beta1, OPTIONS.beta2),
            eps=OPTIONS.epsilon,
        )
        clipped = 0
        for gradient in gradients[:, r].double():
            for tensor, piece in zip(tensors, gradient.split(sizes), strict=True):
                tensor.grad = piece.clone()
            norm = torch.nn.utils.clip_grad_norm_(tensors, OPTIONS.clip)
            clipped += int(norm > OPTIONS.clip)
            theirs.step()
        assert 10 < clipped < 40, "both kinds of step occur"
        expected = torch.cat([tensor.detach() for tensor in tensors])
        torch.testing.assert_close(ours.parameters[r].double(), expected, atol=2e-5, rtol=1e-4)


def test_replicas_take_the_steps_they_take_alone() -> None:
    gradients = random_gradients(20)
    together = run_ours(fresh_state(), gradients, torch.tensor(RATES))
    for r, rate in enumerate(RATES):
        state = fresh_state()
        single = OptimizerState(*(getattr(state, name)[r : r + 1].clone() for name in FIELDS))
        alone = run_ours(single, gradients[:, r : r + 1], torch.tensor([rate]))
        for name in FIELDS:
            torch.testing.assert_close(
                getattr(together, name)[r], getattr(alone, name)[0], rtol=1e-6, atol=1e-8
            )


FIELDS = ("parameters", "first", "second", "alive")


def test_a_step_is_proportional_to_the_rate() -> None:
    gradients = random_gradients(1, 1).expand(1, 2, -1)
    state = fresh_state(2)
    state.parameters[1] = state.parameters[0]
    before = state.parameters.clone()
    run_ours(state, gradients, torch.tensor([0.01, 0.02]))
    moved = state.parameters - before
    torch.testing.assert_close(moved[1], 2 * moved[0], rtol=1e-3, atol=1e-6)


def test_decay_goes_by_role() -> None:
    state = fresh_state(1)
    before = state.parameters.clone()
    zero = torch.zeros(1, 1, before.shape[1])
    run_ours(state, zero, torch.tensor([0.5]))
    start = 0
    for entry in layout(SHAPE):
        part = slice(start, start + entry.size)
        factor = 1 - 0.5 * OPTIONS.decay if entry.role == "matrix" else 1.0
        torch.testing.assert_close(state.parameters[0, part], factor * before[0, part])
        start += entry.size
    assert start == before.shape[1]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_what_is_not_finite_freezes_its_replica_for_good(bad: float, where: str) -> None:
    gradients, losses = random_gradients(6), torch.ones(6, 3)
    rates = torch.tensor(RATES)
    healthy = run_ours(fresh_state(), gradients, rates)
    before = run_ours(fresh_state(), gradients[:3], rates)
    if where == "loss":
        losses[3, 1] = bad
    else:
        gradients[3, 1, 7] = bad
    # The steps after it are finite again, and must not wake the replica.
    state = run_ours(fresh_state(), gradients, rates, losses)
    assert state.alive.tolist() == [True, False, True]
    for name in ("parameters", "first", "second"):
        ours = getattr(state, name)
        assert torch.equal(ours[[0, 2]], getattr(healthy, name)[[0, 2]])
        assert torch.equal(ours[1], getattr(before, name)[1])
        assert torch.isfinite(ours).all()


def test_a_gradient_of_nothing_moves_nothing_but_decay() -> None:
    state = fresh_state(1)
    run_ours(state, torch.zeros(3, 1, state.parameters.shape[1]), torch.tensor([0.1]))
    assert torch.isfinite(state.parameters).all() and state.alive.all()
