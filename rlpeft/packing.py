"""Completions into micro-batches: the prompt of a group once, masks from lengths.

Completions of one prompt share a row: prompt, completion 1, completion 2, …; each sees the prompt
and itself. A group of 8 five-token answers to a 40-token prompt costs 80 tokens, not 360.

Masks never come from token values: with pad == EOS a value-based mask would hide the very token
that teaches the policy to stop. The loss weights are fixed over *all* micro-batches before the
first backward, so that accumulation equals one large batch.

B row, T token position, N completion token of the micro-batch (rows in order, flattened).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

ROW_TOKENS = 1024
"""Rows are filled up to this length: attention within a row is quadratic, and soon costs more
than a repeated prompt. A longer single completion has a row of its own."""

PROMPT, PADDING = 0, -1
"""Segment numbers; completions count from 1."""


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
class Row:
    """A prompt and some of its completions."""

    prompt_ids: tuple[int, ...]
    samples: tuple[Sample, ...]

    def __len__(self) -> int:
        return len(self.prompt_ids) + sum(len(sample.completion_ids) for sample in self.samples)


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows for one forward and backward pass.

    Attributes:
        tokens_BT: int64, right-padded.
        positions_BT: int64; every completion goes on from the end of the prompt.
        segments_BT: int64; `PROMPT`, `PADDING` or the completion's number in its row.
        sources_N: int64, index into the flattened [B T] of the position that predicts a token.
        targets_N: int64, the completion tokens.
        logprobs_N: fp32, the engine's.
        advantages_N: fp32, of the completion each token belongs to.
        weights_N: fp32, share of each token in the loss of the whole step.
    """

    tokens_BT: torch.Tensor
    positions_BT: torch.Tensor
    segments_BT: torch.Tensor
    sources_N: torch.Tensor
    targets_N: torch.Tensor
    logprobs_N: torch.Tensor
    advantages_N: torch.Tensor
    weights_N: torch.Tensor

    def attention(self) -> torch.Tensor:
        """Who sees whom, bool [B, 1, T, T]: back, and only the prompt or the own completion.

        Padding sees the prompt: a row of a softmax with nothing in it would be NaN.
        """
        segments_BT = self.segments_BT
        own_BTT = segments_BT[:, :, None] == segments_BT[:, None, :]
        prompt_BTT = (segments_BT == PROMPT)[:, None, :]
        num_tokens = segments_BT.shape[1]
        causal_TT = torch.ones(
            num_tokens, num_tokens, dtype=torch.bool, device=segments_BT.device
        ).tril()
        return ((own_BTT | prompt_BTT) & causal_TT)[:, None]

    def to(self, device: torch.device) -> MicroBatch:
        """The same rows on another device."""
        return MicroBatch(*(getattr(self, name).to(device) for name in self.__slots__))


def pack(
    samples: Sequence[Sample],
    *,
    token_budget: int,
    normalise: Literal["sequence", "token"] = "sequence",
) -> list[MicroBatch]:
    """Fill rows, sort them by length and cut into micro-batches of `token_budget` padded tokens.

    A single row longer than the budget gets a micro-batch of its own. Empty completions have
    nothing to learn from and only count in the `sequence` denominator.
    """
    num_tokens = sum(len(sample.completion_ids) for sample in samples)
    denominator = len(samples) if normalise == "sequence" else num_tokens
    rows = sorted(fill_rows(samples), key=len, reverse=True)
    batches = []
    while rows:
        num_rows = max(1, token_budget // len(rows[0]))
        batches.append(_pad(rows[:num_rows], 1.0 / denominator))
        rows = rows[num_rows:]
    return batches


def fill_rows(samples: Sequence[Sample]) -> Iterator[Row]:
    """Completions of one prompt, together as far as `ROW_TOKENS` allows."""
    by_prompt: dict[tuple[int, ...], list[Sample]] = {}
    for sample in samples:
        if sample.completion_ids:
            by_prompt.setdefault(sample.prompt_ids, []).append(sample)
    for prompt_ids, members in by_prompt.items():
        row: list[Sample] = []
        length = len(prompt_ids)
        for sample in members:
            if row and length + len(sample.completion_ids) > ROW_TOKENS:
                yield Row(prompt_ids, tuple(row))
                row, length = [], len(prompt_ids)
            row.append(sample)
            length += len(sample.completion_ids)
        yield Row(prompt_ids, tuple(row))


def _pad(rows: Sequence[Row], weight: float) -> MicroBatch:
    num_tokens = max(len(row) for row in rows)
    tokens_BT = torch.zeros(len(rows), num_tokens, dtype=torch.int64)
    positions_BT = torch.zeros_like(tokens_BT)
    segments_BT = torch.full_like(tokens_BT, PADDING)
    sources: list[int] = []
    for b, row in enumerate(rows):
        tokens, positions, segments, predicting = _lay_out(row)
        tokens_BT[b, : len(row)] = torch.tensor(tokens)
        positions_BT[b, : len(row)] = torch.tensor(positions)
        segments_BT[b, : len(row)] = torch.tensor(segments)
        sources += [b * num_tokens + t for t in predicting]
    samples = [sample for row in rows for sample in row.samples]
    advantages = [s.advantage for s in samples for _ in s.completion_ids]
    return MicroBatch(
        tokens_BT,
        positions_BT,
        segments_BT,
        torch.tensor(sources),
        torch.tensor([token for sample in samples for token in sample.completion_ids]),
        torch.tensor([p for sample in samples for p in sample.logprobs], dtype=torch.float32),
        torch.tensor(advantages, dtype=torch.float32),
        torch.full((len(sources),), weight),
    )


def _lay_out(row: Row) -> tuple[list[int], list[int], list[int], list[int]]:
    """Tokens, positions and segments of one row, and where each completion token is predicted."""
    size = len(row.prompt_ids)
    tokens, positions = list(row.prompt_ids), list(range(size))
    segments, predicting = [PROMPT] * size, []
    for number, sample in enumerate(row.samples, start=1):
        count, start = len(sample.completion_ids), len(tokens)
        # The last prompt token predicts the first token of every completion.
        predicting += [size - 1, *range(start, start + count - 1)]
        tokens += sample.completion_ids
        positions += range(size, size + count)
        segments += [number] * count
    return tokens, positions, segments, predicting
