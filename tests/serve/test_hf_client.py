"""The hf engine as the server sees it: tokens as they come, and nothing for those who left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm")

from vllm import AsyncEngineArgs
from vllm.exceptions import VLLMValidationError
from vllm.inputs import TokensPrompt
from vllm.renderers.inputs.preprocess import parse_model_prompt
from vllm.sampling_params import RequestOutputKind, SamplingParams

from rlpeft.adapter_state import AdapterState
from rlpeft.build import build_engine
from rlpeft.models.base import BaseModel
from rlpeft.models.folder import resolve_model
from rlpeft.recipe.run import EngineSpec, ModelConfig, SvfAdapter
from rlpeft.serve.hf_client import HfClient
from rlpeft.serve.loaded import Loaded

pytestmark = pytest.mark.vllm

DELTA, WHOLE = RequestOutputKind.DELTA, RequestOutputKind.FINAL_ONLY


@pytest.fixture(scope="module")
def config() -> Any:
    args = AsyncEngineArgs(model=str(resolve_model("tiny")), dtype="float32", max_model_len=256)
    return args.create_engine_config()


def with_client(config: Any, use: Callable[[HfClient], Awaitable[None]], *, endless: bool) -> None:
    async def run() -> None:
        spec = EngineSpec(model=ModelConfig(name="tiny"), adapter=SvfAdapter())
        engine: Any = build_engine(spec, BaseModel.open("tiny"))
        engine.eos_ids = [] if endless else engine.eos_ids
        client = HfClient(config, engine)
        client.loaded = Loaded(client, Path("lora"), lambda cards: None, {})
        try:
            await use(client)
        finally:
            client.shutdown()

    asyncio.run(run())


def ask(
    client: HfClient, name: str, *, text: str = "3714@=", lora_request: Any = None, **params: Any
) -> AsyncGenerator[Any, None]:
    ids = client.renderer.tokenizer(text)["input_ids"]
    (prompt,) = client.renderer.render_cmpl(
        [parse_model_prompt(client.model_config, TokensPrompt(prompt_token_ids=ids))],
        client.renderer.default_cmpl_tok_params,
    )
    sampling = SamplingParams(seed=7, **params)
    return client.generate(prompt, sampling, name, lora_request=lora_request)


def test_pieces_are_the_whole(config: Any) -> None:
    async def use(client: HfClient) -> None:
        whole = [o async for o in ask(client, "a", max_tokens=8, output_kind=WHOLE, n=2)]
        pieces = [o async for o in ask(client, "b", max_tokens=8, output_kind=DELTA)]
        assert len(whole) == 1
        assert [o.finished for o in pieces] == [False] * (len(pieces) - 1) + [True]
        assert [o.index for o in whole[0].outputs] == [0, 1]
        assert len(pieces) == len(whole[0].outputs[0].token_ids) > 1
        assert "".join(o.outputs[0].text for o in pieces) == whole[0].outputs[0].text
        assert pieces[-1].outputs[0].finish_reason == whole[0].outputs[0].finish_reason == "stop"

    with_client(config, use, endless=False)


def test_an_answer_ends_at_the_strings_of_its_model_unless_the_request_has_its_own(
    config: Any,
) -> None:
    async def use(client: HfClient) -> None:
        async def answer(name: str, **params: Any) -> str:
            (whole,) = [o async for o in ask(client, name, max_tokens=8, temperature=0.0, **params)]
            return str(whole.outputs[0].text)

        whole = await answer("a", output_kind=WHOLE)
        client.loaded.stops["base"] = (whole[2],)
        assert await answer("b", output_kind=WHOLE) == whole[: whole.index(whole[2])]
        own = await answer("c", output_kind=WHOLE, stop=[whole[1]])
        assert own == whole[: whole.index(whole[1])]

    with_client(config, use, endless=False)


def test_a_request_whose_client_left_ends_and_the_others_go_on(
    config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use(client: HfClient) -> None:
        lengths: dict[str, int] = {}
        rollout = client.engine.rollout

        def counted(requests: Any, sampling: Any, **options: Any) -> Any:
            done = rollout(requests, sampling, **options)
            for request, (completion,) in zip(requests, done, strict=True):
                lengths[request.id.partition("#")[0]] = len(completion.token_ids)
            return done

        monkeypatch.setattr(client.engine, "rollout", counted)

        async def leave() -> None:
            async with aclosing(ask(client, "left", max_tokens=200, output_kind=DELTA)) as outputs:
                async for _ in outputs:
                    return

        async def stay() -> int:
            outputs = [o async for o in ask(client, "stayed", max_tokens=200, output_kind=WHOLE)]
            return len(outputs[0].outputs[0].token_ids)

        _, stayed = await asyncio.gather(leave(), stay())
        assert client._worker is not None
        await client._worker
        assert stayed == lengths["stayed"] == 200
        assert lengths["left"] < 100

    with_client(config, use, endless=True)


def test_a_request_that_the_engine_refuses_fails_alone(config: Any) -> None:
    async def use(client: HfClient) -> None:
        good = ask(client, "good", max_tokens=4)
        client.engine.context = 12
        bad = ask(client, "bad", max_tokens=4, text="3714@=3714@=3714@=")

        async def whole(outputs: AsyncGenerator[Any, None]) -> list[Any]:
            return [output async for output in outputs]

        answers = await asyncio.gather(whole(good), whole(bad), return_exceptions=True)
        assert isinstance(answers[0], list), "it shares the batch"
        assert isinstance(answers[1], VLLMValidationError), "which the server tells as a 400"
        assert "must be shorter than the model's context of 12" in str(answers[1])

    with_client(config, use, endless=False)


def test_requests_to_which_clients_gave_one_name_get_answers_of_their_own(config: Any) -> None:
    async def use(client: HfClient) -> None:
        async def answer(name: str, text: str) -> str:
            asked = ask(client, name, text=text, max_tokens=8, temperature=0.0, output_kind=WHOLE)
            (whole,) = [output async for output in asked]
            return str(whole.outputs[0].text)

        prompts = ["3714@=", "1234@=", "5678@="]
        apart = [await answer(prompt, prompt) for prompt in prompts]
        assert len({*apart}) == 3
        together = asyncio.gather(*(answer("same", prompt) for prompt in prompts))
        assert await asyncio.wait_for(together, timeout=300) == apart

    with_client(config, use, endless=False)


def test_an_expert_that_is_replaced_and_removed_answers_who_asked_it_before(
    config: Any, tiny_start: Any, expert: Any
) -> None:
    async def use(client: HfClient) -> None:
        def bent(share: float) -> Any:
            tensors = {name: z * share for name, z in tiny_start.tensors.items()}
            state = AdapterState(tiny_start.config, tensors, 0, tiny_start.factors)
            return replace(expert(), state=state, stop=())

        def asked(name: str) -> AsyncGenerator[Any, None]:
            request = client.loaded.requests["a"]
            options = {"max_tokens": 12, "temperature": 0.0, "output_kind": DELTA}
            return ask(client, name, lora_request=request, **options)

        async def text(outputs: AsyncGenerator[Any, None]) -> str:
            return "".join([output.outputs[0].text async for output in outputs])

        alone = []
        for share in (1.4, 0.6):
            await client.loaded.load({"a": bent(share)})
            alone.append(await text(asked(f"alone {share}")))
        assert alone[0] != alone[1]
        await client.loaded.load({"a": bent(1.4)})
        first = asked("first")
        begun = (await anext(first)).outputs[0].text
        await client.loaded.load({"a": bent(0.6)})
        second = asked("second")
        await anext(second)
        client.loaded.unload("a")
        assert begun + await text(first) == alone[0]
        await second.aclose()  # and one leaves
        while client._states:
            await asyncio.sleep(0.001)
        assert client.loaded.models == ["base"]

    with_client(config, use, endless=True)
