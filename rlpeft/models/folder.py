"""Base models by name: from a packaged, fetched, local or Hub name to a complete local folder.

A base model is an ordinary `transformers` folder with safetensors weights. Nothing here runs
code or unpickles anything that came with a model.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from rlpeft.errors import ModelError
from rlpeft.models.weight_files import (
    check_no_adapter,
    weight_files,
)
from rlpeft.suggest import did_you_mean

PACKAGED = {name: Path(__file__).parent / name for name in ("tiny", "tiny-tools", "tiny-vision")}
"""Base models that ship with the package."""

FETCHABLE = ("smollm2-135m",)
"""Base models that `rlpeft models fetch` makes (`rlpeft.models.fetch`)."""

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")

PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")
"""How a vision-language model reads pictures."""

HUB_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")


def models_home() -> Path:
    """The user's folder for fetched models."""
    from platformdirs import user_cache_path

    return user_cache_path("rlpeft") / "models"


def named_models() -> dict[str, Path]:
    """Folders of the models that have a name of their own; a fetchable one may not exist yet."""
    return {**PACKAGED, **{name: models_home() / name for name in FETCHABLE}}


def resolve_model(name: str) -> Path:
    """Find the local folder of a base model.

    Args:
        name: one of `PACKAGED`, a fetched model (`smollm2-135m`), a local folder, or a Hub id.

    Raises:
        ModelError: there is no such model, or its folder is incomplete.
    """
    if name in PACKAGED:
        return check_model_folder(PACKAGED[name])
    local = Path(name).expanduser()
    if local.is_dir():
        return check_model_folder(local)
    if name in FETCHABLE:
        return _fetched(name)
    if local.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        raise ModelError(
            f"model.name must be an existing folder, a Hub id (owner/name) or one of "
            f"{', '.join([*PACKAGED, *FETCHABLE])}, got {name!r}."
            f"{did_you_mean(name, [*PACKAGED, *FETCHABLE])}"
        )
    return check_model_folder(_download(name))


def model_parts(name: str, *, weights: bool) -> tuple[Path, bool]:
    """The folder of a model that may be a tokenizer alone, and whether to look at weights.

    Args:
        name: as of `resolve_model`.
        weights: whether they are wanted.

    Raises:
        ModelError: there is no such model, or its folder holds no tokenizer.
    """
    local = Path(name).expanduser()
    bare = local.is_dir() and name not in PACKAGED
    if bare and (not weights or not any(local.glob("*.safetensors"))):
        return _with_tokenizer(local), False
    return resolve_model(name), weights


def check_model_folder(path: Path) -> Path:
    """Give `path` back if it holds a config, safetensors weights and a tokenizer.

    Raises:
        ModelError: one of them is missing, there are two sets of weights, or an adapter is there.
    """
    if not (path / "config.json").is_file():
        raise ModelError(f"model folder must hold config.json, {str(path)!r} does not.")
    if not any(path.glob("*.safetensors")):
        raise ModelError(
            f"model folder must hold *.safetensors weights, {str(path)!r} does not. Other weight "
            "formats may run code when read: convert them with save_pretrained first."
        )
    check_no_adapter(path)
    weight_files(path)
    return _with_tokenizer(path)


def _with_tokenizer(path: Path) -> Path:
    if not any((path / file).is_file() for file in TOKENIZER_FILES):
        raise ModelError(
            f"model folder must hold a tokenizer ({', '.join(TOKENIZER_FILES)}), {str(path)!r} "
            "has none. Save the model's tokenizer into the same folder."
        )
    return path


def _fetched(name: str) -> Path:
    path = models_home() / name
    if not path.is_dir():
        raise ModelError(f"model {name!r} is not fetched yet. Run: rlpeft models fetch {name}")
    if is_outdated(path):
        raise ModelError(
            f"model {name!r} was fetched by an earlier version, whose tokenizer read digits and "
            f"blanks as the model does not. Make it anew: rlpeft models fetch {name}"
        )
    return check_model_folder(path)


def is_outdated(path: Path) -> bool:
    """Whether a fetched folder has the tokenizer of before its GGUF's pre-tokenizer was read."""
    file = path / "tokenizer.json"
    return file.is_file() and _splits_as_gpt2(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _splits_as_gpt2(file: Path, _time_ns: int) -> bool:
    try:
        found = json.loads(file.read_text("utf-8")).get("pre_tokenizer")
    except (ValueError, AttributeError):
        return False  # what is wrong with it is told where it is read
    return isinstance(found, dict) and found.get("type") == "ByteLevel"


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(HUB_FILES)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        cause = str(error).strip().splitlines()[0]
        raise ModelError(
            f"model {name!r} is no local folder and the Hub does not give it ({cause}). Check its "
            "spelling and the network, or give model.name a local folder."
        ) from error
