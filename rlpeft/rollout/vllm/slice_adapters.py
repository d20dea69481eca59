"""Adapters inside fused linear layers, without vLLM.

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
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from peft.utils.other import get_pattern_key

from rlpeft.adapters.lowrank.layer import LowRankLayer, merge_refusal
from rlpeft.adapters.svf.factors import Factors
from rlpeft.adapters.svf.functional import dense_weight, growth, multiplier, spectral_weight
from rlpeft.errors import EngineError
from rlpeft.rollout.vllm.matmul import Pack, plain

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

    def apply(self, x: torch.Tensor, base: Base) -> torch.Tensor:
        """The slice's output [T, M] without bias, in the dtype of x."""
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
        basis_RR: as `Factors.basis`.
        digest: of the factors it holds; `None` until some came.
    """

    basis_RR: torch.Tensor
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
        """How many times as large as the base's an expert makes the largest singular value.

        Args:
            tensor: what it has trained, or what several have, one a row.
        """
        ...


Form = Literal["factored", "spectral", "dense"]
"""How a layer runs its adapter: around the frozen weight; around the weight in singular
coordinates (SVF in fp32); or as one matrix, rebuilt for new values."""


class SvfSlice:
    """Singular-value fine-tuning (Transformer², arXiv 2501.06252, §3.1), z = 1 at first.

    The basis B is the trainer's, given by `take_factors`: one computed here could differ from it
    wherever singular values are nearly equal.

    Two forms. *Factored* changes the frozen weight's input or output, which at z = 1 leaves the
    base exactly as it is, at 4 R² FLOPs a token. *Spectral* lets the layer hold C = B⁻¹ W (output
    side) or W B⁻ᵀ in the place of W (`functional.spectral_weight`), and needs 2 R²:
    y = B(z * C x), or y = C(z * Bᵀ x). In bf16 the rounding of C would be another base model.

    Args:
        is_spectral: which of them, once the factors are here.
    """

    def __init__(
        self,
        weight_MN: torch.Tensor,
        *,
        parametrisation: str,
        pack: Pack = plain,
        is_spectral: bool = False,
    ) -> None:
        device, rank = weight_MN.device, min(weight_MN.shape)
        self.parametrisation, self.output_side = parametrisation, rank == weight_MN.shape[0]
        # In spectral form x goes straight into the held matrix on the output side alone.
        self.bends_input = not self.output_side
        self.tensors = {"svf_z": torch.ones(rank, device=device)}
        # z where the weight is in singular coordinates, z - 1 where its change is added.
        self.offset = 0.0 if is_spectral else 1.0
        self.scale_R = torch.ones(rank, device=device) - self.offset
        # Until factors come: of the spectral form W itself, in the coordinates it has; of the
        # factored one no change, whatever z.
        blank_RR = torch.eye(rank) if is_spectral else torch.zeros(rank, rank)
        self.basis_RR = blank_RR.to(device, weight_MN.dtype)
        self.singular_values_R = torch.ones(rank, device=device)
        self.digest: str | None = None
        self.is_spectral = is_spectral
        self.token_rows: TokenRows | None = None
        self.into, self.back = pack(self.basis_RR.T), pack(self.basis_RR)

    def take_experts(self, slots: int, token_rows: TokenRows) -> None:
        """Let each token run the multiplier of its own slot."""
        self.scales_SR = self.scale_R.repeat(slots + 1, 1)
        self.scale_R = self.scales_SR[0]  # one buffer: a refresh writes the first row
        self.token_rows = token_rows

    def set_expert(self, slot: int, tensor: torch.Tensor | None) -> None:
        """Put an expert's trained vector into a slot, in place; without one, z = 1."""
        if tensor is None:
            self.scales_SR[slot + 1] = 1 - self.offset
            return
        z_R = multiplier(
            tensor.to(self.scale_R.device), self.singular_values_R, self.parametrisation
        )
        self.scales_SR[slot + 1] = z_R - self.offset

    def growth(self, tensor: torch.Tensor) -> float:
        """See `ServesExperts`; not finite where what was trained overflows."""
        values_R = self.singular_values_R
        z_R = multiplier(tensor.to(values_R.device), values_R, self.parametrisation)
        return growth(z_R, values_R)

    def take_factors(self, factors: Factors) -> None:
        """Use these factors from now on."""
        self.basis_RR.copy_(factors.basis)
        self.singular_values_R.copy_(factors.singular_values)
        self.digest = factors.digest
        self.into.renew()
        self.back.renew()

    def refresh(self) -> None:
        z_R = multiplier(self.tensors["svf_z"], self.singular_values_R, self.parametrisation)
        self.scale_R.copy_(z_R - self.offset)

    def in_coordinates(self, weight_MN: torch.Tensor) -> torch.Tensor:
        """C [M, N], what a spectral layer holds in the place of W; W itself until factors come."""
        if not self.is_spectral or self.digest is None:
            return weight_MN
        return spectral_weight(weight_MN, self._factors)

    def apply(self, x: torch.Tensor, base: Base) -> torch.Tensor:
        if self.output_side:
            return self._bend(base(x))
        return base(self._bend(x))

    def _bend(self, x: torch.Tensor) -> torch.Tensor:
        """What the adapter does to one side of the weight's product."""
        rows = self.token_rows
        # Six times faster on a CPU than indexing by a tensor.
        scale = self.scale_R if rows is None else self.scales_SR.index_select(0, rows(len(x)))
        if not self.is_spectral:  # `functional.rotate` with packed products
            return x + self.back((self.into(x).float() * scale).to(x.dtype))
        return self.back(x * scale) if self.output_side else self.into(x).mul_(scale)

    def bias(self, bias_M: torch.Tensor) -> torch.Tensor:
        return bias_M

    def dense(self, weight_MN: torch.Tensor) -> torch.Tensor:
        return dense_weight(weight_MN, self._factors, self.scale_R + self.offset)

    @property
    def _factors(self) -> Factors:
        return Factors(self.basis_RR, self.singular_values_R, self.output_side, self.digest or "")


