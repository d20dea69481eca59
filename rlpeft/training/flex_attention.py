"""Attention over groups by FlexAttention: no padding, and blocks nobody sees are left out.

For CUDA, where it is compiled. On a CPU it has a forward pass alone, which the tests hold against
the padded one.

T token, H head, D head size.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from rlpeft.training.group_layout import Groups


def block_mask(groups: Groups, window: int | None) -> BlockMask:
    """Who sees whom among T tokens as they stand: earlier ones of the same prompt or completion,
    and a completion its prompt.

    Args:
        window: tokens that a token sees, itself included; `None`: all.
    """
    prompt_T, member_T, position_T = groups.prompt_T, groups.member_T, groups.position_T
    reach = len(prompt_T) if window is None else window

    def sees(batch: Any, head: Any, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        is_kin = (member_T[key] == 0) | (member_T[key] == member_T[query])
        is_near = position_T[query] - position_T[key] < reach
        return (key <= query) & (prompt_T[key] == prompt_T[query]) & is_kin & is_near

    num_tokens, device = len(prompt_T), prompt_T.device
    # Compiled, it asks for blocks alone and not for each of T² pairs.
    is_cuda = device.type == "cuda"
    return create_block_mask(
        sees, None, None, num_tokens, num_tokens, device=device, _compile=is_cuda
    )


def attend_blocks(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: BlockMask,
    scale: float | None,
) -> torch.Tensor:
    """[1, T, H, D] of query, key and value [1, H, T, D]; keys and values may have fewer heads."""
    attend = _compiled() if query.device.type == "cuda" else flex_attention
    is_grouped = query.shape[1] != key.shape[1]
    out: torch.Tensor = attend(
        query, key, value, block_mask=mask, scale=scale, enable_gqa=is_grouped
    )
    return out.transpose(1, 2).contiguous()


@cache
def _compiled() -> Any:
    # Every micro-batch has a length of its own.
    return torch.compile(flex_attention, dynamic=True)
