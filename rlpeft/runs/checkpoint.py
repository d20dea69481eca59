"""Checkpoints: everything that decides the next step, in safetensors and JSON, written whole.

    run/checkpoints/step_00000012/
      state.safetensors   every tensor of the tree
      state.json          the tree itself, with a name where a tensor was, and a digest of it all
    run/fingerprint.json  what the run was started with: it marks the folder as a run's

One is small (an adapter, its moments and a few numbers), so there is one for every step.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rlpeft.adapter_state import tensors_digest
from rlpeft.errors import CheckpointError
from rlpeft.files import read_json, remove, replacing_folder, write_json

FINGERPRINT_FILE = "fingerprint.json"

TOKENIZER, REWARD_CODE, DATA = "tokenizer", "reward_code", "data"
"""In a fingerprint: what decides tokens and prompts (`rlpeft.models.tokenizer_digest`), and what
judges completions (`rlpeft.runs.reward_code`)."""

TENSOR_KEY = "__tensor__"
PAIRS_KEY = "__pairs__"
"""Marks a dict whose keys are not all strings (an optimizer's, for one), or are these two."""


def save_checkpoint(run: Path, step: int, tree: Mapping[str, Any], *, keep: int) -> Path:
    """Write `tree` as the checkpoint of `step`, then drop all but the newest `keep`.

    Args:
        tree: nested dicts, lists and plain values with tensors among them.
    """
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
    digest = hashlib.sha256(json.dumps([step, plain]).encode())
    digest.update(tensors_digest(tensors).encode())
    return digest.hexdigest()


def check_fingerprint(
    run: Path, fingerprint: Mapping[str, Any], *, anew: bool = False
) -> list[str]:
    """Write the fingerprint of a new run, or compare it with that of the run being continued.

    Args:
        anew: nothing is lost if the run there is not continued.

    Returns:
        What the run's fingerprint could not be held to, since an earlier version wrote it.

    Raises:
        CheckpointError: they differ; the message names every difference.
    """
    path = run / FINGERPRINT_FILE
    if anew or not path.exists():
        write_json(path, fingerprint, sort_keys=True)
        return []
    mend = "Restore it, or start anew with another --out."
    stored = read_json(path, CheckpointError, mend=mend)
    # Runs of before version 0.2 do not say by which method they train, nor by which tokenizer, nor
    # which code judges them.
    since = ("method", TOKENIZER, REWARD_CODE)
    former = {name: fingerprint.get(name) for name in since if name in fingerprint}
    unknown = [name for name in since[1:] if name in former and name not in stored]
    stored = former | stored
    if (method := fingerprint.get("method")) != stored.get("method"):
        raise CheckpointError(
            f"run {str(run)!r} was started by `rlpeft {stored['method']}`, this is `rlpeft "
            f"{method}`. Choose another --out."
        )
    differences = [
        _difference(key, before, now)
        for key, before, now in _differences(stored, json.loads(json.dumps(fingerprint)))
    ]
    if differences:
        raise CheckpointError(
            f"run {str(run)!r} was started with another set-up: {'; '.join(differences)}. {mend}"
        )
    return unknown


def _differences(before: Any, now: Any, key: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            difference
            for name in sorted(before.keys() | now.keys())
            for difference in _differences(
                before.get(name), now.get(name), f"{key}.{name}".lstrip(".")
            )
        ]
    # As text: NaN does not equal itself.
    same = json.dumps(before, sort_keys=True) == json.dumps(now, sort_keys=True)
    return [] if same else [(key, before, now)]


def _difference(key: str, before: Any, now: Any) -> str:
    """One difference for a person, to whom digests tell nothing."""
    if key.startswith(f"{REWARD_CODE}."):
        return f"the file with the code of reward {key.partition('.')[2]!r} has changed"
    if key == DATA or key.endswith(f".{DATA}"):
        return "the problems have changed: rows, prompts, or how they are divided"
    return f"{key} was {before!r}, is {now!r}"


def _damaged(path: Path, cause: str) -> str:
    return (
        f"checkpoint {str(path)!r} must be intact, got {cause}. Delete that folder to continue "
        "from the one before it."
    )


def _detach(value: Any, tensors: dict[str, torch.Tensor], path: str) -> Any:
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
