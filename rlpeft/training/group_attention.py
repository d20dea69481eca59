"""Attention over completions that share a prompt: each sees the prompt and itself.

The tokens of a micro-batch stand one after another, without padding: prompt, its completions, the
next prompt, … One mask over all of them would cost (P + G C)² scores for a group of G completions
of C tokens to a prompt of P; here it is P² + G C (P + C), as if each completion stood alone. On
CUDA, where FlexAttention leaves out blocks of such a mask, nothing is padded at all.

T token, P prompt, L longest prompt, S completion, C longest completion, K = L + C key,
H head, D head size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.attention.flex_attention import BlockMask
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from rlpeft.errors import ModelError
from rlpeft.models.mechanisms import Mechanisms
from rlpeft.training.flex_attention import attend_blocks, block_mask
from rlpeft.training.group_layout import Groups, Masks

NAME = "rlpeft_groups"
"""Under which transformers knows it; without `groups` it is `sdpa`, with caps and sinks."""

UNDERSTOOD = frozenset({"dropout", "scaling", "sliding_window", "position_ids", "is_causal"})
"""What an attention layer may ask of its function, besides caps and sinks."""


SMALLEST_HEAD = 16
"""Size of a head from which on FlexAttention has a kernel."""


@dataclass(frozen=True, slots=True)
class LayerGroups:
    """Groups as every layer of a model sees them.

    Attributes:
        masks, blocks: by window, once a layer has asked; layers with one window share theirs.
        served: the layers that have attended, in their order.
        unsaid: those with a window in their config, which they did not ask for.
    """

    groups: Groups
    mechanisms: Mechanisms
    masks: dict[int | None, Masks] = field(default_factory=dict)
    blocks: dict[int | None, BlockMask] = field(default_factory=dict)
    served: list[int] = field(default_factory=list)
    unsaid: list[int] = field(default_factory=list)

    def masks_of(self, window: int | None) -> Masks:
        """Who sees whom, for padded prompts and completions."""
        if window not in self.masks:
            self.masks[window] = Masks.of(self.groups, window)
        return self.masks[window]

    def blocks_of(self, window: int | None) -> BlockMask:
        """The same for all tokens as they stand."""
        if window not in self.blocks:
            self.blocks[window] = block_mask(self.groups, window)
        return self.blocks[window]

    def serve(self, module: torch.nn.Module, asked: Mapping[str, Any]) -> int | None:
        """The window of `module`: how many tokens it sees, itself included; `None`: all.

        Args:
            asked: the options that it gives its attention function.

        Raises:
            ModelError: it asks for something else than the config says, or for something unknown.
        """
        layer = getattr(module, "layer_idx", None)
        if not isinstance(layer, int) or not 0 <= layer < len(self.mechanisms.windows):
            raise _contradiction(module, "layer_idx", layer, "a layer of its config")
        window = self.mechanisms.windows[layer]
        expected = {"sliding_window": window, "softcap": self.mechanisms.attention_cap}
        for name, value in {"softcap": None, **asked}.items():
            if name in expected and value != expected[name]:
                raise _contradiction(module, name, value, f"{expected[name]!r}, as its config says")
            known = name in UNDERSTOOD or name in expected
            if not known and value is not None and value is not False:
                raise _contradiction(module, name, type(value).__name__, "no such option")
        causal = asked.get("is_causal", getattr(module, "is_causal", True))
        if causal is False:
            raise _contradiction(module, "is_causal", causal, "causal attention")
        self.served.append(layer)
        if window is not None and "sliding_window" not in asked:
            self.unsaid.append(layer)
        return window


def _contradiction(module: torch.nn.Module, name: str, value: Any, expected: str) -> ModelError:
    return ModelError(
        f"the learner must understand what {type(module).__name__} attends to: expected "
        f"{expected}, got {name} = {value!r}. Take another base model for training."
    )


def group_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    groups: LayerGroups | None = None,
    s_aux: torch.Tensor | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """An attention function of transformers.

    Args:
        query, key, value: [1, H, T, D] (any batch without `groups`), as transformers gives them.
        groups: the layout of the T tokens; its masks stand for `attention_mask`.
        s_aux: [H] logits of sinks, which take a share of each softmax and give nothing.

    Returns:
        [1, T, H, D], and no weights.
    """
    if groups is None:
        return _attend(module, query, key, value, attention_mask, s_aux, options), None
    window, at = groups.serve(module, options), groups.groups
    # Dropout has no place in blocks; caps and sinks are told by the formula below.
    is_plain = s_aux is None and options.get("softcap") is None and not options.get("dropout")
    if query.device.type == "cuda" and is_plain and query.shape[-1] >= SMALLEST_HEAD:
        scale = options.get("scaling")
        return attend_blocks(query, key, value, groups.blocks_of(window), scale), None
    masks = groups.masks_of(window)
    q_THD, k_THD, v_THD = (x[0].transpose(0, 1) for x in (query, key, value))

    def attend(
        queries: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        pairs = ((q_THD, queries), (k_THD, keys), (v_THD, keys))
        q, k, v = (x[places].transpose(1, 2) for x, places in pairs)
        return _attend(module, q, k, v, mask, s_aux, options).flatten(0, 1)

    # Right-padded: causal is enough for prompts without a window.
    prompt_out = attend(at.prompts_PL, at.prompts_PL, masks.prompt_mask_LL)
    completion_out = attend(at.completions_SC, at.keys_SK, masks.mask_S1CK)
    return torch.cat([prompt_out, completion_out])[at.places_T][None], None


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    sinks_H: torch.Tensor | None,
    options: Mapping[str, Any],
) -> torch.Tensor:
    """[B, T, H, D]; caps and sinks, which `sdpa` would leave out without a word, by the formula."""
    cap = options.get("softcap")
    if cap is None and sinks_H is None:
        return sdpa_attention_forward(module, query, key, value, mask, **options)[0]
    repeats = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, repeats), repeat_kv(value, repeats)
    scaling = options.get("scaling") or query.shape[-1] ** -0.5
    scores = query @ key.mT * scaling
    if cap is not None:  # before the mask: tanh would make -cap of -inf, which can be seen
        scores = cap * torch.tanh(scores / cap)
    # A single query is the newest token of a cache, and sees all of it.
    if mask is None and scores.shape[-2] > 1:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        # No row is -inf throughout, whose softmax would be NaN: every token sees itself.
        is_bool = mask.dtype == torch.bool
        scores = scores.masked_fill(~mask, -torch.inf) if is_bool else scores + mask
    if sinks_H is not None:
        column = sinks_H.to(scores.dtype).reshape(1, -1, 1, 1)
        scores = torch.cat([scores, column.expand(*scores.shape[:-1], 1)], -1)
    # In fp32, as transformers' own eager attention does it. A sink has taken its share when its
    # column is cut off again.
    weights = torch.softmax(scores, -1, dtype=torch.float32)[..., : key.shape[-2]]
    weights = torch.dropout(weights.to(value.dtype), options.get("dropout", 0.0), module.training)
    return (weights @ value).transpose(1, 2).contiguous()


AttentionInterface.register(NAME, group_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
