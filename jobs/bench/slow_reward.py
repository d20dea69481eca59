"""A reward that takes its time and no processor, as one that asks a judge elsewhere."""

import time
from collections.abc import Sequence
from typing import Any

SECONDS_A_ROW = 0.2


def slow(completions: Sequence[str], **_: Any) -> list[float]:
    """Score each completion after a while."""
    time.sleep(SECONDS_A_ROW * len(completions))
    return free(completions)


def free(completions: Sequence[str], **_: Any) -> list[float]:
    """Score each completion at once."""
    return [float(number % 2) for number, _ in enumerate(completions)]
