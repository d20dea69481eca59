"""`rlpeft serve` through the official `openai` client, one server an engine."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
import torch

pytest.importorskip("vllm")

from jobs.library import find_shelf, open_library
from jobs.recipes import read_recipe
from rlpeft.adapter_state import AdapterState
from rlpeft.build import build_engine, build_state
from rlpeft.models.base import BaseModel
from rlpeft.models.digest import model_digest
from rlpeft.models.folder import resolve_model
from rlpeft.models.tokenizer import load_tokenizer
from rlpeft.program.run import run
from rlpeft.recipe.adapter import HypLoraAdapter, LoraFamilyAdapter, MoSLoraAdapter
from rlpeft.recipe.run import EngineSpec, ModelConfig, RolloutConfig
from rlpeft.tokens.prompts import encode_prompt
from rlpeft.types import Problem, Request, Sampling

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(600)]

KEY = "a key"
SKILLS = {"swap": "@", "sort": "#", "ends": "&"}
OTHERS = {
    "lora": LoraFamilyAdapter(type="lora", rank=4),
    "dora": LoraFamilyAdapter(type="dora", rank=4),
    "hyplora": HypLoraAdapter(type="hyplora", rank=4),
    "moslora": MoSLoraAdapter(type="moslora", rank=6),
}
"""Methods that share a batch with SVF's in vLLM alone."""


@pytest.fixture(scope="module")
def experts(tmp_path_factory: pytest.TempPathFactory, save: Any, tiny_start: Any) -> Path:
    """Three experts drawn around the base, and a classifier trained for a few steps."""
    root = tmp_path_factory.mktemp("experts")
    for seed, skill in enumerate(SKILLS):
        save(root / skill, drawn(tiny_start, seed), {"type": "svf"}, task=skill)
    small = ("train.steps=15", "train.eval_every=15", "task.num_validation=16", "task.num_test=16")
    run(read_recipe("tiny-classifier", small), root / "classifier")
    return root


@pytest.fixture(scope="module")
def save(make_expert: Any) -> Any:
    """A writer of experts of the tiny base."""
    digest = model_digest(resolve_model("tiny"))

    def save(folder: Path, state: AdapterState, adapter: Any, task: str = "poem") -> None:
        make_expert(
            folder.name,
            dict(state.tensors),
            folder=folder,
            config=dict(state.config),
            adapter=adapter,
            base_digest=digest,
            task={"name": f"tiny/{task}"},
        )

    return save


def drawn(start: AdapterState, seed: int, scale: float = 0.25) -> AdapterState:
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        name: z + scale * torch.randn(z.shape, generator=generator)
        for name, z in start.tensors.items()
    }
    return AdapterState(start.config, tensors, 0, start.factors)


@pytest.fixture(scope="module")
def others(
    save: Any, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, list[str]]]:
    """Expert -> its folder, and what it alone answers to each prompt, by transformers."""
    root, base, found = tmp_path_factory.mktemp("others"), BaseModel.open("tiny"), {}
    for seed, (name, adapter) in enumerate(OTHERS.items(), start=10):
        spec = EngineSpec(model=ModelConfig(name="tiny"), adapter=adapter)
        state = drawn(build_state(spec, base), seed, 0.1)
        save(root / name, state, adapter.model_dump(mode="json"))
        engine = build_engine(spec, base)
        engine.load_adapter(state)
        asked = [Request(p, tuple(base.tokenizer(p)["input_ids"]), (0,)) for p in prompts()]
        answers = engine.rollout(asked, Sampling(8, temperature=0.0))
        found[name] = root / name, [answer.text for (answer,) in answers]
    return found


@pytest.fixture(scope="module")
def expected(experts: Path) -> dict[tuple[str, str], str]:
    """(expert, prompt) -> what that expert alone answers, by transformers."""
    shelf = find_shelf(experts, model=None, rollout=RolloutConfig(max_tokens=8))
    found = {}
    with open_library(shelf) as library:
        for name in ("base", *SKILLS):
            for prompt in prompts():
                request = library.prompter.request(
                    Problem(f"{name}{prompt}", prompt), [0], expert=None if name == "base" else name
                )
                ((completion,),) = library.fleet.rollout([request], Sampling(8, temperature=0.0))
                found[name, prompt] = completion.text
    return found


def prompts() -> list[str]:
    return [f"{digits}{sign}=" for digits in ("3714", "8526") for sign in (*SKILLS.values(), ":")]


