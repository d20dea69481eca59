"""Keys and values with room behind them: a token is written in place.

To add a token, transformers' dynamic cache copies all before it, which takes a fifth of the time
of answers of 60 tokens and grows with their square; its static cache makes every step as long as
the longest could be.

B row, H head, T token, D dimension of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import Cache, DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer

ROOM = 64
"""Tokens to make room for at once."""


def roomy_cache(config: PretrainedConfig, num_tokens: int) -> Cache:
    """The cache of a model whose layers of full attention have room; others are transformers'.

    Args:
        num_tokens: that will be added at most, after the first ones.
    """
    cache, room = DynamicCache(config=config), min(num_tokens, ROOM)
    # Sliding windows and recurrent states are subclasses, and stay.
    cache.layers = [RoomyLayer(room) if type(old) is DynamicLayer else old for old in cache.layers]
    return cache


class RoomyLayer(DynamicLayer):
    """The cache of one layer.

    Args:
        room: tokens to make room for whenever there is none.

    Attributes:
        keys: [B, H, T, D], the tokens so far, and `values` likewise.
    """

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self._behind = {"keys": torch.empty(0), "values": torch.empty(0)}

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add the keys and values, [B, H, new tokens, D], and return all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        self.keys = self._append("keys", self.keys, key_states, start)
        self.values = self._append("values", self.values, value_states, start)
        return self.keys, self.values

    def _append(self, name: str, held: torch.Tensor, new: torch.Tensor, start: int) -> torch.Tensor:
        behind, (rows, heads, length, size) = self._behind[name], new.shape
        end = start + length
        # Whoever selects or reorders rows puts other tensors in the place of these views.
        if not start or held.data_ptr() != behind.data_ptr() or end > behind.shape[2]:
            behind = self._behind[name] = new.new_empty(rows, heads, end + self.room, size)
            if start:
                behind[:, :, :start] = held
        behind[:, :, start:end] = new
        return behind[:, :, :end]
