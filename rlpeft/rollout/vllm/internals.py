"""What touches the classes of vLLM's worker, but for `slots`. Written against vLLM 0.32.

What is relied on: `register_quantization_config`; `QuantizationConfig.get_quant_method(layer,
prefix)` being asked once for each linear layer and returning a `LinearMethodBase`;
`packed_modules_mapping` being filled before that; `create_weights` getting
`output_partition_sizes`; `process_weights_after_loading` running before the first forward pass;
a column-parallel layer holding consecutive rows of each slice, by `tp_rank` of `tp_size`, and of
keys and values those of `tp_rank // num_kv_head_replicas`; a row-parallel one holding consecutive
columns and adding up what `apply` gives; `tensor_model_parallel_all_reduce`;
the synchronous client's `outputs_queue` and `utility_results`; the model runner's `kv_caches`,
which nobody reads while no request runs and no prefix is cached; the config that is current while
weights are loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from vllm import __version__ as vllm_version
from vllm import _custom_ops as ops
from vllm.config import get_current_vllm_config
from vllm.distributed import tensor_model_parallel_all_reduce
from vllm.model_executor.layers.linear import (
    ColumnParallelLinear,
    LinearBase,
    QKVParallelLinear,
    RowParallelLinear,
    UnquantizedLinearMethod,
    register_weight_loader_v2_supported_method,
)
from vllm.model_executor.layers.quantization import register_quantization_config
from vllm.model_executor.layers.quantization.base_config import (
    QuantizationConfig,
    QuantizeMethodBase,
)
from vllm.platforms import current_platform
from vllm.v1.engine.exceptions import EngineDeadError

from rlpeft.errors import EngineError
from rlpeft.rollout.vllm import METHOD
from rlpeft.rollout.vllm.adapted_linear import AdaptedLinear
from rlpeft.rollout.vllm.guests import Tokens
from rlpeft.rollout.vllm.matmul import Plain, Product
from rlpeft.rollout.vllm.peft_config import is_target, make_slice, read_config, slice_names
from rlpeft.rollout.vllm.shard import Shard
from rlpeft.rollout.vllm.slice_adapters import Form, ServesExperts
from rlpeft.rollout.vllm.slots import token_slots

SUPPORTED = ((0, 31), (0, 34))
"""First version that should work, and first one that was not looked at."""

PRIMITIVES = 32
"""Shapes of an input for which oneDNN keeps what it has prepared, as vLLM has it."""

ATTRIBUTE = "rlpeft_adapted"
"""Where a vLLM layer keeps its `AdaptedLinear`."""


def check_version() -> None:
    """Refuse a vLLM whose internals nobody compared with this file.

    Raises:
        EngineError: the installed version is outside `SUPPORTED`.
    """
    major, minor = (int(part) for part in vllm_version.split(".")[:2])
    if not SUPPORTED[0] <= (major, minor) < SUPPORTED[1]:
        wanted = (
            f"{'.'.join(map(str, SUPPORTED[0]))} <= version < {'.'.join(map(str, SUPPORTED[1]))}"
        )
        raise EngineError(f"the vllm engine needs vLLM {wanted}, {vllm_version} is installed.")


@register_quantization_config(METHOD)
class AdapterQuantization(QuantizationConfig):
    """Says, for each layer of the model, whether the adapter runs in it.

    Args:
        adapter: a PEFT config as a plain dict; `None` for none.
        form: see `AdaptedLinear`.
        takes_guests: whether experts may act in every linear layer.
        slots: experts that may share a batch.
    """

    def __init__(
        self, adapter: Mapping[str, Any] | None, form: Form, takes_guests: bool, slots: int
    ) -> None:
        super().__init__()
        self.adapter, self.form, self.takes_guests = adapter, form, takes_guests
        self.slots = slots
        self._tokens: Tokens | None = None

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> AdapterQuantization:
        """From the `quantization_config` that the engine puts into the model's config."""
        return cls(config["adapter"], config["form"], config["takes_guests"], config["slots"])

    @classmethod
    def get_name(cls) -> str:
        return METHOD

    @classmethod
    def get_supported_act_dtypes(cls) -> list[torch.dtype]:
        return [torch.float32, torch.bfloat16, torch.float16]

    @classmethod
    def get_min_capability(cls) -> int:
        return 0

    @staticmethod
    def get_config_filenames() -> list[str]:
        return []

    def get_quant_method(self, layer: torch.nn.Module, prefix: str) -> QuantizeMethodBase | None:
        """Ours for a layer with a target slice; vLLM's own for any other."""
        if not isinstance(layer, LinearBase):
            return None
        names = slice_names(prefix, self.packed_modules_mapping)
        if self.takes_guests or any(self.acts_in(name) for name in names):
            return AdaptedLinearMethod(self, names)
        return UnquantizedLinearMethod()

    def tokens(self) -> Tokens | None:
        """What all layers of this engine read of the tokens of a step, if it has slots."""
        if self.slots and self._tokens is None:
            length = get_current_vllm_config().scheduler_config.max_num_batched_tokens
            self._tokens = token_slots(length)
        return self._tokens

    def acts_in(self, name: str) -> bool:
        """Whether the adapter acts in the module of this name."""
        return self.adapter is not None and is_target(read_config(self.adapter), name)


