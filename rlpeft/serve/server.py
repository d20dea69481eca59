"""vLLM's own OpenAI server, with experts as its models.

The protocol, its errors, streaming, metrics and keys are vLLM's code. To it, an expert is a LoRA
module; `auto` is one more, and two passes happen behind the engine client, for each request.
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import AsyncGenerator, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from vllm import envs
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.engine.protocol import EngineClient
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.entrypoints.launchers.launcher import serve_http, setup_server
from vllm.entrypoints.openai.models.protocol import LoRAModulePath
from vllm.lora.request import LoRARequest
from vllm.outputs import RequestOutput
from vllm.sampling_params import SamplingParams
from vllm.usage.usage_lib import UsageContext
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.engine.async_llm import AsyncLLM

from rlpeft.adapter_state import AdapterState
from rlpeft.errors import EngineError
from rlpeft.models.tokenizer import load_tokenizer
from rlpeft.rollout.ends import read_stops
from rlpeft.rollout.hf.engine import HfEngine
from rlpeft.rollout.vllm import register
from rlpeft.rollout.vllm.calls import Call, answer, experts_call, load_call, watch_call
from rlpeft.rollout.vllm.core import reason
from rlpeft.rollout.vllm.experts import EmptyLoras
from rlpeft.rollout.vllm.internals import check_version
from rlpeft.rollout.vllm.peft_config import choose_form, read_config
from rlpeft.rollout.vllm.start import expert_arguments, llm_arguments, plugin_arguments
from rlpeft.serve.chat import Chats, keep_letters
from rlpeft.serve.ends import Ends, ended, refuse_hidden
from rlpeft.serve.first_pass import FirstPass, TwoPassClient
from rlpeft.serve.gate import AUTO, BASE, MAX_SEQUENCES, ROUTES, Gate
from rlpeft.serve.hf_client import HfClient
from rlpeft.tokens.chat import ChatForm
from rlpeft.tokens.eos import eos_ids

DRAIN_S = 60
"""How long requests may go on after the server was told to end."""


@dataclass(frozen=True)
class Served:
    """What is served.

    Attributes:
        model_path: folder of the base model.
        base: the adapter at its start, which is the base model.
        experts: by the names that requests give as `model`.
        first_pass: how `auto` chooses; without it there is no such model.
        max_model_len: tokens of prompt and answer together.
        ends: stop strings by model.
        form: how chats become prompts, as they did in the experts' training.
        dtype: of the base weights.
    """

    model_path: Path
    base: AdapterState
    experts: Mapping[str, AdapterState]
    first_pass: FirstPass | None
    max_model_len: int
    dtype: str = "float32"
    ends: Ends = field(default_factory=Ends)
    form: ChatForm = field(default_factory=ChatForm)

    @property
    def models(self) -> list[str]:
        """Names that requests may give."""
        return [BASE, *self.experts, *([AUTO] if self.first_pass else [])]


@dataclass(frozen=True)
class Listen:
    """Where, and for whom. Without a key everybody who reaches the port may ask."""

    host: str
    port: int
    api_key: str | None = None


class VllmClient(TwoPassClient, AsyncLLM):
    """vLLM's asynchronous engine, with `auto`, and every end of sequence of the model."""

    eos_ids: Collection[int] = ()

    def shutdown(self, timeout: float | None = None) -> None:
        """End it; when vLLM's server asks for that, after the last answer."""
        self.drain(timeout)
        super().shutdown(timeout)

    async def generate(
        self, prompt: Any, sampling_params: SamplingParams, request_id: str, **options: Any
    ) -> AsyncGenerator[RequestOutput, None]:
        """See `AsyncLLM.generate`."""
        given = options.pop("lora_request", None)
        expert = await self.choose(prompt, request_id, given)
        params = self.ends.of(None if expert is None else expert.lora_name, sampling_params)
        params = ended(params, self.renderer.tokenizer, self.eos_ids)
        async for output in super().generate(
            prompt, params, request_id, lora_request=expert, **options
        ):
            yield output


def run(served: Served, listen: Listen, hf_engine: HfEngine | None = None) -> None:
    """Serve until interrupted.

    Args:
        hf_engine: answers in the place of vLLM's engine; it holds base and experts already.

    Raises:
        EngineError: vLLM's version, the experts and the base model do not go together, or the
            environment lets requests name files.
        OSError: the port is taken.
    """
    check_version()
    check_environment()
    if hf_engine is None:
        check_stops(served)
    register()
    os.environ["VLLM_MAX_N_SEQUENCES"] = str(MAX_SEQUENCES)  # vLLM has no other door
    uvloop.run(_run(served, listen, hf_engine))


def check_environment() -> None:
    """Refuse a setting with which vLLM would open any path that a request names.

    Raises:
        EngineError: it is set.
    """
    if envs.VLLM_ALLOW_RUNTIME_LORA_UPDATING:
        raise EngineError(
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING must not be set: clients could make the server open "
            "any path. Unset it; experts are those of --experts."
        )


