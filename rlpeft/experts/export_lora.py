"""An expert as a plain LoRA of a stated rank, for programs that take nothing else.

The update W' - W of a module is a matrix, of SVF one of full rank: a LoRA is its best approximation
of lower rank (C. Eckart and G. Young, Psychometrika 1, 1936), by PEFT's own conversion. What that
leaves out is measured, module by module and on log-probs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, convert_to_lora
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file

from rlpeft.adapter_state import PEFT_PREFIX
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
        ExpertError: the method's update is no matrix, or a module has not that many directions.
    """
    layers = {
        name: layer for name, layer in policy.named_modules() if isinstance(layer, BaseTunerLayer)
    }
    try:
        config, tensors = convert_to_lora(policy, int(rank) if rank >= 1 else rank)
    except (TypeError, ValueError) as error:
        raise ExpertError(
            f"--format lora --rank {rank:g} must be an update by matrices, of a rank that all of "
            f"them have, got: {str(error).rstrip('.')}. Lower --rank, or take another --format."
        ) from error
    config.base_model_name_or_path, config.inference_mode = base_id, True
    config.save_pretrained(str(folder))
    kept = {name: tensor.float().contiguous() for name, tensor in tensors.items()}
    save_file(kept, folder / TENSOR_FILE, metadata={"format": "pt"})
    return {
        name.removeprefix(PEFT_PREFIX): _error(layer, kept, name) for name, layer in layers.items()
    }


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
