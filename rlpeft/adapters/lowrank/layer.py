"""The part of a geometric layer that does not know its geometry."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn, Protocol

import torch
import torch.nn.functional as F
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from rlpeft.adapters.autocast import without_autocast
from rlpeft.adapters.checksums import bit_sums, many_tokens
from rlpeft.adapters.linear import linear_shape
from rlpeft.adapters.lowrank.config import LowRankConfig
from rlpeft.adapters.rows import check_rows
from rlpeft.errors import ModelError


@dataclass(frozen=True)
class ForwardRecord:
    """What the last training forward of one layer left behind.

    Attributes:
        spaces: E names, one an expert.
        gains: the gain of each expert, detached, [..., 1] (or one for each of its ranks).
        shares: [..., E]: the router's probabilities, in the graph where a loss needs them.
    """

    spaces: tuple[str, ...]
    gains: tuple[torch.Tensor, ...]
    shares: torch.Tensor | None = None


class Kept(NamedTuple):
    """Terms, and of which parameters they were made.

    Attributes:
        places: address and PyTorch's count of writes of each parameter.
        sums: of all their bits (`bit_sums`), which show writes to `.data`, too.
    """

    places: list[tuple[int, int]]
    sums: torch.Tensor
    terms: Any


class FusedUpdate(Protocol):
    """Δ(x) from x alone; a tuple of tensors, which depend on parameters and not on x.

    Generation spends its time on the number of operations: one token a sequence leaves each of
    them a few numbers to do.
    """

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x [..., in_features] to Δ(x) [..., out_features]."""
        ...


