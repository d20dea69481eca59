"""Tokenizers, read from a model's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlpeft.errors import ModelError
from rlpeft.models.folder import check_model_folder
from rlpeft.models.load import cause
from rlpeft.tokens.specials import require_marks


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
        raise ModelError(f"tokenizer in {str(folder)!r} cannot be read: {cause(error)}") from error
    # Lengths are checked where prompts are made; this warning of its own looks like a fault.
    tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
