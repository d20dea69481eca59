"""Checkpoints: everything that decides the next step, in safetensors and JSON, written whole.

    run/checkpoints/step_00000012/
      state.safetensors   every tensor of the tree
      state.json          the tree itself, with a name where a tensor was
    run/fingerprint.json  what the run was started with

One is small (an adapter, its moments and a few numbers), so there is one for every step.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rlpeft.adapter_state import tensors_digest
from rlpeft.errors import CheckpointError

TENSOR_KEY = "__tensor__"
PAIRS_KEY = "__pairs__"
"""Marks a dict whose keys are not all strings (an optimizer's, for one)."""


def save_checkpoint(run: Path, step: int, tree: Mapping[str, Any], *, keep: int) -> Path:
    """Write `tree` as the checkpoint of `step`, then drop all but the newest `keep`.

    Args:
        tree: nested dicts, lists and plain values with tensors among them.
    """
    folder = run / "checkpoints" / f"step_{step:08d}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".partial."))
    tensors: dict[str, torch.Tensor] = {}
    plain = _detach(tree, tensors, "")
    save_file(tensors, partial / "state.safetensors")
    record = {"step": step, "digest": tensors_digest(tensors), "tree": plain}
    (partial / "state.json").write_text(json.dumps(record))
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)
    for old in list_checkpoints(run)[:-keep]:
        shutil.rmtree(old)
    return folder


def list_checkpoints(run: Path) -> list[Path]:
    """Checkpoint folders of a run, oldest first."""
    return sorted((run / "checkpoints").glob("step_*"))


def load_checkpoint(run: Path) -> dict[str, Any] | None:
    """The newest checkpoint's tree, or `None` if the run has none.

    Raises:
        CheckpointError: the newest one is damaged. It is not passed over: a silent step back
            would repeat work whose results are already recorded.
    """
    folders = list_checkpoints(run)
    if not folders:
        return None
    try:
        record = json.loads((folders[-1] / "state.json").read_text())
        tensors = load_file(folders[-1] / "state.safetensors")
        intact = tensors_digest(tensors) == record["digest"]
        tree = _attach(record["tree"], tensors)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(_damaged(folders[-1], str(error))) from error
    if not intact:
        raise CheckpointError(_damaged(folders[-1], "tensors do not match their digest"))
    return tree


def check_fingerprint(run: Path, fingerprint: Mapping[str, Any]) -> None:
    """Write the fingerprint of a new run, or compare it with that of the run being continued.

    Raises:
        CheckpointError: they differ; the message names every difference.
    """
    path = run / "fingerprint.json"
    if not path.exists():
        run.mkdir(parents=True, exist_ok=True)
        _write_text(path, json.dumps(fingerprint, indent=2, sort_keys=True))
        return
    try:
        stored = json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(_damaged(path, str(error))) from error
    differences = [
        f"{key} was {before!r}, is {now!r}"
        for key, before, now in _differences(stored, json.loads(json.dumps(fingerprint)))
    ]
    if differences:
        raise CheckpointError(
            f"run {str(run)!r} was started with another set-up: {'; '.join(differences)}. "
            "Restore it, or start anew with another --out."
        )


def _differences(before: Any, now: Any, key: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            difference
            for name in sorted(before.keys() | now.keys())
            for difference in _differences(
                before.get(name), now.get(name), f"{key}.{name}".lstrip(".")
            )
        ]
    return [] if before == now else [(key, before, now)]


def _damaged(path: Path, cause: str) -> str:
    return (
        f"checkpoint {str(path)!r} must be intact, got {cause}. Delete that folder to continue "
        "from the one before it."
    )


def _write_text(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    os.replace(partial, path)


def _detach(value: Any, tensors: dict[str, torch.Tensor], path: str) -> Any:
    if isinstance(value, torch.Tensor):
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {TENSOR_KEY: path}
    if isinstance(value, Mapping):
        items = [(key, _detach(item, tensors, f"{path}/{key}")) for key, item in value.items()]
        plain = all(isinstance(key, str) for key, _ in items)
        return dict(items) if plain else {PAIRS_KEY: items}
    if isinstance(value, list | tuple):
        return [_detach(item, tensors, f"{path}/{index}") for index, item in enumerate(value)]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"a checkpoint holds plain values and tensors, got {type(value)} at {path!r}.")


def _attach(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(value, dict):
        if TENSOR_KEY in value:
            return tensors[value[TENSOR_KEY]]
        if PAIRS_KEY in value:
            return {key: _attach(item, tensors) for key, item in value[PAIRS_KEY]}
        return {key: _attach(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [_attach(item, tensors) for item in value]
    return value
