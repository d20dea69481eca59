"""How a frozen base weight is known to be the one that something was computed from."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rlpeft.adapters.checksums import bit_sums

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
        sums: of the bits of all its values (`bit_sums`).
    """

    place: tuple[int, torch.dtype, int]
    values: torch.Tensor
    view: torch.Tensor
    sums: torch.Tensor

    @classmethod
    def of(cls, weight: torch.Tensor) -> Stamp:
        """The stamp of a plain weight now."""
        view = _sample(weight)
        return cls(_place(weight), view.clone(), view, bit_sums([weight]))

    def fits(self, weight: torch.Tensor, *, values: bool = True, all_values: bool = False) -> bool:
        """Whether the weight is the one that was stamped.

        Writes to `weight.data` are not counted by PyTorch: values alone show them.

        Args:
            values: whether to compare the samples, too.
            all_values: whether to compare the sums of all values, too: a pass over the weight.
        """
        # Asked for every layer and token: the view spares making one.
        if self.place != _place(weight) or (values and not torch.equal(self.values, self.view)):
            return False
        return not all_values or torch.equal(self.sums, bit_sums([weight]))

    def is_written_over(self, before: Stamp) -> bool:
        """Whether values changed since another stamp, and not their place or dtype alone."""
        if self.place[1] != before.place[1] or self.sums.shape != before.sums.shape:
            return False
        return not torch.equal(self.sums, before.sums.to(self.sums.device))

    def is_near(self, values: torch.Tensor) -> bool:
        """Whether the weight is one with such values but for rounding, wherever it lies."""
        if self.values.shape != values.shape:
            return False
        mine, theirs = self.values.float(), values.to(self.values.device).float()
        # float16 is subnormal below 6e-5: there rounding is no longer a share of the value.
        return torch.allclose(mine, theirs, rtol=ROUNDING, atol=1e-6)


def _place(weight: torch.Tensor) -> tuple[int, torch.dtype, int]:
    version = -1 if weight.is_inference() else weight._version
    return weight.data_ptr(), weight.dtype, version


def _sample(weight: torch.Tensor) -> torch.Tensor:
    flat = weight.detach().reshape(-1)
    # An odd step, or all samples of a wide weight would lie in one column.
    return flat[:: len(flat) // NUM_SAMPLES | 1][:NUM_SAMPLES]