class LowRankSlice:
    """LoRA (arXiv 2106.09685, eq. 3), and DoRA (arXiv 2402.09353, eq. 5) with a magnitude.

    y = m / ‖W + s B A‖ * (W x + s B A x), the norm taken over each row; without a magnitude the
    factor in front is 1. Nothing is changed until A, B and m arrive.

    Products with x are in the dtype of the weight; what is sent, norms and gains are float32.
    """

    def __init__(
        self, weight_MN: torch.Tensor, *, rank: int, scaling: float, with_magnitude: bool
    ) -> None:
        (rows, columns), device = weight_MN.shape, weight_MN.device
        self.bends_input = False
        self.weight_MN, self.scaling = weight_MN, scaling
        self.tensors = {
            "lora_A.weight": torch.zeros(rank, columns, device=device),
            "lora_B.weight": torch.zeros(rows, rank, device=device),
        }
        # The very tensors where the weight is float32.
        self.down_RN, self.up_MR = (t.to(weight_MN.dtype) for t in self.tensors.values())
        self.gain_M = torch.ones(rows, device=device) if with_magnitude else None
        if with_magnitude:
            self.tensors["lora_magnitude_vector"] = torch.ones(rows, device=device)

    def refresh(self) -> None:
        self.down_RN.copy_(self.tensors["lora_A.weight"])
        self.up_MR.copy_(self.tensors["lora_B.weight"])
        if self.gain_M is not None:
            norm_M = (self.weight_MN.float() + self._delta()).norm(dim=1)
            # PEFT guards no norm either: a row of exact zeros would be NaN in both.
            self.gain_M.copy_(self.tensors["lora_magnitude_vector"] / norm_M)

    def apply(self, x: torch.Tensor, base: Base) -> torch.Tensor:
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
        return self.tensors["lora_B.weight"] @ self.tensors["lora_A.weight"] * self.scaling


