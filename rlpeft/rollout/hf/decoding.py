"""Token by token: rows that have ended leave the batch, and whoever watches sees every token.

transformers' `generate` carries each row to the end of the longest at the price of a living one,
and ends none that nobody waits for any more.

B row, V vocabulary, T token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import torch
from transformers import (
    LogitsProcessor,
    MinPLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from rlpeft.models.load import context_length
from rlpeft.models.sight import ImageProcessor, embedded
from rlpeft.rollout.ends import read_stops, special_tokens
from rlpeft.rollout.hf.roomy_cache import roomy_cache
from rlpeft.rollout.text import latest_texts
from rlpeft.types import FinishReason, ImageFile, Sampling

SHRINK_AT = 0.9
"""Share of living rows at which the ended ones leave: each time, the whole cache is copied."""

WORTH_A_PASS = 256
"""Tokens not to be read from which on another pass through the model costs less."""


@dataclass(frozen=True, slots=True)
class DecodedRow:
    """One completion to generate, of so many tokens at most."""

    prompt: tuple[int, ...]
    seed: int
    expert: str | None
    max_tokens: int
    images: tuple[ImageFile, ...] = ()


@dataclass(slots=True)
class Draft:
    """What a row has so far.

    Attributes:
        logprobs: of each token under the distribution it was drawn from (temperature 1 if greedy).
        finish_reason: `None` while it lives.
    """

    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: FinishReason | None = None


Running = Callable[[Sequence[str | None]], AbstractContextManager[None]]
"""Lets row b of the batches within it run expert `names[b]`; may be entered again."""


@torch.no_grad()
def decode(
    model: Any,
    rows: Sequence[DecodedRow],
    sampling: Sampling,
    *,
    ending: Ending,
    limits: Sequence[int],
    running: Running,
    processor: ImageProcessor | None = None,
) -> Iterator[dict[int, Draft]]:
    """Yield, after every token, the drafts that it was added to, by row, until all have ended.

    Whoever consumes them may end a row by giving it a `finish_reason`.

    Args:
        model: a causal language model of transformers.
        limits: tokens of each row, at most.
        processor: how the model sees, where rows have images.
    """
    num_tokens = max(limits)
    drafts = [Draft() for _ in rows]
    sampler = Sampler([row.seed for row in rows], num_tokens, sampling)
    batch = Batch.prefill(model, rows, running, num_tokens, processor)
    alive = list(range(len(rows)))
    while True:
        tokens_B, logprobs_B = sampler(batch.logits_BV, alive)
        fresh = {b: drafts[b] for b in alive if drafts[b].finish_reason is None}
        for b, token, logprob in zip(alive, tokens_B.tolist(), logprobs_B.tolist(), strict=True):
            if b in fresh:
                drafts[b].token_ids.append(token)
                drafts[b].logprobs.append(logprob)
        ending.mark(
            list(fresh.values()),
            prompts=[rows[b].prompt for b in fresh],
            limits=[limits[b] for b in fresh],
        )
        yield fresh
        kept = [i for i, b in enumerate(alive) if drafts[b].finish_reason is None]
        if not kept:
            return
        if len(kept) <= SHRINK_AT * len(alive):
            batch.keep(kept)
            tokens_B, alive = tokens_B[kept], [alive[i] for i in kept]
        batch.step(tokens_B)


class Batch:
    """The rows that still run: their experts, their cache, and the logits of their next token."""

    def __init__(
        self, model: Any, experts: Sequence[str | None], running: Running, num_tokens: int
    ) -> None:
        self.model, self.running = model, running
        self.experts, self.context = experts, running(experts)
        self.cache = roomy_cache(model.config, num_tokens)
        self.last_position = context_length(model.config) - 1
        self.attention_BT = torch.empty(0, dtype=torch.long, device=model.device)
        self.logits_BV = torch.empty(0, device=model.device)

    @classmethod
    def prefill(
        cls,
        model: Any,
        rows: Sequence[DecodedRow],
        running: Running,
        num_tokens: int,
        processor: ImageProcessor | None,
    ) -> Batch:
        """Read the prompts, each once for an expert, however many rows complete it.

        What all of them begin with, solved examples say, is read once for an expert.
        """
        places = {key: u for u, key in enumerate(dict.fromkeys(map(_source, rows)))}
        prompts, experts, images = zip(*places, strict=True)
        distinct, shared = list(dict.fromkeys(experts)), _common_start(prompts)
        if any(images):
            shared = []  # equal tokens may stand for other images
        if len(shared) * (len(prompts) - len(distinct)) < WORTH_A_PASS:
            batch = cls(model, experts, running, num_tokens)
            batch.read(prompts, images, processor)
        else:
            batch = cls(model, distinct, running, num_tokens)
            batch.read([shared] * len(distinct))
            batch.keep([distinct.index(expert) for expert in experts])
            batch.read([prompt[len(shared) :] for prompt in prompts])
        if len(places) < len(rows):
            batch.keep([places[_source(row)] for row in rows])
        return batch

    def read(
        self,
        tokens: Sequence[Sequence[int]],
        images: Sequence[Sequence[ImageFile]] = (),
        processor: ImageProcessor | None = None,
    ) -> None:
        """Read tokens of each row, of some rows more than of others, and the images they show."""
        ids_BT, attention_BT = (t.to(self.model.device) for t in _left_pad(tokens))
        if not any(images):
            self._forward({"input_ids": ids_BT}, attention_BT)
            return
        assert processor is not None, "requests with images are checked for one that sees"
        # What pads has the same number as some token.
        shows_BT = attention_BT.bool() & torch.tensor([[bool(own)] for own in images]).to(
            ids_BT.device
        )
        every = [image for own in images for image in own]
        embeds_BTD = embedded(self.model, processor, ids_BT, shows_BT, every)
        self._forward({"inputs_embeds": embeds_BTD}, attention_BT)

    def step(self, tokens_B: torch.Tensor) -> None:
        """Read one token of each row."""
        self._forward({"input_ids": tokens_B[:, None]}, torch.ones_like(tokens_B)[:, None])

    def keep(self, indices: Sequence[int]) -> None:
        """Go on with these rows; one may be taken several times."""
        chosen = torch.tensor(indices, device=self.logits_BV.device)
        self.cache.batch_select_indices(chosen)
        self.attention_BT, self.logits_BV = self.attention_BT[chosen], self.logits_BV[chosen]
        self.experts = [self.experts[index] for index in indices]
        self.context = self.running(self.experts)

    def _forward(self, read: dict[str, torch.Tensor], attention_BT: torch.Tensor) -> None:
        num_tokens = attention_BT.shape[1]
        self.attention_BT = torch.cat([self.attention_BT, attention_BT], 1)
        # A row that has ended may stay for a while, beyond what the model has positions for.
        positions_BT = (self.attention_BT.cumsum(-1) - 1).clamp(0, self.last_position)
        with self.context:
            output = self.model(
                **read,
                attention_mask=self.attention_BT,
                position_ids=positions_BT[:, -num_tokens:],
                past_key_values=self.cache,
                use_cache=True,
                # A tensor, since a slice would not be contiguous: fifteen times slower on a CPU.
                logits_to_keep=torch.tensor([num_tokens - 1], device=attention_BT.device),
            )
        self.logits_BV = output.logits[:, -1]


class Sampler:
    """Draws each row's token by inverse CDF, from the row's own generator."""

    def __init__(self, seeds: Sequence[int], num_tokens: int, sampling: Sampling) -> None:
        self.temperature = sampling.temperature
        self.warpers = list(_warpers(sampling))
        self.step = 0
        draws = [_uniforms(seed, num_tokens) for seed in seeds if self.temperature > 0]
        self.uniforms_BT = torch.stack(draws) if draws else torch.empty(0)

    def __call__(
        self, logits_BV: torch.Tensor, rows: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens, int64 [B], and their log-probs, fp32 [B], of the rows that still run."""
        greedy = self.temperature == 0
        # Models leave logits in their own dtype: in bf16 their log-probs would be off by percents.
        logits_BV = logits_BV.float() if greedy else logits_BV.float() / self.temperature
        for warper in self.warpers:
            logits_BV = warper(None, logits_BV)
        log_pi_BV = torch.log_softmax(logits_BV, -1)
        tokens_B = log_pi_BV.argmax(-1) if greedy else self._draw(log_pi_BV, rows)
        self.step += 1
        return tokens_B, log_pi_BV.gather(-1, tokens_B[:, None]).squeeze(-1)

    def _draw(self, log_pi_BV: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
        if self.step == 0:
            # fp64: a running sum over 10^5 fp32 probabilities would lose the tail. Kept, since
            # fresh memory of this size costs more than the sum.
            self.sums_BV = torch.empty_like(log_pi_BV, dtype=torch.float64)
        cumulative_BV = self.sums_BV[: len(rows)].copy_(log_pi_BV).exp_().cumsum_(-1)
        uniforms_B = self.uniforms_BT[rows, self.step].to(cumulative_BV.device)
        # By the last sum, which rounding leaves beside 1: a draw above it would have no token.
        target_B = uniforms_B * cumulative_BV[:, -1]
        # To the right of equal sums: a token of probability 0 adds none, and must not be drawn.
        return torch.searchsorted(cumulative_BV, target_B[:, None], right=True).squeeze(-1)


class Ending:
    """What ends a completion: an end-of-sequence id, a stop string, or the token limit."""

    def __init__(self, eos_ids: Iterable[int], stop: Sequence[str], tokenizer: Any) -> None:
        stops = read_stops(tokenizer, stop)
        self.token_ids = frozenset((*eos_ids, *stops.token_ids))
        self.strings, self.tokenizer = stops.strings, tokenizer
        # Not transformers' own criterion: it reads the names of special tokens as text, which
        # neither the text of a completion nor vLLM shows.
        shown = not stops.strings or stops.hold_special
        self.hidden = frozenset(() if shown else special_tokens(tokenizer).values())
        self.num_bytes = max((len(text.encode()) for text in stops.strings), default=0)

    def mark(
        self, living: Sequence[Draft], *, prompts: Sequence[Sequence[int]], limits: Sequence[int]
    ) -> None:
        """Give those that have ended their reason."""
        hits = [draft.token_ids[-1] in self.token_ids for draft in living]
        if self.strings:
            made = [draft.token_ids for draft in living]
            texts = latest_texts(
                self.tokenizer, prompts, made, num_bytes=self.num_bytes, hidden=self.hidden
            )
            found = [any(string in text for string in self.strings) for text in texts]
            hits = [a or b for a, b in zip(hits, found, strict=True)]
        for draft, hit, limit in zip(living, hits, limits, strict=True):
            if hit:
                draft.finish_reason = FinishReason.STOP
            elif len(draft.token_ids) == limit:
                draft.finish_reason = FinishReason.LENGTH


def _source(row: DecodedRow) -> tuple[tuple[int, ...], str | None, tuple[ImageFile, ...]]:
    return row.prompt, row.expert, row.images


def _common_start(prompts: Sequence[Sequence[int]]) -> list[int]:
    """The tokens that all begin with; each keeps one of its own, whose logits are wanted."""
    columns = zip(*(prompt[:-1] for prompt in prompts), strict=False)
    return [column[0] for column in takewhile(lambda column: len({*column}) == 1, columns)]


def _uniforms(seed: int, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    # fp32 has 2²⁴ of them: tokens rarer than 6e-8 would come never, or too often.
    return torch.rand(count, generator=generator, dtype=torch.float64)


def _warpers(sampling: Sampling) -> Iterable[LogitsProcessor]:
    if sampling.top_k:
        yield TopKLogitsWarper(sampling.top_k)
    if sampling.top_p < 1:
        yield TopPLogitsWarper(sampling.top_p)
    if sampling.min_p:
        yield MinPLogitsWarper(sampling.min_p)


def _left_pad(prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, prompts))
    padding = [longest - len(prompt) for prompt in prompts]
    ids_BT = torch.tensor([[0] * n + [*ids] for n, ids in zip(padding, prompts, strict=True)])
    return ids_BT, (torch.arange(longest) >= torch.tensor(padding)[:, None]).long()
