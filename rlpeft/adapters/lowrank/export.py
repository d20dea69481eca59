"""A plain LoRA near a geometric adapter, with the error that was measured, not assumed.

The multiplier of each middle coordinate is replaced by one number, the least-squares best over
calibration tokens. With curvature 0 the multiplier is one number, and the export is exact. A lower
rank than the adapter's is cut from that (C. Eckart and G. Young, Psychometrika 1, 1936).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel
from safetensors.torch import save_file

from rlpeft.adapter_state import PEFT_PREFIX
from rlpeft.adapters.lowrank.layer import LowRankLayer
from rlpeft.errors import ModelError
from rlpeft.files import replacing


@dataclass
class _Sums:
    """Running sums of one layer over calibration tokens; float64 against cancellation."""

    bent_z: torch.Tensor | None = None
    z_z: torch.Tensor | None = None
    error: torch.Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    total: torch.Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))


@torch.no_grad()
def export_approx(
    model: PeftModel,
    batches: Iterable[dict[str, torch.Tensor]],
    path: str | Path,
    *,
    adapter_name: str = "default",
    max_error: float = 0.01,
    rank: int | None = None,
) -> dict[str, float]:
    """Save a plain LoRA whose update is close to the adapter's on `batches`.

    Args:
        batches: calibration inputs, passed as `model(**batch)`; gone over twice.
        path: folder for PEFT's `adapter_config.json` and `adapter_model.safetensors`.
        max_error: largest relative L2 error of a module's update that is accepted.
        rank: of every module; each adapter's own if absent.

    Returns:
        module name -> ‖Δ - Δ_lora‖ / ‖Δ‖ over the calibration tokens (root of summed squares).

    Raises:
        ModelError: the adapter is no exportable one or of a lower rank, or some module's error is
            above `max_error`; nothing is written then.
    """
    layers = _layers(model, adapter_name, rank)
    batches, sums = list(batches), {name: _Sums() for name in layers}

    def add_fit(name: str, x: torch.Tensor, z: torch.Tensor, bent: torch.Tensor) -> None:
        _add_fit(sums[name], z, bent)

    _visit(model, batches, layers, adapter_name, add_fit)
    factors = {name: _fit(entry) for name, entry in sums.items()}
    ups = {name: layer.up(adapter_name).float() for name, layer in layers.items()}
    loras = {
        name: _lora(layer, adapter_name, factors[name], rank) for name, layer in layers.items()
    }

    def add_error(name: str, x: torch.Tensor, z: torch.Tensor, bent: torch.Tensor) -> None:
        down, up = loras[name]
        near = F.linear(z * factors[name], ups[name]) if rank is None else x @ down.T @ up.T
        _add_error(sums[name], F.linear(bent, ups[name]), near)

    _visit(model, batches, layers, adapter_name, add_error)
    # An update that is 0 on all tokens is reproduced without error: 0 / 0 would be NaN.
    errors = {n: float((s.error / s.total.clamp_min(1e-300)).sqrt()) for n, s in sums.items()}
    _check_errors(errors, max_error)
    _save(Path(path), model, loras, adapter_name)
    return errors


def _layers(model: PeftModel, adapter_name: str, rank: int | None) -> dict[str, LowRankLayer]:
    """What is exported, by module."""
    layers = {
        layer.module_name: layer
        for layer in model.modules()
        if isinstance(layer, LowRankLayer) and adapter_name in layer.scaling
    }
    _check_exportable(layers, adapter_name)
    _check_rank(layers, adapter_name, rank)
    return layers


def _lora(
    layer: LowRankLayer, adapter_name: str, factors_R: torch.Tensor, rank: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both matrices, [rank, N] and [M, rank], with scaling and multipliers in the latter."""
    down_RN, up_MR = layer.down(adapter_name).float(), layer.up(adapter_name).float() * factors_R
    if rank is None:
        return down_RN, up_MR
    basis_NR, triangle = torch.linalg.qr(down_RN.T)
    left, sizes, right = torch.linalg.svd(up_MR @ triangle.T, full_matrices=False)
    return right[:rank] @ basis_NR.T, left[:, :rank] * sizes[:rank]


def _check_rank(layers: dict[str, LowRankLayer], adapter_name: str, rank: int | None) -> None:
    for name, layer in layers.items():
        if rank is not None and not 0 < rank <= (own := layer.down(adapter_name).shape[0]):
            raise ModelError(
                f"a LoRA near the adapter must have at most its rank, {own} in {name!r}, got "
                f"{rank}. Lower it."
            )