class ScaleSlice:
    """IA3 (arXiv 2205.05638, §3.3): one factor for each output, or for each input of an MLP."""

    def __init__(self, weight_MN: torch.Tensor, *, output_side: bool) -> None:
        rows, columns = weight_MN.shape
        shape = (rows, 1) if output_side else (1, columns)
        self.output_side, self.bends_input = output_side, not output_side
        self.tensors = {"ia3_l": torch.ones(shape, device=weight_MN.device)}

    def refresh(self) -> None:
        """Nothing is derived."""

    def apply(self, x: torch.Tensor, base: Base) -> torch.Tensor:
        scale = self.tensors["ia3_l"].flatten()
        if self.output_side:
            y = base(x)
            return y * scale.to(y.dtype)
        return base(x * scale.to(x.dtype))

    def bias(self, bias_M: torch.Tensor) -> torch.Tensor:
        scale = self.tensors["ia3_l"].flatten()
        return bias_M * scale.to(bias_M.dtype) if self.output_side else bias_M

    def dense(self, weight_MN: torch.Tensor) -> torch.Tensor:
        return (weight_MN.float() * self.tensors["ia3_l"]).to(weight_MN.dtype)


class GeometricSlice:
    """HypLoRA (arXiv 2410.04010) or MoSLoRA (arXiv 2602.14490): the PEFT layer's own update.

    Its update depends on the token, so there is no matrix that does the same. Products with x are
    in the dtype of the layer's factors; what is sent, norms and gains are float32.

    Args:
        layer: a PEFT layer around a stand-in for the slice, its adapter named `default`.
    """

    def __init__(self, layer: LowRankLayer) -> None:
        self.layer, self.bends_input = layer.eval().requires_grad_(False), False
        named = ((name, getattr(layer, name)) for name in layer.adapter_layer_names)
        self.own = {name: p["default"].data for name, p in named if "default" in p}
        # The very tensors where they are float32.
        self.tensors = {name: tensor.float() for name, tensor in self.own.items()}
        with torch.no_grad():
            self.layer.inference_terms("default")
            self.layer.renew()  # from now on rewritten in place

    def refresh(self) -> None:
        for name, tensor in self.own.items():
            tensor.copy_(self.tensors[name])
        self.layer.renew()

    def apply(self, x: torch.Tensor, base: Base) -> torch.Tensor:
        y = base(x)
        return y + self.layer.update(x, "default").to(y.dtype)

    def bias(self, bias_M: torch.Tensor) -> torch.Tensor:
        return bias_M

    def dense(self, weight_MN: torch.Tensor) -> torch.Tensor:
        raise EngineError(merge_refusal(self.layer.method))


def svf_slice(
    config: PeftConfig, name: str, weight_MN: torch.Tensor, *, pack: Pack, form: Form
) -> SvfSlice:
    """As `rlpeft.adapters.method.Slice.make`, for SVF."""
    return SvfSlice(
        weight_MN,
        parametrisation=config.parametrisation,
        pack=pack,
        is_spectral=form == "spectral",
    )


def scale_slice(config: PeftConfig, name: str, weight_MN: torch.Tensor, **_: Any) -> ScaleSlice:
    """The same for IA3.

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
    return ScaleSlice(weight_MN, output_side=not is_feedforward)


def low_rank_slice(
    config: PeftConfig, name: str, weight_MN: torch.Tensor, **_: Any
) -> LowRankSlice:
    """The same for LoRA and DoRA."""
    rank = config.rank_pattern.get(get_pattern_key(config.rank_pattern, name), config.r)
    alpha = config.alpha_pattern.get(get_pattern_key(config.alpha_pattern, name), config.lora_alpha)
    scaling = alpha / (math.sqrt(rank) if config.use_rslora else rank)
    return LowRankSlice(weight_MN, rank=rank, scaling=scaling, with_magnitude=bool(config.use_dora))


def geometric_slice(
    config: PeftConfig, name: str, weight_MN: torch.Tensor, **_: Any
) -> GeometricSlice:
    """The same for HypLoRA and MoSLoRA: the layer of their PEFT tuner, around a stand-in."""
    rows, columns = weight_MN.shape
    stand_in = torch.nn.Linear(columns, rows, bias=False, device="meta")
    # One number of memory, on the weight's device, and in its dtype, which the factors take.
    blank_MN = weight_MN.new_zeros(1).expand(rows, columns)
    stand_in.weight = torch.nn.Parameter(blank_MN, requires_grad=False)
    layer = PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type].tuner_layer_cls
    with torch.random.fork_rng(devices=[]):  # its random start is overwritten by the first sync
        return GeometricSlice(layer(stand_in, "default", config, name))
