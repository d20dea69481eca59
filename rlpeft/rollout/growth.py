"""How large an expert may make a weight: the same in every engine, by whatever door it comes."""

from __future__ import annotations

from collections.abc import Mapping

from rlpeft.errors import EngineError

MOST_GROWTH = 100
"""Times that an expert may make a weight larger; training moves one by a fraction of itself, and
what grows by this in every layer is still far from what float32 and bfloat16 hold."""


def check_growth(growths: Mapping[str, float]) -> None:
    """Refuse an expert that makes a weight so large that what it computes may overflow.

    What overflows stays in blocks of the cache that answers of others then get, where even a weight
    of 0 in attention makes it NaN.

    Args:
        growths: module, or tensor of one -> how many times as large as the base it becomes.

    Raises:
        EngineError: names one.
    """
    wrong = {name: by for name, by in growths.items() if not by <= MOST_GROWTH}
    if wrong:
        name, by = next(iter(wrong.items()))
        raise EngineError(
            f"an expert must make no weight more than {MOST_GROWTH} times as large as its base's, "
            f"{name!r} becomes {by:.3g} times as large: what overflows would reach the answers of "
            "other models. Restore it, or train it again with a lower learner.lr."
        )
