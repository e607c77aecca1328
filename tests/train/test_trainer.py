"""The loop: replicas as alone, runs that repeat bit for bit, and replicas that diverge."""

import copy
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from saltus.data.batches import ARITHMETIC
from saltus.errors import SaltusError, Stopped
from saltus.model.transformer import token_losses, unflatten
from saltus.train.engine import Engine, decide
from saltus.train.job import batches_of
from saltus.train.schedule import Branch
from saltus.train.spec import Replica, TrainSpec
from saltus.train.state import Snapshot
from saltus.train.stop import Stop
from saltus.train.trainer import Trainer, fresh_snapshot

MakeSpec = Callable[..., TrainSpec]
CPU = torch.device("cpu")
THREE = (Replica("seed0", 11, 0.01), Replica("seed1", 12, 0.02), Replica("seed2", 13, 0.005))


@pytest.fixture(params=["native", "written"])
def trainer_of(request: pytest.FixtureRequest, shards: Path) -> Callable[..., Trainer]:
    """Return a maker of trainers on the small generated language, with either kind of kernels."""
    if request.param == "native":
        request.getfixturevalue("c_compiler")

    def make(spec: TrainSpec, engine: Engine | None = None) -> Trainer:
        decided = dataclasses.replace(decide(spec, CPU), kernels=request.param)
        if spec.precision != "fp32":
            decided = dataclasses.replace(decided, kernels="written")
        return Trainer(spec, batches_of(spec, shards), CPU, engine or decided)

    return make


MakeTrainer = Callable[..., Trainer]


def with_optimizer(spec: TrainSpec, name: str) -> TrainSpec:
    """Return the spec with an optimizer of this name."""
    return dataclasses.replace(spec, optimizer=dataclasses.replace(spec.optimizer, name=name))


def nothing(snapshot: Snapshot) -> None:
    """Save nowhere."""


