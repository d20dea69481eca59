"""A fused linear layer of vLLM with an adapter in each of its slices. No vLLM is needed.

T token, M out_features of a slice, N in_features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rlpeft.rollout.vllm.guests import Guests, Tokens
from rlpeft.rollout.vllm.matmul import Pack, Product, RowsOf, plain
from rlpeft.rollout.vllm.shard import Shard
from rlpeft.rollout.vllm.slice_adapters import Base, FactoredSlice, Form, SliceAdapter


class AdaptedLinear:
    """A frozen fused weight with one adapter, or none, for each slice.

    Args:
        weight: all slices stacked [sum of M, N]; never written.
        names: the module each slice was before fusing.
        sizes: M of each slice.
        adapters: one for each slice.
        form: `dense` is cheapest for each token, but a refresh costs a few matrix products;
            with the others a refresh is nearly free.
        pack: how products with the weights are formed.
        shards: the part of each slice that `weight` holds; the whole if absent.
        product: of a quantised base, whose weight is not ours to read: with all slices at once, in
            factored form. A slice that wants x of its own (`bends_input`) costs the whole.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        *,
        names: Sequence[str],
        sizes: Sequence[int],
        adapters: Sequence[SliceAdapter | None],
        form: Form,
        pack: Pack = plain,
        shards: Sequence[Shard] | None = None,
        product: Product | None = None,
    ) -> None:
        stops = [sum(sizes[: k + 1]) for k in range(len(sizes))]
        self.weight, self.names, self.adapters = weight, list(names), list(adapters)
        self.spans = [slice(stop - size, stop) for stop, size in zip(stops, sizes, strict=True)]
        self.shards = shards or [Shard.whole(weight[span]) for span in self.spans]
        self.is_split = any(shard.count > 1 for shard in self.shards)
        self.bent = weight.clone() if form == "dense" else None
        # Written in place when factors arrive.
        self.held = weight.clone() if form == "spectral" else weight
        self._digests: list[str | None] = []
        self._guests: list[Guests] = []
        self.tokens: Tokens | None = None
        self.is_quantised = product is not None
        self._whole: Product | None = None
        self._own: list[Product | None] = [None] * len(self.spans)
        if product is None:
            self._pack(pack)
        else:
            self._own = self._parts(product)
            self._whole = product if None in self._own else None

    def _pack(self, pack: Pack) -> None:
        """Form all products now: a compiler that met one on its way would fail or freeze it."""
        if self.bent is not None:
            self._whole = pack(self.bent)
            return
        for k, adapter in enumerate(self.adapters):
            if adapter is not None and adapter.bends_input:
                self._own[k] = pack(self.held[self.spans[k]])
        if None in self._own:
            self._whole = pack(self.held)

    def _parts(self, product: Product) -> list[Product | None]:
        """Those of slices that want an x of their own."""
        return [
            RowsOf(product, span) if adapter is not None and adapter.bends_input else None
            for span, adapter in zip(self.spans, self.adapters, strict=True)
        ]

    def take_guests(self, tokens: Tokens) -> list[Guests]:
        """Let tokens run adapters of their own; those of each slice, none at first."""
        self._guests = [Guests(tokens) for _ in self.spans]
        return self._guests

    def adapter(self, name: str) -> SliceAdapter:
        """The adapter on the slice that was module `name`."""
        found = self.adapters[self.names.index(name)]
        assert found is not None
        return found

    def refresh(self) -> None:
        """Take up new values of the adapters' tensors."""
        for adapter in self.adapters:
            if adapter is not None:
                adapter.refresh()
        if self.held is not self.weight:
            self._turn()
        if self.bent is not None:
            for span, adapter in zip(self.spans, self.adapters, strict=True):
                if adapter is not None:
                    self.bent[span].copy_(adapter.dense(self.weight[span]))
            self._renew()

    def _turn(self) -> None:
        """Take the weight into the coordinates of new factors."""
        adapters: list[FactoredSlice | None] = [
            a if isinstance(a, FactoredSlice) else None for a in self.adapters
        ]
        digests = [None if adapter is None else adapter.digest for adapter in adapters]
        if digests == self._digests:
            return
        for span, adapter in zip(self.spans, adapters, strict=True):
            if adapter is not None:
                self.held[span].copy_(adapter.in_coordinates(self.weight[span]))
        self._digests = digests
        self._renew()

    def _renew(self) -> None:
        for product in (self._whole, *self._own):
            if product is not None:
                product.renew()

    def __call__(self, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """x [T, N] to y [T, sum of M]."""
        y = None if self._whole is None else self._whole(x)
        if self.bent is None:
            totals = self._totals(x, y)
            y = _join([self._slice(k, x, y, totals[k]) for k in range(len(self.spans))])
        assert y is not None
        return y if bias is None else y + self._bias(bias)

    def _totals(
        self, x: torch.Tensor, whole_TM: torch.Tensor | None
    ) -> Sequence[torch.Tensor | None]:
        """What each slice needs a sum of over the workers, all of them in one."""
        found: list[torch.Tensor | None] = [None] * len(self.spans)
        if not self.is_split:
            return found
        for k, adapter in enumerate(self.adapters):
            if adapter is not None:
                found[k] = adapter.partial(x, self._base(k, whole_TM))
        parts = [part for part in found if part is not None]
        if not parts:
            return found
        total = self.shards[0].add(_join(parts).contiguous())
        each = iter(total.split([part.shape[-1] for part in parts], -1))
        return [None if part is None else next(each) for part in found]

    def _slice(
        self, k: int, x: torch.Tensor, whole_TM: torch.Tensor | None, total: torch.Tensor | None
    ) -> torch.Tensor:
        adapter, base = self.adapters[k], self._base(k, whole_TM)
        y_TM = base(x) if adapter is None else adapter.apply(x, base, total)
        if self._guests:
            self._guests[k].apply(x, y_TM)
        return y_TM

    def _base(self, k: int, whole_TM: torch.Tensor | None) -> Base:
        """The product of slice k, given x times the whole weight where a slice wants that."""
        if (own := self._own[k]) is not None:
            return own  # a bent input (SVF with M > N) needs a product of its own
        assert whole_TM is not None
        part_TM = whole_TM[..., self.spans[k]]
        return lambda _: part_TM

    def _bias(self, bias: torch.Tensor) -> torch.Tensor:
        pairs = zip(self.spans, self.adapters, strict=True)
        return _join([bias[span] if a is None else a.bias(bias[span]) for span, a in pairs])


def _join(parts: list[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)
