"""The files of weights in a model's folder: which of them are loaded, and what they must hold.

transformers and vLLM fit what they find to what they need: of two sets of weights each takes
another, whole numbers become floats without their scales, what is not a number is kept. Such a
model computes, and is not the one that was meant.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlpeft.errors import ModelError

if TYPE_CHECKING:
    import torch

WEIGHTS_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"

LAYER_WEIGHT = re.compile(r"\.\d+\..*weight$")
"""Names of weights inside a numbered layer; old files hold buffers there too, which say nothing."""

SCALE = re.compile(r"(weight|input|activation)_scale(_inv)?$|\.(scales|qzeros|SCB|absmax)$")
"""Names of what quantised weights are multiplied or moved by."""

WHOLE = ("I", "U", "BOOL")
"""What safetensors' names of dtypes without fractions begin with."""


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers loads: others may hold the same weights under other names.

    Raises:
        ModelError: the index cannot be read, names a file that is not there, or leaves out a whole
            model that lies beside it.
    """
    whole, index = folder / WEIGHTS_FILE, folder / INDEX_FILE
    if not index.is_file():
        return [whole] if whole.is_file() else sorted(folder.glob("*.safetensors"))
    names = _named_by(index)
    if whole.is_file() and names != {WEIGHTS_FILE}:
        # transformers would load the whole file, vLLM those of the index.
        raise ModelError(
            f"model folder {str(folder)!r} must hold one set of weights, it holds {WEIGHTS_FILE} "
            f"and {INDEX_FILE}, which names other files. Remove the one that is out of date."
        )
    files = [folder / name for name in sorted(names)]
    for file in files:
        if file.parent != folder or not file.is_file():
            raise ModelError(
                f"index {str(index)!r} must name files beside it, {file.name!r} is not there. "
                "Save or download the whole model again."
            )
    return files


def _named_by(index: Path) -> set[str]:
    try:
        return {str(name) for name in json.loads(index.read_text())["weight_map"].values()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(
            f"index {str(index)!r} must name files of weights, got {error}."
        ) from error


def check_formats(folder: Path, config: Any) -> None:
    """Refuse weights in a quantised form that the config does not tell of; reads headers alone.

    Raises:
        ModelError: they are, or a file cannot be read.
    """
    if getattr(config, "quantization_config", None) is not None:
        return
    for file in weight_files(folder):
        for name, dtype in _formats(file):
            is_weight = name.endswith(("weight", "_proj"))
            if (is_weight and dtype.startswith(WHOLE)) or SCALE.search(name):
                raise ModelError(
                    f"base model in {str(folder)!r} must hold float weights or say in config.json "
                    f"how they are quantised (quantization_config), it holds {name!r} as {dtype}. "
                    "Save it with its quantisation's library, or take the model unquantised."
                )


def _formats(file: Path) -> Iterator[tuple[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  no mapping
                yield name, tensors.get_slice(name).get_dtype()
    except (SafetensorError, OSError) as error:
        raise ModelError(f"weights {str(file)!r} cannot be read: {error}") from error


def check_finite(tensors: Iterable[tuple[str, torch.Tensor]], *, where: str) -> None:
    """Refuse weights that hold NaN or infinity.

    Args:
        tensors: names and tensors; those of a quantised format are passed over.
        where: names the model, for the error.

    Raises:
        ModelError: one of them does.
    """
    import torch

    for name, tensor in tensors:
        plain = type(tensor.data) is torch.Tensor and tensor.is_floating_point()
        if not plain or tensor.element_size() == 1 or not tensor.numel():
            continue
        # Twenty times as fast as isfinite, and makes no mask: NaN is the least and the largest.
        low, high = torch.aminmax(tensor.detach())
        if not (low.isfinite() and high.isfinite()):
            raise ModelError(
                f"weights of {where} must be finite, {name!r} holds NaN or infinity in "
                f"{str(tensor.dtype).removeprefix('torch.')}. Download or save the model again; "
                "if its files are sound, give a dtype with a larger range (bfloat16, float32)."
            )


def check_keys(folder: Path, missing: Collection[str], unexpected: Collection[str]) -> None:
    """Refuse weights that fit their config in part: transformers only warns.

    What is missing it fills with random numbers; layers that the config leaves out it drops.

    Raises:
        ModelError: a weight is missing, or belongs to a layer that the config does not have.
    """
    if missing:
        raise ModelError(
            f"base model in {str(folder)!r} must hold every weight of its architecture, it lacks "
            f"{_first_few(missing)}. Save the whole model again."
        )
    if layers := [key for key in unexpected if LAYER_WEIGHT.search(key)]:
        raise ModelError(
            f"base model in {str(folder)!r} must hold no layer that its config.json leaves out, it "
            f"holds {_first_few(layers)}. Restore the config that belongs to these weights."
        )


def _first_few(keys: Collection[str]) -> str:
    return f"{', '.join(sorted(keys)[:3])} ({len(keys)} in all)"
