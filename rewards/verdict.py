"""The one record every reward returns, and the eight ways an answer can turn out.

A score exists only where a verifier really compared an answer with a usable gold answer.
Everything else carries `None`: a crash, a deadline or an unreadable gold answer says nothing
about the policy, and a zero would be learned from as if it did. A number alone is a score and no
verdict: that it is above zero does not make an answer correct.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class VerdictKind(StrEnum):
    """How a comparison ended. The first five are scored, the last three are not."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSABLE = "unparsable"  # the model's answer cannot be read: scored, as not correct
    TRUNCATED = "truncated"  # a limit came before a final answer: scored, as not correct
    GRADED = "graded"  # a number from a reward that does not say what is correct
    TIMEOUT = "timeout"  # the verifier was killed at its deadline
    ERROR = "error"  # the verifier itself failed
    UNSCORABLE = "unscorable"  # the gold answer (or the row) cannot be scored at all


UNSCORED_KINDS = frozenset({VerdictKind.TIMEOUT, VerdictKind.ERROR, VerdictKind.UNSCORABLE})


def count_kinds(kinds: Iterable[VerdictKind]) -> dict[str, int]:
    """Count by the name of the kind: every kind a verifier gives, and `graded` where there is one.

    >>> count_kinds([VerdictKind.WRONG])["correct"]
    0
    """
    counts = Counter(kinds)
    shown = (kind for kind in VerdictKind if counts[kind] or kind is not VerdictKind.GRADED)
    return {kind.value: counts[kind] for kind in shown}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One reward for one completion.

    >>> Verdict(1.0, VerdictKind.CORRECT, "7 equals 7", extracted="7").score
    1.0

    Attributes:
        score: finite number, higher is better (verifiers give 1.0 or 0.0); `None` exactly
            for the kinds in `UNSCORED_KINDS`.
        kind: how the comparison ended.
        reason: one line for a person.
        extracted: the final answer found in the completion, if one was.
    """

    score: float | None
    kind: VerdictKind
    reason: str = ""
    extracted: str | None = None

    def __post_init__(self) -> None:
        unscored = self.kind in UNSCORED_KINDS
        if unscored != (self.score is None):
            raise ValueError(
                f"score must be {'None' if unscored else 'a number'} for kind {self.kind.value!r}, "
                f"got {self.score!r}."
            )
        if self.score is not None and not math.isfinite(self.score):
            raise ValueError(f"score must be finite, got {self.score!r} ({self.reason}).")