@register_weight_loader_v2_supported_method
class AdaptedLinearMethod(UnquantizedLinearMethod):
    """Keeps the weight as loaded and runs the adapter in `apply`."""

    def __init__(self, config: AdapterQuantization, names: list[str]) -> None:
        super().__init__()
        self.config, self.names = config, names

    def create_weights(
        self,
        layer: torch.nn.Module,
        input_size_per_partition: int,
        output_partition_sizes: list[int],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        # A model may fuse on disk what vLLM splits: then it is one slice, as PEFT sees it.
        sizes = output_partition_sizes
        self.sizes = [sum(sizes)] if len(self.names) == 1 else list(sizes)
        self.fused = len(sizes)
        super().create_weights(
            layer, input_size_per_partition, output_partition_sizes, *args, **kwargs
        )

    def process_weights_after_loading(self, layer: torch.nn.Module) -> None:
        """Attach the adapter. vLLM's own step would pack the weight and drop it."""
        weight: torch.Tensor = layer.weight.data  # type: ignore[assignment]
        rows, form = torch.split(weight, self.sizes), self.config.form
        shards = shards_of(layer, rows, self.fused)
        adapters = [
            make_slice(
                read_config(self.config.adapter),
                name,
                rows_MN,
                pack=pack,
                form=form,
                shard=shard,
            )
            if self.config.adapter is not None and self.config.acts_in(name)
            else None
            for name, rows_MN, shard in zip(self.names, rows, shards, strict=True)
        ]
        if (tokens := self.config.tokens()) is not None:
            self._take_experts(adapters, tokens)
        adapted = AdaptedLinear(
            weight,
            names=self.names,
            sizes=self.sizes,
            adapters=adapters,
            form=form,
            pack=pack,
            shards=shards,
        )
        adapted.tokens = tokens
        setattr(layer, ATTRIBUTE, adapted)

    def _take_experts(self, adapters: Sequence[Any], tokens: Tokens) -> None:
        """Before a compiler meets them: what it has not seen in a layer it leaves out for ever."""
        for adapter in adapters:
            if isinstance(adapter, ServesExperts):
                adapter.take_experts(self.config.slots, tokens.rows)

    def apply(
        self, layer: torch.nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        return getattr(layer, ATTRIBUTE)(x, bias)


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


def adapted_layers(model: torch.nn.Module) -> list[AdaptedLinear]:
    """Every adapted layer of a loaded model, in module order."""
    layers = [getattr(module, ATTRIBUTE, None) for module in model.modules()]
    return [layer for layer in layers if layer is not None]


def kv_cache(worker: Any) -> list[torch.Tensor]:
    """Where a worker keeps keys and values: views, several of which may be of one tensor."""
    return list(worker.model_runner.kv_caches)


def core_processes(llm: Any) -> list[BaseProcess]:
    """vLLM's engine cores; their workers are children of theirs.

    None where the user has told vLLM to stay in this process.
    """
    resources = getattr(llm.llm_engine.engine_core, "resources", None)
    return [] if resources is None else list(resources.engine_manager.processes)


def finished(llm: Any, ids: Sequence[str]) -> Iterator[dict[int, Any]]:
    """Run a `vllm.LLM` until all it was asked for has ended.

    Args:
        ids: of the requests, as it gave them.

    Yields:
        Its outputs by place in `ids`, after every step at which any has ended.
    """
    engine = llm.llm_engine
    states = engine.output_processor.request_states
    # Outputs bear the names from before vLLM made them unique.
    places = {states[id].external_req_id: place for place, id in enumerate(ids)}
    while engine.has_unfinished_requests():
        ended = {places[output.request_id]: output for output in engine.step() if output.finished}
        if ended:
            yield ended


def forget_requests(llm: Any) -> None:
    """Drop every request of a `vllm.LLM`, waiting or running.

    What an exception left behind would be waited for by the next call, for ever where it never
    reached the core, and its answers would come among those of that call.
    """
    engine = llm.llm_engine
    engine.abort_request([*engine.output_processor.request_states], internal=True)


def wake_callers_at_death(llm: Any) -> None:
    """Wait for a core to end, then make every call that waits for it raise `EngineDeadError`.

    vLLM's own monitor notices the death and closes the sockets, but a caller that already waits
    for an answer would wait for ever.
    """
    connection.wait([process.sentinel for process in core_processes(llm)])
    client = llm.llm_engine.engine_core
    client.resources.engine_dead = True  # first: calls made from here on raise by themselves
    client.outputs_queue.put_nowait(EngineDeadError())
    for future in list(client.utility_results.values()):
        if not future.done():
            future.set_exception(EngineDeadError())
