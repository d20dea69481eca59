"""Where the models of this process are computed."""

from __future__ import annotations

from rlpeft.errors import ConfigError


def own_device() -> str:
    """`cuda` where this process may use a GPU, which is the first it sees; else `cpu`.

    An actor sees what was reserved for it and nothing else (`jobs.cluster.connect.place`).
    """
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def require_gpu(asked: float, option: str) -> None:
    """Refuse a GPU that is asked for and not there.

    Args:
        asked: how many.
        option: names them in the error.

    Raises:
        ConfigError: torch sees none in this process.
    """
    import torch

    if asked and not torch.cuda.is_available():
        raise ConfigError(
            f"{option} = {asked:g} asks for a GPU, and torch {torch.__version__} sees none here. "
            f"Set {option} = 0 to run on the CPU, or install torch for CUDA where there is one."
        )
