"""Experts by request in the real vLLM, on the tiny base model. One engine serves all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

pytest.importorskip("vllm")

from peft import PeftModel

from rlpeft.adapter_state import AdapterState
from rlpeft.adapters.policy import adapter_state, attach_adapter
from rlpeft.errors import EngineDiedError, EngineError
from rlpeft.models.folder import resolve_model
from rlpeft.models.load import load_base_model
from rlpeft.models.tokenizer import load_tokenizer
from rlpeft.recipe.run import SvfAdapter
from rlpeft.rollout.hf.engine import HfEngine
from rlpeft.rollout.vllm.engine import VllmEngine
from rlpeft.tokens.eos import eos_ids
from rlpeft.types import Completion, Request, Sampling

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(600)]

SLOTS = 2
GREEDY = Sampling(max_tokens=8, temperature=0.0)
QUESTIONS = ("3714@=", "8123#=", "5949&=", "2222:=")
LONG = "1234:=1234\n5678:=5678\n9876:=9876\n1357:=1357\n2468:=2468\n3714@="


@pytest.fixture(scope="module")
def policy() -> PeftModel:
    return attach_adapter(load_base_model(resolve_model("tiny")), SvfAdapter(), seed=0).eval()


@pytest.fixture(scope="module")
def base(policy: PeftModel) -> AdapterState:
    return adapter_state(policy, 0)


@pytest.fixture(scope="module")
def bare(base: AdapterState) -> Iterator[VllmEngine]:
    """Before it was given any policy."""
    engine = VllmEngine(
        resolve_model("tiny"), base.config, max_model_len=96, block_size=32, max_experts=SLOTS
    )
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def early(bare: VllmEngine, base: AdapterState) -> Completion:
    """An expert's answer from the engine as it was then."""
    bare.load_experts({"early": drawn(base, 7)})
    with pytest.raises(EngineError, match="must be given an adapter first"):
        answer(bare, QUESTIONS[0], None)
    return answer(bare, QUESTIONS[0], "early")


@pytest.fixture(scope="module")
def engine(bare: VllmEngine, early: Completion, base: AdapterState) -> VllmEngine:
    bare.load_adapter(base)
    return bare


def drawn(base: AdapterState, seed: int, scale: float = 0.3) -> AdapterState:
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        name: z + scale * torch.randn(z.shape, generator=generator)
        for name, z in base.tensors.items()
    }
    return AdapterState(base.config, tensors, seed, base.factors)


def ids(text: str) -> tuple[int, ...]:
    return tuple(load_tokenizer(resolve_model("tiny"))(text)["input_ids"])


def merged(state: AdapterState) -> HfEngine:
    """transformers with the expert merged into the weights: nothing of our layers is left."""
    path = resolve_model("tiny")
    model = attach_adapter(load_base_model(path), SvfAdapter(), seed=0)
    HfEngine(model, None, eos_ids=()).load_adapter(state)
    bare = attach_adapter(model.merge_and_unload(), SvfAdapter(), seed=0)
    tokenizer = load_tokenizer(path)
    return HfEngine(bare, tokenizer, eos_ids=eos_ids(path, tokenizer))


def answer(engine: VllmEngine, text: str, expert: str | None) -> Completion:
    return engine.rollout([Request("r", ids(text), (0,), expert)], GREEDY)[0][0]


def test_experts_need_no_policy_beside_them(early: Completion, base: AdapterState) -> None:
    request = Request("x", ids(QUESTIONS[0]), (0,))
    ((expected,),) = merged(drawn(base, 7)).rollout([request], GREEDY)
    assert early.token_ids == expected.token_ids
    assert early.logprobs == pytest.approx(expected.logprobs, abs=1e-4)


