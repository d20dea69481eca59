"""Which part of a layer a worker of a tensor-parallel engine holds, and what workers add up.

vLLM splits q, k, v, gate and up by output features: a worker has some rows of W, and reads all of
x. It splits o and down by input features: a worker has some columns, reads its part of x, and vLLM
adds up the outputs of all. A head of keys and values may be held by several workers.

An adapter is sent whole to every worker, which takes its part: all hold the same values, and prove
them by the same digest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

Add = Callable[[torch.Tensor], torch.Tensor]
"""A contiguous tensor of this worker to the sum over all workers, which may be written in its
place. All workers call it in the same order."""


def _alone(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


@dataclass(frozen=True, kw_only=True)
class Shard:
    """The part of a slice's weight W [M, N] that a worker holds.

    Attributes:
        shape: (M, N) of the whole slice.
        rows, columns: those it holds; all of one of the two.
        index, count: which of so many parts it is.
        copies: workers that hold the same part.
        add: over all workers, those that hold copies too.
    """

    shape: tuple[int, int]
    rows: slice
    columns: slice
    index: int = 0
    count: int = 1
    copies: int = 1
    add: Add = _alone

    @classmethod
    def whole(cls, weight_MN: torch.Tensor) -> Shard:
        """Of an engine with one worker, or of a layer that is not split."""
        rows, columns = weight_MN.shape
        return cls(shape=(rows, columns), rows=slice(0, rows), columns=slice(0, columns))

    @classmethod
    def of_rows(
        cls, weight_MN: torch.Tensor, *, rank: int, workers: int, copies: int, add: Add
    ) -> Shard:
        """Of a layer split by output features.

        Args:
            weight_MN: the part that is held, [M / count, N].
            rank: of this worker among all.
            copies: workers with neighbouring ranks that hold the same part.
            add: see `Shard`.
        """
        index, count = rank // copies, workers // copies
        held, columns = weight_MN.shape
        return cls(
            shape=(held * count, columns),
            rows=slice(index * held, (index + 1) * held),
            columns=slice(0, columns),
            index=index,
            count=count,
            copies=copies,
            add=add,
        )

    @classmethod
    def of_columns(cls, weight_MN: torch.Tensor, *, rank: int, workers: int, add: Add) -> Shard:
        """Of a layer split by input features; `weight_MN` is the part that is held."""
        rows, held = weight_MN.shape
        return cls(
            shape=(rows, held * workers),
            rows=slice(0, rows),
            columns=slice(rank * held, (rank + 1) * held),
            index=rank,
            count=workers,
            add=add,
        )

    @property
    def splits_rows(self) -> bool:
        """Whether other workers hold other rows."""
        return self.rows != slice(0, self.shape[0])

    @property
    def splits_columns(self) -> bool:
        """Whether other workers hold other columns."""
        return self.columns != slice(0, self.shape[1])

    def part(self, size: int) -> slice:
        """This worker's of `size` things that no layer has split: as many as any other's, or one
        more; those of all are all."""
        return slice(size * self.index // self.count, size * (self.index + 1) // self.count)
