"""vLLM's own OpenAI server, with experts as its models.

The protocol, its errors, streaming, metrics and keys are vLLM's code. To it, an expert is a LoRA
request; `auto` is one more, and two passes happen behind the engine client, for each request.
"""

from __future__ import annotations

import asyncio
import os
from argparse import Namespace
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from vllm import envs
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.entrypoints.launchers.launcher import serve_http, setup_server
from vllm.lora.request import LoRARequest
from vllm.outputs import RequestOutput
from vllm.sampling_params import SamplingParams
from vllm.usage.usage_lib import UsageContext
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.engine.async_llm import AsyncLLM

from rlpeft.adapter_state import PEFT_PREFIX, AdapterState
from rlpeft.errors import EngineError
from rlpeft.models.tokenizer import load_tokenizer
from rlpeft.rollout.ends import read_stops
from rlpeft.rollout.hf.engine import HfEngine
from rlpeft.rollout.vllm import register
from rlpeft.rollout.vllm.calls import (
    Call,
    add_expert_call,
    answer,
    drop_expert_call,
    load_call,
    watch_call,
)
from rlpeft.rollout.vllm.core import reason
from rlpeft.rollout.vllm.experts import EmptyLoras
from rlpeft.rollout.vllm.internals import check_version
from rlpeft.rollout.vllm.peft_config import choose_form, is_target, read_config
from rlpeft.rollout.vllm.start import (
    expert_arguments,
    llm_arguments,
    plugin_arguments,
    quantised_base,
)
from rlpeft.serve.chat import Chats, keep_letters
from rlpeft.serve.ends import ended, refuse_hidden
from rlpeft.serve.first_pass import TwoPassClient
from rlpeft.serve.gate import BASE, MAX_SEQUENCES, ROUTES, Gate
from rlpeft.serve.hf_client import HfClient
from rlpeft.serve.loaded import Loaded, MakeFirstPass, ServedExpert, Version
from rlpeft.serve.loading import Loading, Read
from rlpeft.serve.metrics import leave_out_combinations
from rlpeft.terminal import say
from rlpeft.tokens.chat import ChatForm
from rlpeft.tokens.eos import eos_ids
from rlpeft.types import Quantisation

DRAIN_S = 60
"""How long requests may go on after the server was told to end."""

MOST_SHOWN = 20
"""Models that are named when the server is ready; `/v1/models` lists all."""


@dataclass(frozen=True)
class Served:
    """What is served.

    Attributes:
        model_path: folder of the base model.
        base: an adapter that changes nothing, of the method whose experts share its products;
            `None` where no expert is of one.
        experts: to begin with, by the names that requests give as `model`.
        make_first_pass: how `auto` chooses among experts; without a choice there is no such model.
        max_model_len: tokens of prompt and answer together.
        slots: experts in one batch, at most; the least recently asked makes room for another.
        form: how chats become prompts, as they did in the experts' training.
        dtype: of the base weights.
        stop: strings that end answers of the base model, where a request gives none.
        read: an expert that is loaded while it runs; `None`: none may be.
        quantisation: how the base is quantised as it is loaded (a recipe's `model.quantisation`).
    """

    model_path: Path
    base: AdapterState | None
    experts: Mapping[str, ServedExpert]
    make_first_pass: MakeFirstPass
    max_model_len: int
    slots: int
    dtype: str = "float32"
    form: ChatForm = field(default_factory=ChatForm)
    stop: tuple[str, ...] = ()
    read: Read | None = None
    quantisation: Quantisation | None = None


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

    def outputs(
        self,
        prompt: Any,
        params: SamplingParams,
        request_id: str,
        version: Version | None,
        **options: Any,
    ) -> AsyncGenerator[RequestOutput, None]:
        """See `TwoPassClient.outputs`."""
        params = ended(params, self.renderer.tokenizer, self.eos_ids)
        expert = None if version is None else version.request
        # Not `super()`'s, which is ours and has called this.
        return AsyncLLM.generate(self, prompt, params, request_id, lora_request=expert, **options)

    async def begin(self, base: AdapterState | None) -> None:
        """Have the workers hold the base model's adapter, and end with this process."""
        watch = watch_call()
        await self.collective_rpc(watch.method, args=watch.args)
        if base is not None:
            await self._said(load_call(base, base.factors))

    async def hold(self, request: LoRARequest, expert: ServedExpert) -> str:
        """See `rlpeft.serve.loaded.Holder`."""
        check_stops(self.renderer.tokenizer, {request.lora_name: expert.stop})
        said = await self._said(add_expert_call(request.lora_int_id, expert.state))
        return str(said["digest"])

    async def drop(self, request: LoRARequest) -> None:
        """See `rlpeft.serve.loaded.Holder`."""
        await self._said(drop_expert_call(request.lora_int_id))

    async def _said(self, call: Call) -> dict[str, Any]:
        return answer(await self.collective_rpc(call.method, args=call.args))


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
        stops = {name: expert.stop for name, expert in served.experts.items()}
        check_stops(load_tokenizer(served.model_path), {BASE: served.stop} | stops)
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
            "any path. Unset it; --load-from says from where experts may be loaded."
        )


