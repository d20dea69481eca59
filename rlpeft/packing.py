"""Completions into micro-batches: padded rows within a token budget, masks from lengths.

Masks never come from token values: with pad == EOS a value-based mask would hide the very token
that teaches the policy to stop. The loss weights are fixed over *all* micro-batches before the
first backward, so that accumulation equals one large batch.

B row, T token position, N completion token of the micro-batch (rows in order, flattened).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch


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

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows for one forward and backward pass.

    Attributes:
        tokens_BT: int64, right-padded.
        attention_BT: int64, 1 on real tokens.
        predicts_BT: bool, true where position t predicts a completion token at t + 1.
        targets_N: int64, those completion tokens.
        logprobs_N: fp32, the engine's.
        advantages_N: fp32, of the completion each token belongs to.
        weights_N: fp32, share of each token in the loss of the whole step.
    """

    tokens_BT: torch.Tensor
    attention_BT: torch.Tensor
    predicts_BT: torch.Tensor
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
    """Sort by length and cut into micro-batches of at most `token_budget` padded tokens.

    A single row longer than the budget gets a micro-batch of its own. Empty completions have
    nothing to learn from and only count in the `sequence` denominator.
    """
    num_sequences = len(samples)
    num_tokens = sum(len(sample.completion_ids) for sample in samples)
    denominator = num_sequences if normalise == "sequence" else num_tokens
    rows = sorted((s for s in samples if s.completion_ids), key=len, reverse=True)
    batches = []
    while rows:
        num_rows = max(1, token_budget // len(rows[0]))
        batches.append(_pad(rows[:num_rows], 1.0 / denominator))
        rows = rows[num_rows:]
    return batches


def _pad(rows: Sequence[Sample], weight: float) -> MicroBatch:
    num_tokens = max(len(row) for row in rows)
    tokens_BT = torch.zeros(len(rows), num_tokens, dtype=torch.int64)
    attention_BT = torch.zeros_like(tokens_BT)
    predicts_BT = torch.zeros(len(rows), num_tokens, dtype=torch.bool)
    for b, row in enumerate(rows):
        tokens_BT[b, : len(row)] = torch.tensor(row.prompt_ids + row.completion_ids)
        attention_BT[b, : len(row)] = 1
        predicts_BT[b, len(row.prompt_ids) - 1 : len(row) - 1] = True
    counts = torch.tensor([len(row.completion_ids) for row in rows])
    advantages_B = torch.tensor([row.advantage for row in rows], dtype=torch.float32)
    return MicroBatch(
        tokens_BT,
        attention_BT,
        predicts_BT,
        torch.tensor([t for row in rows for t in row.completion_ids]),
        torch.tensor([p for row in rows for p in row.logprobs], dtype=torch.float32),
        advantages_B.repeat_interleave(counts),
        torch.full((int(counts.sum()),), weight),
    )
