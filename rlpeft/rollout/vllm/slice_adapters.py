"""Adapters inside fused linear layers, without vLLM: what they are, LoRA, DoRA and IA3.

vLLM fuses q, k, v (and gate, up) into one weight; an adapter was trained on each part. So a fused
layer is a list of *slices* along its output (`adapted_linear`), and an adapter is something that
computes one slice given the means to apply the frozen weight. The arithmetic is that of the PEFT
layers.

Tensors are allocated once and written in place, and nothing branches on what they hold: whatever
traced or captured a layer (torch.compile, CUDA graphs), before its values came, sees every update.
T token, M out_features of the slice, N in_features, R rank.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from peft import PeftConfig
from peft.utils.other import get_pattern_key

from rlpeft.adapters.svf.factors import Factors
from rlpeft.errors import EngineError
from rlpeft.rollout.vllm.shard import Shard

Base = Callable[[torch.Tensor], torch.Tensor]
"""x [T, N] to the frozen slice's output [T, M], without bias."""


TokenRows = Callable[[int], torch.Tensor]
"""Number of tokens in a step to the row [T] of each, int64: 0 for the current policy, s + 1 for the
expert in slot s."""


class SliceAdapter(Protocol):
    """One adapter on one slice of a linear layer.

    Attributes:
        tensors: what a sync writes, under the suffixes PEFT saves them with.
        bends_input: whether `apply` gives `base` something else than x.
    """

    tensors: dict[str, torch.Tensor]
    bends_input: bool

    def refresh(self) -> None:
        """Recompute, in place, what `apply` derives from `tensors`."""
        ...

    def partial(self, x: torch.Tensor, base: Base) -> torch.Tensor | None:
        """This worker's addend [T, any] of what `apply` needs a sum of over all workers; nothing
        where it needs none."""
        ...

    def apply(self, x: torch.Tensor, base: Base, total: torch.Tensor | None = None) -> torch.Tensor:
        """The slice's output [T, M] without bias, in the dtype of x.

        Args:
            total: the sum of `partial`; added up here if absent.
        """
        ...

    def bias(self, bias_M: torch.Tensor) -> torch.Tensor:
        """The bias to add to `apply`."""
        ...

    def dense(self, weight_MN: torch.Tensor) -> torch.Tensor:
        """The one matrix [M, N] that does the same, in the dtype of the weight."""
        ...


@runtime_checkable
class FactoredSlice(Protocol):
    """A slice that needs the trainer's factors of its weight.

    Attributes:
        rank: side of the square `Factors.basis`, of which it may hold a part.
        digest: of the factors it holds; `None` until some came.
    """

    rank: int
    digest: str | None

    def take_factors(self, factors: Factors) -> None:
        """Use these factors from now on."""
        ...

    def in_coordinates(self, weight_MN: torch.Tensor) -> torch.Tensor:
        """[M, N]: what a layer in spectral form holds in the place of its weight."""
        ...


@runtime_checkable
class ServesExperts(Protocol):
    """A slice in which each token may run an expert of its own, one tensor each."""

    tensors: dict[str, torch.Tensor]

    def take_experts(self, slots: int, token_rows: TokenRows) -> None:
        """Let each token run the expert of its own slot."""
        ...

    def set_expert(self, slot: int, tensor: torch.Tensor | None) -> None:
        """Put what an expert has trained into a slot, in place; nothing: the base."""
        ...

    def growth(self, tensor: torch.Tensor) -> float:
        """How many times as large as the base's an expert makes the slice, at most.

        Of the whole slice, whatever part of it a worker holds.

        Args:
            tensor: what it has trained, or what several have, one a row.
        """
        ...


Form = Literal["factored", "spectral", "dense"]
"""How a layer runs its adapter: around the frozen weight; around the weight in singular
coordinates (SVF in fp32); or as one matrix, rebuilt for new values."""


