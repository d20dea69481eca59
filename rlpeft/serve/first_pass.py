"""Two passes behind an engine client of vLLM's server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextvars import Context, copy_context
from typing import Any, Protocol

from vllm.exceptions import VLLMValidationError
from vllm.inputs import TokensPrompt
from vllm.lora.request import LoRARequest
from vllm.renderers.inputs.preprocess import extract_prompt_components, parse_model_prompt
from vllm.sampling_params import RequestOutputKind, SamplingParams

from rlpeft.errors import EngineError
from rlpeft.rollout.engine import check_tokens
from rlpeft.serve.ends import Ends
from rlpeft.serve.gate import AUTO, BASE, Gate, answered

ANSWER_TOKENS = 24
"""Longest answer of the first pass."""


class FirstPass(Protocol):
    """How `auto` chooses.

    Attributes:
        asked: expert that is asked; `None` for the base model.
    """

    @property
    def asked(self) -> str | None: ...

    def ask(self, prompt_ids: Sequence[int]) -> list[int]:
        """Token ids of the question about a prompt."""
        ...

    def read(self, answer: str) -> str | None:
        """The expert that an answer means; `None` for the base model."""
        ...


class TwoPassClient:
    """Two passes behind an engine client, mixed into it: `auto` becomes an expert here."""

    requests: Mapping[str, LoRARequest]
    first_pass: FirstPass | None = None
    vocabulary: int
    gate: Gate | None = None
    ends: Ends = Ends()

    def drain(self, timeout_s: float | None) -> None:
        """Wait until the last client has its answer, in a thread that is not the server's."""
        if timeout_s and self.gate is not None:
            self.gate.drain(timeout_s)

    async def choose(
        self, prompt: Any, request_id: str, given: LoRARequest | None
    ) -> LoRARequest | None:
        """The expert of a request: the one it names, or for `auto` the one an answer names.

        Raises:
            VLLMValidationError: the prompt is empty, or has tokens that the model does not embed.
        """
        client: Any = self
        ids = extract_prompt_components(client.model_config, prompt).token_ids or ()
        if not ids:
            raise VLLMValidationError("a prompt must not be empty.", parameter="prompt")
        try:
            check_tokens(ids, self.vocabulary, of="a prompt")
        except EngineError as error:
            raise VLLMValidationError(str(error), parameter="prompt") from error
        expert = given
        if given is not None and given.lora_name == AUTO and self.first_pass is not None:
            expert = await self._ask(self.first_pass, ids, request_id)
        if (told := answered.get(None)) is not None:
            told[request_id] = BASE if expert is None else expert.lora_name
        return expert

    async def _ask(
        self, first_pass: FirstPass, ids: Sequence[int], request_id: str
    ) -> LoRARequest | None:
        client: Any = self
        question = first_pass.ask(ids)
        room = client.model_config.max_model_len - ANSWER_TOKENS
        if len(question) > room:
            raise VLLMValidationError(
                f"what `{AUTO}` asks about a prompt must have at most {room} tokens, about this "
                f"one it has {len(question)}. Shorten the prompt, or name an expert as the model.",
                parameter="prompt",
            )
        (rendered,) = client.renderer.render_cmpl(
            [parse_model_prompt(client.model_config, TokensPrompt(prompt_token_ids=question))],
            client.renderer.default_cmpl_tok_params,
        )
        asking = SamplingParams(
            max_tokens=ANSWER_TOKENS, temperature=0.0, output_kind=RequestOutputKind.FINAL_ONLY
        )
        asked = self.requests.get(first_pass.asked or "")
        # Its own context: who answers the question is not who answers the request.
        answer = await asyncio.create_task(
            _text(client.generate(rendered, asking, f"{request_id}-kind", lora_request=asked)),
            context=_untold(),
        )
        return self.requests.get(first_pass.read(answer) or "")


async def _text(outputs: AsyncGenerator[Any, None]) -> str:
    answer = ""
    async for output in outputs:
        answer = output.outputs[0].text
    return answer


def _untold() -> Context:
    context = copy_context()
    context.run(answered.set, {})
    return context
