"""An expert as a plain LoRA of a stated rank, for programs that take nothing else.

The update W' - W of a module is a matrix, of SVF one of full rank: a LoRA is its best approximation
of lower rank (C. Eckart and G. Young, Psychometrika 1, 1936), by PEFT's own conversion. What that
leaves out is measured, module by module and on log-probs.

The update of a geometric expert depends on the token: a LoRA is near it on the tokens that the run
recorded, which no other tokens have to follow.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, convert_to_lora
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file

from rlpeft.adapter_state import PEFT_PREFIX
from rlpeft.adapters.lowrank.export import export_approx
from rlpeft.errors import ExpertError
from rlpeft.experts.files import TENSOR_FILE


@torch.no_grad()
def write_lora(policy: PeftModel, folder: Path, *, rank: float, base_id: str) -> dict[str, float]:
    """Write PEFT's folder of a LoRA.

    Args:
        rank: of every module; below 1, the share of the squared update that each module keeps,
            with the lowest rank that keeps it.
        base_id: what the folder calls the base.

    Returns:
        module -> ‖Δ - BA‖ / ‖Δ‖, Frobenius.

    Raises:
        ExpertError: a module is not linear, or has not that many directions.
    """
    layers = {
        name: layer for name, layer in policy.named_modules() if isinstance(layer, BaseTunerLayer)
    }
    for name, layer in layers.items():
        _require_convertible(name.removeprefix(PEFT_PREFIX), layer, rank)
    with warnings.catch_warnings():  # PEFT doubts that a LoRA of lower rank is wanted of a LoRA
        warnings.filterwarnings("ignore", "Converting a PEFT adapter to LoRA that is already")
        config, tensors = convert_to_lora(policy, int(rank) if rank >= 1 else rank)
    config.base_model_name_or_path, config.inference_mode = base_id, True
    config.save_pretrained(str(folder))
    kept = {name: tensor.float().contiguous() for name, tensor in tensors.items()}
    save_file(kept, folder / TENSOR_FILE, metadata={"format": "pt"})
    return {
        name.removeprefix(PEFT_PREFIX): _error(layer, kept, name) for name, layer in layers.items()
    }


def require_near(rank: float, rows: Sequence[Sequence[int]], label: str) -> None:
    """Refuse a LoRA near a geometric expert that nothing could be fitted to.

    Raises:
        ExpertError: no tokens, or a share in the place of a rank.
    """
    if not rows:
        raise ExpertError(
            f"--format lora of a {label} expert is fitted to the answers of its training: it must "
            "lie in the folder of its run by rlpeft train, beside completions. Take --format peft."
        )
    if rank < 1:
        raise ExpertError(
            f"--rank must be a whole number for a {label} expert, got {rank:g}: no share of an "
            "update that depends on the token is the rank's."
        )


def write_near_lora(
    policy: PeftModel, folder: Path, *, rank: float, base_id: str, rows: Sequence[Sequence[int]]
) -> dict[str, float]:
    """The same of a geometric expert, on these rows of token ids; see `export_approx`.

    Raises:
        ModelError: the expert is of a lower rank, or is bent in time ("boost").
    """
    policy.peft_config["default"].base_model_name_or_path = base_id
    batches = [{"input_ids": torch.tensor([list(row)])} for row in rows]
    return export_approx(policy, batches, folder, max_error=math.inf, rank=int(rank))


def _require_convertible(module: str, layer: Any, rank: float) -> None:
    if not layer.supports_lora_conversion("default"):
        raise ExpertError(
            f"--format lora takes linear layers alone, the expert moves {module!r} too. Take "
            "--format peft or merged."
        )
    rows, columns = layer.get_base_layer().weight.shape
    if rank > min(rows, columns):
        raise ExpertError(
            f"--rank must be at most {min(rows, columns)} for {module!r} ({rows} x {columns}), got "
            f"{rank:g}. Lower it, or take --format merged, which leaves nothing out."
        )


def _error(layer: Any, tensors: dict[str, torch.Tensor], name: str) -> float:
    update_MN = layer.get_delta_weight("default").float()
    down_RN, up_MR = (tensors[f"{name}.lora_{side}.weight"] for side in "AB")
    # An update that is 0 is reproduced without error: 0 / 0 would be NaN.
    return float((update_MN - up_MR @ down_RN).norm() / update_MN.norm().clamp_min(1e-30))


def told(errors: dict[str, float]) -> str:
    """What was left out, in a sentence."""
    worst = max(errors, key=lambda name: errors[name])
    mean = sum(errors.values()) / len(errors)
    return (
        f"a LoRA of this rank leaves out {mean:.1%} of a module's update on average, "
        f"{errors[worst]:.1%} of {worst}"
    )
