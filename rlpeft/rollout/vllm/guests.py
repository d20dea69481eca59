"""Adapters that only some tokens of a step run, in a slice that all of them share.

What an expert of the engine's own method changes is a row of a table that every token takes its own
of. What others add depends on matrices of their own: their tokens are taken out, run, and put back.

T token, M out_features of the slice, N in_features.
"""

from __future__ import annotations

import torch

from rlpeft.rollout.vllm.slice_adapters import Base, SliceAdapter

Which = torch.Tensor | slice
"""Some tokens of a step: their numbers, or all of them."""


class Tokens:
    """Which slot each token of a step runs.

    Args:
        slots_T: written by vLLM for every step, of any length up to T; -1 for none.
    """

    def __init__(self, slots_T: torch.Tensor) -> None:
        self.slots_T = slots_T
        self._groups: dict[int, list[tuple[int, Which]]] = {}

    def renew(self) -> None:
        """Take up another step."""
        self._groups.clear()

    def rows(self, num_tokens: int) -> torch.Tensor:
        """See `rlpeft.rollout.vllm.slice_adapters.TokenRows`."""
        return self.slots_T[:num_tokens] + 1

    def groups(self, num_tokens: int) -> list[tuple[int, Which]]:
        """Slots that tokens run, and which; found once a step, for all layers ask the same."""
        if num_tokens not in self._groups:
            slots_T = self.slots_T[:num_tokens]
            slots = [slot for slot in slots_T.unique().tolist() if slot >= 0]
            self._groups[num_tokens] = [(slot, _which(slots_T == slot)) for slot in slots]
        return self._groups[num_tokens]


def _which(is_mine_T: torch.Tensor) -> Which:
    return slice(None) if bool(is_mine_T.all()) else is_mine_T.nonzero().flatten()


class Guests:
    """The adapters of one slice by their slots; a slot without one leaves it as it is."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens, self.adapters = tokens, dict[int, SliceAdapter]()

    def put(self, slot: int, adapter: SliceAdapter | None) -> None:
        """Let an adapter, or none, have a slot."""
        self.adapters.pop(slot, None)
        if adapter is not None:
            self.adapters[slot] = adapter

    def leave(self, adapter: SliceAdapter) -> None:
        """Forget an adapter, wherever it is."""
        self.adapters = {slot: held for slot, held in self.adapters.items() if held is not adapter}

    def apply(self, x: torch.Tensor, y_TM: torch.Tensor) -> None:
        """Change, in place, what the base makes of x [T, N] for the tokens of each slot."""
        if not self.adapters:
            return
        for slot, which in self.tokens.groups(len(x)):
            if (adapter := self.adapters.get(slot)) is not None:
                y_TM[which] = adapter.apply(x[which], _made(y_TM[which]))


def _made(y_TM: torch.Tensor) -> Base:
    """A product that is there already."""
    return lambda _: y_TM
