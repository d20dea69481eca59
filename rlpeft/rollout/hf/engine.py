"""The `hf` engine: transformers' models, runs anywhere, seeded per completion.

Every completion draws from its own generator, so a completion does not depend on which others
share its batch, nor on which engine it was sent to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from peft import PeftModel

from rlpeft.adapter_state import AdapterState, tensors_digest
from rlpeft.adapters.methods import method_of_policy
from rlpeft.adapters.policy import adapter_tensors, load_tensors, sequence_logprobs
from rlpeft.errors import EngineError, ModelError
from rlpeft.models.load import context_length
from rlpeft.models.sight import ImageProcessor
from rlpeft.recipe.engines import ENGINES
from rlpeft.rollout.engine import (
    Delivery,
    Together,
    check_experts,
    check_images,
    check_sampling,
    check_tokens,
    in_order,
    whole_requests,
)
from rlpeft.rollout.hf.decoding import DecodedRow, Draft, Ending, decode
from rlpeft.rollout.hf.row_experts import RowExperts
from rlpeft.rollout.text import completion_texts, prompt_ends
from rlpeft.types import Completion, FinishReason, Request, Sampling

Watch = Callable[[str, int, Draft], bool]
"""Is told a request's id, which of its completions, and what that has so far; false gives it up."""