def _check_errors(errors: dict[str, float], max_error: float) -> None:
    too_large = {name: error for name, error in errors.items() if not error <= max_error}
    if too_large:
        listed = ", ".join(f"{name} {error:.3g}" for name, error in too_large.items())
        raise ModelError(
            f"a plain LoRA must stay within {max_error} of the adapter in every module, got: "
            f"{listed}. Keep the adapter as it is, or raise max_error knowingly."
        )


def _check_exportable(layers: dict[str, LowRankLayer], adapter_name: str) -> None:
    if not layers:
        raise ModelError(
            f"export_approx needs a HypLoRA or MoSLoRA adapter, {adapter_name!r} is in no such "
            "layer. Export other adapters with merge_and_unload or as they are."
        )
    for name, layer in layers.items():
        if layer.up(adapter_name).shape[1] != layer.down(adapter_name).shape[0]:
            raise ModelError(
                f"{name!r} has time coordinates (variant 'boost'), which no LoRA can imitate. "
                "Train variant 'rotation' to export."
            )


def _visit(
    model: PeftModel,
    batches: list[dict[str, torch.Tensor]],
    layers: dict[str, LowRankLayer],
    adapter_name: str,
    see: Any,
) -> None:
    """Run the batches, calling see(module, x [tokens, N], z [tokens, R], bent [tokens, R])."""

    def hook(layer: LowRankLayer, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        down = layer.down(adapter_name)
        x = args[0].to(down.dtype).reshape(-1, layer.in_features)
        z = F.linear(x, down)
        bent, _ = layer.bend(x, z, layer.build_terms(adapter_name), adapter_name)
        see(layer.module_name, x.float(), z.float(), bent.float())

    was_training = model.training
    model.eval()
    handles = [layer.register_forward_hook(hook) for layer in layers.values()]
    try:
        for batch in batches:
            model(**batch)
    finally:
        for handle in handles:
            handle.remove()
        model.train(was_training)


def _add_fit(sums: _Sums, z: torch.Tensor, bent: torch.Tensor) -> None:
    # Sums over all tokens there are: in fp32 the later ones would be rounded away.
    z, bent = z.double(), bent.double()
    bent_z, z_z = (bent * z).sum(0), z.square().sum(0)
    sums.bent_z = bent_z if sums.bent_z is None else sums.bent_z + bent_z
    sums.z_z = z_z if sums.z_z is None else sums.z_z + z_z


def _add_error(sums: _Sums, exact: torch.Tensor, approximate: torch.Tensor) -> None:
    sums.error += (exact - approximate).double().square().sum()
    sums.total += exact.double().square().sum()


def _fit(sums: _Sums) -> torch.Tensor:
    if sums.bent_z is None or sums.z_z is None:
        raise ModelError("export_approx needs at least one batch that reaches every adapted layer.")
    # A coordinate that is 0 on all tokens has no best factor: 0 will do.
    return (sums.bent_z / sums.z_z.clamp_min(1e-300)).float()


def _save(
    path: Path,
    model: PeftModel,
    loras: dict[str, tuple[torch.Tensor, torch.Tensor]],
    adapter_name: str,
) -> None:
    """Scaling and multipliers are folded into B, so alpha = r in every module."""
    tensors, ranks = {}, {}
    for name, (down, up) in loras.items():
        key = f"{PEFT_PREFIX}{name}"
        tensors[f"{key}.lora_A.weight"] = down.contiguous().cpu()
        tensors[f"{key}.lora_B.weight"] = up.contiguous().cpu()
        ranks[name] = down.shape[0]
    largest = max(ranks.values())
    others = {name: rank for name, rank in ranks.items() if rank != largest}
    config = LoraConfig(
        r=largest,
        lora_alpha=largest,
        rank_pattern=others,
        alpha_pattern=dict(others),
        target_modules=sorted(loras),
        task_type=model.peft_config[adapter_name].task_type,
        base_model_name_or_path=model.peft_config[adapter_name].base_model_name_or_path,
        inference_mode=True,
    )
    with replacing(path / "adapter_model.safetensors") as partial:
        save_file(tensors, partial, metadata={"format": "pt"})
    config.save_pretrained(str(path))