def test_a_mixed_batch_gives_what_each_merged_expert_gives_alone(
    engine: VllmEngine, base: AdapterState
) -> None:
    """Three experts in two slots: the batch runs in waves, and slots change hands."""
    experts = {f"e{k}": drawn(base, k) for k in range(1, 4)}
    engine.load_experts(experts)
    names = [None, *experts]
    requests = [
        Request(f"{name}/{text}", ids(text), (0,), name) for text in QUESTIONS for name in names
    ]
    together = engine.rollout(requests, GREEDY)
    peers = {name: merged(state) for name, state in experts.items()} | {None: merged(base)}
    for request, (ours,) in zip(requests, together, strict=True):
        alone = Request("x", request.prompt_ids, (0,))
        ((theirs,),) = peers[request.expert].rollout([alone], GREEDY)
        assert ours.token_ids == theirs.token_ids
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)
        expected = base if request.expert is None else experts[request.expert]
        assert (ours.digest, ours.version) == (expected.digest, expected.version)
    firsts = {name: together[k][0].logprobs for k, name in enumerate(names)}
    assert len(set(firsts.values())) == len(names), "else it proves nothing"


def test_a_cached_prefix_serves_neither_another_expert_nor_another_version(
    engine: VllmEngine, base: AdapterState
) -> None:
    """The prompt is longer than a block, so that its prefix is cached at the first request."""
    one, two = drawn(base, 11), drawn(base, 12)
    found = {}
    for state in (one, two):
        engine.load_experts({"same": state, "other": base})
        found[state.version] = [answer(engine, LONG, "same") for _ in range(2)]
        plain, other = answer(engine, LONG, None), answer(engine, LONG, "other")
        assert other.logprobs == pytest.approx(plain.logprobs, abs=1e-5)
    for state in (one, two):
        ((expected,),) = merged(state).rollout([Request("x", ids(LONG), (0,))], GREEDY)
        for completion in found[state.version]:
            assert completion.logprobs == pytest.approx(expected.logprobs, abs=1e-4)


def test_a_sync_of_the_current_policy_leaves_the_experts(
    engine: VllmEngine, base: AdapterState
) -> None:
    engine.load_experts({"kept": drawn(base, 21)})
    before = answer(engine, QUESTIONS[0], "kept")
    engine.load_adapter(drawn(base, 22))
    assert answer(engine, QUESTIONS[0], "kept").logprobs == pytest.approx(before.logprobs, abs=1e-6)
    assert answer(engine, QUESTIONS[0], None).logprobs != before.logprobs
    engine.load_adapter(base)


def test_an_expert_that_is_not_loaded_is_named(engine: VllmEngine, base: AdapterState) -> None:
    engine.load_experts({"swap": drawn(base, 31)})
    with pytest.raises(EngineError, match=r"'sort' of request 'r' must be loaded .* loaded: swap"):
        answer(engine, QUESTIONS[0], "sort")


def test_bad_values_change_nothing(engine: VllmEngine, base: AdapterState) -> None:
    engine.load_experts({"good": drawn(base, 41)})
    before = answer(engine, QUESTIONS[0], "good")
    broken = {name: z * float("nan") for name, z in base.tensors.items()}
    with pytest.raises(EngineError, match="must be finite"):
        engine.load_experts({"bad": AdapterState(base.config, broken, 0, base.factors)})
    assert answer(engine, QUESTIONS[0], "good").token_ids == before.token_ids


def test_a_slot_is_not_given_to_an_expert_that_is_no_longer_held(  # keep it last
    engine: VllmEngine, base: AdapterState
) -> None:
    """vLLM dies rather than run the z of whoever had the slot, and says why."""
    engine.load_experts({"gone": drawn(base, 51)})
    stale = dict(engine._experts)
    engine.load_experts({f"e{k}": drawn(base, k) for k in range(SLOTS)})
    requests = [Request(f"{k}", ids(QUESTIONS[0]), (0,), f"e{k}") for k in range(SLOTS)]
    engine.rollout(requests, GREEDY)  # every slot is another's now
    engine._experts = stale
    with pytest.raises(EngineDiedError, match=r"EngineError: LoRA id \d+ must be of an") as raised:
        answer(engine, QUESTIONS[0], "gone")
    engine.close()
    log = Path(str(raised.value).partition("Its log: ")[2].split()[0])
    assert "Traceback" in log.read_text(), "it stays after the engine"
    log.unlink()
