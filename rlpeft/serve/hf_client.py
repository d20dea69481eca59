"""The `hf` engine behind vLLM's server: for machines where vLLM's own engine cannot run.

It fulfils what the server asks of an engine client. Requests that arrive together share a batch,
whatever experts they name; the next batch starts when all of them are answered.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

from vllm.config import VllmConfig
from vllm.exceptions import VLLMValidationError
from vllm.lora.request import LoRARequest
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.renderers import renderer_from_config
from vllm.renderers.inputs.preprocess import extract_prompt_components
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine import EngineCoreRequest
from vllm.v1.engine.detokenizer import IncrementalDetokenizer
from vllm.v1.engine.input_processor import InputProcessor

from rlpeft.adapter_state import AdapterState
from rlpeft.errors import RlpeftError
from rlpeft.rollout.hf.decoding import Draft
from rlpeft.rollout.hf.engine import HfEngine
from rlpeft.serve.first_pass import TwoPassClient
from rlpeft.serve.loaded import ServedExpert, Version
from rlpeft.types import FinishReason, Request, Sampling

GATHER_S = 0.01
"""How long a batch waits for company."""

UNSUPPORTED: dict[str, Any] = {
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "repetition_penalty": 1.0,
    "min_tokens": 0,
    "logprobs": None,
    "prompt_logprobs": None,
    "logit_bias": None,
    "structured_outputs": None,
    "ignore_eos": False,
    "stop_token_ids": [],
    "include_stop_str_in_output": False,
    "skip_special_tokens": True,
    "allowed_token_ids": None,
    "bad_words": [],
    "thinking_token_budget": None,
    "repetition_detection": None,
    "logprob_token_ids": None,
    "watermarking": None,
}
"""Sampling parameters the `hf` engine has not, and the values that ask for nothing."""


@dataclass(frozen=True, slots=True)
class News:
    """One more token of a request's completion `index`; one that ends it is no text."""

    index: int
    token_id: int
    is_eos: bool
    finish_reason: FinishReason | None


@dataclass(eq=False)
class Waiting:
    """A request on its way through a batch.

    Attributes:
        left: its client has gone; the engine's thread reads it after every token.
    """

    request: Request
    sampling: Sampling
    news: asyncio.Queue[News | Exception] = field(default_factory=asyncio.Queue)
    left: bool = False


class Reply:
    """What a client has been told of one completion."""

    def __init__(
        self, index: int, prompt_ids: list[int], params: SamplingParams, tokenizer: Any
    ) -> None:
        asked = EngineCoreRequest(str(index), prompt_ids, None, params, None, 0.0, None, None, None)
        self.text = IncrementalDetokenizer.from_new_request(tokenizer, asked)
        self.index, self.told = index, 0
        self.finish_reason: FinishReason | None = None
        self.stop_string: str | None = None

    def take(self, news: News) -> None:
        """Add a token."""
        self.stop_string = self.text.update([news.token_id], news.is_eos)
        self.finish_reason = FinishReason.STOP if self.stop_string else news.finish_reason

    def output(self, *, delta: bool) -> CompletionOutput:
        """What is new since the last call, or all there is."""
        finished = self.finish_reason is not None
        start, self.told = (self.told if delta else 0), self.text.num_output_tokens()
        return CompletionOutput(
            index=self.index,
            text=self.text.get_next_output_text(finished, delta),
            token_ids=self.text.output_token_ids[start:],
            cumulative_logprob=None,
            logprobs=None,
            finish_reason=self.finish_reason.value if self.finish_reason else None,
            stop_reason=self.stop_string,
        )


