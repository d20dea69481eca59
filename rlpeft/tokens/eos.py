"""Which tokens end a completion: what tokenizer, config and generation config name, together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rlpeft.errors import ModelError


def eos_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every token that ends a completion: the model's own list and the tokenizer's.

    Args:
        model: a model, or the path of its folder.

    Raises:
        ModelError: there is none, or what is named is no token id.
    """
    return frozenset(id for ids in eos_sources(model, tokenizer).values() for id in ids)


def eos_sources(model: Any, tokenizer: Any) -> dict[str, list[int]]:
    """Who names which ends; arguments and errors as of `eos_ids`."""
    configs = _config_files(Path(model)) if isinstance(model, str | Path) else _configs(model)
    named = {source: config.get("eos_token_id") for source, config in configs.items()}
    named["tokenizer"] = tokenizer.eos_token_id
    found = {}
    for source, value in named.items():
        if value is None:
            continue
        ids = value if isinstance(value, list) else [value]
        if not all(isinstance(id, int) and not isinstance(id, bool) and id >= 0 for id in ids):
            raise ModelError(
                f"eos_token_id of {source} must be a token id or a list of some, got {value!r}. "
                "Correct the file."
            )
        found[source] = ids
    if not any(found.values()):
        raise ModelError(
            "the model must name an end-of-sequence token in generation_config.json, config.json "
            "or its tokenizer, it has none. Without one no completion can end."
        )
    return found


def _config_files(folder: Path) -> dict[str, dict[str, Any]]:
    files = (folder / "generation_config.json", folder / "config.json")
    trees = {file.name: _read_tree(file) for file in files if file.is_file()}
    # That of the language model within a vision-language one.
    inner = {
        f"text_config of {n}": t["text_config"] for n, t in trees.items() if "text_config" in t
    }
    return trees | {name: tree for name, tree in inner.items() if isinstance(tree, dict)}


def _read_tree(file: Path) -> dict[str, Any]:
    try:
        tree = json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{str(file)!r} must be JSON, it is not: {error}") from error
    if not isinstance(tree, dict):
        raise ModelError(f"{str(file)!r} must hold a JSON object, it holds {type(tree).__name__}.")
    return tree


def _configs(model: Any) -> dict[str, dict[str, Any]]:
    configs = {
        "generation_config.json": model.generation_config,
        "config.json": model.config,
        "text_config of config.json": model.config.get_text_config(),
    }
    return {
        name: {"eos_token_id": getattr(config, "eos_token_id", None)}
        for name, config in configs.items()
    }
