"""The `hf` engine behind vLLM's server: for machines where vLLM's own engine cannot run.

It fulfils what the server asks of an engine client. Requests that arrive together share a batch,
whatever experts they name; an answer is sent when its batch is done, in one piece.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from vllm.config import VllmConfig
from vllm.exceptions import VLLMValidationError
from vllm.lora.request import LoRARequest
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.renderers import renderer_from_config
from vllm.renderers.inputs.preprocess import extract_prompt_components
from vllm.sampling_params import SamplingParams
from vllm.v1.engine.input_processor import InputProcessor

from rlpeft.errors import RlpeftError
from rlpeft.rollout.hf_engine import HfEngine
from rlpeft.rollout.vllm_plugin.first_pass import TwoPass
from rlpeft.types import Completion, Request, Sampling

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


@dataclass(eq=False)
class Waiting:
    """A request on its way through a batch."""

    request: Request
    sampling: Sampling
    done: asyncio.Future[list[Completion]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class HfClient(TwoPass):
    """What vLLM's server asks of an engine, answered by an `HfEngine` that holds the experts."""

    is_running, is_stopped, errored = True, False, False

    def __init__(self, vllm_config: VllmConfig, engine: HfEngine) -> None:
        self.vllm_config, self.model_config = vllm_config, vllm_config.model_config
        self.renderer = renderer_from_config(vllm_config)
        self.input_processor = InputProcessor(vllm_config, self.renderer)
        self.engine = engine
        self._waiting: list[Waiting] = []
        self._worker: asyncio.Task[None] | None = None
        self._pool = ThreadPoolExecutor(1)

    async def generate(
        self,
        prompt: Any,
        sampling_params: SamplingParams,
        request_id: str,
        *,
        lora_request: LoRARequest | None = None,
        **_: Any,
    ) -> AsyncGenerator[RequestOutput, None]:
        """One output, when the request's batch is done."""
        expert = await self.choose(prompt, request_id, lora_request)
        ids = list(extract_prompt_components(self.model_config, prompt).token_ids or ())
        name = None if expert is None else expert.lora_name
        request = Request(request_id, tuple(ids), _seeds(sampling_params), name)
        completions = await self._complete(Waiting(request, to_sampling(sampling_params)))
        outputs = [_output(k, c) for k, c in enumerate(completions)]
        yield RequestOutput(request_id, None, ids, None, outputs, True)

    async def _complete(self, waiting: Waiting) -> list[Completion]:
        self._waiting.append(waiting)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        try:
            return await waiting.done
        finally:  # a client that left takes its request with it, if no batch has it yet
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
        requests = [waiting.request for waiting in batch]
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.run_in_executor(
                self._pool, self.engine.rollout, requests, sampling
            )
        except Exception as error:
            for waiting in batch:
                if not waiting.done.done():
                    waiting.done.set_exception(_refusal(error))
            return
        for waiting, completions in zip(batch, answers, strict=True):
            if not waiting.done.done():
                waiting.done.set_result(completions)

    async def get_supported_tasks(self) -> tuple[str, ...]:
        """What routes the server has."""
        return ("generate",)

    async def add_lora(self, lora_request: LoRARequest) -> bool:
        """The engine has the experts already."""
        return True

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
        """End the thread; the batch in it is finished first."""
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


def _output(index: int, completion: Completion) -> CompletionOutput:
    return CompletionOutput(
        index=index,
        text=completion.text,
        token_ids=list(completion.token_ids),
        cumulative_logprob=None,
        logprobs=None,
        finish_reason=completion.finish_reason.value,
    )


def _refusal(error: Exception) -> Exception:
    return VLLMValidationError(str(error)) if isinstance(error, RlpeftError) else error