class HfClient(TwoPassClient):
    """What vLLM's server asks of an engine, answered by an `HfEngine` that holds the base."""

    is_running, is_stopped, errored = True, False, False

    def __init__(self, vllm_config: VllmConfig, engine: HfEngine) -> None:
        self.vllm_config, self.model_config = vllm_config, vllm_config.model_config
        self.renderer = renderer_from_config(vllm_config)
        self.input_processor = InputProcessor(vllm_config, self.renderer)
        self.engine, self.vocabulary = engine, engine.vocabulary
        self._states: dict[str, AdapterState] = {}
        self._waiting: list[Waiting] = []
        self._numbers = count()
        self._worker: asyncio.Task[None] | None = None
        self._pool = ThreadPoolExecutor(1)

    async def outputs(
        self,
        prompt: Any,
        params: SamplingParams,
        request_id: str,
        version: Version | None,
        **_: Any,
    ) -> AsyncGenerator[RequestOutput, None]:
        """An output for every token, or one when all are there, as the parameters ask."""
        ids = list(extract_prompt_components(self.model_config, prompt).token_ids or ())
        name = None if version is None else version.request.lora_name
        # Clients name requests, and two of one name may share a batch: each has a number here.
        own_id = f"{request_id}#{next(self._numbers)}"
        request = Request(own_id, tuple(ids), _seeds(params), name)
        tokenizer = self.renderer.tokenizer
        replies = [Reply(k, ids, params, tokenizer) for k in range(params.n)]
        kind = params.output_kind
        waiting = Waiting(request, to_sampling(params))
        try:  # alone: in a batch it would fail with all others
            self.engine.check([request], waiting.sampling)
        except RlpeftError as error:
            raise VLLMValidationError(str(error)) from error
        async with aclosing(self._news(waiting)) as all_news:
            async for news in all_news:
                replies[news.index].take(news)
                finished = all(reply.finish_reason for reply in replies)
                if kind is not RequestOutputKind.FINAL_ONLY:
                    outputs = [replies[news.index].output(delta=kind is RequestOutputKind.DELTA)]
                    yield RequestOutput(request_id, None, ids, None, outputs, finished)
        if kind is RequestOutputKind.FINAL_ONLY:
            outputs = [reply.output(delta=False) for reply in replies]
            yield RequestOutput(request_id, None, ids, None, outputs, True)

    async def _news(self, waiting: Waiting) -> AsyncGenerator[News, None]:
        self._waiting.append(waiting)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        living = len(waiting.request.seeds)
        try:
            while living:
                news = await waiting.news.get()
                if isinstance(news, Exception):
                    raise news
                living -= news.finish_reason is not None
                yield news
        finally:  # a client that left takes its request with it
            waiting.left = True
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    async def _work(self) -> None:
        while self._waiting:
            await asyncio.sleep(GATHER_S)
            sampling = self._waiting[0].sampling if self._waiting else None
            batch = [waiting for waiting in self._waiting if waiting.sampling == sampling]
            self._waiting = [waiting for waiting in self._waiting if waiting not in batch]
            if sampling is not None:
                await self._run(batch, sampling)

    async def _run(self, batch: list[Waiting], sampling: Sampling) -> None:
        loop, by_id = asyncio.get_running_loop(), {w.request.id: w for w in batch}

        def tell(request_id: str, index: int, draft: Draft) -> bool:
            waiting = by_id[request_id]
            token = draft.token_ids[-1]
            news = News(index, token, token in self.engine.eos_ids, draft.finish_reason)
            loop.call_soon_threadsafe(waiting.news.put_nowait, news)
            return not waiting.left

        rollout = partial(self.engine.rollout, watch=tell)
        requests = [waiting.request for waiting in batch]
        try:
            await loop.run_in_executor(self._pool, rollout, requests, sampling)
        except Exception as error:
            for waiting in batch:
                waiting.news.put_nowait(error)

    async def get_supported_tasks(self) -> tuple[str, ...]:
        """What routes the server has."""
        return ("generate",)

    async def hold(self, request: LoRARequest, expert: ServedExpert) -> str:
        """See `rlpeft.serve.loaded.Holder`."""
        states = {**self._states, request.lora_name: expert.state}
        deliveries = await self._in_turn(partial(self.engine.load_experts, states))
        self._states = states
        return str(deliveries[request.lora_name].digest)

    async def drop(self, request: LoRARequest) -> None:
        """See `rlpeft.serve.loaded.Holder`."""
        if self._states.pop(request.lora_name, None) is not None:
            await self._in_turn(partial(self.engine.load_experts, dict(self._states)))

    async def _in_turn(self, call: Callable[[], Any]) -> Any:
        """Between two batches."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    async def abort(self, request_id: str | Iterable[str]) -> None:
        """A request leaves with the generator that waits for it."""

    async def check_health(self) -> None:
        """It lives in this process."""

    async def do_log_stats(self) -> None:
        """It has none."""

    async def is_tracing_enabled(self) -> bool:
        """Never."""
        return False

    async def is_paused(self) -> bool:
        """Never."""
        return False

    def check_admission(self, n: int = 1, request_id: str | None = None) -> None:
        """Accept everything."""

    def shutdown(self, timeout: float | None = None) -> None:
        """End the thread; the batch in it is finished first, and all others if there is time."""
        self.drain(timeout)
        self._pool.shutdown(cancel_futures=True)


def to_sampling(params: SamplingParams) -> Sampling:
    """Ours from vLLM's.

    Raises:
        VLLMValidationError: it asks for what the `hf` engine has not.
    """
    for name, nothing in UNSUPPORTED.items():
        if getattr(params, name) != nothing:
            raise VLLMValidationError(
                f"{name} is not supported by the hf engine; serve with --engine vllm.",
                parameter=name,
            )
    return Sampling(
        max_tokens=params.max_tokens or 1,
        temperature=params.temperature,
        top_p=params.top_p,
        top_k=max(0, params.top_k),
        min_p=params.min_p,
        stop=tuple(params.stop or ()),
    )


def _seeds(params: SamplingParams) -> tuple[int, ...]:
    first = secrets.randbits(47) if params.seed is None else params.seed
    return tuple(range(first, first + params.n))
