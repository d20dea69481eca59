"""Checkpoints: everything that decides the next step, in safetensors and JSON, written whole.

    run/checkpoints/step_00000012/
      state.safetensors   every tensor of the tree
      state.json          the tree itself, with a name where a tensor was, and a digest of it all
    run/fingerprint.json  what the run was started with: it marks the folder as a run's

One is small (an adapter, its moments and a few numbers), so there is one for every step. Which
there are is told without torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlpeft.errors import CheckpointError
from rlpeft.files import plain_errors, read_json, remove, replacing_folder

if TYPE_CHECKING:
    import torch

TENSOR_KEY = "__tensor__"
PAIRS_KEY = "__pairs__"
"""Marks a dict whose keys are not all strings (an optimizer's, for one), or are these two."""


def save_checkpoint(run: Path, step: int, tree: Mapping[str, Any], *, keep: int) -> Path:
    """Write `tree` as the checkpoint of `step`, then drop all but the newest `keep`.

    Args:
        tree: nested dicts, lists and plain values with tensors among them.
    """
    from safetensors.torch import save_file

    folder = run / "checkpoints" / f"step_{step:08d}"
    tensors: dict[str, torch.Tensor] = {}
    plain = _detach(tree, tensors, "")
    with replacing_folder(folder) as partial:
        save_file(tensors, partial / "state.safetensors")
        record = {"step": step, "digest": _digest(step, plain, tensors), "tree": plain}
        (partial / "state.json").write_text(json.dumps(record))
    for old in list_checkpoints(run)[:-keep]:
        remove(old)
    return folder


def list_checkpoints(run: Path) -> list[Path]:
    """Checkpoint folders of a run, oldest first."""
    with plain_errors(run):
        return sorted((run / "checkpoints").glob("step_*"))


def steps_done(run: Path) -> int:
    """The step of the newest checkpoint, from which a run goes on; 0 where there is none."""
    folders = list_checkpoints(run)
    return int(folders[-1].name.rpartition("_")[2]) if folders else 0


def load_checkpoint(run: Path) -> dict[str, Any] | None:
    """The newest checkpoint's tree, or `None` if the run has none.

    Raises:
        CheckpointError: the newest one is damaged. It is not passed over: a silent step back
            would repeat work whose results are already recorded.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from rlpeft.adapter_state import tensors_digest

    folders = list_checkpoints(run)
    if not folders:
        return None
    newest = folders[-1]
    try:
        record = read_json(newest / "state.json")
        tensors = load_file(newest / "state.safetensors")
        step, plain, digest = record["step"], record["tree"], record["digest"]
        tree = dict(_attach(plain, tensors))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        cause = f"no key {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise CheckpointError(_damaged(newest, cause)) from error
    # Before version 0.2 the digest was of the tensors alone.
    if digest not in (_digest(step, plain, tensors), tensors_digest(tensors)):
        raise CheckpointError(_damaged(newest, "a state that does not match its digest"))
    if newest.name != f"step_{step:08d}":
        raise CheckpointError(_damaged(newest, f"the state of step {step}"))
    return tree


def _digest(step: int, plain: Any, tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of all that a checkpoint says (hex)."""
    from rlpeft.adapter_state import tensors_digest

    digest = hashlib.sha256(json.dumps([step, plain]).encode())
    digest.update(tensors_digest(tensors).encode())
    return digest.hexdigest()


def _damaged(path: Path, cause: str) -> str:
    return (
        f"checkpoint {str(path)!r} must be intact, got {cause}. Delete that folder to continue "
        "from the one before it."
    )


def _detach(value: Any, tensors: dict[str, torch.Tensor], path: str) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {TENSOR_KEY: path}
    if isinstance(value, Mapping):
        items = [(key, _detach(item, tensors, f"{path}/{key}")) for key, item in value.items()]
        ours = (TENSOR_KEY, PAIRS_KEY)
        plain = all(isinstance(key, str) and key not in ours for key, _ in items)
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
