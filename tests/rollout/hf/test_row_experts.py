"""Experts by row: a mixed batch gives each request what that expert alone gives."""

import pytest
import torch

from rlpeft.adapter_state import AdapterState
from rlpeft.adapters.policy import adapter_state, attach_adapter
from rlpeft.errors import EngineError
from rlpeft.recipe.run import LoraFamilyAdapter, SvfAdapter
from rlpeft.rollout.hf.engine import HfEngine
from rlpeft.types import Request, Sampling

GREEDY = Sampling(max_tokens=8, temperature=0.0)
PROMPTS = ((1, 7, 8, 9), (1, 5), (1, 7, 8, 9), (1, 6, 6, 20, 21))


class Letters:
    """A tokenizer of one letter a token, enough for an engine."""

    def batch_decode(self, rows, **_):
        return ["".join(chr(96 + t) for t in row if t > 3) for row in rows]


def make(llama):
    policy = attach_adapter(llama(0), SvfAdapter(), seed=0)
    return HfEngine(policy, Letters(), eos_ids={2, 3})


def bent_state(engine, version=1, scale=0.3):
    state = adapter_state(engine.policy, version)
    generator = torch.Generator().manual_seed(version)
    tensors = {
        n: z + scale * torch.randn(z.shape, generator=generator) for n, z in state.tensors.items()
    }
    return AdapterState(state.config, tensors, version, state.factors)


def experts_of(engine, count=3, scale=0.6):
    return {f"e{k}": bent_state(engine, k, scale) for k in range(1, count + 1)}


def merged(llama, state):
    """An engine whose base weights are the expert's own, with nothing left to adapt."""
    engine = make(llama)
    engine.load_adapter(state)
    base = engine.policy.merge_and_unload()
    return make(lambda seed: base)


def alone(engine, prompt, seeds, sampling):
    return engine.rollout([Request("x", prompt, seeds)], sampling)[0]


@pytest.mark.slow
@pytest.mark.parametrize("start", [(), (1, 9, 4) * 20], ids=["nothing shared", "shared start"])
@pytest.mark.parametrize("sampling", [GREEDY, Sampling(max_tokens=8)], ids=["greedy", "sampled"])
def test_a_mixed_batch_gives_what_each_merged_expert_gives_alone(llama, sampling, start):
    engine = make(llama)
    experts = experts_of(engine)
    engine.load_experts(experts)
    names = [None, "e1", "e2", "e3"]
    requests = [
        Request(f"{name}/{p}", start + prompt, (4, 5), name)
        for p, prompt in enumerate(PROMPTS)
        for name in names
    ]
    together = engine.rollout(requests, sampling)
    engines = {name: merged(llama, state) for name, state in experts.items()}
    engines[None] = make(llama)
    for request, found in zip(requests, together, strict=True):
        for ours, theirs in zip(
            found, alone(engines[request.expert], request.prompt_ids, (4, 5), sampling), strict=True
        ):
            assert ours.token_ids == theirs.token_ids
            assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)
    answers = {name: [] for name in names}
    for request, found in zip(requests, together, strict=True):
        answers[request.expert].append([c.logprobs for c in found])
    assert len({str(a) for a in answers.values()}) == 4, "else it proves nothing"


def test_a_prompt_that_no_expert_shares_is_read_in_one_pass(llama, monkeypatch):
    engine, prompt = make(llama), (1, 9, 4) * 40
    engine.load_experts(experts_of(engine))
    seen = []
    model = engine.policy.get_base_model()
    forward = model.forward
    monkeypatch.setattr(
        model,
        "forward",
        lambda **inputs: seen.append(inputs["input_ids"].shape) or forward(**inputs),
    )
    engine.rollout([Request(name, prompt, (4,), name) for name in ("e1", "e2", "e3")], GREEDY)
    assert seen[0] == (3, len(prompt))


def test_requests_without_an_expert_run_the_current_policy(llama):
    engine = make(llama)
    state = bent_state(engine, 7)
    engine.load_adapter(state)
    expected = alone(engine, PROMPTS[0], (4,), GREEDY)
    engine.load_experts(experts_of(engine))
    mixed = engine.rollout(
        [Request("a", PROMPTS[0], (4,)), Request("b", PROMPTS[0], (4,), "e1")], GREEDY
    )
    assert mixed[0][0].token_ids == expected[0].token_ids
    assert mixed[0][0].digest == state.digest


def test_completions_carry_version_and_digest_of_their_expert(llama):
    engine = make(llama)
    experts = experts_of(engine, 2)
    deliveries = engine.load_experts(experts)
    requests = [Request(name, PROMPTS[0], (1,), name) for name in experts]
    for name, (completion,) in zip(experts, engine.rollout(requests, GREEDY), strict=True):
        assert deliveries[name].digest == experts[name].digest == completion.digest
        assert completion.version == experts[name].version


def test_new_experts_take_the_place_of_the_old(llama):
    engine = make(llama)
    engine.load_experts(experts_of(engine))
    engine.load_experts({"new": bent_state(engine, 9)})
    with pytest.raises(EngineError, match=r"'e1' of request 'a' must be loaded .* loaded: new"):
        engine.rollout([Request("a", PROMPTS[0], (1,), "e1")], GREEDY)


def test_experts_of_other_modules_change_nothing(llama):
    engine = make(llama)
    engine.load_experts(experts_of(engine, 1))
    odd = AdapterState({"parametrisation": "direct"}, {"x.svf_z": torch.ones(3)}, 0)
    with pytest.raises(EngineError, match="'odd' must be SVF on the 14 modules"):
        engine.load_experts({"odd": odd})
    assert engine.rollout([Request("a", PROMPTS[0], (1,), "e1")], GREEDY)


def test_an_engine_whose_adapter_is_no_svf_refuses_experts(llama):
    state = bent_state(make(llama))
    policy = attach_adapter(llama(), LoraFamilyAdapter(type="lora"), seed=0)
    with pytest.raises(EngineError, match="must be SVF on the 0 modules"):
        HfEngine(policy, Letters(), eos_ids={2}).load_experts({"a": state})


def test_a_batch_leaves_no_row_behind_in_the_layers(llama):
    engine = make(llama)
    expected = alone(engine, PROMPTS[0], (4,), GREEDY)
    engine.load_experts(experts_of(engine))
    engine.rollout([Request("a", PROMPTS[1], (1,), "e2")], GREEDY)
    assert alone(engine, PROMPTS[0], (4,), GREEDY)[0].token_ids == expected[0].token_ids
    canary = [[1, 7, 9]]
    assert engine.logprobs(canary) == make(llama).logprobs(canary)


def test_an_expert_that_makes_a_weight_too_large_is_refused(llama):
    engine = make(llama)
    engine.load_experts({"fine": bent_state(engine)})
    tensors = {name: z.clone() for name, z in bent_state(engine).tensors.items()}
    first = next(iter(tensors))
    for size in (1e4, float("nan")):
        tensors[first][0] = size  # the largest singular value's
        state = AdapterState(
            bent_state(engine).config, dict(tensors), 1, bent_state(engine).factors
        )
        with pytest.raises(EngineError, match="no weight more than 100 times as large"):
            engine.load_experts({"large": state})
    assert list(engine.load_experts({"fine": bent_state(engine)})) == ["fine"]
