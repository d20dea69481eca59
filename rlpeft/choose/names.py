"""Who may be asked to answer: by these names, which are known before any expert is loaded."""

from __future__ import annotations

from collections.abc import Sequence

from rlpeft.errors import ExpertError
from rlpeft.suggest import did_you_mean

FIRST_PASSES = ("prompt", "classifier")
"""Strategies that ask before they answer."""

FEW_SHOT = "few-shot"
"""The strategy of a mixture that was found for its task."""


def require_strategy(name: str, experts: Sequence[str]) -> None:
    """Refuse a strategy that is none.

    Args:
        experts: names of all that there are, the base model among them.

    Raises:
        ExpertError: it is neither a first pass nor one of them.
    """
    strategies = (*FIRST_PASSES, FEW_SHOT)
    if name in (*strategies, *experts):
        return
    raise ExpertError(
        "--strategy must be prompt, classifier, few-shot or one of the experts "
        f"{', '.join(experts)}, got {name!r}.{did_you_mean(name, (*strategies, *experts))}"
    )
