"""A check by sampling: how often draws from the model are the target, beside its probability.

The probability of a target is read off one pass over prompt and answer. Drawing whole answers,
token by token through the cache, must agree with it; a few problems per task show an error.
`saltus.emerge.resolution` compares the two.

Legend: R replica, B problem, A answer token with its terminator, N draw.
"""

import numpy as np
import torch
from torch import Tensor

from saltus.data.writing import BLANK, Alphabet
from saltus.model.shape import Shape
from saltus.probe.decode import sample

SAMPLED_ITEMS = 16
"""Problems of each task and arm that are sampled: the first ones, balanced by carries."""
DRAWS = 64
GROUP_LOGITS = 1 << 18
"""How many logits of one replica are held at once: larger groups fall out of the CPU's cache."""


def is_sampled(item: np.ndarray) -> np.ndarray:
    """Return whether problems of these numbers (n,) are sampled, (n,)."""
    return item < SAMPLED_ITEMS


@torch.no_grad()
def count_matches(
    parameters: dict[str, Tensor],
    prompts: np.ndarray,  # (B, P), all of one length
    targets: np.ndarray,  # (B, A), blanks after the terminator
    shape: Shape,
    alphabet: Alphabet,
    runs: list[str],  # (R,)
    seed: int,
) -> np.ndarray:  # (R, B)
    """Return how many of `DRAWS` answers drawn at temperature 1 equal the target in every token."""
    device = parameters["norm"].device
    found = np.zeros((len(runs), len(prompts)), dtype=np.int64)
    filled = np.where(targets == BLANK, alphabet.separator, targets)
    # Not by the number of replicas: a run draws the same in any company.
    step = max(1, GROUP_LOGITS // (DRAWS * shape.vocabulary))
    for first in range(0, len(prompts), step):
        part = slice(first, first + step)
        drawn = sample(
            parameters,
            torch.from_numpy(prompts[part]).to(device),
            shape,
            draws=DRAWS,
            seeds=[_seed_of(run, prompts[part], seed) for run in runs],
            terminator=alphabet.separator,
            max_tokens=int((targets[part] != BLANK).sum(1).max()),
        )
        # After the terminator both are filled with it, so that whole rows are compared.
        target = torch.from_numpy(filled[part, : drawn.shape[3]]).to(device)
        same = (drawn == target[None, :, None]).all(-1)
        complete = torch.from_numpy((targets[part] != BLANK).sum(1)).to(device) <= drawn.shape[3]
        found[:, part] = (same & complete[None, :, None]).sum(-1).cpu().numpy()
    return found


def _seed_of(run: str, prompts: np.ndarray, seed: int) -> int:
    """Return a seed of a run's own for each group of problems."""
    entropy = [seed, *run.encode(), *prompts.ravel().tolist()]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))
