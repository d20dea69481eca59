"""A second chance: a wrong answer is called wrong, and the policy may try again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewards.environments.base import Step
from rewards.errors import RewardError
from rewards.golds import gold_text
from rewards.registry import REWARDS, is_verifier
from rewards.verdict import VerdictKind
from rewards.verify import verify


class Retry:
    """Ends with the first right answer, or the last try.

    Its reward is that of the last turn alone, `discount` to the power of the tries before it: 1 for
    an answer that is right at once, `discount` for one that is right the second time, 0 for none.

    Args:
        kind: the verifier that tells what is right, such as `math` or `exact`.
        tries: turns of the policy, at most.
        discount: see above.
        say: what the policy is told of a wrong answer.
        options: of the verifier.
    """

    def __init__(
        self,
        kind: str = "math",
        tries: int = 2,
        discount: float = 1.0,
        say: str = "That is wrong. Try again.",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if not is_verifier(kind):
            known = ", ".join(name for name in REWARDS if is_verifier(name))
            raise RewardError(f"kind of retry must be one of {known}, got {kind!r}.")
        if tries < 1 or not 0 <= discount <= 1:
            raise RewardError(
                f"tries of retry must be at least 1 and its discount between 0 and 1, got {tries} "
                f"and {discount}."
            )
        self.kind, self.options, self.say = kind, dict(options or {}), say
        self.left, self.worth, self.discount = tries, 1.0, discount

    def reset(self, row: Mapping[str, Any], seed: int) -> None:
        """Remember what is right."""
        self.gold = gold_text(row["answer"])

    def step(self, text: str) -> Step:
        """Judge an answer."""
        verdict = verify(text, self.gold, kind=self.kind, **self.options)
        if verdict.score is None:
            raise RewardError(f"retry cannot tell what is right: {verdict.reason}")
        self.left -= 1
        if verdict.kind is VerdictKind.CORRECT:
            return Step(reward=self.worth, done=True, correct=True)
        if not self.left:
            return Step(done=True, correct=False)
        self.worth *= self.discount
        return Step(self.say)
