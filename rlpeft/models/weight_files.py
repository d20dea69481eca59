"""The files of weights in a model's folder: which of them are loaded, and what they must hold.

transformers and vLLM fit what they find to what they need: of two sets of weights each takes
another, whole numbers become floats without their scales, what is not a number is kept. Such a
model computes, and is not the one that was meant.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlpeft.errors import ModelError

if TYPE_CHECKING:
    import torch

WEIGHTS_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"

BUFFER = re.compile(r"(^|\.)(inv_freq|(cos|sin)_cached|position_ids|masked_bias|causal_mask)$")
"""Names of tables in old files that the config alone tells: no weights, and not read today."""

MASK = re.compile(r"attn\.bias$|attention\.bias$")
"""What GPT-2's kin call a mask of four dimensions; with one it is a bias, and a weight."""

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
"""What PEFT calls the files of an adapter."""

SCALE = re.compile(r"(weight|input|activation)_scale(_inv)?$|\.(scales|qzeros|SCB|absmax)$")
"""Names of what quantised weights are multiplied or moved by."""

WHOLE = ("I", "U", "BOOL")
"""What safetensors' names of dtypes without fractions begin with."""


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers loads: others may hold the same weights under other names.

    Raises:
        ModelError: the index cannot be read, names a file that is not there, or leaves out a whole
            model that lies beside it; a weight lies in two files, or not where the index says.
    """
    whole, index = folder / WEIGHTS_FILE, folder / INDEX_FILE
    if not index.is_file():
        found = sorted(folder.glob("*.safetensors"))
        _check_places(folder, found, {})
        return [whole] if whole.is_file() else found
    places = _places(index)
    if whole.is_file() and set(places.values()) != {WEIGHTS_FILE}:
        # transformers would load the whole file, vLLM those of the index.
        raise ModelError(
            f"model folder {str(folder)!r} must hold one set of weights, it holds {WEIGHTS_FILE} "
            f"and {INDEX_FILE}, which names other files. Remove the one that is out of date."
        )
    files = [folder / name for name in sorted(set(places.values()))]
    for file in files:
        if file.parent != folder or not file.is_file():
            raise ModelError(
                f"index {str(index)!r} must name files beside it, {file.name!r} is not there. "
                "Save or download the whole model again."
            )
    _check_places(folder, files, places)
    return files


def _places(index: Path) -> dict[str, str]:
    """Which file an index says that each weight lies in."""
    try:
        named = json.loads(index.read_text())["weight_map"]
        return {str(key): str(file) for key, file in named.items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(
            f"index {str(index)!r} must name files of weights, got {error}."
        ) from error


def _check_places(folder: Path, files: Sequence[Path], places: Mapping[str, str]) -> None:
    """Refuse weights of which a copy is loaded too: loaders take every tensor of every file.

    Args:
        places: file names by weight, of the index; empty where there is none.
    """
    if len(files) < 2:
        return
    seen: dict[str, str] = {}
    for file in files:
        for name in _header(file):
            due = seen.setdefault(name, places.get(name, file.name))
            if due != file.name:
                raise ModelError(
                    f"model folder {str(folder)!r} must hold each weight once, where its index "
                    f"says: {name!r} of {due} lies in {file.name}, too or instead. Remove the "
                    "files that are out of date, or save or download the whole model again."
                )


def check_no_adapter(folder: Path) -> None:
    """Refuse an adapter beside the weights of a model: transformers would put it into the model.

    Raises:
        ModelError: there is one.
    """
    if found := [name for name in ADAPTER_FILES if (folder / name).is_file()]:
        whole = next((n for n in (WEIGHTS_FILE, INDEX_FILE) if (folder / n).is_file()), None)
        raise ModelError(
            f"model folder {str(folder)!r} must hold a model alone, it holds an adapter "
            f"({', '.join(found)}) beside {whole or 'config.json'}: some loaders would add it, "
            "others not. Move the adapter to a folder of its own, or merge it "
            "(merge_and_unload, save_pretrained)."
        )


def check_formats(folder: Path, config: Any) -> None:
    """Refuse weights in a quantised form that the config does not tell of; reads headers alone.

    Raises:
        ModelError: they are, or a file cannot be read.
    """
    if getattr(config, "quantization_config", None) is not None:
        return
    for file in weight_files(folder):
        for name, (dtype, _) in _header(file).items():
            is_weight = name.endswith(("weight", "_proj"))
            if (is_weight and dtype.startswith(WHOLE)) or SCALE.search(name):
                raise ModelError(
                    f"base model in {str(folder)!r} must hold float weights or say in config.json "
                    f"how they are quantised (quantization_config), it holds {name!r} as {dtype}. "
                    "Save it with its quantisation's library, or take the model unquantised."
                )


def places(folder: Path) -> dict[str, Path]:
    """Which file holds each tensor of a model; reads headers alone.

    Raises:
        ModelError: as `weight_files`, or a file cannot be read.
    """
    return {name: file for file in weight_files(folder) for name in _header(file)}


def read_tensors(found: Mapping[str, Path]) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors by name as their files hold them, one at a time, file by file.

    Args:
        found: name -> file, as of `places`.

    Raises:
        ModelError: a file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    for file in dict.fromkeys(found.values()):
        try:
            with safe_open(file, framework="pt") as tensors:
                for name in (name for name, its in found.items() if its == file):
                    yield name, tensors.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"weights {str(file)!r} cannot be read: {error}") from error


def _header(file: Path) -> Mapping[str, tuple[str, list[int]]]:
    """The dtype, as safetensors names it, and the shape of each tensor of a file."""
    try:
        stat = file.stat()
    except OSError as error:
        raise ModelError(f"weights {str(file)!r} cannot be read: {error}") from error
    return _read_header(file, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _read_header(file: Path, _size: int, _time_ns: int) -> Mapping[str, tuple[str, list[int]]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118
            return {name: (found.get_dtype(), found.get_shape()) for name, found in slices.items()}
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


def check_keys(
    folder: Path, config: Any, missing: Collection[str], unexpected: Collection[str]
) -> None:
    """Refuse weights that fit their config in part: transformers only warns.

    What is missing it fills with random numbers, what the architecture does not read it drops.

    Args:
        unexpected: names that it did not read, but for those that it knows to be harmless
            (`_keys_to_ignore_on_load_unexpected`).

    Raises:
        ModelError: a weight is missing, or the files hold one that nothing reads.
    """
    if missing:
        raise ModelError(
            f"base model in {str(folder)!r} must hold every weight of its architecture, it lacks "
            f"{_first_few(missing)}. Save the whole model again."
        )
    if unread := [key for key in unexpected if not _harmless(key, folder, config)]:
        raise ModelError(
            f"base model in {str(folder)!r} must hold no weight that its config.json leaves out, "
            f"it holds {_first_few(unread)}, and would compute without. Restore the config that "
            "belongs to these weights, or take out what is no part of the model."
        )


def check_tied(model: Any, *, where: str) -> None:
    """Refuse a head of its own under a config that ties it: vLLM would take the embedding for it.

    Raises:
        ModelError: the files hold another head than the embedding.
    """
    import torch

    configs = (model.config, model.config.get_text_config())
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    says = all(getattr(config, "tie_word_embeddings", False) for config in configs)
    if not says or head is None or head.weight.data_ptr() == embedding.weight.data_ptr():
        return
    if not torch.equal(head.weight, embedding.weight):
        raise ModelError(
            f"{where} must hold one weight for head and embedding, as its config.json says "
            "(tie_word_embeddings), it holds two that differ: some loaders would take one of "
            "them, others both. Set tie_word_embeddings to false, or take out the head."
        )


def _harmless(key: str, folder: Path, config: Any) -> bool:
    """Whether a name that is not read is of a table, or of what a quantisation's library reads."""
    if getattr(config, "quantization_config", None) is not None:
        return not key.endswith(("weight", "bias"))
    return bool(BUFFER.search(key) or (MASK.search(key) and _is_mask(key, folder)))


def _is_mask(key: str, folder: Path) -> bool:
    """Whether every tensor of this name, which transformers may have given a prefix, is a mask."""
    headers = [_header(file) for file in weight_files(folder)]
    shapes = [
        shape
        for header in headers
        for name, (_, shape) in header.items()
        if key.endswith(name) or name.endswith(key)
    ]
    return bool(shapes) and all(len(shape) == 4 for shape in shapes)


def _first_few(keys: Collection[str]) -> str:
    return f"{', '.join(sorted(keys)[:3])} ({len(keys)} in all)"
