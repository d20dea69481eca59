"""The SVF layer: one trained vector an adapter around a frozen linear layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from torch import nn
from transformers.pytorch_utils import Conv1D

from rlpeft.adapters.checksums import many_tokens
from rlpeft.adapters.linear import full_weight, linear_shape, turned
from rlpeft.adapters.rows import check_rows
from rlpeft.adapters.svf.base_weight import Stamp
from rlpeft.adapters.svf.config import SvfConfig
from rlpeft.adapters.svf.factors import Factors, factorise
from rlpeft.adapters.svf.functional import (
    dense_linear,
    dense_weight,
    growth,
    multiplier,
    rotate,
    spectral_linear,
    spectral_weight,
)
from rlpeft.errors import ModelError

PLAIN_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


class SvfLinear(nn.Module, BaseTunerLayer):
    """y = W' x + b with W' = U diag(s * z) Vᵀ (Transformer², arXiv 2501.06252, §3.1).

    Several active adapters add their changes: z - 1 = Σ_k (z_k - 1).

    Attributes:
        svf_z: adapter name -> trained vector [R], fp32 (z itself, or the logits of
            `sigmoid_renorm`), R = min(out_features, in_features).
    """

    adapter_layer_names = ("svf_z",)
    other_param_names = ("parametrisation", "form")

    base_layer: Any  # an nn.Linear, plain or quantised, or GPT-2's Conv1D, whose weight is Wᵀ
    svf_basis: torch.Tensor
    svf_s: torch.Tensor

    # Given by BaseTunerLayer, whose types mypy does not follow.
    active_adapters: list[str]
    set_adapter: Callable[..., None]
    _move_adapter_to_device_of_base_layer: Callable[[str], None]

    def __init__(
        self, base_layer: nn.Module, adapter_name: str, config: SvfConfig, module_name: str = ""
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = linear_shape(base_layer, "SVF", module_name)
        self.base_layer = base_layer
        self.svf_z = nn.ParameterDict()
        self.parametrisation: dict[str, str] = {}
        self.form: dict[str, str] = {}
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        self._unmerged: torch.Tensor | None = None  # the base layer's own weight, as it keeps it
        self.clear_cache()
        self.by_row: Callable[[torch.Tensor], torch.Tensor] | None = None  # by `RowVectors`
        if getattr(getattr(base_layer, "weight", None), "is_meta", False):
            raise ModelError(
                "SVF needs the base model's weights to decompose them, got a base on device "
                "'meta'. Load the weights first, then add the adapter."
            )
        weight_MN = full_weight(base_layer)
        self.decomposition = config.decomposition
        # Buffers follow `.to()`; not persistent, since the cache has them under `digest`.
        self.register_buffer("svf_basis", None, False)
        self.register_buffer("svf_s", None, False)
        self._take_factors(weight_MN)
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, config=config)

    @property
    def factors(self) -> Factors:
        """The shared factors of the base weight, on its device."""
        return Factors(self._basis, self.svf_s, self.output_side, self.digest)

    @property
    def _basis(self) -> torch.Tensor:
        basis: torch.Tensor = self.base_layer.basis if self.is_sharded else self.svf_basis
        return basis

    @property
    def is_sharded(self) -> bool:
        """Whether weight and basis may be parts of themselves between two forwards."""
        return "basis" in self.base_layer._parameters

    def make_shardable(self) -> None:
        """Hold the basis as a frozen parameter, which FSDP2 shards, and build no W'.

        It lies in the base layer: PEFT takes all parameters of this one for those of the adapter.
        """
        if self.is_sharded:
            return
        basis_RR, self._buffers["svf_basis"] = self.svf_basis, None
        self.base_layer.basis = nn.Parameter(basis_RR, requires_grad=False)
        self.form = dict.fromkeys(self.form, "factored")
        self.clear_cache()

    def update_layer(self, adapter_name: str, *, config: SvfConfig) -> None:
        """Add an adapter that leaves the layer as it is: z = 1."""
        self.parametrisation[adapter_name] = config.parametrisation
        self.form[adapter_name] = config.form
        # Departs from Table 6 (z of mean 0.1, with noise), whose start is another model than the
        # base. Any constant logit gives z = 1 after renormalisation; 0.1 is the reference's.
        start = 1.0 if config.parametrisation == "direct" else 0.1
        size = min(self.out_features, self.in_features)
        self.svf_z[adapter_name] = nn.Parameter(torch.full((size,), start))
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters)

    def _take_factors(self, weight_MN: torch.Tensor) -> None:
        factors = factorise(weight_MN, self.decomposition)
        self.output_side, self.digest = factors.output_side, factors.digest
        dtype = weight_MN.dtype if weight_MN.is_floating_point() else torch.float32
        self.svf_basis = factors.basis.to(weight_MN.device, dtype)
        self.svf_s = factors.singular_values.to(weight_MN.device)
        self._stamp = Stamp.of(self.base_layer.weight) if self.is_plain else None
        self._factored = None if self._stamp is None else self._stamp.values

    def _follow_base(self, *, values: bool = True, all_values: bool = True) -> None:
        """Drop what was computed from base weights that are there no more; factorise new ones.

        Args:
            values: whether to look at the weights, beside where they lie and how often they were
                written to: `.data` counts no writes, but to look is to wait for an accelerator.
            all_values: whether to look at more than a sample of them.
        """
        # A sharded weight lies elsewhere each time that it is gathered, and nobody writes to it.
        if self.merged or self.is_sharded or torch.compiler.is_compiling():
            return
        stamp, all_values = self._stamp, values and all_values
        if stamp is None or not stamp.fits(
            self.base_layer.weight, values=values, all_values=all_values
        ):
            self._renew()

    @torch.no_grad()
    def _renew(self) -> None:
        if not self.is_plain:
            return
        self.clear_cache()
        before, self._stamp = self._stamp, Stamp.of(self.base_layer.weight.detach())
        # A move to another device or dtype keeps the factors: those of rounded weights may differ
        # by a rotation among near-equal singular values, for which z was not trained.
        written = before is not None and self._stamp.is_written_over(before)
        if written or self._factored is None or not self._stamp.is_near(self._factored):
            with torch.inference_mode(False):
                self._take_factors(full_weight(self.base_layer))

    def clear_cache(self) -> None:
        """Forget W' and C.

        Needed only after writes to `weight.data` that cannot be seen: of values outside a sample
        before a step of generation (a forward of more tokens sees them), of values that change
        places within a row, and, of a factored form on an accelerator, of any: none is awaited.
        """
        self._bent: tuple[torch.Tensor, torch.Tensor] | None = None  # (z, W'), rebuilt for a new z
        self._spectral_MN: torch.Tensor | None = None  # made when first needed

    def multiplier(self, adapter_names: list[str] | None = None) -> torch.Tensor | None:
        """z [R] fp32 of the given (default: active) adapters together; `None` if none is here."""
        names = self.active_adapters if adapter_names is None else adapter_names
        here = [n for n in names if n in self.svf_z]
        each = [multiplier(self.svf_z[n], self.svf_s, self.parametrisation[n]) for n in here]
        if len(each) < 2:
            return each[0] if each else None
        return 1 + torch.stack([z_R - 1 for z_R in each]).sum(0)

    def forward(
        self, x: torch.Tensor, *args: Any, adapter_names: list[str] | None = None, **kwargs: Any
    ) -> torch.Tensor:
        """x [..., in_features] to y [..., out_features], in the dtype of x.

        Args:
            adapter_names: one adapter a row of the batch (`__base__` for none), inference only.
        """
        if self.by_row is not None:
            return self.by_row(x)
        if adapter_names is not None and not self.disable_adapters:
            return self._forward_rows(x, adapter_names, *args, **kwargs)
        if self.disable_adapters and self.merged:
            self.unmerge()
        z_R = None if self.disable_adapters or self.merged else self.multiplier()
        if z_R is None:
            return self.base_layer(x, *args, **kwargs)
        if self.takes_dense(x) and not (args or kwargs):
            return self._dense_forward(x, z_R)
        return self._factored_forward(x, z_R - 1, *args, **kwargs)

    def _forward_rows(
        self, x: torch.Tensor, adapter_names: list[str], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        check_rows(self, x, adapter_names)
        each = {name: self.multiplier([name]) for name in set(adapter_names)}
        one_R = torch.ones_like(self.svf_s)  # for `__base__` and adapters of other layers
        z_BR = torch.stack([one_R if (z := each[n]) is None else z for n in adapter_names])
        change = (z_BR - 1).reshape(len(x), *[1] * (x.ndim - 2), -1)
        return self._factored_forward(x, change, *args, **kwargs)

    @property
    def vector_size(self) -> int:
        """R."""
        return self.svf_s.numel()

    def own_vector(self) -> torch.Tensor:
        """z [R] fp32 of the active adapters; ones if none is here."""
        z_R = self.multiplier()
        return torch.ones_like(self.svf_s) if z_R is None else z_R

    def growth(self, vector_R: torch.Tensor) -> float:
        """See `rlpeft.adapters.rows.RowLayer`; in any direction."""
        return growth(vector_R)

    def vector_of(self, tensor_R: torch.Tensor, config: Mapping[str, Any]) -> torch.Tensor:
        """z [R] fp32 of an expert that was trained under a config."""
        return multiplier(tensor_R, self.svf_s, str(config["parametrisation"]))

    def row_form(self, z: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """What maps x [B, T, N] to y [B, T, M] with one multiplier a sequence, without gradients.

        Args:
            z: [B, 1, R] fp32.
        """
        if not self.is_plain or self.base_layer.weight.dtype != torch.float32:
            return partial(self._factored_forward, change=z - 1)
        self._follow_base()
        if self._spectral_MN is None:
            with torch.inference_mode(False):
                self._spectral_MN = spectral_weight(full_weight(self.base_layer), self.factors)
        return partial(
            spectral_linear,
            z=z,
            spectral_MN=self._spectral_MN,
            factors=self.factors,
            bias_M=self.base_layer.bias,
        )

    def takes_dense(self, x: torch.Tensor) -> bool:
        """Whether W' is built for x, and not the change of x or y."""
        forms = {self.form[name] for name in self.active_adapters if name in self.form}
        if "factored" in forms or torch.compiler.is_compiling() or not self._replaceable:
            return False
        # In bf16, W' would be rounded before the activations are rounded again: twice the error.
        return "dense" in forms or (
            x.dtype == self.base_layer.weight.dtype == torch.float32
            and not torch.is_autocast_enabled(x.device.type)
        )

    @property
    def is_plain(self) -> bool:
        """Whether the base computes x Wᵀ + b with a W of its own in a usual float format."""
        base = self.base_layer
        weight_MN = getattr(base, "weight", None)
        return (
            isinstance(base, nn.Linear | Conv1D)
            # Quantised weights are tensor subclasses, packed integers or bare float8.
            and isinstance(weight_MN, torch.Tensor)
            and type(weight_MN.data) is torch.Tensor
            and not weight_MN.is_meta
            and weight_MN.dtype in PLAIN_DTYPES
            and turned(base, weight_MN).shape == (self.out_features, self.in_features)
        )

    @property
    def _replaceable(self) -> bool:
        """Whether W' may stand in for the base layer's forward, which then is not called."""
        base = self.base_layer
        hooked = base._forward_hooks or base._forward_pre_hooks or base._backward_hooks
        return (
            type(base) in (nn.Linear, Conv1D)
            and self.is_plain
            and not hooked
            and "forward" not in vars(base)
        )

    def _dense_forward(self, x: torch.Tensor, z_R: torch.Tensor) -> torch.Tensor:
        bent_MN = self._dense_weight(z_R.detach(), all_values=many_tokens(x))
        weight_MN, bias_M = turned(self.base_layer, self.base_layer.weight), self.base_layer.bias
        y = dense_linear(x, z_R, bent_MN=bent_MN, weight_MN=weight_MN, factors=self.factors)
        return y if bias_M is None else y + bias_M.to(y.dtype)

    @torch.no_grad()
    def _dense_weight(self, z_R: torch.Tensor, *, all_values: bool) -> torch.Tensor:
        self._follow_base(all_values=all_values)
        if self._bent is None or not _same(self._bent[0], z_R):
            # Tensors made in inference mode could not be saved for a later backward.
            with torch.inference_mode(False):
                weight_MN = full_weight(self.base_layer)
                self._bent = (z_R.clone(), dense_weight(weight_MN, self.factors, z_R))
        return self._bent[1]

    def _factored_forward(
        self, x: torch.Tensor, change: torch.Tensor, *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        self._follow_base(values=x.device.type == "cpu", all_values=many_tokens(x))
        basis_RR = self._basis.to(x.dtype)
        if not self.output_side:
            return self.base_layer(rotate(x, basis_RR, change), *args, **kwargs)
        y, bias_M = self.base_layer(x, *args, **kwargs), getattr(self.base_layer, "bias", None)
        if bias_M is None:
            return rotate(y, basis_RR, change)
        return rotate(y - bias_M, basis_RR, change) + bias_M  # z changes W, and no bias

    def get_delta_weight(self, adapter_name: str) -> torch.Tensor:
        """W' - W of one adapter in fp32, [M, N]; turned as the base layer's, where that is."""
        self._follow_base()
        weight_MN = full_weight(self.base_layer)
        if self._unmerged is not None:
            weight_MN = turned(self.base_layer, self._unmerged)
        z_R = multiplier(self.svf_z[adapter_name], self.svf_s, self.parametrisation[adapter_name])
        weight_MN = weight_MN.float()
        return turned(self.base_layer, dense_weight(weight_MN, self.factors, z_R) - weight_MN)

    @torch.no_grad()
    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Put W' in the place of W.

        Raises:
            ModelError: the base is quantised, or W' is not finite (nothing is changed).
        """
        names = [n for n in check_adapters_to_merge(self, adapter_names) if n in self.svf_z]
        if not names:
            return
        if not self.is_plain:
            raise ModelError(
                f"merging needs a base layer with floating-point weights, got "
                f"{type(self.base_layer).__name__}. Load the base model unquantised to merge."
            )
        self._follow_base()
        z_R = self.multiplier([*self.merged_adapters, *names])
        assert z_R is not None
        base = self.base_layer.weight.data if self._unmerged is None else self._unmerged
        merged_MN = dense_weight(turned(self.base_layer, base), self.factors, z_R)
        if not torch.isfinite(merged_MN).all():
            raise ModelError(f"merged weights of adapters {names} must be finite, got NaN or inf.")
        self._unmerged = base
        self.base_layer.weight.data = turned(self.base_layer, merged_MN).contiguous()
        self.merged_adapters.extend(names)

    def unmerge(self) -> None:
        """Put W back, bit for bit: the original is kept, not recomputed."""
        if self._unmerged is None:
            return
        weight = self.base_layer.weight  # it may have been moved since
        weight.data = self._unmerged.to(weight.device, weight.dtype)
        self._unmerged = None
        self.merged_adapters.clear()

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        """Whether PEFT may approximate the change W' - W by a LoRA: yes, it is a matrix."""
        return True

    def __getstate__(self) -> dict[str, Any]:
        # W' and C are as large as W and computed from it; a stamp's view is all of W.
        made = ("_bent", "_spectral_MN", "_stamp", "by_row")
        return {**self.__dict__, **dict.fromkeys(made)}

    def __repr__(self) -> str:
        return "svf." + super().__repr__()


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.device == b.device and torch.equal(a, b)
