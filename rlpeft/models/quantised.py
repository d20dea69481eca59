"""Base models whose linear layers are quantised as they are loaded, by learner and engine alike.

`int8` (torchao): each row of a weight [M, N] becomes whole numbers of 8 bits times one scale,
s_m = max_n |W_mn| / 127.5. A row never looks at another, so that layers which vLLM fuses by their
rows hold the numbers that the learner's have. `nf4` (bitsandbytes; QLoRA, arXiv 2305.14314, §3):
blocks of 64 numbers, each the nearest of sixteen quantiles of a normal distribution times the
block's largest. Embedding and head stay as they are.

An adapter stands on the quantised weight: the factors of SVF are those of what it dequantises to,
and an expert of such a base is one of no other.
"""

from __future__ import annotations

import hashlib
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlpeft.errors import ModelError
from rlpeft.types import Quantisation

if TYPE_CHECKING:
    import torch

LIBRARIES: dict[str, str] = {"int8": "torchao", "nf4": "bitsandbytes"}
"""What quantises, by `model.quantisation`."""


def require_quantisable(folder: Path, config: Any, quantisation: Quantisation) -> None:
    """Refuse, before any weight is read, what cannot be quantised here.

    Args:
        config: the model's, as transformers has it.

    Raises:
        ModelError: the model is quantised in its files, has a vision tower, or the library that
            quantises is not installed.
    """
    stored = getattr(config, "quantization_config", None)
    if stored is not None:
        raise ModelError(
            f"model.quantisation must be left out for a base that is quantised in its files, "
            f"{str(folder)!r} has a quantization_config, and model.quantisation is "
            f"{quantisation!r}. Remove it: the base is read as it is."
        )
    if config.get_text_config() is not config:
        raise ModelError(
            f"model.quantisation is for language models, {str(folder)!r} has a vision tower. "
            "Leave it out."
        )
    library = LIBRARIES[quantisation]
    if find_spec(library) is None:
        raise ModelError(
            f"model.quantisation = {quantisation!r} needs {library}, which is not installed. "
            "Install the extra: pip install 'rlpeft[quantised]'."
        )


def quantised_digest(digest: str, quantisation: Quantisation) -> str:
    """SHA-256 (hex) of a base that is quantised as it is loaded, from that of its files."""
    return hashlib.sha256(f"{digest}\n{quantisation}".encode()).hexdigest()


def loading(config: Any, quantisation: Quantisation | None, dtype: str) -> dict[str, Any]:
    """Arguments of `from_pretrained` that decide how weights are kept.

    Args:
        config: the model's, as transformers has it.
        dtype: name of a torch dtype, that products are formed in.
    """
    from transformers import BitsAndBytesConfig, TorchAoConfig

    if quantisation is None:
        stored = getattr(config, "quantization_config", None) or {}
        if stored.get("quant_method") != "compressed-tensors":
            return {}
        # Else its layers have no weight until the first product, and adapters come before that.
        config = deepcopy(config)
        config.quantization_config = {**stored, "dequantize": True}
        return {"config": config}
    if quantisation == "int8":
        return {"quantization_config": TorchAoConfig(torchao_config())}
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
    )
    return {"quantization_config": nf4}


def torchao_config() -> Any:
    """Whole numbers of 8 bits, one scale a row; also what vLLM is told (`rollout.vllm.start`)."""
    from torchao.quantization import Int8WeightOnlyConfig

    # Else torchao sets options of torch's compiler for the whole process.
    return Int8WeightOnlyConfig(set_inductor_config=False)


def made_trainable(model: Any) -> Any:
    """The model, of whose 4-bit layers gradients flow back.

    In evaluation on a CPU with AVX-512 bitsandbytes packs them anew at their first product, for a
    kernel that has no backward pass.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def stored(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The plain tensors that a tensor is kept in: itself, or whole numbers and their scales."""
    if hasattr(tensor, "__tensor_flatten__"):  # torchao's
        names, _ = tensor.__tensor_flatten__()
        return [part for name in names for part in stored(getattr(tensor, name))]
    state = getattr(tensor, "quant_state", None)  # bitsandbytes'
    return [tensor.data] if state is None else [tensor.data, state.absmax]
