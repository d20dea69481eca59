"""Completions into micro-batches: the prompt of a group once, one micro-batch at a time.

Completions of one prompt follow it: prompt, completion 1, completion 2, …; each sees the prompt
and itself (`rlpeft.training.group_attention`). A group of 8 five-token answers to a 40-token prompt
costs 80 tokens, not 360.

Attention pads where the tokens are not: one long answer among short ones would cost as many scores
as if all were as long. So the scores of a micro-batch are bounded, too, by those of one answer that
fills it alone.

Masks never come from token values: with pad == EOS a value-based mask would hide the very token
that teaches the policy to stop. The loss weights are fixed over *all* micro-batches before the
first backward, so that accumulation equals one large batch.

T token of a micro-batch, N completion token of it that the policy wrote, in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal, NamedTuple

import torch

from rlpeft.training.group_layout import Groups
from rlpeft.types import ImageFile


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion as the learner sees it.

    Attributes:
        prompt_ids, completion_ids: exactly the ids the engine saw and sampled.
        logprobs: the engine's sampling log-prob of each completion token.
        advantage: of the whole completion.
        own: of each completion token whether the policy wrote it; the others are read and not
            learned from. Empty: all of them.
        images: those whose tokens stand in the prompt, in their order.
    """

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    advantage: float
    own: tuple[bool, ...] = ()
    images: tuple[ImageFile, ...] = ()

    @property
    def places(self) -> Sequence[int]:
        """Indices of the completion tokens that are learned from."""
        if not self.own:
            return range(len(self.completion_ids))
        return [place for place, is_own in enumerate(self.own) if is_own]


class Extent(NamedTuple):
    """How large rows are, as they stand and padded."""

    tokens: int
    prompts: int = 0
    longest_prompt: int = 0
    completions: int = 0
    longest_completion: int = 0

    def beside(self, other: Extent) -> Extent:
        """Of both in one micro-batch."""
        return Extent(
            self.tokens + other.tokens,
            self.prompts + other.prompts,
            max(self.longest_prompt, other.longest_prompt),
            self.completions + other.completions,
            max(self.longest_completion, other.longest_completion),
        )

    @property
    def scores(self) -> int:
        """Pairs of a query and a key that padded attention has."""
        keys = self.longest_prompt + self.longest_completion
        completions = self.completions * self.longest_completion * keys
        return self.prompts * self.longest_prompt**2 + completions

    def fits(self, token_budget: int) -> bool:
        """Whether a micro-batch may be as large."""
        return self.tokens <= token_budget and self.scores <= token_budget**2


class Hand(NamedTuple):
    """One rank's part of a step, all of it by default.

    Attributes:
        at: the rank, counted from 0.
        of: how many there are.
        hidden_size: of the model; it weighs attention against the rest.
        in_step: whether all take as many micro-batches; some are repeated then, without weight.
    """

    at: int = 0
    of: int = 1
    hidden_size: int = 1
    in_step: bool = False


WHOLE = Hand()


@dataclass(frozen=True, slots=True)
class PackedRow:
    """A prompt and some of its completions."""

    prompt_ids: tuple[int, ...]
    samples: tuple[Sample, ...]

    @property
    def images(self) -> tuple[ImageFile, ...]:
        """What the prompt shows."""
        return self.samples[0].images

    def __len__(self) -> int:
        return self.extent.tokens

    @property
    def extent(self) -> Extent:
        """How large it is."""
        prompt, lengths = len(self.prompt_ids), [len(s.completion_ids) for s in self.samples]
        return Extent(prompt + sum(lengths), 1, prompt, len(lengths), max(lengths))