def check_stops(served: Served) -> None:
    """Refuse stop strings of experts that would never end an answer.

    Raises:
        EngineError: names one.
    """
    tokenizer = load_tokenizer(served.model_path)
    for model, stop in served.ends.stops.items():
        try:
            refuse_hidden(tokenizer, read_stops(tokenizer, stop).strings)
        except EngineError as error:
            raise EngineError(
                f"stop strings of {model!r}: {error} Give others by --stop, or serve with "
                "--engine hf."
            ) from error


async def _run(served: Served, listen: Listen, hf_engine: HfEngine | None) -> None:
    loras = EmptyLoras(next(iter(served.base.tensors)))
    args = _arguments(served, listen, loras.folder)
    _, socket = setup_server(args, reuse_port=False)
    client: Any = None
    try:
        client = _client(served, hf_engine)
        client.first_pass, client.ends = served.first_pass, served.ends
        keep_letters(client.renderer, Chats(load_tokenizer(served.model_path), served.form))
        # vLLM numbers its LoRA modules in the order it is given them, from 1.
        client.requests = {
            name: LoRARequest(name, number, str(loras.folder))
            for number, name in enumerate(served.experts, start=1)
        }
        if hf_engine is None:
            await _load(client, served)
        client.gate = Gate(served.models, client.vocabulary, api_key=listen.api_key)
        shutdown = await _serve(client, socket, args)
        await shutdown
    finally:
        if client is not None:
            client.shutdown()
        socket.close()
        loras.close()


async def _serve(client: Any, socket: Any, args: Namespace) -> Any:
    """Serve until a signal comes; then something to await for the end."""
    tasks = await client.get_supported_tasks()
    app = build_app(args, tasks, client.model_config)
    close_routes(app)
    # Outermost, and by hand: vLLM has built its own stack already.
    app.middleware_stack = client.gate.around(app.middleware_stack or app.build_middleware_stack())
    await init_app_state(client, app.state, args, tasks)
    return await serve_http(
        app,
        sock=socket,
        host=args.host,
        port=args.port,
        log_level=args.uvicorn_log_level,
        access_log=False,
        timeout_keep_alive=envs.VLLM_HTTP_TIMEOUT_KEEP_ALIVE,
    )


def close_routes(app: Any) -> None:
    """Take away every route of vLLM's that is not meant to be there."""
    paths = {path for _, path in ROUTES}
    app.router.routes[:] = [route for route in app.router.routes if route.path in paths]


def _client(served: Served, hf_engine: HfEngine | None) -> Any:
    usage = UsageContext.OPENAI_API_SERVER
    try:
        config = engine_arguments(served).create_engine_config(usage)
        if hf_engine is not None:
            return HfClient(config, hf_engine)
        client = VllmClient.from_vllm_config(config, usage_context=usage)
    except Exception as error:  # of vLLM's, torch's, pydantic's classes; all end here
        raise EngineError(
            f"vLLM did not start: {reason(error)} The first error above says why."
        ) from error
    client.vocabulary = config.model_config.get_vocab_size()
    client.eos_ids = eos_ids(served.model_path, client.renderer.tokenizer)
    return client


async def _load(client: Any, served: Served) -> None:
    """Send base and experts to the workers, before vLLM is told of them as LoRA modules."""
    await _said(client, watch_call())
    answer(await _said(client, load_call(served.base, served.base.factors)))
    # `auto` has a slot, which no request runs: it has become another model by then.
    held = dict(served.experts) | ({AUTO: served.base} if served.first_pass else {})
    replies = await _said(client, experts_call(held, range(1, len(held) + 1)))
    for (name, state), digest in zip(held.items(), answer(replies)["digests"], strict=True):
        if digest != state.digest:
            raise EngineError(f"vLLM must hold expert {name!r} as sent, its digest differs.")


async def _said(client: EngineClient, call: Call) -> list[str]:
    """The workers' replies."""
    replies: list[str] = await client.collective_rpc(call.method, args=call.args)
    return replies


def engine_arguments(served: Served) -> AsyncEngineArgs:
    """The engine of the server: that of rollouts, with a slot for every model."""
    form = choose_form(read_config(served.base.config), "auto", served.dtype)
    arguments = llm_arguments(served.max_model_len) | plugin_arguments(
        served.base.config, form=form
    )
    arguments |= expert_arguments(len(served.experts) + 1)
    arguments |= {"disable_log_stats": False, "dtype": served.dtype}
    arguments |= {"shutdown_timeout": DRAIN_S}
    return AsyncEngineArgs(model=str(served.model_path), **arguments)


def _arguments(served: Served, listen: Listen, folder: Path) -> Namespace:
    """What vLLM's server is told; what is not said here is vLLM's default."""
    parser = make_arg_parser(FlexibleArgumentParser())
    words = ["--model", str(served.model_path), "--served-model-name", BASE]
    words += ["--host", listen.host, "--port", str(listen.port)]
    words += ["--disable-uvicorn-access-log", "--disable-fastapi-docs"]
    args: Namespace = parser.parse_args(words)
    args.api_key = [listen.api_key] if listen.api_key else None
    names = [name for name in served.models if name != BASE]
    args.lora_modules = [LoRAModulePath(name=name, path=str(folder)) for name in names]
    args.enable_lora = True
    validate_parsed_serve_args(args)
    return args
