"""vLLM's own OpenAI server, with experts as its models.

The protocol, its errors, streaming, metrics and keys are vLLM's code. To it, an expert is a LoRA
module; `auto` is one more, and two passes happen behind the engine client, for each request.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import uvloop
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.engine.protocol import EngineClient
from vllm.entrypoints.launchers.api_server.entry import build_and_serve
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.entrypoints.launchers.launcher import setup_server
from vllm.entrypoints.openai.models.protocol import LoRAModulePath
from vllm.inputs import TokensPrompt
from vllm.lora.request import LoRARequest
from vllm.outputs import RequestOutput
from vllm.renderers.inputs.preprocess import extract_prompt_components, parse_model_prompt
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.usage.usage_lib import UsageContext
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.engine.async_llm import AsyncLLM

from rlpeft.adapter_state import AdapterState
from rlpeft.errors import EngineError
from rlpeft.rollout.vllm_plugin import register
from rlpeft.rollout.vllm_plugin.experts import EmptyLoras, payload, stacked_payload
from rlpeft.rollout.vllm_plugin.internals import check_version
from rlpeft.rollout.vllm_plugin.start import expert_arguments, llm_arguments, plugin_arguments

AUTO = "auto"
"""Name of the model that chooses an expert for each request."""


class FirstPass(Protocol):
    """How `auto` chooses.

    Attributes:
        asked: expert that is asked; `None` for the base model.
    """

    @property
    def asked(self) -> str | None: ...

    def ask(self, prompt: str) -> list[int]:
        """Token ids of the question about a prompt."""
        ...

    def read(self, answer: str) -> str | None:
        """The expert that an answer means; `None` for the base model."""
        ...


@dataclass(frozen=True)
class Served:
    """What is served.

    Attributes:
        model_path: folder of the base model.
        base: the adapter at its start, which is the base model.
        experts: by the names that requests give as `model`.
        first_pass: how `auto` chooses; without it there is no such model.
        max_model_len: tokens of prompt and answer together.
        dtype: of the base weights.
    """

    model_path: Path
    base: AdapterState
    experts: Mapping[str, AdapterState]
    first_pass: FirstPass | None
    max_model_len: int
    dtype: str = "float32"


@dataclass(frozen=True)
class Listen:
    """Where, and for whom. Without a key everybody who reaches the port may ask."""

    host: str
    port: int
    api_key: str | None = None


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
        tokenizer = client.renderer.tokenizer
        text = tokenizer.decode(found.token_ids, skip_special_tokens=True)
        question = TokensPrompt(prompt_token_ids=self.first_pass.ask(text))
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


class VllmClient(TwoPass, AsyncLLM):
    """vLLM's asynchronous engine, with `auto`."""

    async def generate(
        self, prompt: Any, sampling_params: SamplingParams, request_id: str, **options: Any
    ) -> AsyncGenerator[RequestOutput, None]:
        """See `AsyncLLM.generate`."""
        given = options.pop("lora_request", None)
        expert = await self.choose(prompt, request_id, given)
        async for output in super().generate(
            prompt, sampling_params, request_id, lora_request=expert, **options
        ):
            yield output


def run(served: Served, listen: Listen) -> None:
    """Serve until interrupted.

    Raises:
        EngineError: vLLM's version, the experts and the base model do not go together.
        OSError: the port is taken.
    """
    check_version()
    register()
    uvloop.run(_run(served, listen))


async def _run(served: Served, listen: Listen) -> None:
    loras = EmptyLoras()
    args = _arguments(served, listen, loras.folder)
    address, socket = setup_server(args, reuse_port=False)
    client: Any = VllmClient.from_vllm_config(
        engine_arguments(served).create_engine_config(UsageContext.OPENAI_API_SERVER),
        usage_context=UsageContext.OPENAI_API_SERVER,
    )
    try:
        await _load(client, served, loras)
        shutdown = await build_and_serve(client, address, socket, args)
    except BaseException:
        client.shutdown()
        socket.close()
        raise
    try:
        await shutdown
    finally:
        client.shutdown()
        socket.close()
        loras.close()


async def _load(client: Any, served: Served, loras: EmptyLoras) -> None:
    """Send base and experts to the workers, before vLLM is told of them as LoRA modules."""
    factors = json.dumps(dict(served.base.factors))
    await _call(client, "rlpeft_load", payload(served.base), factors)
    # vLLM numbers its LoRA modules in the order it is given them, from 1.
    ids = list(range(1, len(served.experts) + 1))
    answer = await _call(
        client, "rlpeft_experts", stacked_payload(served.experts), json.dumps(ids), factors
    )
    for (name, state), digest in zip(served.experts.items(), answer["digests"], strict=True):
        if digest != state.digest:
            raise EngineError(f"vLLM must hold expert {name!r} as sent, its digest differs.")
    client.first_pass = served.first_pass
    client.requests = {
        name: LoRARequest(name, number, str(loras.folder))
        for number, name in zip(ids, served.experts, strict=True)
    }


async def _call(client: EngineClient, method: str, *arguments: Any) -> dict[str, Any]:
    answer = json.loads((await client.collective_rpc(method, args=arguments))[0])
    if "error" in answer:
        raise EngineError(answer["error"])
    found: dict[str, Any] = answer
    return found


def engine_arguments(served: Served) -> AsyncEngineArgs:
    """The engine of the server: that of rollouts, with a slot for every model."""
    arguments = llm_arguments() | plugin_arguments(served.base.config, is_dense=False)
    arguments |= expert_arguments(len(served.experts) + 1)
    arguments |= {"disable_log_stats": False, "dtype": served.dtype}
    arguments |= {"max_model_len": served.max_model_len}
    return AsyncEngineArgs(model=str(served.model_path), **arguments)


def _arguments(served: Served, listen: Listen, folder: Path) -> Namespace:
    """What vLLM's server is told; what is not said here is vLLM's default."""
    parser = make_arg_parser(FlexibleArgumentParser())
    words = ["--model", str(served.model_path), "--served-model-name", "base"]
    words += ["--host", listen.host, "--port", str(listen.port)]
    words += ["--disable-uvicorn-access-log", "--disable-fastapi-docs"]
    args: Namespace = parser.parse_args(words)
    args.api_key = [listen.api_key] if listen.api_key else None
    names = [*served.experts, *([AUTO] if served.first_pass else [])]
    args.lora_modules = [LoRAModulePath(name=name, path=str(folder)) for name in names]
    args.enable_lora = True
    validate_parsed_serve_args(args)
    return args