def run(trainer: Trainer, end: int, start: Snapshot | None = None) -> Snapshot:
    snapshot = fresh_snapshot(trainer.spec, CPU) if start is None else start
    return trainer.run(snapshot, Branch(None, 0, end), nothing)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_replicas_trained_together_equal_each_alone_after_a_hundred_steps(
    name: str, make_spec: MakeSpec, trainer_of: MakeTrainer
) -> None:
    together = run(trainer_of(with_optimizer(make_spec(replicas=THREE), name)), 100)
    start = fresh_snapshot(make_spec(replicas=THREE), CPU).optimizer.parameters
    for r, replica in enumerate(THREE):
        alone = run(trainer_of(with_optimizer(make_spec(replicas=(replica,)), name)), 100)
        found, expected = together.optimizer.parameters[r], alone.optimizer.parameters[0]
        moved = torch.linalg.vector_norm(expected - start[r])
        assert torch.linalg.vector_norm(found - expected) < 1e-3 * moved
        torch.testing.assert_close(
            together.curve[:, 1 + 4 * r], alone.curve[:, 1], rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_run_repeats_bit_for_bit(name: str, make_spec: MakeSpec, trainer_of: MakeTrainer) -> None:
    spec = with_optimizer(make_spec(), name)
    first, second = (run(trainer_of(spec), 15) for _ in range(2))
    for part in ("parameters", "first", "second", "alive"):
        assert torch.equal(getattr(first.optimizer, part), getattr(second.optimizer, part))
    assert torch.equal(first.curve.nan_to_num(-1), second.curve.nan_to_num(-1))


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_training_learns(name: str, make_spec: MakeSpec, trainer_of: MakeTrainer) -> None:
    curve = run(trainer_of(with_optimizer(make_spec(), name)), 150).curve
    for column in (1, 5):
        assert curve[0, column].item() == pytest.approx(math.log(280), abs=0.2)
        assert curve[-20:, column].nanmean() < 0.75 * curve[0, column]


def test_the_curve_holds_the_losses_of_the_batches(
    make_spec: MakeSpec, trainer_of: MakeTrainer
) -> None:
    spec = make_spec()
    trainer = trainer_of(spec)
    curve = run(trainer, 10).curve
    assert curve[:, 0].tolist() == list(range(1, 11))
    start = fresh_snapshot(spec, CPU).optimizer.parameters
    tokens = torch.from_numpy(trainer.batches.batch(0))
    rows = token_losses(unflatten(start, spec.shape), tokens, spec.shape).mean(2)
    is_text = torch.tensor(
        [trainer.batches.names[s] != ARITHMETIC for s in trainer.batches.sources(0)]
    )
    for r in range(2):
        expected = [rows[r].mean(), rows[r][is_text].mean(), rows[r][~is_text].mean(), 1.0]
        torch.testing.assert_close(curve[0, 1 + 4 * r : 5 + 4 * r], torch.tensor(expected))


@pytest.mark.parametrize("cause", ["rate", "nan"])
def test_a_diverged_replica_is_frozen_and_the_others_go_on(
    cause: str, make_spec: MakeSpec, trainer_of: MakeTrainer
) -> None:
    rate = 1e30 if cause == "rate" else THREE[1].rate
    replicas = (THREE[0], dataclasses.replace(THREE[1], rate=rate), THREE[2])
    spec = make_spec(replicas=replicas)
    start = fresh_snapshot(spec, CPU)
    if cause == "nan":
        start.optimizer.parameters[1, 5] = math.nan
    ended = run(trainer_of(spec), 20, start)
    assert ended.optimizer.alive.tolist() == [True, False, True]
    healthy = run(trainer_of(make_spec(replicas=THREE)), 20)
    for name in ("parameters", "first", "second"):
        ours = getattr(ended.optimizer, name)
        assert torch.equal(ours[[0, 2]], getattr(healthy.optimizer, name)[[0, 2]])
    for r in (0, 2):
        alone = run(trainer_of(make_spec(replicas=(THREE[r],))), 20)
        torch.testing.assert_close(
            ended.optimizer.parameters[r], alone.optimizer.parameters[0], rtol=1e-3, atol=1e-4
        )
    alive = ended.curve[:, 8]
    assert alive[-1] == 0 and (alive.diff() <= 0).all()
    assert ended.curve[:, [4, 12]].all()


def test_a_frozen_replica_keeps_its_last_good_step(
    make_spec: MakeSpec, trainer_of: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from saltus.train import trainer as module

    real = module.optimizer_step

    def with_a_bad_loss(state, gradient, losses, rates, step, *rest):  # type: ignore[no-untyped-def]
        losses = losses.clone()
        if step == 6:
            losses[0] = math.nan
        real(state, gradient, losses, rates, step, *rest)

    before = run(trainer_of(make_spec()), 6)
    monkeypatch.setattr(module, "optimizer_step", with_a_bad_loss)
    after = run(trainer_of(make_spec()), 15)
    assert torch.equal(after.optimizer.parameters[0], before.optimizer.parameters[0])
    assert not torch.equal(after.optimizer.parameters[1], before.optimizer.parameters[1])


def test_a_branch_in_two_parts_equals_one_in_one(
    make_spec: MakeSpec, trainer_of: MakeTrainer
) -> None:
    spec = make_spec()
    whole = run(trainer_of(spec), 12)
    for middle in (1, 5, 11):
        parts = run(trainer_of(spec), 12, run(trainer_of(spec), middle))
        assert torch.equal(whole.optimizer.parameters, parts.optimizer.parameters)
        assert torch.equal(whole.optimizer.second, parts.optimizer.second)
        assert torch.equal(whole.curve.nan_to_num(-1), parts.curve.nan_to_num(-1))


def test_the_deadline_saves_before_it_raises(make_spec: MakeSpec, trainer_of: MakeTrainer) -> None:
    trainer = dataclasses.replace(trainer_of(make_spec()), stop=Stop(-math.inf))
    saved: list[Snapshot] = []
    with pytest.raises(Stopped, match="time is up"):
        trainer.run(fresh_snapshot(trainer.spec, CPU), Branch(None, 0, 10), saved.append)
    assert [snapshot.step for snapshot in saved] == [1]
    assert saved[0].curve.shape == (1, 9)
    assert saved[0].seconds > 0


def test_half_precision_stays_beside_full(make_spec: MakeSpec, trainer_of: MakeTrainer) -> None:
    full, half = (run(trainer_of(make_spec(precision=p)), 40) for p in ("fp32", "bf16"))
    assert half.optimizer.parameters.dtype == torch.float32
    assert not torch.equal(full.optimizer.parameters, half.optimizer.parameters)
    torch.testing.assert_close(full.curve[:, 1], half.curve[:, 1], rtol=0.03, atol=0.0)


WRITTEN = Engine("written", 2)
ENGINES = {
    "one replica at a time": Engine("written", 1),
    "two and one": Engine("written", 2),
    "rows in pieces": Engine("written", 3, micro_batches=3),
    "all of it": Engine("written", 2, micro_batches=4, checkpointing=True),
    "native": Engine("native", 3),
    "native, all of it": Engine("native", 2, micro_batches=4, checkpointing=True),
}


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_takes_the_same_steps(
    name: str, make_spec: MakeSpec, trainer_of: MakeTrainer, request: pytest.FixtureRequest
) -> None:
    if ENGINES[name].kernels == "native":
        request.getfixturevalue("c_compiler")
    spec = make_spec(replicas=THREE)
    whole = run(trainer_of(spec, Engine("written", 3)), 30)
    parts = run(trainer_of(spec, ENGINES[name]), 30)
    torch.testing.assert_close(whole.curve, parts.curve, rtol=2e-4, atol=2e-4, equal_nan=True)
    torch.testing.assert_close(
        whole.optimizer.parameters, parts.optimizer.parameters, rtol=1e-2, atol=1e-3
    )


def test_written_kernels_train_as_the_definition_does(
    make_spec: MakeSpec, trainer_of: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from saltus.train import trainer as module

    written = run(trainer_of(make_spec(), WRITTEN), 40)
    monkeypatch.setattr(module, "written_losses", lambda named, tokens, shape, *rest: token_losses(
        named, tokens, shape
    ))  # fmt: skip
    plain = run(trainer_of(make_spec(), WRITTEN), 40)
    assert not torch.equal(written.optimizer.parameters, plain.optimizer.parameters)
    torch.testing.assert_close(written.curve, plain.curve, rtol=2e-4, atol=2e-4, equal_nan=True)


def test_out_of_memory_the_step_is_made_again_in_smaller_passes(
    make_spec: MakeSpec,
    trainer_of: MakeTrainer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from saltus.train import trainer as module

    real = module.written_losses

    def of_a_small_device(named, tokens, *rest):  # type: ignore[no-untyped-def]
        if tokens.shape[0] * tokens.shape[1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(named, tokens, *rest)

    whole = run(trainer_of(make_spec(), WRITTEN), 12)
    monkeypatch.setattr(module, "written_losses", of_a_small_device)
    heard: list[Engine] = []
    trainer = dataclasses.replace(trainer_of(make_spec(), WRITTEN), changed=heard.append)
    parts = run(trainer, 12)
    assert heard[-1] == trainer.engine == Engine("written", 1, micro_batches=2)
    torch.testing.assert_close(whole.curve, parts.curve, rtol=2e-4, atol=2e-4, equal_nan=True)
    assert "out of memory" in capsys.readouterr().err


def test_killed_after_giving_way_a_job_ends_as_it_would_have(
    make_spec: MakeSpec, trainer_of: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from saltus.train import trainer as module

    real, large = module.written_losses, 7  # from this step on, the whole batch is too large

    def of_a_device_that_fills_up(named, tokens, *rest):  # type: ignore[no-untyped-def]
        if len(steps) >= large and tokens.shape[0] * tokens.shape[1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(named, tokens, *rest)

    class Steps(list[int]):
        """A watcher that counts steps."""

        def begin(self, step: int, branch: Branch) -> None: ...

        def step(self, step: int, branch: Branch, losses: torch.Tensor) -> None:
            self.append(step)

    steps = Steps()
    monkeypatch.setattr(module, "written_losses", of_a_device_that_fills_up)
    kept: list[Snapshot] = []
    told: list[tuple[Engine, int]] = []
    trainer = dataclasses.replace(
        trainer_of(make_spec(), WRITTEN),
        watcher=steps,
        changed=lambda engine: told.append((engine, kept[-1].step)),
    )
    start = fresh_snapshot(trainer.spec, CPU)
    whole = trainer.run(start, Branch(None, 0, 20), lambda now: kept.append(copy.deepcopy(now)))
    assert told == [(trainer.engine, large)] and trainer.engine != WRITTEN
    resumed = run(trainer_of(make_spec(), trainer.engine), 20, kept[-1])
    assert torch.equal(whole.optimizer.parameters, resumed.optimizer.parameters)


def test_what_never_fits_is_one_line(
    make_spec: MakeSpec, trainer_of: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from saltus.train import trainer as module

    def full(*rest):  # type: ignore[no-untyped-def]
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(module, "written_losses", full)
    with pytest.raises(SaltusError, match="one row of one replica does not fit"):
        run(trainer_of(make_spec(), WRITTEN), 1)


def test_other_errors_are_not_taken_for_a_lack_of_memory(
    make_spec: MakeSpec, trainer_of: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from saltus.train import trainer as module

    def broken(*rest):  # type: ignore[no-untyped-def]
        raise RuntimeError("a shape is wrong")

    monkeypatch.setattr(module, "written_losses", broken)
    with pytest.raises(RuntimeError, match="a shape is wrong"):
        run(trainer_of(make_spec(), WRITTEN), 1)
