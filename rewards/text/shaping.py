"""Rewards of form rather than content, under the names and options TRL users know.

All but `length_reward` follow a paper: soft overlong punishment is DAPO's (arXiv 2503.14476,
eq. 13), the cosine schedule and the repetition penalty are from "Demystifying Long
Chain-of-Thought Reasoning" (arXiv 2502.03373, appendix C).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rewards.errors import RewardError
from rewards.text.formats import accuracy_reward
from rewards.verdict import Verdict, VerdictKind


def soft_overlong_punishment(
    completion_ids: Sequence[Sequence[int]], *, max_completion_len: int, soft_punish_cache: int
) -> list[float]:
    """Punish length above `max_completion_len - soft_punish_cache`, down to -1 at the maximum.

    DAPO eq. 13: 0 up to `L_max - L_cache`, then `((L_max - L_cache) - |y|) / L_cache`, and -1
    above `L_max`.

    Args:
        completion_ids: tokens of each completion.
        max_completion_len: `L_max` in tokens.
        soft_punish_cache: `L_cache`, tokens before it over which the punishment grows.
    """
    if not 0 <= soft_punish_cache <= max_completion_len:
        raise RewardError(
            "soft_punish_cache must lie between 0 and max_completion_len "
            f"({max_completion_len}), got {soft_punish_cache}."
        )
    free = max_completion_len - soft_punish_cache
    return [_overlong(len(ids), free, max_completion_len) for ids in completion_ids]


def _overlong(length: int, free: int, longest: int) -> float:
    if length <= free:
        return 0.0
    return -1.0 if length > longest else (free - length) / (longest - free)


def repetition_penalty(
    completion_ids: Sequence[Sequence[int]], *, ngram_size: int = 3, max_penalty: float = -1.0
) -> list[float]:
    """Return `max_penalty` times the share of token n-grams that repeat an earlier one.

    Args:
        completion_ids: tokens of each completion.
        ngram_size: tokens of an n-gram.
        max_penalty: score of a completion that does nothing but repeat, 0 at most.
    """
    if ngram_size < 1:
        raise RewardError(f"ngram_size must be at least 1, got {ngram_size}.")
    if max_penalty > 0:
        raise RewardError(f"max_penalty must not be positive, got {max_penalty}.")
    return [max_penalty * _repeated_share(list(ids), ngram_size) for ids in completion_ids]


def _repeated_share(ids: list[int], size: int) -> float:
    grams = [tuple(ids[i : i + size]) for i in range(len(ids) - size + 1)]
    return 1.0 - len(set(grams)) / len(grams) if grams else 0.0


def length_reward(
    completion_ids: Sequence[Sequence[int]], *, target_len: int, tolerance: int = 0
) -> list[float]:
    """Return 1 within `tolerance` tokens of `target_len`, falling linearly to 0 at 0 and at 2x.

    Args:
        completion_ids: tokens of each completion.
        target_len: tokens that a completion should have.
        tolerance: tokens more or fewer that cost nothing.
    """
    if target_len < 1:
        raise RewardError(f"target_len must be at least 1, got {target_len}.")
    excess = [max(0, abs(len(ids) - target_len) - tolerance) for ids in completion_ids]
    return [max(0.0, 1.0 - tokens / target_len) for tokens in excess]


@dataclass(frozen=True, slots=True)
class CosineScaledReward:
    """Scale math correctness by length: short right answers gain most, short wrong lose most.

    `v_long + (v_short - v_long) (1 + cos(pi |y| / L_max)) / 2`, with `|y|` held at `L_max`.

    Attributes:
        max_len: `L_max` in tokens, beyond which nothing changes.
        min_value_wrong: score of a wrong completion at length 0.
        max_value_wrong: score of a wrong completion at `max_len`.
        min_value_correct: score of a right completion at `max_len`.
        max_value_correct: score of a right completion at length 0.
    """

    max_len: int
    min_value_wrong: float = -1.0
    max_value_wrong: float = -0.5
    min_value_correct: float = 0.5
    max_value_correct: float = 1.0

    def __post_init__(self) -> None:
        if self.max_len < 1:
            raise RewardError(f"max_len must be at least 1, got {self.max_len!r}.")

    def __call__(
        self,
        completions: Sequence[str],
        golds: Sequence[str],
        truncated: Sequence[bool],
        completion_ids: Sequence[Sequence[int]],
    ) -> list[Verdict]:
        """Score a batch; a gold answer that cannot be read stays unscorable."""
        verdicts = accuracy_reward(completions, golds, truncated)
        return [
            self._scaled(verdict, min(len(ids) / self.max_len, 1.0))
            for verdict, ids in zip(verdicts, completion_ids, strict=True)
        ]

    def _scaled(self, verdict: Verdict, progress: float) -> Verdict:
        if verdict.score is None:
            return verdict
        short, long = self.min_value_wrong, self.max_value_wrong
        if verdict.kind is VerdictKind.CORRECT:
            short, long = self.max_value_correct, self.min_value_correct
        score = long + 0.5 * (short - long) * (1.0 + math.cos(math.pi * progress))
        return Verdict(score, verdict.kind, verdict.reason, verdict.extracted)