class LowRankLayer(nn.Module, BaseTunerLayer):
    """y = W x + b + Σ_a bend_a(A_a x) B_aᵀ over the active adapters a, each reading the same x."""

    method: str
    adapter_layer_names: tuple[str, ...]
    curvature_names: tuple[str, ...] = ()
    """Parameter dicts with curvatures and scales: own learning rate, no weight decay."""
    router_names: tuple[str, ...] = ()

    # Given by BaseTunerLayer, whose types mypy does not follow.
    active_adapters: list[str]
    disable_adapters: bool
    set_adapter: Callable[..., None]
    _move_adapter_to_device_of_base_layer: Callable[[str], None]
    _cast_input_dtype: Callable[[torch.Tensor, torch.dtype], torch.Tensor]

    def __init__(
        self, base_layer: nn.Module, adapter_name: str, config: LowRankConfig, module_name: str
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = linear_shape(base_layer, self.method, module_name)
        self.base_layer = base_layer
        self.module_name = module_name
        self.config: dict[str, Any] = {}
        self.scaling: dict[str, float] = {}
        self.frozen_peft_weight_names: dict[str, tuple[str, ...]] = {}
        self.merged_adapters: list[str] = []
        self._disable_adapters = False
        self.renewed = False  # whether its owner calls `renew`, and nobody has to look
        self._active_adapter = adapter_name
        self._records: dict[str, ForwardRecord] = {}
        self._cache: dict[tuple[str, str], Kept] = {}
        for name in self.adapter_layer_names:
            setattr(self, name, nn.ParameterDict())
        self.update_layer(adapter_name, config=config)

    def create_parameters(self, adapter_name: str, config: Any) -> None:
        """Put the parameters of a further adapter, at their start, into the dicts."""
        raise NotImplementedError

    def down(self, adapter_name: str) -> torch.Tensor:
        """A [R, in_features]."""
        raise NotImplementedError

    def up(self, adapter_name: str) -> torch.Tensor:
        """B [out_features, R']; R' is what `bend` returns."""
        raise NotImplementedError

    def build_terms(self, adapter_name: str) -> NamedTuple:
        """All that depends on parameters and not on x; cached where no gradient is taken."""
        raise NotImplementedError

    def fuse(self, adapter_name: str) -> FusedUpdate | None:
        """The update in few operations, for float32 factors; `None` where there is no such form."""
        return None

    def bend(
        self, x: torch.Tensor, z: torch.Tensor, terms: Any, adapter_name: str
    ) -> tuple[torch.Tensor, ForwardRecord]:
        """z = A x [..., R] -> the middle vector [..., R'] in float32, scaling included."""
        raise NotImplementedError

    def sums(self, x: torch.Tensor, terms: Any, columns: slice) -> tuple[torch.Tensor, ...]:
        """What `bend` reads of x beside z, of some features alone.

        Each is a sum over features, [..., any]: those of all parts of x add up to that of x.
        """
        raise NotImplementedError

    def bend_by(self, sums: tuple[torch.Tensor, ...], z: torch.Tensor, terms: Any) -> torch.Tensor:
        """The middle vector of `bend`, given `sums` over all features in the place of x."""
        raise NotImplementedError

    def curvatures(self, adapter_name: str) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Learned curvatures and their starts, two [C]; `None` if nothing is learned."""
        raise NotImplementedError

    def update_layer(self, adapter_name: str, *, config: LowRankConfig) -> None:
        """Add an adapter that leaves the layer as it is: B = 0."""
        self.config[adapter_name] = config
        self.scaling[adapter_name] = config.scaling_of(self.module_name)
        self.create_parameters(adapter_name, config)
        self._move_adapter_to_device_of_base_layer(adapter_name)
        for name in self.curvature_names:
            # A bf16 base would round curvatures and log-scales; they stay float32.
            parameters = getattr(self, name)
            if adapter_name in parameters and parameters[adapter_name].dtype != torch.float32:
                parameters[adapter_name].data = parameters[adapter_name].data.float()
        self.reset_curvature(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def reset_curvature(self, adapter_name: str) -> None:
        """Set curvatures and scales to their start, in float32."""
        raise NotImplementedError

    def new_factor(self, rows: int, columns: int, *, zero: bool) -> nn.Parameter:
        """A [rows, columns] parameter: 0, or Kaiming-uniform with a = √5 as in LoRA."""
        factor = nn.Parameter(torch.zeros(rows, columns))
        if not zero:
            nn.init.kaiming_uniform_(factor, a=math.sqrt(5))
        return factor

    def forward(
        self, x: torch.Tensor, *args: Any, adapter_names: list[str] | None = None, **kwargs: Any
    ) -> torch.Tensor:
        """x [..., in_features] to y [..., out_features], in the dtype of the base layer's output.

        Args:
            adapter_names: one adapter a row of the batch (`__base__` for none), inference only.
        """
        y = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters:
            return y
        if adapter_names is not None:
            return self._forward_rows(x, y, adapter_names)
        for name in self.active_adapters:
            if name in self.scaling:
                y = y + self.update(x, name).to(y.dtype)
        return y

    def _forward_rows(
        self, x: torch.Tensor, y: torch.Tensor, adapter_names: list[str]
    ) -> torch.Tensor:
        check_rows(self, x, adapter_names)
        y = y.clone()
        for name in set(adapter_names) & set(self.scaling):
            rows = [row for row, other in enumerate(adapter_names) if other == name]
            y[rows] += self.update(x[rows], name).to(y.dtype)
        return y

    def update(self, x: torch.Tensor, adapter_name: str) -> torch.Tensor:
        """Δ(x) [..., out_features] of one adapter."""
        terms_of = self.inference_terms if self._generates(x) else self.terms
        terms = terms_of(adapter_name, all_values=many_tokens(x))
        if callable(terms):
            return terms(x.float())
        down, up = self.down(adapter_name), self.up(adapter_name)
        x = self._cast_input_dtype(x, down.dtype)
        dropout = self.config[adapter_name].lora_dropout
        x = F.dropout(x, dropout, self.training) if dropout else x
        z = F.linear(x, down)
        bent, record = self.bend(x, z, terms, adapter_name)
        # Without grad but in training mode it may be reentrant checkpointing, whose missing graph
        # a loss on the record must notice.
        if (self.training or torch.is_grad_enabled()) and not _in_backward():
            self._records[adapter_name] = record
        return F.linear(bent.to(up.dtype), up)

    def _generates(self, x: torch.Tensor) -> bool:
        """Whether no gradient, record, graph or reduced precision is asked for."""
        return not (
            self.training
            or torch.is_grad_enabled()
            or torch.compiler.is_compiling()
            or torch.is_autocast_enabled(x.device.type)
        )

    def terms(self, adapter_name: str, *, all_values: bool = True) -> NamedTuple:
        """`build_terms`, kept from call to call in evaluation without a gradient.

        In training parameters move, and not all who move them are counted by PyTorch: sharded
        optimizers write to `.data`.
        """
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self.build_terms(adapter_name)
        return self._kept("terms", adapter_name, self.build_terms, all_values=all_values)

    def inference_terms(
        self, adapter_name: str, *, all_values: bool = True
    ) -> FusedUpdate | NamedTuple:
        """`fuse`, or `build_terms` where it gives nothing, kept until a parameter changes."""
        return self._kept("fused", adapter_name, self._inference_terms, all_values=all_values)

    def _inference_terms(self, adapter_name: str) -> FusedUpdate | NamedTuple:
        down, fused = self.down(adapter_name), None
        if down.dtype == torch.float32:
            with without_autocast(down):
                fused = self.fuse(adapter_name)
        return fused or self.build_terms(adapter_name)

    def _kept(
        self, kind: str, adapter_name: str, build: Callable[[str], Any], *, all_values: bool
    ) -> Any:
        # Asked for each module and token, after a product that has emptied the CPU's caches.
        parameters = self.parameters_of(adapter_name)
        try:
            places = [(p.data_ptr(), p._version) for p in parameters]
        except RuntimeError:  # inference tensors do not count their versions
            return build(adapter_name)
        found = self._cache.get((kind, adapter_name))
        looks = all_values and not self.renewed
        if found is None or found.places != places or (looks and _written(found, parameters)):
            found = Kept(places, bit_sums(parameters), build(adapter_name))
            self._cache[kind, adapter_name] = found
        return found.terms

    def parameters_of(self, adapter_name: str) -> list[nn.Parameter]:
        """All parameters of one adapter."""
        # Past `ParameterDict`, whose own look-ups cost more than the update of a token.
        found, modules = [], self._modules
        for name in self.adapter_layer_names:
            parameter = modules[name]._parameters.get(adapter_name)  # type: ignore[union-attr]
            if parameter is not None:
                found.append(parameter)
        return found

    @torch.no_grad()
    def renew(self) -> None:
        """Recompute kept terms in place, after writes to `.data`: captured graphs then see them."""
        self.renewed = True
        for (kind, name), kept in self._cache.items():
            fresh = self.build_terms(name) if kind == "terms" else self._inference_terms(name)
            _overwrite(kept.terms, fresh)

    def clear_cache(self) -> None:
        """Forget cached terms.

        Needed only after writes to a parameter's `.data` that cannot be seen: before a step of
        generation (a forward of more tokens sees them), of values that change places within a
        row, and any once `renew` was called.
        """
        self._cache.clear()

    def train(self, mode: bool = True) -> LowRankLayer:
        """Switch between training and evaluation; cached terms are dropped."""
        self.clear_cache()
        return super().train(mode)

    def delete_adapter(self, adapter_name: str) -> None:
        """Remove an adapter with its record and its cache."""
        super().delete_adapter(adapter_name)
        self._records.pop(adapter_name, None)
        self.clear_cache()

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> NoReturn:
        """Refuse: the update is not a matrix."""
        raise ModelError(merge_refusal(self.method))

    def unmerge(self) -> None:
        """Do nothing: nothing is ever merged."""

    def __getstate__(self) -> dict[str, Any]:
        # Records hold graph tensors, which can be neither copied nor pickled.
        return {**self.__dict__, "_records": {}, "_cache": {}}

    def __repr__(self) -> str:
        return f"{self.method.lower()}." + super().__repr__()


def _written(kept: Kept, parameters: list[nn.Parameter]) -> bool:
    return not torch.equal(kept.sums, bit_sums(parameters))


def _overwrite(kept: Any, fresh: Any) -> None:
    """Write the tensors of one nest of tuples into those of another."""
    if isinstance(kept, torch.Tensor):
        kept.copy_(fresh)
    elif isinstance(kept, tuple):
        for old, new in zip(kept, fresh, strict=True):
            _overwrite(old, new)


def merge_refusal(method: str) -> str:
    """Why a method cannot be merged, and what can be done instead."""
    return (
        f"{method} cannot be merged into the base weights: its update is A x times a factor that "
        "depends on the token, not a matrix. Keep the adapter in place, or make a plain LoRA with "
        "rlpeft.adapters.export_approx, which measures what is lost."
    )


def _in_backward() -> bool:
    # Gradient checkpointing repeats the forward inside backward: that must not be recorded, or
    # it would count twice and keep the recomputed activations alive.
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1