@pytest.fixture(scope="module", params=["vllm", "hf"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory, engine: str) -> Path:
    """What the server writes."""
    return tmp_path_factory.mktemp("log") / f"{engine}.txt"


@pytest.fixture(scope="module")
def server(
    experts: Path, others: Any, engine: str, log: Path, serving: Any
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """With the default lengths, which are four times the context."""
    options = ["--experts", experts, "--auto", "classifier", "--engine", engine]
    options += ["--slots", 3, "--load-from", others["lora"][0].parent]
    with log.open("wb") as stream, serving(*options, key=KEY, log=stream) as found:
        yield found


@pytest.fixture(scope="module")
def address(server: tuple[str, subprocess.Popen[bytes]]) -> str:
    return server[0]


@pytest.fixture
def client(address: str) -> Any:
    return openai.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0)


def text(client: Any, model: str, prompt: str) -> str:
    found = client.completions.create(model=model, prompt=prompt, max_tokens=8, temperature=0)
    assert found.model == model
    return str(found.choices[0].text)


def test_models_are_the_base_the_experts_and_auto(client: Any) -> None:
    found = {model.id for model in client.models.list()}
    assert found == {"base", "auto", "tiny-classifier", *SKILLS}


def test_concurrent_requests_each_get_their_own_expert(
    client: Any, expected: dict[tuple[str, str], str]
) -> None:
    """`auto` is asked at the same time; its classifier sends each sign to its skill."""
    kinds = {sign: skill for skill, sign in SKILLS.items()} | {":": "base"}
    asked = [(model, prompt) for prompt in prompts() for model in ("base", "auto", *SKILLS)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda pair: text(client, *pair), asked))
    for (model, prompt), answer in zip(asked, answers, strict=True):
        expert = kinds[prompt[4]] if model == "auto" else model
        assert answer == expected[expert, prompt], (model, prompt)
    assert len({expected[name, "3714@="] for name in ("base", *SKILLS)}) > 1


@pytest.fixture
def change(address: str) -> Any:
    """Asks the server to load or unload; its answer, or the line of its refusal."""

    def change(what: str, name: str, folder: Path | str = "", **options: Any) -> str:
        body = {"lora_name": name, "lora_path": str(folder), **options}
        asking = urllib.request.Request(
            f"{address}/v1/{what}_lora_adapter",
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {KEY}"},
        )
        try:
            return urllib.request.urlopen(asking, timeout=60).read().decode()
        except urllib.error.HTTPError as error:
            return str(json.loads(error.read())["error"]["message"])

    return change


def test_experts_of_every_method_are_loaded_and_share_a_batch_of_fewer_slots(
    client: Any, change: Any, others: Any, expected: dict[tuple[str, str], str], engine: str
) -> None:
    if engine == "hf":
        folder = others["lora"][0]
        assert "hf serves SVF experts alone" in change("load", "lora", folder)
        return
    for name, (folder, _) in others.items():
        assert change("load", name, folder) == f"Success: expert '{name}' added."
    asked = [(m, k) for k in range(len(prompts())) for m in ("base", *SKILLS, *OTHERS)]
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda pair: text(client, pair[0], prompts()[pair[1]]), asked))
    for (model, k), answer in zip(asked, answers, strict=True):
        alone = others[model][1][k] if model in OTHERS else expected[model, prompts()[k]]
        assert answer == alone, (model, prompts()[k])
    first = [others[name][1][0] for name in OTHERS]
    assert len({*first, expected["base", "3714@="]}) > 2, "else it proves nothing"
    for name in OTHERS:
        assert change("unload", name).startswith("Success")
    assert {model.id for model in client.models.list()} == {
        "base",
        "auto",
        "tiny-classifier",
        *SKILLS,
    }


def test_a_replaced_expert_never_answers_from_the_prefixes_of_the_last(
    client: Any, change: Any, save: Any, tiny_start: Any, others: Any, expected: Any
) -> None:
    """Long enough for vLLM to keep a block of it; the same tensors under another config, too."""
    root = others["lora"][0].parent
    long = "1234:=1234\n5678:=5678\n9876:=9876\n1357:=1357\n2468:=2468\n" * 3 + "3714@="
    states = [drawn(tiny_start, seed) for seed in (0, 1, 2)]
    fresh = {}
    for k, state in enumerate(states):
        save(root / f"new{k}", state, {"type": "svf"})
        assert change("load", f"new{k}", root / f"new{k}").startswith("Success")
        fresh[k] = text(client, f"new{k}", long)
        assert change("unload", f"new{k}").startswith("Success")
    assert len(set(fresh.values())) > 1, "else it proves nothing"
    for k in (0, 1, 0, 2, 1):
        said = change("load", "changing", root / f"new{k}", load_inplace=True)
        assert said.startswith("Success"), said
        assert text(client, "changing", long) == text(client, "changing", long) == fresh[k]
    assert "is loaded already" in change("load", "changing", root / "new0")
    change("unload", "changing")
    with pytest.raises(openai.NotFoundError):
        text(client, "changing", long)