class Shown(NamedTuple):
    """The images of a micro-batch.

    Attributes:
        images: in the order of rows and of their tokens.
        prompts_T: bool, tokens of prompts that show some.
    """

    images: tuple[ImageFile, ...]
    prompts_T: torch.Tensor


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
        share: of all tokens of the step.
        shown: what its prompts show; `None`: nothing.
    """

    tokens_T: torch.Tensor
    positions_T: torch.Tensor
    groups: Groups
    sources_N: torch.Tensor
    targets_N: torch.Tensor
    logprobs_N: torch.Tensor
    advantages_N: torch.Tensor
    weights_N: torch.Tensor
    share: float
    shown: Shown | None = None

    def to(self, device: torch.device) -> MicroBatch:
        """The same rows on another device."""
        moved = {name: getattr(self, name).to(device) for name in self.__slots__[:-2]}
        shown = self.shown and self.shown._replace(prompts_T=self.shown.prompts_T.to(device))
        return MicroBatch(**moved, share=self.share, shown=shown)


def pack(
    samples: Sequence[Sample],
    *,
    token_budget: int,
    normalise: Literal["sequence", "token"] = "sequence",
    hand: Hand = WHOLE,
) -> Iterator[MicroBatch]:
    """Fill micro-batches of at most `token_budget` tokens with groups of like length.

    No more scores are made for one than for a single answer of `token_budget` tokens. A larger
    group is split, and a completion that alone exceeds the budget stands alone. Empty completions
    have nothing to learn from and only count in the `sequence` denominator.

    Args:
        hand: which of the micro-batches, whose weights and shares are those of the whole step.

    Yields:
        One at a time: where they are is decided before the first.
    """
    token_budget = even_budget(samples, token_budget, hand.of)
    num_tokens = sum(len(sample.places) for sample in samples)
    # Eq. 2 of Transformer² is a mean over completions of the sum over their tokens: `sequence`. A
    # mean over tokens weighs long completions no less per token (DAPO, arXiv 2503.14476, §3.3).
    # Where it is 0 there is no row to divide.
    denominator = len(samples) if normalise == "sequence" else num_tokens
    rows = sorted(fill_rows(samples, token_budget), key=len, reverse=True)
    num_packed = sum(map(len, rows))
    batches = fill_batches(rows, token_budget)
    hands = dealt(batches, hand)
    for at in hands[hand.at]:
        share = sum(map(len, batches[at])) / num_packed
        yield _join(batches[at], weight=1.0 / denominator, share=share)
    most = max(map(len, hands)) if hand.in_step else 0
    for _ in range(len(hands[hand.at]), most):
        yield _join(batches[-1], weight=0.0, share=0.0)


def even_budget(samples: Sequence[Sample], token_budget: int, num_ranks: int) -> int:
    """The largest budget that lets each of several ranks have as many full micro-batches."""
    if num_ranks == 1:
        return token_budget
    whole = sum(map(len, fill_rows(samples, token_budget)))
    rounds = max(1, math.ceil(whole / (num_ranks * token_budget)))
    return max(1, math.ceil(whole / (num_ranks * rounds)))


def dealt(batches: Sequence[Sequence[PackedRow]], hand: Hand) -> list[list[int]]:
    """Which micro-batches each rank takes: the dearest first, to whoever has least to do."""
    costs = [_cost(batch, hand.hidden_size) for batch in batches]
    hands: list[list[int]] = [[] for _ in range(hand.of)]
    loads = [0.0] * hand.of
    for at in sorted(range(len(batches)), key=lambda at: -costs[at]):
        rank = loads.index(min(loads))
        hands[rank].append(at)
        loads[rank] += costs[at]
    return [sorted(hand) for hand in hands]


def _cost(batch: Sequence[PackedRow], hidden_size: int) -> float:
    """Work in tokens: a layer has about 12 D² multiply-adds a token, and 2 D a score."""
    extent = reduce(Extent.beside, (row.extent for row in batch))
    return extent.tokens + extent.scores / (6 * hidden_size)


def fill_batches(rows: Sequence[PackedRow], token_budget: int) -> list[list[PackedRow]]:
    """Rows, in their order, together as far as `token_budget` allows."""
    batches: list[list[PackedRow]] = []
    held = Extent(0)
    for row in rows:
        held = held.beside(row.extent)
        if not batches or not held.fits(token_budget):
            batches.append([])
            held = row.extent
        batches[-1].append(row)
    return batches


def fill_rows(samples: Sequence[Sample], token_budget: int) -> Iterator[PackedRow]:
    """Completions of one prompt, together as far as `token_budget` allows."""
    by_prompt: dict[tuple[tuple[int, ...], tuple[ImageFile, ...]], list[Sample]] = {}
    for sample in samples:
        if sample.completion_ids:
            by_prompt.setdefault((sample.prompt_ids, sample.images), []).append(sample)
    for (prompt_ids, _), members in by_prompt.items():
        row: list[Sample] = []
        alone = held = Extent(len(prompt_ids), 1, len(prompt_ids))
        for sample in members:
            length = len(sample.completion_ids)
            extent = Extent(length, completions=1, longest_completion=length)
            held = held.beside(extent)
            if row and not held.fits(token_budget):
                yield PackedRow(prompt_ids, tuple(row))
                row, held = [], alone.beside(extent)
            row.append(sample)
        yield PackedRow(prompt_ids, tuple(row))


def _join(rows: Sequence[PackedRow], *, weight: float, share: float) -> MicroBatch:
    tokens: list[int] = []
    sources: list[int] = []
    for row in rows:
        prompt, size = len(tokens), len(row.prompt_ids)
        tokens += row.prompt_ids
        for sample in row.samples:
            start, count = len(tokens), len(sample.completion_ids)
            # The last prompt token predicts the first token of every completion.
            before = [prompt + size - 1, *range(start, start + count - 1)]
            sources += [before[at] for at in sample.places]
            tokens += sample.completion_ids
    samples = [sample for row in rows for sample in row.samples]
    learned = [(sample, at) for sample in samples for at in sample.places]
    sizes = [(len(r.prompt_ids), [len(s.completion_ids) for s in r.samples]) for r in rows]
    groups = Groups.of(sizes)
    return MicroBatch(
        torch.tensor(tokens),
        groups.position_T,
        groups,
        torch.tensor(sources),
        torch.tensor([sample.completion_ids[at] for sample, at in learned]),
        torch.tensor([sample.logprobs[at] for sample, at in learned], dtype=torch.float32),
        torch.tensor([sample.advantage for sample, _ in learned], dtype=torch.float32),
        torch.full((len(sources),), weight),
        share,
        _shown(rows),
    )


def _shown(rows: Sequence[PackedRow]) -> Shown | None:
    images = tuple(image for row in rows for image in row.images)
    if not images:
        return None
    seen: list[bool] = []
    for row in rows:
        size = len(row.prompt_ids)
        seen += [bool(row.images)] * size + [False] * (len(row) - size)
    return Shown(images, torch.tensor(seen))
