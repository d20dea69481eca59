"""vLLM with its own compilation on: compiled layers follow the adapter. One engine a form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
import torch

pytest.importorskip("vllm")

from peft import PeftModel

from rlpeft.adapter_state import AdapterState
from rlpeft.adapters.policy import adapter_state, attach_adapter, sequence_logprobs
from rlpeft.models.folder import resolve_model
from rlpeft.models.gap import largest_gap
from rlpeft.models.load import load_base_model
from rlpeft.recipe.run import SvfAdapter
from rlpeft.rollout.proof import Proof, Prover
from rlpeft.rollout.vllm.engine import VllmEngine
from rlpeft.types import Request, Sampling

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(600)]

PROMPTS = [[1, 5, 9, 14, 7], [1, *range(20, 60)]]
CANARY = [[1, *range(20, 50)], PROMPTS[0], [1, *range(60, 92)], [1, *range(30, 62)]]


@pytest.fixture(scope="module")
def policy() -> PeftModel:
    return attach_adapter(load_base_model(resolve_model("tiny")), SvfAdapter(), seed=0).eval()


@pytest.fixture(scope="module", params=[("factored", 2), ("spectral", 0)])
def engine(policy: PeftModel, request: pytest.FixtureRequest) -> Iterator[VllmEngine]:
    """In one form with slots for experts, in the other without."""
    form, experts = request.param
    config = adapter_state(policy, 0).config
    options = {"form": form, "max_experts": experts, "enforce_eager": False}
    with closing(VllmEngine(resolve_model("tiny"), config, max_model_len=96, **options)) as engine:
        yield engine


def drawn(policy: PeftModel, seed: int) -> AdapterState:
    """The policy with z drawn around 1, and its state; seed 0: the base."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.data = 1 + (0.2 if seed else 0.0) * noise
    return adapter_state(policy, seed)


def test_compiled_layers_follow_z_from_the_start_and_at_every_sync(
    engine: VllmEngine, policy: PeftModel
) -> None:
    compilation = engine._core._llm.llm_engine.vllm_config.compilation_config
    assert compilation.mode.name == "DYNAMO_TRACE_ONCE", "else it proves nothing"
    base = sequence_logprobs(policy, PROMPTS)
    for seed in (1, 2, 0, 3):
        engine.load_adapter(drawn(policy, seed))
        expected = sequence_logprobs(policy, PROMPTS)
        assert largest_gap(engine.logprobs(PROMPTS), expected) <= 3e-4
        assert seed == 0 or largest_gap(expected, base) > 1


def test_compiled_layers_sample_under_z(engine: VllmEngine, policy: PeftModel) -> None:
    """Decoding runs other shapes than scoring does."""
    engine.load_adapter(drawn(policy, 4))
    requests = [Request(f"{k}", tuple(p), (0, 1, 2)) for k, p in enumerate(PROMPTS)]
    for request, group in zip(requests, engine.rollout(requests, Sampling(16)), strict=True):
        for completion in group:
            (scored,) = sequence_logprobs(policy, [(*request.prompt_ids, *completion.token_ids)])
            found = scored[len(request.prompt_ids) - 1 :]
            assert largest_gap([completion.logprobs], [found]) <= 3e-4


@pytest.mark.parametrize("engine", [("factored", 2)], indirect=True)
def test_compiled_layers_follow_the_slots_of_experts(engine: VllmEngine, policy: PeftModel) -> None:
    """Three share two slots, so that one enters where another was; then they have other values,
    and the policy itself, without a slot, none of theirs."""
    for seeds in ((5, 6, 7), (8, 9, 10)):
        experts = {f"expert {seed}": drawn(policy, seed) for seed in seeds}
        engine.load_adapter(drawn(policy, 4))
        engine.load_experts(experts)
        named = [*zip(experts, seeds, strict=True), (None, 4)]
        asked = [
            Request(f"{k} {name}", tuple(prompt), (0, 1), name)
            for name, _ in named
            for k, prompt in enumerate(PROMPTS)
        ]
        groups = iter(engine.rollout(asked, Sampling(16)))
        for _, seed in named:
            drawn(policy, seed)
            for prompt in PROMPTS:
                for said in next(groups):
                    (scored,) = sequence_logprobs(policy, [(*prompt, *said.token_ids)])
                    assert largest_gap([said.logprobs], [scored[len(prompt) - 1 :]]) <= 3e-4


def test_a_compiled_engine_in_bfloat16_is_proven_at_its_start_and_at_every_sync() -> None:
    """The paper's form, under the loosest bound of our recipes. An engine of its own."""
    path = resolve_model("tiny")
    policy = attach_adapter(load_base_model(path, "bfloat16"), SvfAdapter(), seed=0).eval()
    config = adapter_state(policy, 0).config
    with closing(
        VllmEngine(path, config, max_model_len=96, dtype="bfloat16", enforce_eager=False)
    ) as engine:
        prover = Prover(engine)
        for version in range(3):
            state = adapter_state(policy, version)
            prover.prove(Proof(state, CANARY, sequence_logprobs(policy, CANARY), bound=1.0))
            for parameter in policy.parameters():
                if parameter.requires_grad:
                    parameter.data *= 1.02
