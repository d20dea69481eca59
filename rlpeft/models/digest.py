"""The digest of a base model: of its tensors and of what its config computes, never of files.

The same weights in other files (sharded anew, saved again) are the same base. Cards that were
written while digests were those of files are recognised still.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from rlpeft.errors import ModelError
from rlpeft.models.load import load_config
from rlpeft.models.weight_files import check_finite, check_formats, weight_files

# Written by every save, and no part of what the model computes.
UNDIGESTED_KEYS = frozenset(
    {
        "_name_or_path",
        "_attn_implementation",
        "architectures",
        "dtype",
        "torch_dtype",
        "transformers_version",
    }
)
FORMER_UNDIGESTED_KEYS = UNDIGESTED_KEYS - {"_attn_implementation", "architectures"}

_FOLDERS: dict[str, Path] = {}
"""Digests that this process has taken -> of which folder; another digest of it needs its files."""


def model_digest(path: Path | str) -> str:
    """SHA-256 (hex) over names, dtypes, shapes and bytes of the tensors, and the config.

    Files are read once per process and again only when their size or time changes. Of the config
    only what differs from transformers' defaults counts, as every save writes it.

    Raises:
        ModelError: a file of weights or the config cannot be read, or the weights are not finite
            floats (nor said to be quantised).
    """
    tensors: dict[str, str] = {}
    settings = load_config(path)
    check_formats(Path(path), settings)
    for file in weight_files(Path(path)):
        stat = file.stat()
        tensors |= _tensor_digests(file, stat.st_size, stat.st_mtime_ns)
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name}:{tensors[name]};".encode())
    digest.update(_as_json(settings.to_diff_dict(), UNDIGESTED_KEYS).encode())
    found = digest.hexdigest()
    _FOLDERS[found] = Path(path)
    return found


def is_base(written: str, digest: str) -> bool:
    """Whether a card that names the base `written` means the one that `digest` was taken of."""
    if written == digest:
        return True
    folder = _FOLDERS.get(digest)
    return folder is not None and written == former_digest(folder)


def former_digest(path: Path) -> str:
    """As cards of the first versions have it: over the files of weights and the config's text."""
    digest = hashlib.sha256()
    for file in sorted(path.glob("*.safetensors")):
        stat = file.stat()
        digest.update(f"{file.name}:{_file_digest(file, stat.st_size, stat.st_mtime_ns)};".encode())
    config = json.loads((path / "config.json").read_text())
    digest.update(_as_json(config, FORMER_UNDIGESTED_KEYS).encode())
    return digest.hexdigest()


def _as_json(config: Mapping[str, Any], without: frozenset[str]) -> str:
    kept = {key: value for key, value in config.items() if key not in without}
    return json.dumps(kept, sort_keys=True, default=str)


@lru_cache(maxsize=64)
def _tensor_digests(file: Path, size: int, mtime_ns: int) -> dict[str, str]:
    from safetensors import SafetensorError

    try:
        return dict(_read(file))
    except (SafetensorError, OSError) as error:
        raise ModelError(f"weights {str(file)!r} cannot be read: {error}") from error


def _read(file: Path) -> Iterator[tuple[str, str]]:
    import torch
    from safetensors import safe_open

    with safe_open(file, framework="pt") as tensors:
        for name in tensors.keys():  # noqa: SIM118  no mapping
            tensor = tensors.get_tensor(name).contiguous()
            if name.endswith(("weight", "bias", "_proj")) and tensor.ndim < 4:  # no mask of scores
                check_finite([(name, tensor)], where=str(file))
            digest = hashlib.sha256(f"{tensor.dtype}|{tuple(tensor.shape)}|".encode())
            digest.update(tensor.flatten().view(torch.uint8).numpy().data)
            yield name, digest.hexdigest()


@lru_cache(maxsize=64)
def _file_digest(file: Path, size: int, mtime_ns: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
