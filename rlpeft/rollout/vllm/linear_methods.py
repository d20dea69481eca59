"""How vLLM's linear layers run an adapter: around a weight of ours, or a method of vLLM's.

A quantised layer is vLLM's to create, load and multiply with, each scheme in a layout and by
kernels of its own. The adapter then stands around that product and never sees a weight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from vllm import _custom_ops as ops
from vllm.distributed import tensor_model_parallel_all_reduce
from vllm.model_executor.layers.linear import (
    WEIGHT_LOADER_V2_SUPPORTED,
    ColumnParallelLinear,
    LinearMethodBase,
    QKVParallelLinear,
    RowParallelLinear,
    UnquantizedLinearMethod,
    register_weight_loader_v2_supported_method,
)
from vllm.platforms import current_platform

from rlpeft.errors import EngineError
from rlpeft.models.quantised import stored
from rlpeft.rollout.vllm.adapted_linear import AdaptedLinear
from rlpeft.rollout.vllm.guests import Tokens
from rlpeft.rollout.vllm.matmul import Plain, Product
from rlpeft.rollout.vllm.peft_config import is_target, make_slice, read_config
from rlpeft.rollout.vllm.shard import Shard
from rlpeft.rollout.vllm.slice_adapters import Form, ServesExperts, SliceAdapter

PRIMITIVES = 32
"""Shapes of an input for which oneDNN keeps what it has prepared, as vLLM has it."""

ATTRIBUTE = "rlpeft_adapted"
"""Where a vLLM layer keeps its `AdaptedLinear`."""


@dataclass(frozen=True)
class Adapting:
    """What every adapted layer of an engine is made by.

    Attributes:
        adapter: a PEFT config as a plain dict; `None` for none.
        form: see `AdaptedLinear`.
        slots: experts that may share a batch.
        tokens: what all layers read of the tokens of a step, if there are slots.
    """

    adapter: Mapping[str, Any] | None
    form: Form
    slots: int
    tokens: Callable[[], Tokens | None]

    def acts_in(self, name: str) -> bool:
        """Whether the adapter acts in the module of this name."""
        return self.adapter is not None and is_target(read_config(self.adapter), name)

    def attach(
        self,
        layer: torch.nn.Module,
        weight: torch.Tensor,
        *,
        names: Sequence[str],
        sizes: Sequence[int],
        shards: Sequence[Shard],
        product: Product | None = None,
    ) -> None:
        """Put the adapter into a layer; see `AdaptedLinear`."""
        rows = torch.split(weight, list(sizes))
        adapters: list[Any] = [self._slice(*each) for each in zip(names, rows, shards, strict=True)]
        # Before a compiler meets them: what it has not seen in a layer it leaves out for ever.
        if (tokens := self.tokens()) is not None:
            for adapter in adapters:
                if isinstance(adapter, ServesExperts):
                    adapter.take_experts(self.slots, tokens.rows)
        adapted = AdaptedLinear(
            weight,
            names=names,
            sizes=sizes,
            adapters=adapters,
            form=self.form,
            pack=pack,
            shards=shards,
            product=product,
        )
        adapted.tokens = tokens
        setattr(layer, ATTRIBUTE, adapted)

    def _slice(self, name: str, weight_MN: torch.Tensor, shard: Shard) -> SliceAdapter | None:
        if self.adapter is None or not self.acts_in(name):
            return None
        config = read_config(self.adapter)
        return make_slice(config, name, weight_MN, pack=pack, form=self.form, shard=shard)


def slice_sizes(names: Sequence[str], output_sizes: Sequence[int]) -> list[int]:
    """Rows of each slice. A model may fuse on disk what vLLM splits: then it is one, as PEFT sees
    it."""
    return [sum(output_sizes)] if len(names) == 1 else list(output_sizes)


@register_weight_loader_v2_supported_method
class AdaptedLinearMethod(UnquantizedLinearMethod):
    """Keeps the weight as loaded and runs the adapter in `apply`."""

    def __init__(self, adapting: Adapting, names: Sequence[str]) -> None:
        super().__init__()
        self.adapting, self.names = adapting, names

    def create_weights(
        self,
        layer: torch.nn.Module,
        input_size_per_partition: int,
        output_partition_sizes: list[int],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        self.sizes = slice_sizes(self.names, output_partition_sizes)
        self.fused = len(output_partition_sizes)
        super().create_weights(
            layer, input_size_per_partition, output_partition_sizes, *args, **kwargs
        )

    def process_weights_after_loading(self, layer: torch.nn.Module) -> None:
        """Attach the adapter. vLLM's own step would pack the weight and drop it."""
        weight: torch.Tensor = layer.weight.data  # type: ignore[assignment]
        shards = shards_of(layer, torch.split(weight, self.sizes), self.fused)
        self.adapting.attach(layer, weight, names=self.names, sizes=self.sizes, shards=shards)

    def apply(
        self, layer: torch.nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        return getattr(layer, ATTRIBUTE)(x, bias)


class AroundQuantised(LinearMethodBase):
    """Runs the adapter around a quantised layer, which one of vLLM's methods loads and multiplies.

    Of its weight an adapter is shown the shape, dtype and device alone, in a tensor of NaN that
    takes no memory: one that read it would say so.
    """

    def __init__(self, own: LinearMethodBase, adapting: Adapting, names: Sequence[str]) -> None:
        super().__init__()
        self.own, self.adapting, self.names = own, adapting, names

    def __getattr__(self, name: str) -> Any:  # what vLLM asks of its own methods
        return getattr(self.__dict__["own"], name)

    def create_weights(
        self,
        layer: torch.nn.Module,
        input_size_per_partition: int,
        output_partition_sizes: list[int],
        input_size: int,
        output_size: int,
        params_dtype: torch.dtype,
        **extra: Any,
    ) -> None:
        self.sizes, self.dtype = slice_sizes(self.names, output_partition_sizes), params_dtype
        self.columns = input_size_per_partition
        self.own.create_weights(
            layer,
            input_size_per_partition,
            output_partition_sizes,
            input_size,
            output_size,
            params_dtype,
            **extra,
        )

    def process_weights_after_loading(self, layer: torch.nn.Module) -> None:
        """Attach the adapter, once the layer is as its method runs it."""
        self.own.process_weights_after_loading(layer)
        device = frozen_tensors(layer)[0].device
        nan = torch.full((1, 1), torch.nan, dtype=self.dtype, device=device)
        weight = nan.expand(sum(self.sizes), self.columns)
        self.adapting.attach(
            layer,
            weight,
            names=self.names,
            sizes=self.sizes,
            shards=[Shard.whole(part_MN) for part_MN in torch.split(weight, self.sizes)],
            product=OfQuantised(weight, self.own, layer),
        )

    def apply(
        self, layer: torch.nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        return getattr(layer, ATTRIBUTE)(x, bias)


@register_weight_loader_v2_supported_method
class AroundQuantisedV2(AroundQuantised):
    """The same around methods whose parameters load themselves: vLLM knows them by their names."""


def around(own: LinearMethodBase, adapting: Adapting, names: Sequence[str]) -> AroundQuantised:
    """The adapter around a method of vLLM's."""
    loads_itself = type(own).__name__ in WEIGHT_LOADER_V2_SUPPORTED
    return (AroundQuantisedV2 if loads_itself else AroundQuantised)(own, adapting, names)


class OfQuantised:
    """The product of a quantised layer, by vLLM's own method; `weight_MN` is no weight."""

    def __init__(
        self, weight_MN: torch.Tensor, own: LinearMethodBase, layer: torch.nn.Module
    ) -> None:
        self.weight_MN = weight_MN
        self._own, self._layer = own, layer

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self._own.apply(self._layer, x, None)

    def take(self, weight_MN: torch.Tensor) -> None:
        """Another weight would have to be quantised."""
        raise NotImplementedError("the weight of a quantised layer stays")

    def renew(self) -> None:
        """Nothing is derived."""


def frozen_tensors(layer: torch.nn.Module) -> list[torch.Tensor]:
    """Every tensor that an adapted layer keeps of the base, those inside of tensor subclasses."""
    held = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
    return [part for tensor in held for part in stored(tensor)]


def shards_of(layer: Any, rows: Sequence[torch.Tensor], fused: int) -> list[Shard]:
    """Which part of each slice of a layer this worker holds.

    Args:
        rows: what it holds of each slice, in slice order.
        fused: slices that vLLM makes of the layer.

    Raises:
        EngineError: a slice is none to vLLM, which splits it as several.
    """
    workers, rank = layer.tp_size, layer.tp_rank
    if workers == 1 or not isinstance(layer, ColumnParallelLinear | RowParallelLinear):
        return [Shard.whole(part_MN) for part_MN in rows]
    add = tensor_model_parallel_all_reduce
    if isinstance(layer, RowParallelLinear):
        return [Shard.of_columns(part_MN, rank=rank, workers=workers, add=add) for part_MN in rows]
    if fused != len(rows):
        raise EngineError(
            f"an adapted layer must have one weight a slice with rollout.tensor_parallel > 1, "
            f"{layer.prefix!r} has {fused} slices in one: a worker would hold rows here and there. "
            "Remove it from the targets, or set rollout.tensor_parallel to 1."
        )
    heads = layer.num_kv_head_replicas if isinstance(layer, QKVParallelLinear) else 1
    copies = [1, heads, heads] if len(rows) == 3 else [1] * len(rows)
    return [
        Shard.of_rows(part_MN, rank=rank, workers=workers, copies=each, add=add)
        for part_MN, each in zip(rows, copies, strict=True)
    ]


class Packed:
    """The product with a weight as oneDNN packs it, as vLLM's own layers on a CPU.

    Measured on AVX2 in fp32, packed against plain: 1.2 x faster at 64 rows, 2 x at 8.

    Raises:
        RuntimeError: oneDNN has no product of this dtype here.
    """

    def __init__(self, weight_MN: torch.Tensor) -> None:
        self.weight_MN = weight_MN
        self.handler = self._packed()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return ops.onednn_mm(self.handler, x, None)

    def take(self, weight_MN: torch.Tensor) -> None:
        """Keep another weight as it is, and pack it."""
        self.weight_MN = weight_MN.to(self.weight_MN)  # the same tensor, of one dtype
        self.renew()

    def renew(self) -> None:
        """Pack the weight anew. Compiled code has kept the tensor that holds the address."""
        fresh = self._packed()
        held, other = self.handler.handler_tensor, fresh.handler_tensor
        old = held.clone()
        held.copy_(other)
        other.copy_(old)  # and goes with `fresh`

    def _packed(self) -> Any:
        return ops.create_onednn_mm(self.weight_MN.contiguous().t(), PRIMITIVES)


def pack(weight_MN: torch.Tensor) -> Product:
    """The product with a weight in the fastest form there is."""
    if not current_platform.is_cpu() or not ops._supports_onednn:
        return Plain(weight_MN)
    try:
        return Packed(weight_MN)
    except RuntimeError:  # slower, and otherwise the same
        return Plain(weight_MN)
