"""Training rate on one core against `Trainer` of transformers, on the same Qwen3 models.

    pip install -e '.[bench]'
    python bench/hf_trainer.py [--sizes n15k n180k] [--rounds 9]

The peer is `Qwen3ForCausalLM` in the shape of ours, set sensibly for a CPU: no reports, no
checkpoints, no progress bar, no loader processes; fused AdamW, clipping at 1 and a cosine schedule
are its defaults or are asked for. It stops after every turn in a callback and waits. Tokens are
those of the same shards. Both sides take turns as in bench/rate.py. Writes bench/hf_trainer.csv.
"""

import argparse
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import common
import numpy as np
import rate

from saltus.model.count import count_parameters, flops_per_token
from saltus.train.spec import TrainSpec

TARGETS = {"n15k": 2.0, "n40k": 2.0, "n180k": 2.0, "n900k": 1.1, "n3m": 1.1}
SIZES = ("n15k", "n180k", "n900k", "n3m")


def train_with_transformers(spec: TrainSpec, tokens_file: Path, turns: common.Turns) -> None:
    """Run `Trainer` on one model of the shape of `spec`, in turns."""
    import torch
    import transformers

    from saltus.model.export import qwen3_config

    class Windows(torch.utils.data.Dataset):  # type: ignore[type-arg]
        """Random windows of the memory-mapped token file."""

        def __init__(self) -> None:
            self.tokens = np.memmap(tokens_file, dtype="<u2", mode="r")
            self.generator = np.random.default_rng(0)

        def __len__(self) -> int:
            return 1 << 30

        def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
            start = int(self.generator.integers(len(self.tokens) - spec.shape.context))
            window = self.tokens[start : start + spec.shape.context].astype(np.int64)
            ids = torch.from_numpy(window)
            return {"input_ids": ids, "labels": ids}  # the model shifts the labels itself

    class InOrder(torch.utils.data.Sampler[int]):
        """Counts up: windows are random already, and a permutation of so many would not fit."""

        def __iter__(self) -> Any:
            return iter(range(1 << 30))

        def __len__(self) -> int:
            return 1 << 30

    class TakesTurns(transformers.TrainerCallback):
        """Answers at the end of a turn and waits for the next; the clock covers all between."""

        def __init__(self) -> None:
            self.steps = self.left = 0

        def _wait(self, control: Any) -> None:
            self.steps = self.left = turns.next()
            if not self.steps:
                control.should_training_stop = True

        def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            self._wait(control)

        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            self.left -= 1
            if self.left == 0:
                turns.done(self.steps * spec.batch_tokens)
                self._wait(control)

    class Trainer(transformers.Trainer):
        def _get_train_sampler(self, *given: Any) -> Any:
            return InOrder()

    raw = qwen3_config(spec.shape, None)
    for name in ("architectures", "model_type", "torch_dtype"):
        del raw[name]
    torch.manual_seed(0)
    model = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**raw))
    expected = count_parameters(spec.shape).total
    found = sum(parameter.numel() for parameter in model.parameters())
    assert found == expected, f"parameters: found {found}, expected {expected}"
    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            use_cpu=True,
            max_steps=1 << 20,
            per_device_train_batch_size=spec.rows,
            learning_rate=spec.replicas[0].rate,
            weight_decay=spec.optimizer.decay,
            max_grad_norm=spec.optimizer.clip,
            warmup_steps=spec.warmup_steps,
            lr_scheduler_type="cosine",
            optim="adamw_torch_fused",
            dataloader_num_workers=0,
            dataloader_pin_memory=False,
            report_to="none",
            save_strategy="no",
            logging_strategy="steps",
            logging_steps=500,
            disable_tqdm=True,
        )
        trainer = Trainer(
            model=model, args=arguments, train_dataset=Windows(), callbacks=[TakesTurns()]
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()


def work(point: dict[str, Any], turns: common.Turns) -> None:
    """Be one side."""
    if point["side"] != "transformers":
        common.serve(*rate.make(point), turns)
        return
    spec = rate.spec_of(point["size"], "fp32")
    train_with_transformers(spec, Path(point["shards"]) / "markov-train.bin", turns)


def measure(size: str, shards: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Return the row of one size."""
    shared = {"size": size, "shards": str(shards), "precision": "fp32"}
    sides = {
        "ours": {**shared, "kernels": given.kernels, "allocator": "kept"},
        "transformers": {**shared, "allocator": "default"},
        "peak": {"precision": "fp32", "allocator": "kept"},
    }
    workers = common.take_turns(__file__, sides, given)
    spec = rate.spec_of(size, "fp32")
    rates = {side: float(np.median(worker.rates)) for side, worker in workers.items()}
    per_token = flops_per_token(spec.shape)  # the same model on both sides
    return {
        "size": size,
        "kernels": given.kernels,
        "params_nonembedding": count_parameters(spec.shape).nonembedding,
        "ours_replicas": len(spec.replicas),
        "batch_tokens": spec.batch_tokens,
        "ours_tokens_per_second": rates["ours"],
        "transformers_tokens_per_second": rates["transformers"],
        **common.compare(workers["ours"].rates, workers["transformers"].rates),
        "target": TARGETS[size],
        "ours_peak_share": rates["ours"] * per_token / rates["peak"],
        "transformers_peak_share": rates["transformers"] * per_token / rates["peak"],
        "peak_fp32_flops": rates["peak"],
        "ours_start_seconds": workers["ours"].first_seconds,
        "transformers_start_seconds": workers["transformers"].first_seconds,
        "transformers": version("transformers"),
        "accelerate": version("accelerate"),
        **common.surroundings(),
    }


def main() -> None:
    """Measure every size and write the table."""
    parser = argparse.ArgumentParser(description="Training rate against transformers' Trainer.")
    parser.add_argument("--sizes", nargs="+", choices=TARGETS, default=list(SIZES))
    parser.add_argument("--kernels", choices=list(common.KERNELS), default="native")
    common.add_options(parser, __file__)
    given = parser.parse_args()
    shards = common.bench_shards(given.work)
    rows = []
    for size in given.sizes:
        rows.append(measure(size, shards, given))
        common.write_csv(given.out, rows)
        row = rows[-1]
        print(
            f"{size:6} ours {row['ours_tokens_per_second']:9,.0f} transformers "
            f"{row['transformers_tokens_per_second']:9,.0f} tokens/s  ratio {row['ratio']:.2f} "
            f"[{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(*common.enter())
    else:
        main()