class HfEngine:
    """A rollout engine in this process.

    Args:
        policy: a PEFT model of this engine's own; its adapter's values will be replaced.
        tokenizer: decodes completions and stop strings.
        eos_ids: every id that ends a completion.
        batch_size: sequences generated at once; that of `ENGINES` if absent.
        processor: how the model sees; absent: requests may have no images.
    """

    def __init__(
        self,
        policy: PeftModel,
        tokenizer: Any,
        *,
        eos_ids: Iterable[int],
        batch_size: int | None = None,
        processor: ImageProcessor | None = None,
    ) -> None:
        self.policy, self.tokenizer = policy.eval(), tokenizer
        self.eos_ids, self.batch_size = sorted(eos_ids), batch_size or ENGINES["hf"].batch_size
        self.processor = processor
        self.context = context_length(policy.get_base_model().config)
        self.vocabulary = len(policy.get_base_model().get_input_embeddings().weight)
        self._current = Delivery(0, tensors_digest(adapter_tensors(policy)), 0.0)
        self._experts = RowExperts(policy, {})

    def load_adapter(self, state: AdapterState) -> Delivery:
        """Copy the state into the policy; the receipt's digest is taken from the policy itself."""
        started = time.perf_counter()
        self._check_factors(state)
        try:
            load_tensors(self.policy, state.tensors)
        except ModelError as error:
            raise EngineError(str(error)) from error
        digest = tensors_digest(adapter_tensors(self.policy))
        self._current = Delivery(state.version, digest, time.perf_counter() - started)
        return self._current

    def load_experts(self, experts: Mapping[str, AdapterState]) -> dict[str, Delivery]:
        """Keep the experts' vectors beside the policy, where its method can differ by row."""
        fitting = RowExperts(self.policy, experts)
        for state in experts.values():
            self._check_factors(state)
        self._experts = fitting
        return self._experts.deliveries

    def rollout(
        self, requests: Sequence[Request], sampling: Sampling, *, watch: Watch | None = None
    ) -> list[list[Completion]]:
        """Complete each request once per seed, in request order then seed order.

        Args:
            watch: is shown every completion after each of its tokens; what it gives up ends there.
        """
        return in_order(self.stream(requests, sampling, watch=watch))

    def stream(
        self, requests: Sequence[Request], sampling: Sampling, *, watch: Watch | None = None
    ) -> Iterator[Together]:
        """What has ended, after every token at which any has; `watch` as in `rollout`."""
        self.check(requests, sampling)
        rows = [
            DecodedRow(r.prompt_ids, seed, r.expert, r.limit(sampling), r.images)
            for r in requests
            for seed in r.seeds
        ]
        names = [(r.id, k) for r in requests for k in range(len(r.seeds))]
        yield from whole_requests(requests, self._ended(rows, names, sampling, watch))

    def check(self, requests: Sequence[Request], sampling: Sampling) -> None:
        """Refuse what `rollout` would.

        Raises:
            EngineError: names the request and what is wrong with it.
        """
        check_sampling(sampling)
        check_experts(requests, self._experts.deliveries)
        for request in requests:
            if not 0 < len(request.prompt_ids) < self.context:
                raise EngineError(
                    f"prompt {request.id!r} must be shorter than the model's context of "
                    f"{self.context} tokens, and not empty, it has {len(request.prompt_ids)}."
                )
            check_images(request, sees=self.processor is not None)
            check_tokens(request.prompt_ids, self.vocabulary, of=f"prompt {request.id!r}")

    def logprobs(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """Log-prob (temperature 1, fp32) of each token after the first."""
        return sequence_logprobs(self.policy, sequences)

    def close(self) -> None:
        """Nothing outlives this object."""

    def _check_factors(self, state: AdapterState) -> None:
        """Weights may be rounded here that are not in the trainer: their digests may differ."""
        method = method_of_policy(self.policy)
        for option in method.former if method else ():
            own = getattr(self.policy.active_peft_config, option)
            sent = {**method.defaults, **state.config}[option] if method else own
            if sent != own:
                raise EngineError(
                    f"adapters of this engine must be of {option} {own!r}, got one of {sent!r}, "
                    "whose numbers mean nothing on other factors. Build the engine with the "
                    "adapter's config."
                )

    def _ended(
        self,
        rows: Sequence[DecodedRow],
        names: Sequence[tuple[str, int]],
        sampling: Sampling,
        watch: Watch | None,
    ) -> Iterator[dict[int, Completion]]:
        """Rows that have ended, token by token, batch by batch."""
        # Rows of like length share a batch: less padding.
        order = sorted(range(len(rows)), key=lambda index: len(rows[index].prompt))
        for start in range(0, len(order), self.batch_size):
            indices = order[start : start + self.batch_size]
            for drafts in self._decode([rows[i] for i in indices], sampling):
                fresh = {indices[b]: draft for b, draft in drafts.items()}
                if watch is not None:
                    _show(watch, {names[row]: draft for row, draft in fresh.items()})
                ended = {r: draft for r, draft in fresh.items() if draft.finish_reason is not None}
                if ended:
                    of = [rows[row] for row in ended]
                    completions = self._completions(of, [*ended.values()])
                    yield dict(zip(ended, completions, strict=True))

    def _decode(self, rows: Sequence[DecodedRow], sampling: Sampling) -> Iterator[dict[int, Draft]]:
        return decode(
            self.policy.get_base_model(),
            rows,
            sampling,
            ending=Ending(self.eos_ids, sampling.stop, self.tokenizer),
            limits=[min(row.max_tokens, self.context - len(row.prompt)) for row in rows],
            running=self._experts.run,
            processor=self.processor,
        )

    def _completions(self, rows: Sequence[DecodedRow], drafts: Sequence[Draft]) -> list[Completion]:
        prompts, made = [row.prompt for row in rows], [draft.token_ids for draft in drafts]
        texts = completion_texts(self.tokenizer, prompts, made)
        ends = prompt_ends(self.tokenizer, prompts)
        ran = [self._experts.deliveries[r.expert] if r.expert else self._current for r in rows]
        return [_completion(*parts) for parts in zip(drafts, texts, ends, ran, strict=True)]


def _completion(draft: Draft, text: str, prompt_end: str, policy: Delivery) -> Completion:
    assert draft.finish_reason is not None  # `decode` goes on until every row has ended
    return Completion(
        token_ids=tuple(draft.token_ids),
        logprobs=tuple(draft.logprobs),
        text=text,
        finish_reason=draft.finish_reason,
        version=policy.version,
        digest=policy.digest,
        prompt_end=prompt_end,
    )


def _show(watch: Watch, fresh: Mapping[tuple[str, int], Draft]) -> None:
    for (request_id, index), draft in fresh.items():
        if not watch(request_id, index, draft) and draft.finish_reason is None:
            draft.finish_reason = FinishReason.LENGTH
