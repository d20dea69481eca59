"""Two passes behind an engine client of vLLM's server, and who answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from contextvars import Context, copy_context
from typing import Any

from vllm.exceptions import VLLMValidationError
from vllm.inputs import TokensPrompt
from vllm.logger import init_logger
from vllm.lora.request import LoRARequest
from vllm.outputs import RequestOutput
from vllm.renderers.inputs.preprocess import extract_prompt_components, parse_model_prompt
from vllm.sampling_params import RequestOutputKind, SamplingParams

from rlpeft.errors import EngineError
from rlpeft.rollout.engine import check_tokens
from rlpeft.serve.ends import Ends
from rlpeft.serve.gate import AUTO, BASE, Gate, answered
from rlpeft.serve.loaded import FirstPass, Loaded, Version
from rlpeft.serve.metrics import counted

logger = init_logger("vllm.rlpeft")
"""vLLM's, for what a server says on its way."""

ANSWER_TOKENS = 24
"""Longest answer of the first pass."""


class TwoPassClient:
    """What an engine client of ours does around an answer, mixed into it: `auto` becomes an expert,
    and whoever answers is held, and counted, until it has."""

    loaded: Loaded
    vocabulary: int
    gate: Gate | None = None

    def outputs(
        self,
        prompt: Any,
        params: SamplingParams,
        request_id: str,
        version: Version | None,
        **_: Any,
    ) -> AsyncGenerator[RequestOutput, None]:
        """The outputs of one version of an expert, `None` for the base model."""
        raise NotImplementedError

    async def generate(
        self, prompt: Any, sampling_params: SamplingParams, request_id: str, **options: Any
    ) -> AsyncGenerator[RequestOutput, None]:
        """See `vllm.engine.protocol.EngineClient.generate`."""
        given = options.pop("lora_request", None)
        version = await self._choose(prompt, request_id, given)
        name = BASE if version is None else version.name
        params = Ends(self.loaded.stops).of(name, sampling_params)
        with self.loaded.using(version), counted(name, params.output_kind) as count:
            # Closed here: a request that its client has left must be known to the engine as such
            # before its expert may go.
            async with aclosing(
                self.outputs(prompt, params, request_id, version, **options)
            ) as all_outputs:
                async for output in all_outputs:
                    count(output)
                    yield output

    def drain(self, timeout_s: float | None) -> None:
        """Wait until the last client has its answer, in a thread that is not the server's."""
        if timeout_s and self.gate is not None:
            self.gate.drain(timeout_s)

    async def _choose(
        self, prompt: Any, request_id: str, given: LoRARequest | None
    ) -> Version | None:
        """The expert of a request: the one it names, or for `auto` the one an answer names.

        Raises:
            VLLMValidationError: the prompt is empty, or has tokens that the model does not embed;
                or the expert has just been removed.
        """
        client: Any = self
        ids = extract_prompt_components(client.model_config, prompt).token_ids or ()
        if not ids:
            raise VLLMValidationError("a prompt must not be empty.", parameter="prompt")
        try:
            check_tokens(ids, self.vocabulary, of="a prompt")
        except EngineError as error:
            raise VLLMValidationError(str(error), parameter="prompt") from error
        name = None if given is None else given.lora_name
        if name == AUTO and self.loaded.first_pass is not None:
            name, why = await self._ask(self.loaded.first_pass, ids, request_id)
            logger.info("auto: %s is answered by %r, for %s", request_id, name or BASE, why)
        version = None if name is None else self._version(name)
        if (told := answered.get(None)) is not None:
            told[request_id] = name or BASE
        return version

    def _version(self, name: str) -> Version:
        if (found := self.loaded.versions.get(name)) is None:
            raise VLLMValidationError(
                f"the model {name!r} was removed while this request came in. Ask another: "
                f"{', '.join(self.loaded.models)}.",
                parameter="model",
            )
        return found

    async def _ask(
        self, first_pass: FirstPass, ids: Sequence[int], request_id: str
    ) -> tuple[str | None, str]:
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
        asked = self.loaded.requests[first_pass.asked] if first_pass.asked else None
        # Its own context: who answers the question is not who answers the request.
        answer = await asyncio.create_task(
            _text(self.generate(rendered, asking, f"{request_id}-kind", lora_request=asked)),
            context=_untold(),
        )
        return first_pass.read(answer)


async def _text(outputs: AsyncGenerator[Any, None]) -> str:
    answer = ""
    async for output in outputs:
        answer = output.outputs[0].text
    return answer


def _untold() -> Context:
    context = copy_context()
    context.run(answered.set, {})
    return context
