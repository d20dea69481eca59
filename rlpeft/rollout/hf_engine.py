"""The `hf` engine: transformers' `generate`, runs anywhere, seeded per completion.

Every completion draws from its own generator, so a completion does not depend on which others
share its batch, nor on which engine it was sent to. B row, V vocabulary, T token.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from peft.utils import set_peft_model_state_dict
from transformers import (
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    MinPLogitsWarper,
    StoppingCriteria,
    StoppingCriteriaList,
    StopStringCriteria,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from rlpeft.adapter_state import AdapterState, tensors_digest
from rlpeft.errors import EngineError
from rlpeft.policy import adapter_tensors, sequence_logprobs
from rlpeft.rollout.base import Delivery, check_experts
from rlpeft.rollout.row_experts import RowExperts
from rlpeft.types import Completion, FinishReason, Request, Sampling


class HfEngine:
    """A rollout engine in this process.

    Args:
        policy: a PEFT model of this engine's own; its adapter's values will be replaced.
        tokenizer: decodes completions and stop strings.
        eos_ids: every id that ends a completion.
        batch_size: sequences generated at once.
    """

    def __init__(
        self, policy: PeftModel, tokenizer: Any, *, eos_ids: Iterable[int], batch_size: int = 256
    ) -> None:
        self.policy, self.tokenizer = policy.eval(), tokenizer
        self.eos_ids, self.batch_size = sorted(eos_ids), batch_size
        self.context = int(policy.get_base_model().config.max_position_embeddings)
        self._current = Delivery(0, tensors_digest(adapter_tensors(policy)), 0.0)
        self._experts = RowExperts(policy, {})

    def load_adapter(self, state: AdapterState) -> Delivery:
        """Copy the state into the policy; the receipt's digest is taken from the policy itself."""
        started = time.perf_counter()
        result = set_peft_model_state_dict(self.policy, dict(state.tensors))
        if result.unexpected_keys:
            raise EngineError(
                f"every adapter tensor must have a place in the engine's model, "
                f"{result.unexpected_keys[0]!r} has none. Build both from the same recipe."
            )
        digest = tensors_digest(adapter_tensors(self.policy))
        self._current = Delivery(state.version, digest, time.perf_counter() - started)
        return self._current

    def load_experts(self, experts: Mapping[str, AdapterState]) -> dict[str, Delivery]:
        """Keep the experts' multipliers beside the policy; SVF alone can differ by row."""
        self._experts = RowExperts(self.policy, experts)
        return self._experts.deliveries

    @torch.no_grad()
    def rollout(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """Complete each request once per seed, in request order then seed order."""
        self._check(requests)
        rows = [Row(r.prompt_ids, seed, r.expert) for r in requests for seed in r.seeds]
        # Rows of like length share a batch: less padding.
        order = sorted(range(len(rows)), key=lambda index: len(rows[index].prompt))
        done: dict[int, Completion] = {}
        for start in range(0, len(order), self.batch_size):
            indices = order[start : start + self.batch_size]
            done.update(
                zip(indices, self._generate([rows[i] for i in indices], sampling), strict=True)
            )
        completions = iter(done[index] for index in range(len(rows)))
        return [[next(completions) for _ in request.seeds] for request in requests]

    def logprobs(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """Log-prob (temperature 1, fp32) of each token after the first."""
        return sequence_logprobs(self.policy, sequences)

    def close(self) -> None:
        """Nothing outlives this object."""

    def _check(self, requests: Sequence[Request]) -> None:
        check_experts(requests, self._experts.deliveries)
        for request in requests:
            if len(request.prompt_ids) >= self.context:
                raise EngineError(
                    f"prompt {request.id!r} must be shorter than the model's context of "
                    f"{self.context} tokens, it has {len(request.prompt_ids)}."
                )

    def _generate(self, rows: Sequence[Row], sampling: Sampling) -> list[Completion]:
        longest = max(len(row.prompt) for row in rows)
        num_tokens = min(sampling.max_tokens, self.context - longest)
        ids_BT, attention_BT = _left_pad([row.prompt for row in rows], longest)
        sampler = SeededSampler([row.seed for row in rows], num_tokens, sampling)
        recorder = StopRecorder(self.eos_ids, sampling.stop, self.tokenizer, longest)
        device = self.policy.device
        ids_BT, attention_BT = ids_BT.to(device), attention_BT.to(device)
        prefix = self._shared_prefix(rows, ids_BT, attention_BT)
        with self._experts.run([row.expert for row in rows]):
            output_BT = self.policy.generate(
                input_ids=ids_BT,
                attention_mask=attention_BT,
                past_key_values=prefix,
                generation_config=_greedy_config(num_tokens, self.eos_ids),
                logits_processor=LogitsProcessorList([sampler]),
                stopping_criteria=StoppingCriteriaList([recorder]),
            )
        tokens_BT = output_BT[:, longest:].cpu()
        logprobs_BT = torch.stack(sampler.logprobs, 1).cpu()
        lengths, stopped = recorder.result(tokens_BT.shape[1])
        kept = [tokens_BT[b, :length].tolist() for b, length in enumerate(lengths)]
        texts = self.tokenizer.batch_decode(kept, skip_special_tokens=True)
        ran = [self._experts.deliveries[r.expert] if r.expert else self._current for r in rows]
        return [
            Completion(
                token_ids=tuple(kept[b]),
                logprobs=tuple(logprobs_BT[b, : len(kept[b])].tolist()),
                text=texts[b],
                finish_reason=FinishReason.STOP if stopped[b] else FinishReason.LENGTH,
                version=ran[b].version,
                digest=ran[b].digest,
            )
            for b in range(len(rows))
        ]

    def _shared_prefix(
        self, rows: Sequence[Row], ids_BT: torch.Tensor, attention_BT: torch.Tensor
    ) -> DynamicCache | None:
        """Keys and values of all but the last prompt token, computed once a prompt and policy."""
        first: dict[object, int] = {}
        owners = [first.setdefault((r.prompt, r.expert), b) for b, r in enumerate(rows)]
        if len(first) == len(rows) or ids_BT.shape[1] < 2:
            return None
        unique = torch.tensor(list(first.values()), device=ids_BT.device)
        cache = DynamicCache(config=self.policy.get_base_model().config)
        with self._experts.run([rows[b].expert for b in first.values()]):
            self.policy.get_base_model().get_decoder()(
                input_ids=ids_BT[unique, :-1],
                attention_mask=attention_BT[unique, :-1],
                position_ids=(attention_BT[unique, :-1].cumsum(-1) - 1).clamp(min=0),
                past_key_values=cache,
                use_cache=True,
            )
        place = {b: index for index, b in enumerate(first.values())}
        cache.batch_select_indices(torch.tensor([place[b] for b in owners], device=ids_BT.device))
        return cache


@dataclass(frozen=True, slots=True)
class Row:
    """One completion to generate."""

    prompt: tuple[int, ...]
    seed: int
    expert: str | None


class SeededSampler(LogitsProcessor):
    """Draws each row's token itself, by inverse CDF from the row's own generator.

    `generate` then takes the argmax of what is left: the drawn token alone. Its log-prob under
    the distribution it was drawn from is kept (temperature 1 if greedy).
    """

    def __init__(self, seeds: Sequence[int], num_tokens: int, sampling: Sampling) -> None:
        self.temperature = sampling.temperature
        self.warpers = list(_warpers(sampling))
        self.logprobs: list[torch.Tensor] = []
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        draws = [torch.rand(num_tokens, generator=g, dtype=torch.float64) for g in generators]
        self.uniforms_BT = torch.stack(draws)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        greedy = self.temperature == 0
        logits_BV = scores.float() if greedy else scores.float() / self.temperature
        for warper in self.warpers:
            logits_BV = warper(input_ids, logits_BV)
        log_pi_BV = torch.log_softmax(logits_BV, -1)
        tokens_B = log_pi_BV.argmax(-1) if greedy else self._draw(log_pi_BV)
        self.logprobs.append(log_pi_BV.gather(-1, tokens_B[:, None]).squeeze(-1))
        chosen_BV = torch.full_like(log_pi_BV, float("-inf"))
        return chosen_BV.scatter_(-1, tokens_B[:, None], 0.0)

    def _draw(self, log_pi_BV: torch.Tensor) -> torch.Tensor:
        # fp64: a running sum over 10^5 fp32 probabilities would lose the tail.
        cumulative_BV = log_pi_BV.double().exp().cumsum(-1)
        uniforms_B = self.uniforms_BT[:, len(self.logprobs)].to(cumulative_BV.device)
        target_B = uniforms_B * cumulative_BV[:, -1]
        return torch.searchsorted(cumulative_BV, target_B[:, None], right=True).squeeze(-1)


class StopRecorder(StoppingCriteria):
    """Notes at which length each row ended, by an end-of-sequence id or a stop string.

    `generate` is given no EOS of its own: it would overwrite what follows with padding, and the
    padding id may be an EOS id itself.
    """

    def __init__(
        self, eos_ids: Sequence[int], stop: Sequence[str], tokenizer: Any, prompt_length: int
    ) -> None:
        self.eos = torch.tensor(list(eos_ids))
        self.strings = StopStringCriteria(tokenizer, list(stop)) if stop else None
        self.prompt_length = prompt_length
        self.lengths_B: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        ended_B = torch.isin(input_ids[:, -1], self.eos.to(input_ids.device))
        if self.strings is not None:
            ended_B = ended_B | self.strings(input_ids[:, self.prompt_length :], scores)
        if self.lengths_B is None:
            self.lengths_B = torch.zeros(len(input_ids), dtype=torch.int64, device=input_ids.device)
        length = input_ids.shape[1] - self.prompt_length
        self.lengths_B[ended_B & (self.lengths_B == 0)] = length
        return self.lengths_B > 0

    def result(self, num_tokens: int) -> tuple[list[int], list[bool]]:
        """Length of each row, and whether it ended by itself."""
        assert self.lengths_B is not None
        lengths = self.lengths_B.tolist()
        return [length or num_tokens for length in lengths], [length > 0 for length in lengths]


def _warpers(sampling: Sampling) -> Iterable[LogitsProcessor]:
    if sampling.top_k:
        yield TopKLogitsWarper(sampling.top_k)
    if sampling.top_p < 1:
        yield TopPLogitsWarper(sampling.top_p)
    if sampling.min_p:
        yield MinPLogitsWarper(sampling.min_p)


def _greedy_config(num_tokens: int, eos_ids: Sequence[int]) -> GenerationConfig:
    # The sampler decides every token; pad is only written where nothing is read.
    return GenerationConfig(
        do_sample=False, max_new_tokens=num_tokens, pad_token_id=eos_ids[0], use_cache=True
    )


def _left_pad(prompts: Sequence[Sequence[int]], length: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids_BT = torch.zeros(len(prompts), length, dtype=torch.int64)
    attention_BT = torch.zeros_like(ids_BT)
    for b, prompt in enumerate(prompts):
        ids_BT[b, length - len(prompt) :] = torch.tensor(list(prompt))
        attention_BT[b, length - len(prompt) :] = 1
    return ids_BT, attention_BT