def test_who_asks_a_removed_expert_is_answered_to_the_end(
    client: Any, change: Any, save: Any, tiny_start: Any, others: Any
) -> None:
    root = others["lora"][0].parent
    save(root / "leaving", drawn(tiny_start, 5), {"type": "svf"})
    change("load", "leaving", root / "leaving")
    options = {"model": "leaving", "prompt": "3714@=", "max_tokens": 60, "temperature": 0.0}
    whole = client.completions.create(**options).choices[0].text
    streams = [client.completions.create(**options, stream=True) for _ in range(6)]
    firsts = [next(iter(stream)) for stream in streams]
    assert change("unload", "leaving").startswith("Success")
    for first, stream in zip(firsts, streams, strict=True):
        pieces = [choice.text for chunk in (first, *stream) for choice in chunk.choices]
        assert "".join(pieces) == whole


def test_no_request_opens_what_lies_elsewhere(change: Any, experts: Path, others: Any) -> None:
    folder, link = others["lora"][0], others["lora"][0].parent / "link"
    link.unlink(missing_ok=True)
    link.symlink_to(experts / "swap")
    for path in ("/etc", experts / "swap", f"{folder}/../../../etc", link):
        assert "--load-from names" in change("load", "x", path)
    assert "hold no slash" in change("load", "a/b", folder)
    assert "every server has" in change("load", "auto", folder)
    assert "needs exactly one classifier" in change("unload", "tiny-classifier")


def test_metrics_tell_what_each_expert_has_done(client: Any, address: str) -> None:
    before = of_expert(address, "sort")
    client.completions.create(model="sort", prompt=prompts()[:3], max_tokens=4, temperature=0)
    after = of_expert(address, "sort")
    assert after["requests"] - before.get("requests", 0) == 3
    assert 3 <= after["tokens"] - before.get("tokens", 0) <= 12
    assert after["seconds"] > before.get("seconds", 0)
    assert not [line for line in metrics(address) if "lora_requests_info" in line]


def of_expert(address: str, name: str) -> dict[str, float]:
    lines = [
        line for line in metrics(address) if f'expert="{name}"' in line and "_created" not in line
    ]
    return {
        line.partition("{")[0].removeprefix("rlpeft:expert_").removesuffix("_total"): float(
            line.rpartition(" ")[2]
        )
        for line in lines
    }


def test_an_unknown_model_is_404_in_the_openai_form(client: Any) -> None:
    message = "`poet` does not exist. There are: base, .*sort.*swap.*, auto"
    with pytest.raises(openai.NotFoundError, match=message) as error:
        text(client, "poet", "3714@=")
    assert error.value.body["type"] == "NotFoundError"


