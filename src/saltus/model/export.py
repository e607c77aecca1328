"""A replica in the names and layout of Qwen3, for `transformers` and all that reads its format.

The family computes what `Qwen3ForCausalLM` computes with as many key-value heads as heads, so an
export is renaming, transposing and splitting: ours are (in, out) and stacked, theirs (out, in) and
apart. A rotary pair is two neighbouring units of a head in ours, and in theirs one of each half.
Legend: D width, F feed-forward width, P parameters.
"""

from typing import Any

import torch
from torch import Tensor

from saltus.model.shape import Shape, layout
from saltus.model.transformer import NORM_EPSILON, unflatten


def qwen3_tensors(row: Tensor, shape: Shape) -> dict[str, Tensor]:
    """Return the tensors of `Qwen3ForCausalLM` for one replica's flat parameters (P,).

    The tied output matrix is not stored twice. Raises `ValueError` if the row is not of this shape.
    """
    expected = sum(entry.size for entry in layout(shape))
    if row.shape != (expected,):
        raise ValueError(f"parameters: found shape {tuple(row.shape)}, expected ({expected},)")
    ours = {name: tensor[0] for name, tensor in unflatten(row[None], shape).items()}
    theirs = {
        "model.embed_tokens.weight": ours["embedding"],
        "model.norm.weight": ours["norm"],
    }
    pairs = torch.arange(shape.head_width).view(-1, 2).T.flatten()  # of a head, in halves
    halves = torch.arange(shape.width).view(shape.heads, -1)[:, pairs].flatten()
    for layer in range(shape.depth):
        name, prefix = f"layers.{layer}.", f"model.layers.{layer}."
        query, key, value = ours[name + "attention.qkv"].chunk(3, dim=1)  # each (D, D)
        gate, up = ours[name + "feedforward.gate_up"].chunk(2, dim=1)  # each (D, F)
        theirs |= {
            prefix + "input_layernorm.weight": ours[name + "attention.norm"],
            prefix + "self_attn.q_proj.weight": query.T[halves],
            prefix + "self_attn.k_proj.weight": key.T[halves],
            prefix + "self_attn.v_proj.weight": value.T,
            prefix + "self_attn.q_norm.weight": ours[name + "attention.query_norm"][pairs],
            prefix + "self_attn.k_norm.weight": ours[name + "attention.key_norm"][pairs],
            prefix + "self_attn.o_proj.weight": ours[name + "attention.output"].T,
            prefix + "post_attention_layernorm.weight": ours[name + "feedforward.norm"],
            prefix + "mlp.gate_proj.weight": gate.T,
            prefix + "mlp.up_proj.weight": up.T,
            prefix + "mlp.down_proj.weight": ours[name + "feedforward.down"].T,
        }
    return {name: tensor.detach().to(torch.float32).contiguous() for name, tensor in theirs.items()}


def qwen3_config(shape: Shape, separator: int | None) -> dict[str, Any]:
    """Return the content of `config.json`.

    `separator` is the id that stands between documents, which begins and ends a text; None if no
    tokenizer is at hand. The rotary base is given in both spellings, that of transformers 4
    (`rope_theta`) and that of 5 (`rope_parameters`).
    """
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.feedforward,
        "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "head_dim": shape.head_width,
        "hidden_act": "silu",
        "max_position_embeddings": shape.context,
        "rms_norm_eps": NORM_EPSILON,
        "rope_theta": shape.rope_base,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_base},
        "attention_bias": False,
        "attention_dropout": 0.0,
        "use_sliding_window": False,
        "tie_word_embeddings": True,
        "bos_token_id": separator,
        "eos_token_id": separator,
        "torch_dtype": "float32",
    }
