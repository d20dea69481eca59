"""The errors of `rewards`: mistakes of the caller, never of the model's output.

Bad model output is a verdict (`wrong`, `unparsable`, ...); only a wrong call raises.
"""

from __future__ import annotations


class RewardError(ValueError):
    """A reward was called, configured or returned in a way that cannot be scored."""


class UnknownKindError(RewardError):
    """No verifier of that name stands in `rewards.registry.REWARDS`."""
