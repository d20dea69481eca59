"""Into how many parts the weights of a base model can be split, a part a worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlpeft.errors import ConfigError

HEADS, KV_HEADS = "num_attention_heads", "num_key_value_heads"
WIDTHS = ("intermediate_size", "moe_intermediate_size")
"""Features between the two halves of an MLP: what workers share of it."""


def require_divisible(config: Any, workers: int) -> None:
    """Refuse a number of workers that cannot share heads and MLPs evenly, as vLLM has them do.

    Args:
        config: of the base model, as transformers has it.
        workers: `rollout.tensor_parallel`.

    Raises:
        ConfigError: says what divides and what does not.
    """
    if workers == 1:
        return
    text = config.get_text_config()
    heads = int(getattr(text, HEADS, 0) or 0)
    kv_heads = int(getattr(text, KV_HEADS, 0) or heads)
    widths = {name: int(getattr(text, name, 0) or 0) for name in WIDTHS}
    if not (wrong := _undivided(workers, heads, kv_heads, widths)):
        return
    able = [n for n in range(1, heads + 1) if not _undivided(n, heads, kv_heads, widths)]
    raise ConfigError(
        f"rollout.tensor_parallel must divide what workers share, {workers} does not divide "
        f"{' and '.join(wrong)} of this base model. Set it to {_either(able or [1])}."
    )


def _undivided(workers: int, heads: int, kv_heads: int, widths: Mapping[str, int]) -> list[str]:
    """What so many workers cannot share; fewer heads of keys and values are held by several."""
    wrong = [f"{heads} attention heads"] if heads % workers else []
    if kv_heads % workers and workers % kv_heads:
        wrong.append(f"{kv_heads} heads of keys and values")
    return wrong + [f"{name} = {width}" for name, width in widths.items() if width % workers]


def _either(numbers: list[int]) -> str:
    *rest, last = map(str, numbers)
    return f"{', '.join(rest)} or {last}" if rest else last
