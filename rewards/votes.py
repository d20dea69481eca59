"""Which of several answers to one problem most of them give.

Two answers are one where the verifier that judges them says so: one stands in the completion, the
other in the place of the gold answer. `0.5` and `1/2` then vote together under `math`. A verifier
whose gold answers are no answers, patterns or tests, cannot be asked: there, and for a reward of
the user's own, answers are one where their letters are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from rewards.registry import REWARDS
from rewards.verdict import VerdictKind
from rewards.verify import verify

SameAnswer = Callable[[str, str], bool]
"""Whether two answers are one."""

OF_THE_GOLD = ("gold", "several")
"""Options of a recipe's reward that say where its gold answers are, and nothing of comparing."""


def compares_answers(reward: str) -> bool:
    """Whether a reward can tell if two answers are one."""
    return reward in REWARDS and REWARDS[reward].compares_answers


def same_answer(reward: str, options: Mapping[str, Any]) -> SameAnswer:
    """How two answers are compared under a reward, as a recipe names it.

    >>> same_answer("math", {})("0.5", "1/2"), same_answer("code", {})("0.5", "1/2")
    (True, False)
    """
    if not compares_answers(reward):
        return lambda one, other: one == other
    form = REWARDS[reward].form
    own = {name: value for name, value in options.items() if name not in OF_THE_GOLD}

    @lru_cache(maxsize=100_000)
    def same(one: str, other: str) -> bool:
        found = verify(form.format(one), other, kind=reward, **own)
        return found.kind is VerdictKind.CORRECT

    return lambda one, other: one == other or same(one, other)


def leading(answers: Sequence[str | None], same: SameAnswer) -> list[list[int]]:
    """The answers that most give: indices of those that are one, a list for each of the tied.

    An answer joins the first whose earliest member it equals; `None`, no answer, has no vote.

    >>> leading(["7", None, "8", "7"], same_answer("exact", {}))
    [[0, 3]]
    """
    parties: list[list[int]] = []
    for at, answer in enumerate(answers):
        if answer is None:
            continue
        for party in parties:
            first = answers[party[0]]
            if first is not None and same(answer, first):
                party.append(at)
                break
        else:
            parties.append([at])
    most = max(map(len, parties), default=0)
    return [party for party in parties if len(party) == most]
