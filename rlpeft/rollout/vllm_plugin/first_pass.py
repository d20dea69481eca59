"""Two passes behind an engine client of vLLM's server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from vllm.inputs import TokensPrompt
from vllm.lora.request import LoRARequest
from vllm.renderers.inputs.preprocess import extract_prompt_components, parse_model_prompt
from vllm.sampling_params import RequestOutputKind, SamplingParams

AUTO = "auto"
"""Name of the model that chooses an expert for each request."""


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


class TwoPass:
    """Two passes behind an engine client, mixed into it: `auto` becomes an expert here."""

    requests: Mapping[str, LoRARequest]
    first_pass: FirstPass | None = None

    async def choose(
        self, prompt: Any, request_id: str, given: LoRARequest | None
    ) -> LoRARequest | None:
        """The expert of a request: the one it names, or for `auto` the one an answer names."""
        if given is None or given.lora_name != AUTO or self.first_pass is None:
            return given
        client: Any = self
        found = extract_prompt_components(client.model_config, prompt)
        question = TokensPrompt(prompt_token_ids=self.first_pass.ask(found.token_ids or ()))
        (rendered,) = client.renderer.render_cmpl(
            [parse_model_prompt(client.model_config, question)],
            client.renderer.default_cmpl_tok_params,
        )
        asking = SamplingParams(
            max_tokens=24, temperature=0.0, output_kind=RequestOutputKind.FINAL_ONLY
        )
        asked = self.requests.get(self.first_pass.asked or "")
        answer = ""
        async for output in client.generate(
            rendered, asking, f"{request_id}-kind", lora_request=asked
        ):
            answer = output.outputs[0].text
        return self.requests.get(self.first_pass.read(answer) or "")
