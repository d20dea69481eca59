"""How a frozen base weight is known to be the one that something was computed from."""

from __future__ import annotations

from dataclasses import dataclass

import torch

NUM_SAMPLES = 64
ROUNDING = 2.0**-7
"""Relative difference between a weight in fp32 and in bf16 or fp16; room for a second rounding."""


@dataclass(frozen=True)
class Stamp:
    """Where a weight lay, how often it had been written to, and some of its values.

    Attributes:
        place: address, dtype, and PyTorch's count of in-place writes (-1 where none is kept).
        values: up to `NUM_SAMPLES`, evenly spaced, a copy.
        view: the same of the weight itself: what lies there now.
    """

    place: tuple[int, torch.dtype, int]
    values: torch.Tensor
    view: torch.Tensor

    @classmethod
    def of(cls, weight: torch.Tensor) -> Stamp:
        """The stamp of a plain weight now."""
        view = _sample(weight)
        return cls(_place(weight), view.clone(), view)

    def fits(self, weight: torch.Tensor, *, values: bool = True) -> bool:
        """Whether the weight is the one that was stamped; `values` to compare them too.

        Writes to `weight.data` are not counted by PyTorch: values alone show them.
        """
        # Asked for every layer and token: the view spares making one.
        return self.place == _place(weight) and (not values or torch.equal(self.values, self.view))

    def is_near(self, values: torch.Tensor) -> bool:
        """Whether the weight is one with such values but for rounding, wherever it lies."""
        if self.values.shape != values.shape:
            return False
        mine, theirs = self.values.float(), values.to(self.values.device).float()
        return torch.allclose(mine, theirs, rtol=ROUNDING, atol=1e-6)


def _place(weight: torch.Tensor) -> tuple[int, torch.dtype, int]:
    version = -1 if weight.is_inference() else weight._version
    return weight.data_ptr(), weight.dtype, version


def _sample(weight: torch.Tensor) -> torch.Tensor:
    flat = weight.detach().reshape(-1)
    # An odd step, or all samples of a wide weight would lie in one column.
    return flat[:: len(flat) // NUM_SAMPLES | 1][:NUM_SAMPLES]
