"""Base weights and configs, read from a model's folder.

No sampling default of a model survives: every sampling parameter is ours
(`rlpeft.types.Sampling`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rlpeft.errors import ModelError
from rlpeft.files import read_json
from rlpeft.models import quantised
from rlpeft.models.folder import PROCESSOR_FILES, check_model_folder, named_models
from rlpeft.models.mechanisms import ATTENTION_CAP, check_window_is_read
from rlpeft.models.weight_files import check_finite, check_formats, check_keys, check_tied
from rlpeft.types import Quantisation

CONTEXT_FIELDS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "max_sequence_length",
    "seq_length",
)
"""Names that configs give to the tokens a model can attend to."""

VISION_LANGUAGE = ("idefics3", "smolvlm")
"""Model types with a vision tower that are loaded by `AutoModelForImageTextToText`.

Those that transformers counts among causal language models (Gemma 3) need no entry."""


def load_base_model(
    path: Path | str,
    dtype: str = "float32",
    device: str = "cpu",
    *,
    quantisation: Quantisation | None = None,
) -> Any:
    """Load frozen base weights in evaluation mode, with a generation config of token ids alone.

    Args:
        dtype: name of a torch dtype, as in `model.dtype` of a recipe.
        quantisation: as in `model.quantisation` of a recipe.

    Raises:
        ModelError: the folder is incomplete, its weights or its architecture do not fit its config,
            weights are not finite, `model_class` does not know its family, or see
            `rlpeft.models.quantised.require_quantisable`.
    """
    import torch
    from safetensors import SafetensorError

    folder = check_model_folder(Path(path))
    config = load_config(folder)
    attention = exact_attention(config)
    check_formats(folder, config)
    if quantisation:
        quantised.require_quantisable(folder, config, quantisation)
    try:
        model, loaded = model_class(config).from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **quantised.loading(config, quantisation, dtype),
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
    model = model.to(device).eval().requires_grad_(False)
    return quantised.made_trainable(model) if quantisation else model


def model_class(config: Any) -> Any:
    """The class of transformers that builds a base model from its config, and loads it.

    Raises:
        ModelError: a vision-language model of a family that is not known here.
    """
    from transformers import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
    )

    if config.model_type in VISION_LANGUAGE:
        return AutoModelForImageTextToText
    of_text = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING
    if not of_text and type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise ModelError(
            f"a base model with a vision tower must be of a type that is known here "
            f"({', '.join(VISION_LANGUAGE)}), got {config.model_type!r}. Take one of these, or a "
            "language model."
        )
    return AutoModelForCausalLM


def sees(config: Any, folder: Path) -> bool:
    """Whether a base model can be shown images: its family is known, and its processor is there."""
    is_there = any((folder / name).is_file() for name in PROCESSOR_FILES)
    return is_there and config.model_type in VISION_LANGUAGE


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

    config = load_config(path)
    with torch.device("meta"):
        return model_class(config).from_config(config, trust_remote_code=False)


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
            f"config.json in {str(folder)!r} cannot be read: {cause(error)}"
        ) from error


def cause(error: Exception) -> str:
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


def context_written(name: str) -> int | None:
    """What the config of a model that lies here says of `context_length`; read in no time.

    Args:
        name: as of `rlpeft.models.folder.resolve_model`.

    Returns:
        `None` where nothing lies here, or says nothing: whoever opens the model is told more.
    """
    config = named_models().get(name, Path(name).expanduser()) / "config.json"
    try:
        found = read_json(config, ModelError) if config.is_file() else {}
    except (ModelError, OSError):
        return None
    text = found.get("text_config", found)
    values = [text.get(field) for field in CONTEXT_FIELDS] if isinstance(text, dict) else []
    return next((v for v in values if isinstance(v, int) and v > 0), None)


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
