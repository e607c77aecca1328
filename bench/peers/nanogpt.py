"""The peer: a plain GPT-2-style model and loop, as most people train a small language model.

    python bench/peers/nanogpt.py --data train.bin --width 64 --depth 4 --heads 4 --steps 1000 \
        --val val.bin

It has the structure of nanoGPT (Karpathy 2022), written anew: pre-norm LayerNorm without bias,
learned positions, causal `scaled_dot_product_attention`, a GELU MLP of four times the width, a tied
head, fused AdamW with decay by number of dimensions, clipping at 1, warm-up and cosine decay,
batches cut at random offsets from a memory-mapped uint16 file, the loss read at log intervals only.
It knows nothing of saltus, and runs with PyTorch and NumPy alone.
Legend: B sequence, T token, D width, H head, K head width, V vocabulary.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Options:
    """The model, and how it is trained. Widths are in units, `context` and `batch` in tokens."""

    width: int
    depth: int
    heads: int
    steps: int
    vocabulary: int = 512
    context: int = 64
    batch: int = 512
    rate: float = 1e-3
    warmup: int = 100
    beta1: float = 0.9
    beta2: float = 0.95
    decay: float = 0.1
    clip: float = 1.0
    stride: int = 1
    """Batches begin at multiples of this in the file; 1 is any offset, as nanoGPT has it."""
    precision: str = "fp32"
    compiled: bool = False
    seed: int = 0
    log_every: int = 100


class Norm(nn.Module):
    """LayerNorm with a gain and no bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, None, 1e-5)


class Block(nn.Module):
    """Attention and MLP, each added to the residual stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = Norm(width), Norm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # (B, T, D)
        batch, length, width = x.shape
        parts = self.qkv(self.norm1(x)).split(width, dim=2)
        split = (batch, length, self.heads, width // self.heads)
        query, key, value = (part.view(split).transpose(1, 2) for part in parts)  # (B, H, T, K)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(x.shape))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Model(nn.Module):
    """The decoder; its head is the token embedding."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.tokens = nn.Embedding(options.vocabulary, options.width)
        self.positions = nn.Embedding(options.context, options.width)
        blocks = (Block(options.width, options.heads) for _ in range(options.depth))
        self.blocks = nn.ModuleList(blocks)
        self.norm = Norm(options.width)
        for name, parameter in self.named_parameters():
            if parameter.dim() >= 2:
                into_residual = name.endswith(("out.weight", "down.weight"))
                scale = (2 * options.depth) ** -0.5 if into_residual else 1.0
                nn.init.normal_(parameter, std=0.02 * scale)

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy of `targets` (B, T) after `inputs` (B, T), in nats."""
        x = self.tokens(inputs) + self.positions(torch.arange(inputs.shape[1]))
        for block in self.blocks:
            x = block(x)
        scores = F.linear(self.norm(x), self.tokens.weight)
        return F.cross_entropy(scores.flatten(0, 1), targets.flatten())


def num_parameters(options: Options) -> int:
    """Return the non-embedding parameters: four D x D in attention, eight in the MLP, the norms."""
    width = options.width
    return options.depth * (12 * width * width + 2 * width) + width


def flops_per_token(options: Options) -> int:
    """Return the training FLOPs of a token: matrix products, full attention, head; three passes."""
    width = options.width
    layer = 2 * 12 * width * width + 4 * options.context * width
    return 3 * (options.depth * layer + 2 * width * options.vocabulary)


def make_optimizer(model: nn.Module, options: Options) -> torch.optim.Optimizer:
    """Return fused AdamW; tensors of two dimensions or more decay, embeddings too."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": options.decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    betas = (options.beta1, options.beta2)
    return torch.optim.AdamW(groups, lr=options.rate, betas=betas, fused=True)


def rate_at(step: int, options: Options) -> float:
    """Return the learning rate: linear warm-up, then a cosine to a tenth of the peak."""
    if step < options.warmup:
        return options.rate * (step + 1) / (options.warmup + 1)
    progress = (step - options.warmup) / max(1, options.steps - options.warmup)
    return options.rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def make_batch(path: Path, options: Options) -> tuple[Tensor, Tensor]:
    """Return inputs and targets (B, T) cut at random; the file is mapped anew, or memory grows."""
    data = np.memmap(path, dtype="<u2", mode="r")
    length = options.context
    rows = options.batch // length
    count = (len(data) - length - 1) // options.stride + 1
    starts = (torch.randint(count, (rows,)) * options.stride).tolist()
    windows = [torch.from_numpy(data[at : at + length + 1].astype(np.int64)) for at in starts]
    stacked = torch.stack(windows)
    return stacked[:, :-1].contiguous(), stacked[:, 1:].contiguous()


def make_step(path: Path, options: Options) -> tuple[Model, Callable[[int], Tensor]]:
    """Return the model, and the function that does a step and returns its loss, not read.

    `options.steps` decides the schedule alone; steps beyond it stay at the lowest rate.
    """
    torch.manual_seed(options.seed)
    model = Model(options)
    optimizer = make_optimizer(model, options)
    forward = torch.compile(model) if options.compiled else model
    bf16 = torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16")

    def step_once(step: int) -> Tensor:
        inputs, targets = make_batch(path, options)
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, options)
        with bf16:
            loss = forward(inputs, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), options.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return model, step_once


@torch.no_grad()
def held_out_loss(model: Model, path: Path, context: int) -> float:
    """Return the loss over all windows of a file, in nats/token; they share their end tokens."""
    data = np.fromfile(path, dtype="<u2").astype(np.int64)
    count = (len(data) - 1) // context
    windows = torch.from_numpy(data[np.arange(count)[:, None] * context + np.arange(context + 1)])
    parts = windows.split(64)
    total = sum(model(part[:, :-1], part[:, 1:]).item() * len(part) for part in parts)
    return total / count


def train(path: Path, options: Options) -> Model:
    """Train for `options.steps` and return the model."""
    model, step_once = make_step(path, options)
    for step in range(options.steps):
        loss = step_once(step)
        if step % options.log_every == 0:
            print(f"step {step}: loss {loss.item():.3f}", file=sys.stderr)
    return model


def load(path: Path) -> tuple[Model, Options]:
    """Return the model that a run saved, and its options."""
    stored = torch.load(path, weights_only=True)
    options = Options(**stored["options"])
    model = Model(options)
    model.load_state_dict(stored["model"])
    return model, options


def main() -> None:
    """Train one model from the command line; print its losses as JSON."""
    parser = argparse.ArgumentParser(description="Train one plain GPT-2-style model.")
    parser.add_argument("--data", type=Path, required=True, help="uint16 tokens to train on")
    parser.add_argument("--val", type=Path, help="uint16 tokens for the final loss")
    parser.add_argument("--save", type=Path, help="where the weights go")
    parser.add_argument("--threads", type=int, default=1)
    for field in fields(Options):
        flag, default = f"--{field.name.replace('_', '-')}", field.default
        if default is MISSING:
            parser.add_argument(flag, type=int, required=True)
        elif isinstance(default, bool):
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag, type=type(default), default=default)
    arguments = parser.parse_args()
    options = Options(**{field.name: getattr(arguments, field.name) for field in fields(Options)})
    torch.set_num_threads(arguments.threads)
    started = time.perf_counter()
    model = train(arguments.data, options)
    result = {"steps": options.steps, "seconds": time.perf_counter() - started}
    if arguments.val:
        result["val_loss"] = held_out_loss(model, arguments.val, options.context)
    if arguments.save:
        torch.save({"options": asdict(options), "model": model.state_dict()}, arguments.save)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
