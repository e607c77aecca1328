"""Muon over replicas: parity with PyTorch's on single matrices, and what it leaves to AdamW."""

import dataclasses

import pytest
import torch

from saltus.model.initialise import initial_parameters
from saltus.model.shape import Shape, num_undecayed
from saltus.model.transformer import unflatten
from saltus.train.muon import muon_update, orthogonalise
from saltus.train.optimizer import OptimizerState, optimizer_step
from saltus.train.spec import Optimizer

SHAPE = Shape(20, width=12, depth=2, heads=2, feedforward=32, context=8)
OPTIONS = Optimizer("muon", 0.9, 0.98, 1e-8, momentum=0.95, decay=0.3, clip=1e9)
RATES = (0.02, 0.005)
BESIDE = {"qkv": 3, "gate_up": 2}


def fresh_state() -> OptimizerState:
    parameters = initial_parameters(SHAPE, [0, 1])
    generator = torch.Generator().manual_seed(3)
    parameters += 0.1 * torch.randn(parameters.shape, generator=generator)
    zeros = torch.zeros_like(parameters)
    return OptimizerState(parameters, zeros, zeros.clone(), torch.ones(2, dtype=torch.bool))


def gradients(steps: int) -> torch.Tensor:
    size = fresh_state().parameters.shape[1]
    return torch.randn(steps, 2, size, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("size", [(6, 6), (6, 14), (14, 6)])
def test_one_orthogonalisation_equals_torch(size: tuple[int, int]) -> None:
    from torch.optim._muon import _zeropower_via_newtonschulz

    matrix = torch.randn(*size, generator=torch.Generator().manual_seed(1))
    theirs = _zeropower_via_newtonschulz(matrix, (3.4445, -4.7750, 2.0315), 5, 1e-7).float()
    ours = orthogonalise(matrix[None], torch.bfloat16)[0]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    exact = orthogonalise(matrix[None].double(), torch.float64)[0]
    assert (theirs.double() - exact).norm() < 0.05 * exact.norm()  # bfloat16


def test_singular_values_are_drawn_to_one_and_vectors_kept() -> None:
    matrix = torch.randn(3, 8, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    unit = orthogonalise(matrix, torch.float64)
    values = torch.linalg.svdvals(unit)
    assert values.min() > 0.6 and values.max() < 1.3
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    rotated = u.mT @ unit @ vh.mT
    off = rotated - torch.diag_embed(rotated.diagonal(dim1=-2, dim2=-1))
    assert off.abs().max() < 1e-9


def test_twenty_steps_equal_torch_on_every_single_matrix() -> None:
    state, slopes = fresh_state(), gradients(20)
    start = unflatten(state.parameters.clone(), SHAPE)
    pieces = [unflatten(slope, SHAPE) for slope in slopes]
    for step, slope in enumerate(slopes):
        rates, losses = torch.tensor(RATES), torch.ones(2)
        optimizer_step(state, slope.clone(), losses, rates, step, SHAPE, OPTIONS)
    ended = unflatten(state.parameters, SHAPE)
    compared = 0
    for name, tensor in start.items():
        if tensor.ndim != 3 or name == "embedding":
            continue
        parts = BESIDE.get(name.rsplit(".", 1)[1], 1)
        for r, rate in enumerate(RATES):
            for index, matrix in enumerate(tensor[r].chunk(parts, 1)):
                theirs = matrix.T.clone().requires_grad_()  # PyTorch's are (out, in)
                muon = torch.optim.Muon(
                    [theirs],
                    lr=rate,
                    weight_decay=OPTIONS.decay,
                    momentum=OPTIONS.momentum,
                    adjust_lr_fn="match_rms_adamw",
                )
                for piece in pieces:
                    theirs.grad = piece[name][r].chunk(parts, 1)[index].T.clone()
                    muon.step()
                ours = ended[name][r].chunk(parts, 1)[index]
                moved = (theirs.detach().T - matrix).norm()
                assert (ours - theirs.detach().T).norm() < 0.02 * moved  # bfloat16 in theirs
                compared += 1
    assert compared == 2 * 2 * (3 + 1 + 2 + 1)


def test_the_rest_is_adamw() -> None:
    first = num_undecayed(SHAPE)
    slopes = gradients(10)
    ended = []
    for name in ("muon", "adamw"):
        state = fresh_state()
        options = dataclasses.replace(OPTIONS, name=name)
        for step, slope in enumerate(slopes):
            optimizer_step(
                state, slope.clone(), torch.ones(2), torch.tensor(RATES), step, SHAPE, options
            )
        ended.append(state)
    assert torch.equal(ended[0].parameters[:, :first], ended[1].parameters[:, :first])
    assert not torch.equal(ended[0].parameters[:, first:], ended[1].parameters[:, first:])
    assert not ended[0].second[:, first:].any()


def test_steps_are_as_large_as_adamws() -> None:
    state = fresh_state()
    first = num_undecayed(SHAPE)
    before = state.parameters[:, first:].clone()
    momentum = torch.zeros_like(before)
    options = dataclasses.replace(OPTIONS, decay=0.0)
    after = before.clone()
    alive = torch.ones(2, dtype=torch.bool)
    muon_update(after, momentum, gradients(1)[0, :, first:], torch.ones(2), alive, SHAPE, options)
    rms = (after - before).square().mean().sqrt()
    assert 0.15 < rms < 0.25  # .2 at a rate of one (Liu et al. 2025)


def test_the_dead_stay_as_they_were() -> None:
    state, slopes = fresh_state(), gradients(4)
    slopes[1, 0, -3] = float("nan")
    for step, slope in enumerate(slopes):
        if step == 1:
            kept = [state.parameters[0].clone(), state.first[0].clone(), state.second[0].clone()]
        optimizer_step(
            state, slope.clone(), torch.ones(2), torch.tensor(RATES), step, SHAPE, OPTIONS
        )
    assert state.alive.tolist() == [False, True]
    for found, expected in zip((state.parameters, state.first, state.second), kept, strict=True):
        assert torch.equal(found[0], expected)
        assert torch.isfinite(found).all()