def check_stops(tokenizer: Any, stops: Mapping[str, Sequence[str]]) -> None:
    """Refuse stop strings of models that would never end an answer.

    Raises:
        EngineError: names one.
    """
    for model, stop in stops.items():
        try:
            refuse_hidden(tokenizer, read_stops(tokenizer, stop).strings)
        except EngineError as error:
            raise EngineError(
                f"stop strings of {model!r}: {error} Give others by --stop, or serve with "
                "--engine hf."
            ) from error


async def _run(served: Served, listen: Listen, hf_engine: HfEngine | None) -> None:
    loras = EmptyLoras(_module(served))
    args = _arguments(served, listen)
    _, socket = setup_server(args, reuse_port=False)
    client: Any = None
    try:
        client = _client(served, hf_engine)
        keep_letters(client.renderer, Chats(load_tokenizer(served.model_path), served.form))
        loaded = Loaded(client, loras.folder, served.make_first_pass, {BASE: served.stop})
        client.loaded = loaded
        if hf_engine is None:
            await client.begin(served.base)
        await loaded.load(served.experts)
        client.gate = Gate(
            lambda: loaded.models,
            client.vocabulary,
            api_key=listen.api_key,
            change=Loading(loaded, served.read).change if served.read else None,
        )
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
    app.state.openai_serving_models.lora_requests = client.loaded.requests
    telling = asyncio.create_task(_say_ready(app.state, args, client.loaded))
    try:
        return await serve_http(
            app,
            sock=socket,
            host=args.host,
            port=args.port,
            log_level=args.uvicorn_log_level,
            access_log=False,
            timeout_keep_alive=envs.VLLM_HTTP_TIMEOUT_KEEP_ALIVE,
        )
    finally:
        telling.cancel()


async def _say_ready(state: Any, args: Namespace, loaded: Loaded) -> None:
    while not getattr(getattr(state, "server", None), "started", False):  # uvicorn calls nobody
        await asyncio.sleep(0.05)
    say(ready(args.host, args.port, loaded.models), err=True)


def ready(host: str, port: int, models: Sequence[str]) -> str:
    """What is said when requests are answered.

    >>> ready("::1", 8000, ["base", "swap"])
    'Ready on http://[::1]:8000. Models: base, swap.'
    """
    shown, more = ", ".join(models[:MOST_SHOWN]), len(models) - MOST_SHOWN
    address = f"[{host}]" if ":" in host else host
    return f"Ready on http://{address}:{port}. Models: {shown}{f' and {more} more' * (more > 0)}."


def _module(served: Served) -> str:
    """Any module that an expert acts in, as PEFT names it."""
    state = next(iter(served.experts.values())).state
    config, module = read_config(state.config), next(iter(state.tensors))
    while module and not is_target(config, module.removeprefix(PEFT_PREFIX)):
        module = module.rpartition(".")[0]
    return module


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
    leave_out_combinations(client)
    return client


def engine_arguments(served: Served) -> AsyncEngineArgs:
    """The engine of the server: that of rollouts, with slots for experts of every kind."""
    config, form = None, "factored"
    quantised = quantised_base(served.model_path, served.quantisation)
    if served.base is not None:
        config = served.base.config
        form = choose_form(
            read_config(config), "auto", served.dtype, is_quantised=quantised is not None
        )
    arguments = llm_arguments(served.max_model_len)
    arguments |= plugin_arguments(
        config, form=form, takes_guests=True, slots=served.slots, base=quantised
    )
    arguments |= expert_arguments(served.slots)
    arguments |= {"disable_log_stats": False, "dtype": served.dtype}
    arguments |= {"shutdown_timeout": DRAIN_S}
    return AsyncEngineArgs(model=str(served.model_path), **arguments)


def _arguments(served: Served, listen: Listen) -> Namespace:
    """What vLLM's server is told; what is not said here is vLLM's default."""
    parser = make_arg_parser(FlexibleArgumentParser())
    words = ["--model", str(served.model_path), "--served-model-name", BASE]
    words += ["--host", listen.host, "--port", str(listen.port)]
    words += ["--disable-uvicorn-access-log", "--disable-fastapi-docs"]
    args: Namespace = parser.parse_args(words)
    args.api_key = [listen.api_key] if listen.api_key else None
    args.enable_lora = True
    validate_parsed_serve_args(args)
    return args
