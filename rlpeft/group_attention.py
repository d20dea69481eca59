"""Attention over completions that share a prompt: each sees the prompt and itself.

The tokens of a micro-batch stand one after another, without padding: prompt, its completions, the
next prompt, … One mask over all of them would cost (P + G C)² scores for a group of G completions
of C tokens to a prompt of P; here it is P² + G C (P + C), as if each completion stood alone.

T token, P prompt, L longest prompt, S completion, C longest completion, K = L + C key,
H head, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "rlpeft_groups"
"""Under which transformers knows it; without `groups` it is `sdpa`."""


@dataclass(frozen=True, slots=True)
class Groups:
    """Where prompts and completions stand among T tokens; indices are int64, padded with 0.

    Attributes:
        prompts_PL: the tokens of each prompt.
        completions_SC: the tokens of each completion.
        keys_SK: what a completion may see: its prompt, then itself.
        mask_S1CK: bool [S, 1, C, K], who sees whom; padding sees its prompt, since a softmax over
            nothing would be NaN.
        places_T: of each token, in the prompts' and then the completions' padded outputs.
    """

    prompts_PL: torch.Tensor
    completions_SC: torch.Tensor
    keys_SK: torch.Tensor
    mask_S1CK: torch.Tensor
    places_T: torch.Tensor

    @classmethod
    def of(cls, sizes: Sequence[tuple[int, Sequence[int]]]) -> Groups:
        """From the length of each prompt and of its completions, in the order of the tokens."""
        lengths = [size for prompt, completions in sizes for size in (prompt, *completions)]
        spans = list(torch.arange(sum(lengths)).split(lengths))
        is_prompt = [at == 0 for _, completions in sizes for at in range(1 + len(completions))]
        prompts = [span for span, first in zip(spans, is_prompt, strict=True) if first]
        completions = [span for span, first in zip(spans, is_prompt, strict=True) if not first]
        owners = [p for p, (_, members) in enumerate(sizes) for _ in members]
        prompts_PL, valid_PL = _padded(prompts)
        completions_SC, valid_SC = _padded(completions)
        num_tokens = completions_SC.shape[1]
        causal_CC = torch.ones(num_tokens, num_tokens, dtype=torch.bool).tril()
        prompt_SCL = valid_PL[owners][:, None].expand(-1, num_tokens, -1)
        mask_SCK = torch.cat([prompt_SCL, causal_CC.expand(len(owners), -1, -1)], -1)
        filled = torch.cat([valid_PL.flatten(), valid_SC.flatten()]).nonzero().flatten()
        places_T = torch.empty_like(filled)
        places_T[torch.cat(prompts + completions)] = filled
        keys_SK = torch.cat([prompts_PL[owners], completions_SC], 1)
        return cls(prompts_PL, completions_SC, keys_SK, mask_SCK[:, None], places_T)

    def to(self, device: torch.device) -> Groups:
        """The same on another device."""
        return Groups(*(getattr(self, name).to(device) for name in self.__slots__))


def _padded(spans: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    padded = pad_sequence(list(spans), batch_first=True)
    lengths = torch.tensor([len(span) for span in spans])
    return padded, torch.arange(padded.shape[1]) < lengths[:, None]


def group_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    groups: Groups | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """An attention function of transformers.

    Args:
        query, key, value: [1, H, T, D] (any batch without `groups`), as transformers gives them.
        groups: the layout of the T tokens; its `mask_S1CK` stands for `attention_mask`.

    Returns:
        [1, T, H, D], and no weights.
    """
    if groups is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    q_THD, k_THD, v_THD = (x[0].transpose(0, 1) for x in (query, key, value))

    def attend(
        queries: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        q, k, v = (
            x[at].transpose(1, 2) for x, at in ((q_THD, queries), (k_THD, keys), (v_THD, keys))
        )
        output, _ = sdpa_attention_forward(module, q, k, v, mask, **options)
        return output.flatten(0, 1)

    prompt_out = attend(
        groups.prompts_PL, groups.prompts_PL, None
    )  # right-padded: causal is enough
    completion_out = attend(groups.completions_SC, groups.keys_SK, groups.mask_S1CK)
    return torch.cat([prompt_out, completion_out])[groups.places_T][None], None


AttentionInterface.register(NAME, group_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
