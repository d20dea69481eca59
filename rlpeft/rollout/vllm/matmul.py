"""Products with a fixed weight, in the fastest form that a device has for them.

T token, M out_features, N in_features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F


class Product(Protocol):
    """x [T, N] to x Wᵀ [T, M].

    Attributes:
        weight_MN: W, which others may hold, too.
    """

    weight_MN: torch.Tensor

    def __call__(self, x: torch.Tensor) -> torch.Tensor: ...

    def take(self, weight_MN: torch.Tensor) -> None:
        """Be the product with another W of this shape; what has traced or captured it stays valid.

        It may be kept as it is, and must not be written to.
        """
        ...

    def renew(self) -> None:
        """Take up what has been written into W; what has traced or captured it stays valid."""
        ...


Pack = Callable[[torch.Tensor], Product]
"""W [M, N] to its product."""


class Plain:
    """The product with a weight as it is; it sees what is written into it by itself."""

    def __init__(self, weight_MN: torch.Tensor) -> None:
        self.weight_MN = weight_MN

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight_MN)

    def take(self, weight_MN: torch.Tensor) -> None:
        """Written into W."""
        self.weight_MN.copy_(weight_MN)

    def renew(self) -> None:
        """Nothing is derived."""


class Unasked:
    """In the place of a product that nobody asks for; keeps nothing but W's shape."""

    def __init__(self, weight_MN: torch.Tensor) -> None:
        self.weight_MN = weight_MN.to("meta")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError("a product that was not to be asked for")

    def take(self, weight_MN: torch.Tensor) -> None:
        """Nothing is kept."""

    def renew(self) -> None:
        """Nothing is derived."""


class RowsOf:
    """Some rows of a product that there is only whole, at the price of the whole."""

    def __init__(self, whole: Product, span: slice) -> None:
        self.weight_MN = whole.weight_MN[span]
        self._whole, self._span = whole, span

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self._whole(x)[..., self._span]

    def take(self, weight_MN: torch.Tensor) -> None:
        """As the whole's, whose rows these are."""
        raise NotImplementedError("rows of a product that stays")

    def renew(self) -> None:
        """Nothing is derived."""


def plain(weight_MN: torch.Tensor) -> Product:
    """The product with a weight as it is."""
    return Plain(weight_MN)
