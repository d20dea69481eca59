"""Completions into micro-batches: the prompt of a group once, no padding.

Completions of one prompt follow it: prompt, completion 1, completion 2, …; each sees the prompt
and itself (`rlpeft.training.group_attention`). A group of 8 five-token answers to a 40-token prompt
costs 80 tokens, not 360.

Masks never come from token values: with pad == EOS a value-based mask would hide the very token
that teaches the policy to stop. The loss weights are fixed over *all* micro-batches before the
first backward, so that accumulation equals one large batch.

T token of a micro-batch, N completion token of it, in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from rlpeft.training.group_attention import Groups


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion as the learner sees it.

    Attributes:
        prompt_ids, completion_ids: exactly the ids the engine saw and sampled.
        logprobs: the engine's sampling log-prob of each completion token.
        advantage: of the whole completion.
    """

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    advantage: float


@dataclass(frozen=True, slots=True)
class PackedRow:
    """A prompt and some of its completions."""

    prompt_ids: tuple[int, ...]
    samples: tuple[Sample, ...]

    def __len__(self) -> int:
        return len(self.prompt_ids) + sum(len(sample.completion_ids) for sample in self.samples)


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows for one forward and backward pass, one after another.

    Attributes:
        tokens_T, positions_T: int64; every completion goes on from the end of its prompt.
        groups: which tokens are prompts and which their completions.
        sources_N: int64, index of the token that predicts a completion token.
        targets_N: int64, the completion tokens.
        logprobs_N: fp32, the engine's.
        advantages_N: fp32, of the completion each token belongs to.
        weights_N: fp32, share of each token in the loss of the whole step.
    """

    tokens_T: torch.Tensor
    positions_T: torch.Tensor
    groups: Groups
    sources_N: torch.Tensor
    targets_N: torch.Tensor
    logprobs_N: torch.Tensor
    advantages_N: torch.Tensor
    weights_N: torch.Tensor

    def to(self, device: torch.device) -> MicroBatch:
        """The same rows on another device."""
        return MicroBatch(*(getattr(self, name).to(device) for name in self.__slots__))


def pack(
    samples: Sequence[Sample],
    *,
    token_budget: int,
    normalise: Literal["sequence", "token"] = "sequence",
) -> list[MicroBatch]:
    """Fill micro-batches of at most `token_budget` tokens with groups of like length.

    A larger group is split, and a completion that alone exceeds the budget stands alone. Empty
    completions have nothing to learn from and only count in the `sequence` denominator.
    """
    num_tokens = sum(len(sample.completion_ids) for sample in samples)
    # Eq. 2 of Transformer² is a mean over completions of the sum over their tokens: `sequence`. A
    # mean over tokens weighs long completions no less per token (DAPO, arXiv 2503.14476, §3.3).
    # Where it is 0 there is no row to divide.
    denominator = len(samples) if normalise == "sequence" else num_tokens
    rows = sorted(fill_rows(samples, token_budget), key=len, reverse=True)
    batches: list[list[PackedRow]] = []
    room = 0
    for row in rows:
        if len(row) > room:
            batches.append([])
            room = token_budget
        batches[-1].append(row)
        room -= len(row)
    return [_join(batch, 1.0 / denominator) for batch in batches]


def fill_rows(samples: Sequence[Sample], limit: int) -> Iterator[PackedRow]:
    """Completions of one prompt, together as far as `limit` tokens allow."""
    by_prompt: dict[tuple[int, ...], list[Sample]] = {}
    for sample in samples:
        if sample.completion_ids:
            by_prompt.setdefault(sample.prompt_ids, []).append(sample)
    for prompt_ids, members in by_prompt.items():
        row: list[Sample] = []
        length = len(prompt_ids)
        for sample in members:
            if row and length + len(sample.completion_ids) > limit:
                yield PackedRow(prompt_ids, tuple(row))
                row, length = [], len(prompt_ids)
            row.append(sample)
            length += len(sample.completion_ids)
        yield PackedRow(prompt_ids, tuple(row))


def _join(rows: Sequence[PackedRow], weight: float) -> MicroBatch:
    tokens: list[int] = []
    positions: list[int] = []
    sources: list[int] = []
    for row in rows:
        prompt, size = len(tokens), len(row.prompt_ids)
        tokens += row.prompt_ids
        positions += range(size)
        for sample in row.samples:
            start, count = len(tokens), len(sample.completion_ids)
            # The last prompt token predicts the first token of every completion.
            sources += [prompt + size - 1, *range(start, start + count - 1)]
            tokens += sample.completion_ids
            positions += range(size, size + count)
    samples = [sample for row in rows for sample in row.samples]
    advantages = [s.advantage for s in samples for _ in s.completion_ids]
    return MicroBatch(
        torch.tensor(tokens),
        torch.tensor(positions),
        Groups.of([(len(r.prompt_ids), [len(s.completion_ids) for s in r.samples]) for r in rows]),
        torch.tensor(sources),
        torch.tensor([token for sample in samples for token in sample.completion_ids]),
        torch.tensor([p for sample in samples for p in sample.logprobs], dtype=torch.float32),
        torch.tensor(advantages, dtype=torch.float32),
        torch.full((len(sources),), weight),
    )
