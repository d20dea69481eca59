"""What touches the classes of vLLM's worker, but for `slots` and `linear_methods`.

Written against vLLM 0.32.

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
from vllm.config import get_current_vllm_config
from vllm.model_executor.layers.linear import (
    LinearBase,
    LinearMethodBase,
    UnquantizedLinearMethod,
)
from vllm.model_executor.layers.quantization import (
    get_quantization_config,
    register_quantization_config,
)
from vllm.model_executor.layers.quantization.base_config import (
    QuantizationConfig,
    QuantizeMethodBase,
)
from vllm.v1.engine.exceptions import EngineDeadError

from rlpeft.errors import EngineError
from rlpeft.rollout.vllm import METHOD
from rlpeft.rollout.vllm.adapted_linear import AdaptedLinear
from rlpeft.rollout.vllm.guests import Tokens
from rlpeft.rollout.vllm.linear_methods import (
    ATTRIBUTE,
    AdaptedLinearMethod,
    Adapting,
    around,
    frozen_tensors,
)
from rlpeft.rollout.vllm.peft_config import slice_names
from rlpeft.rollout.vllm.slice_adapters import Form
from rlpeft.rollout.vllm.slots import token_slots

SUPPORTED = ((0, 31), (0, 34))
"""First version that should work, and first one that was not looked at."""


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
        base: how vLLM reads the quantised base; `None` for one of floats.
    """

    def __init__(
        self,
        adapter: Mapping[str, Any] | None,
        form: Form,
        takes_guests: bool,
        slots: int,
        base: QuantizationConfig | None = None,
    ) -> None:
        super().__init__()
        self.adapting = Adapting(adapter, form, slots, self._tokens_of_step)
        self.takes_guests, self.base = takes_guests, base
        self._tokens: Tokens | None = None

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> AdapterQuantization:
        """From the `quantization_config` that the engine puts into the model's config."""
        base = None
        if (own := config["base"]) is not None:
            base = get_quantization_config(own["method"]).from_config(own["config"])
        return cls(config["adapter"], config["form"], config["takes_guests"], config["slots"], base)

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

    def apply_vllm_mapper(self, hf_to_vllm_mapper: Any) -> None:
        """Tell the base's config under which names vLLM has its layers."""
        if self.base is not None:
            self.base.apply_vllm_mapper(hf_to_vllm_mapper)

    def maybe_update_config(self, *args: Any, **kwargs: Any) -> None:
        """Let the base's config look at its files."""
        if self.base is not None:
            self.base.maybe_update_config(*args, **kwargs)

    def get_quant_method(self, layer: torch.nn.Module, prefix: str) -> QuantizeMethodBase | None:
        """Ours for a layer with a target slice; vLLM's own for any other."""
        own: QuantizeMethodBase | None = None
        if self.base is not None:
            self.base.packed_modules_mapping = self.packed_modules_mapping
            own = self.base.get_quant_method(layer, prefix)
        if not isinstance(layer, LinearBase):
            return own
        names = slice_names(prefix, self.packed_modules_mapping)
        if not self.takes_guests and not any(self.adapting.acts_in(name) for name in names):
            return own or UnquantizedLinearMethod()
        if own is None or isinstance(own, UnquantizedLinearMethod):  # a layer left as it is
            return AdaptedLinearMethod(self.adapting, names)
        assert isinstance(own, LinearMethodBase)
        return around(own, self.adapting, names)

    def _tokens_of_step(self) -> Tokens | None:
        if self.adapting.slots and self._tokens is None:
            length = get_current_vllm_config().scheduler_config.max_num_batched_tokens
            self._tokens = token_slots(length)
        return self._tokens


def adapted_layers(model: torch.nn.Module) -> list[AdaptedLinear]:
    """Every adapted layer of a loaded model, in module order."""
    layers = [getattr(module, ATTRIBUTE, None) for module in model.modules()]
    return [layer for layer in layers if layer is not None]


def frozen(model: torch.nn.Module) -> Iterator[torch.Tensor]:
    """What the adapted layers keep of the base, in module order."""
    for module in model.modules():
        if hasattr(module, ATTRIBUTE):
            yield from frozen_tensors(module)


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
