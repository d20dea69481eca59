"""Answers that an environment or a reward failed on: why, while a run goes on without them."""

from __future__ import annotations

from collections.abc import Sequence

from rewards.scorer import FAILURES
from rlpeft.terminal import note, printable
from rlpeft.types import ScoredGroup

MOST_CAUSES = 3
"""Told of a run: reasons that name what failed in each row would be without end."""


def tell_failures(groups: Sequence[ScoredGroup], told: set[str]) -> None:
    """Say of each cause once why answers failed to be scored; they are no mistakes of the policy.

    Args:
        told: causes that were told before; new ones are added.
    """
    failed = (v for scored in groups for v in scored.verdicts if v.kind in FAILURES)
    for verdict in failed:
        if verdict.reason in told or len(told) == MOST_CAUSES:
            continue
        told.add(verdict.reason)
        last = ". Further causes are not told" * (len(told) == MOST_CAUSES)
        note(
            f"answers failed to be scored ({verdict.kind.value}) and teach nothing: "
            f"{printable(verdict.reason)[:300].rstrip('.')}{last}."
        )
