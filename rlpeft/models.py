"""Base models: from a name to a local folder, a tokenizer and weights.

A base model is an ordinary `transformers` folder with safetensors weights. Nothing here runs
code or unpickles anything that came with a model, and no sampling default of a model survives:
every sampling parameter is ours (`rlpeft.types.Sampling`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from rlpeft.errors import ModelError
from rlpeft.mechanisms import ATTENTION_CAP, check_window_is_read
from rlpeft.specials import require_marks
from rlpeft.suggest import did_you_mean
from rlpeft.weight_files import (
    check_finite,
    check_formats,
    check_keys,
    check_no_adapter,
    check_tied,
    weight_files,
)

PACKAGED = {"tiny": Path(__file__).parent / "assets" / "tiny"}
"""Base models that ship with the package."""

FETCHABLE = ("smollm2-135m",)
"""Base models that `rlpeft models fetch` makes (`rlpeft.fetch`)."""

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
HUB_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")
CONTEXT_FIELDS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "max_sequence_length",
    "seq_length",
)
"""Names that configs give to the tokens a model can attend to."""


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
        name: `tiny`, a fetched model (`smollm2-135m`), a local folder, or a Hub id.

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


def load_tokenizer(path: Path | str) -> Any:
    """Load the fast tokenizer of a model folder.

    Raises:
        ModelError: the folder is incomplete, or has no tokenizer that can be read, or one whose
            special tokens are pieces of text.
    """
    tokenizer = read_tokenizer(check_model_folder(Path(path)))
    require_marks(tokenizer)
    return tokenizer


def read_tokenizer(folder: Path) -> Any:
    """The fast tokenizer of a folder, which may hold no weights.

    A tokenizer without a padding token pads with its end-of-sequence token: padding is masked
    by lengths wherever it is used, so the id has no meaning. Of several chat templates it has the
    one named default, which transformers would take.

    Raises:
        ModelError: it cannot be read, or none of its templates is the default.
    """
    tokenizer = read_whole_tokenizer(folder)
    if isinstance(templates := tokenizer.chat_template, dict):
        tokenizer.chat_template = templates.get("default")
        if not isinstance(tokenizer.chat_template, str):
            raise ModelError(
                f"of several chat templates in {str(folder)!r} one must be named default, they "
                f"are {', '.join(sorted(map(str, templates)))}. Save the one that is meant as "
                "chat_template.jinja."
            )
    return tokenizer


def read_whole_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder with all its chat templates, to be saved again.

    Raises:
        ModelError: it cannot be read.
    """
    from transformers import AutoTokenizer

    # Beside a tekken.json transformers would take Mistral's own, which has no fast form.
    fast = {"mistral_format": False} if (folder / "tokenizer.json").is_file() else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **fast)
    except Exception as error:
        # The file came with the model: its readers fail on it in any way at all.
        raise ModelError(f"tokenizer in {str(folder)!r} cannot be read: {_cause(error)}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_base_model(path: Path | str, dtype: str = "float32", device: str = "cpu") -> Any:
    """Load frozen base weights in evaluation mode, with a generation config of token ids alone.

    Args:
        dtype: name of a torch dtype, as in `model.dtype` of a recipe.

    Raises:
        ModelError: the folder is incomplete, its weights or its architecture do not fit its config,
            or weights are not finite.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    folder = check_model_folder(Path(path))
    config = load_config(folder)
    attention = exact_attention(config)
    check_formats(folder, config)
    try:
        model, loaded = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    # ImportError: a quantised checkpoint whose library is not installed.
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        cause = str(error).strip().splitlines()[0]
        raise ModelError(f"base model in {str(folder)!r} cannot be loaded: {cause}") from error
    check_keys(folder, config, loaded["missing_keys"], loaded["unexpected_keys"])
    check_window_is_read(model)
    check_tied(model, where=f"the base model in {str(folder)!r}")
    check_finite(model.named_parameters(), where=f"the base model in {str(folder)!r}")
    model.generation_config = neutral_generation_config(model.generation_config)
    return model.to(device).eval().requires_grad_(False)


def exact_attention(config: Any) -> str:
    """An attention of transformers that computes what the config says."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING as classes

    # `sdpa` leaves a cap of scores out, and says nothing.
    if getattr(config.get_text_config(), ATTENTION_CAP, None) is not None:
        return "eager"
    # Some architectures have no other than eager: GPT-OSS, for its sinks.
    has_sdpa = type(config) not in classes or classes[type(config)]._supports_sdpa
    return "sdpa" if has_sdpa else "eager"


def model_skeleton(path: Path | str) -> Any:
    """A model's modules with their shapes, and no weights."""
    import torch
    from transformers import AutoModelForCausalLM

    config = load_config(path)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def load_config(path: Path | str) -> Any:
    """The config of a model folder.

    Raises:
        ModelError: the folder is incomplete, or its config cannot be read.
    """
    return read_config(check_model_folder(Path(path)))


def read_config(folder: Path) -> Any:
    """The config of a folder, which may hold no weights.

    Raises:
        ModelError: it cannot be read.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        # As with tokenizers: values of any type fail in ways of their own.
        raise ModelError(
            f"config.json in {str(folder)!r} cannot be read: {_cause(error)}"
        ) from error


def _cause(error: Exception) -> str:
    """What a library says of a file, in one line; its type where the text alone says little."""
    line = next(iter(str(error).strip().splitlines()), "")
    ours = isinstance(error, OSError | ValueError) and line
    return line if ours else f"{type(error).__name__}: {line}"


def context_length(config: Any) -> int:
    """Tokens that a model can attend to, of the language model in a vision-language one.

    Raises:
        ModelError: its config does not say.
    """
    text = config.get_text_config()
    found = [getattr(text, name, None) for name in CONTEXT_FIELDS]
    for value in found:
        if isinstance(value, int) and value > 0:
            return value
    raise ModelError(
        f"the model's config must say how many tokens it can attend to ({CONTEXT_FIELDS[0]}), that "
        f"of model type {text.model_type!r} does not. Add {CONTEXT_FIELDS[0]} to its config.json."
    )


def require_embedded(ids: Iterable[int], rows: int, *, where: str) -> None:
    """Refuse tokens that the model has no embedding for.

    Args:
        rows: of the embedding.
        where: names the tokens' text, for the error.

    Raises:
        ModelError: the tokenizer knows tokens that the model does not.
    """
    largest = max(ids, default=0)
    if largest >= rows:
        raise ModelError(
            f"the tokenizer must know no more tokens than the model has embeddings ({rows}), "
            f"{where} holds token {largest}. Take the tokenizer that belongs to the model, or "
            "resize its embeddings (resize_token_embeddings) and save it again."
        )


def neutral_generation_config(config: Any) -> Any:
    """A generation config that holds the token ids of `config` and no sampling default."""
    from transformers import GenerationConfig

    return GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
    )
