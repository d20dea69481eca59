"""The reward of a conversation that its environment itself gave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rewards.verdict import Verdict


def environment_reward(completions: Sequence[Any], outcomes: Sequence[Any]) -> list[Any]:
    """The environment's rewards of each conversation, added up.

    Nothing where it failed, or where there is none: a scorer says which.

    Args:
        outcomes: see `rewards.dialects.Rollouts`.
    """
    given = outcomes or [None] * len(completions)
    return [None if isinstance(outcome, Verdict) else outcome for outcome in given]