class LowRankSlice:
    """LoRA (arXiv 2106.09685, eq. 3), and DoRA (arXiv 2402.09353, eq. 5) with a magnitude.

    y = m / ‖W + s B A‖ * (W x + s B A x), the norm taken over each row; without a magnitude the
    factor in front is 1. Nothing is changed until A, B and m arrive.

    Products with x are in the dtype of the weight; what is sent, norms and gains are float32.
    """

    def __init__(
        self,
        weight_MN: torch.Tensor,
        *,
        rank: int,
        scaling: float,
        with_magnitude: bool,
        shard: Shard | None = None,
    ) -> None:
        self.shard = shard or Shard.whole(weight_MN)
        (rows, columns), device = self.shard.shape, weight_MN.device
        self.bends_input = False
        self.weight_MN, self.scaling = weight_MN, scaling
        self.tensors = {
            "lora_A.weight": torch.zeros(rank, columns, device=device),
            "lora_B.weight": torch.zeros(rows, rank, device=device),
        }
        # The very tensors where the weight is float32 and whole.
        self.down_RN, self.up_MR = (t.to(weight_MN.dtype) for t in self._own())
        self.gain_M = torch.ones(len(weight_MN), device=device) if with_magnitude else None
        if with_magnitude:
            self.tensors["lora_magnitude_vector"] = torch.ones(rows, device=device)

    def _own(self) -> tuple[torch.Tensor, torch.Tensor]:
        """A and B, the columns and rows of them that this worker's part needs."""
        down_RN, up_MR = self.tensors["lora_A.weight"], self.tensors["lora_B.weight"]
        return down_RN[:, self.shard.columns], up_MR[self.shard.rows]

    def refresh(self) -> None:
        down_RN, up_MR = self._own()
        self.down_RN.copy_(down_RN)
        self.up_MR.copy_(up_MR)
        if self.gain_M is not None:
            norm2_M = (self.weight_MN.float() + self._delta()).square().sum(dim=1)
            if self.shard.splits_columns:
                norm2_M = self.shard.add(norm2_M)
            magnitude_M = self.tensors["lora_magnitude_vector"][self.shard.rows]
            # PEFT guards no norm either: a row of exact zeros would be NaN in both.
            self.gain_M.copy_(magnitude_M / norm2_M.sqrt())

    def partial(self, x: torch.Tensor, base: Base) -> None:
        """Linear in x, so that vLLM's own sum is enough."""

    def apply(self, x: torch.Tensor, base: Base, total: torch.Tensor | None = None) -> torch.Tensor:
        y = base(x) + F.linear(F.linear(x, self.down_RN), self.up_MR) * self.scaling
        return y if self.gain_M is None else (y.float() * self.gain_M).to(y.dtype)

    def bias(self, bias_M: torch.Tensor) -> torch.Tensor:
        return bias_M

    def dense(self, weight_MN: torch.Tensor) -> torch.Tensor:
        bent_MN = weight_MN.float() + self._delta()
        if self.gain_M is not None:
            bent_MN = bent_MN * self.gain_M[:, None]
        return bent_MN.to(weight_MN.dtype)

    def _delta(self) -> torch.Tensor:
        down_RN, up_MR = self._own()
        return up_MR @ down_RN * self.scaling


class ScaleSlice:
    """IA3 (arXiv 2205.05638, §3.3): one factor for each output, or for each input of an MLP."""

    def __init__(
        self, weight_MN: torch.Tensor, *, output_side: bool, shard: Shard | None = None
    ) -> None:
        self.shard = shard or Shard.whole(weight_MN)
        rows, columns = self.shard.shape
        shape = (rows, 1) if output_side else (1, columns)
        self.output_side, self.bends_input = output_side, not output_side
        self.tensors = {"ia3_l": torch.ones(shape, device=weight_MN.device)}
        # A view: a sync writes both.
        mine = self.shard.rows if output_side else self.shard.columns
        self.scale = self.tensors["ia3_l"].flatten()[mine]

    def refresh(self) -> None:
        """Nothing is derived."""

    def partial(self, x: torch.Tensor, base: Base) -> None:
        """Linear in x, so that vLLM's own sum is enough."""

    def apply(self, x: torch.Tensor, base: Base, total: torch.Tensor | None = None) -> torch.Tensor:
        if self.output_side:
            y = base(x)
            return y * self.scale.to(y.dtype)
        return base(x * self.scale.to(x.dtype))

    def bias(self, bias_M: torch.Tensor) -> torch.Tensor:
        return bias_M * self.scale.to(bias_M.dtype) if self.output_side else bias_M

    def dense(self, weight_MN: torch.Tensor) -> torch.Tensor:
        scale = self.scale[:, None] if self.output_side else self.scale
        return (weight_MN.float() * scale).to(weight_MN.dtype)


def scale_slice(
    config: PeftConfig,
    name: str,
    weight_MN: torch.Tensor,
    *,
    shard: Shard | None = None,
    **_: Any,
) -> ScaleSlice:
    """As `rlpeft.adapters.method.Slice.make`, for IA3.

    Raises:
        EngineError: PEFT, which matches ends of names, takes the module for another.
    """
    modules = config.feedforward_modules or ()
    if isinstance(modules, str):
        is_feedforward = re.fullmatch(modules, name) is not None
    else:
        is_feedforward = any(f".{name}".endswith(f".{module}") for module in modules)
        if not is_feedforward and (end := next(filter(name.endswith, modules), "")):
            raise EngineError(
                "feedforward_modules must name whole parts of a module's name, PEFT takes "
                f"{name!r} for {end!r}. Name the modules that are meant in full."
            )
    return ScaleSlice(weight_MN, output_side=not is_feedforward, shard=shard)


def low_rank_slice(
    config: PeftConfig,
    name: str,
    weight_MN: torch.Tensor,
    *,
    shard: Shard | None = None,
    **_: Any,
) -> LowRankSlice:
    """The same for LoRA and DoRA."""
    rank = config.rank_pattern.get(get_pattern_key(config.rank_pattern, name), config.r)
    alpha = config.alpha_pattern.get(get_pattern_key(config.alpha_pattern, name), config.lora_alpha)
    scaling = alpha / (math.sqrt(rank) if config.use_rslora else rank)
    return LowRankSlice(
        weight_MN,
        rank=rank,
        scaling=scaling,
        with_magnitude=bool(config.use_dora),
        shard=shard,
    )