def test_a_wrong_key_is_refused(address: str) -> None:
    stranger = openai.OpenAI(base_url=f"{address}/v1", api_key="another", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()


def test_chat_and_streaming_give_the_same_text(client: Any) -> None:
    turns = [{"role": "user", "content": "3714@="}]
    options = {"model": "sort", "messages": turns, "max_tokens": 8, "temperature": 0}
    whole = client.chat.completions.create(**options).choices[0].message.content
    pieces = [
        chunk.choices[0].delta.content or ""
        for chunk in client.chat.completions.create(**options, stream=True)
        if chunk.choices
    ]
    assert "".join(pieces) == whole
    assert len(pieces) > 1


def test_auto_takes_a_conversation_for_what_its_user_says(client: Any) -> None:
    def answer(model: str) -> str | None:
        turns: Any = [{"role": "user", "content": "3714@="}]
        options = {"model": model, "messages": turns, "max_tokens": 8, "temperature": 0}
        return client.chat.completions.create(**options).choices[0].message.content

    assert answer("auto") == answer("swap")
    assert len({answer(name) for name in ("base", *SKILLS)}) > 1, "else it proves nothing"


def test_a_control_token_is_letters_in_a_chat_and_itself_in_a_completion(client: Any) -> None:
    tokenizer, options = load_tokenizer(resolve_model("tiny")), {"model": "sort", "max_tokens": 1}
    turns: Any = [{"role": "user", "content": "1<assistant>2"}]
    chat = client.chat.completions.create(messages=turns, **options)
    assert chat.usage.prompt_tokens == len(encode_prompt(tokenizer, tuple(turns)))
    written = "<user>1<assistant>2<assistant>"  # and vLLM puts a BOS before it
    completion = client.completions.create(prompt=written, **options)
    assert completion.usage.prompt_tokens == 6
    assert chat.usage.prompt_tokens > 6


def test_a_stop_string_ends_the_text_and_is_no_part_of_it(client: Any) -> None:
    options = {"model": "sort", "prompt": "3714@=", "max_tokens": 8, "temperature": 0}
    whole = client.completions.create(**options).choices[0]
    assert len(whole.text) > 1, "else it proves nothing"
    cut = client.completions.create(**options, stop=[whole.text[1]]).choices[0]
    assert (cut.text, cut.finish_reason) == (whole.text.partition(whole.text[1])[0], "stop")


def test_an_error_of_a_request_is_an_error_of_that_request_alone(client: Any) -> None:
    with pytest.raises(openai.BadRequestError):
        text(client, "swap", "1" * 600)
    assert text(client, "swap", "3714@=")


def test_a_token_that_the_model_does_not_embed_fails_its_own_request_and_no_other(
    client: Any, expected: dict[tuple[str, str], str]
) -> None:
    def ask(k: int) -> Any:
        prompt: Any = [1, 280] if k == 5 else prompts()[k % 8]
        return client.completions.create(model="sort", prompt=prompt, max_tokens=8, temperature=0)

    with ThreadPoolExecutor(12) as pool:
        answers = [pool.submit(ask, k) for k in range(12)]
    for k, answer in enumerate(answers):
        if k == 5:
            with pytest.raises(openai.BadRequestError, match="must be 0 to 279"):
                answer.result()
        else:
            assert answer.result().choices[0].text == expected["sort", prompts()[k % 8]]


def test_auto_says_which_expert_answered(client: Any) -> None:
    kinds = {sign: skill for skill, sign in SKILLS.items()} | {":": "base"}
    asked = prompts()
    found = client.completions.with_raw_response.create(model="auto", prompt=asked, max_tokens=4)
    assert found.headers["x-rlpeft-expert"] == ", ".join(kinds[prompt[4]] for prompt in asked)
    turns: Any = [{"role": "user", "content": "3714@="}]
    streamed = client.chat.completions.with_raw_response.create(
        model="auto", messages=turns, max_tokens=4, stream=True
    )
    assert streamed.headers["x-rlpeft-expert"] == "swap"
    list(streamed.parse())


@pytest.mark.parametrize("path", ["/metrics", "/v1/models", "/invocations", "/tokenize"])
def test_a_stranger_sees_nothing(address: str, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{address}{path}", timeout=60)


def test_one_request_cannot_keep_the_engine_from_all_others(client: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="at most 128"):
        client.completions.create(model="swap", prompt="3714@=", n=16384)


def test_what_the_hf_engine_has_not_is_refused_by_name(client: Any, engine: str) -> None:
    if engine == "vllm":
        pytest.skip("vLLM has it")
    with pytest.raises(openai.BadRequestError, match="presence_penalty is not supported"):
        client.completions.create(model="swap", prompt="3714@=", presence_penalty=1.0)


def test_a_client_that_leaves_frees_its_place(client: Any, address: str, engine: str) -> None:
    if engine == "hf":
        pytest.skip("tests/rollout/test_hf_client.py")  # it counts no requests
    stream = client.completions.create(
        model="swap", prompt="3714@=", max_tokens=40, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    stream.close()
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and running(address) > 0:
        time.sleep(0.2)
    assert running(address) == 0


def metrics(address: str) -> list[str]:
    asking = urllib.request.Request(
        f"{address}/metrics", headers={"Authorization": f"Bearer {KEY}"}
    )
    return urllib.request.urlopen(asking, timeout=60).read().decode().splitlines()


def running(address: str) -> float:
    page = metrics(address)
    lines = [line for line in page if line.startswith("vllm:num_requests_running{")]
    assert lines, "metrics must tell how many requests run"
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_a_server_that_is_told_to_end_answers_who_is_waiting(  # keep it last
    client: Any, server: tuple[str, subprocess.Popen[bytes]], log: Path, engine: str
) -> None:
    options = {"model": "sort", "prompt": "3714@=", "max_tokens": 300, "temperature": 2.0}
    streams = [
        client.completions.create(**options, stream=True, seed=seed, n=4) for seed in range(4)
    ]
    firsts = [next(iter(stream)) for stream in streams]
    server[1].terminate()
    for first, stream in zip(firsts, streams, strict=True):
        chunks = [first, *stream]
        ended = {c.index for chunk in chunks for c in chunk.choices if c.finish_reason}
        assert ended == {0, 1, 2, 3}
    assert server[1].wait(180) == 0  # it may wait a minute for who is inside
    said = log.read_text()
    assert "Application shutdown complete" in said
    assert "is answered by 'swap', for tiny-classifier says" in said
    assert f"Ready on {server[0]}. Models: base," in " ".join(said.split())
    assert "nanobind" not in said
    # vLLM's own processes import it before they know of us.
    assert engine == "vllm" or "Triton is installed" not in said
