"""A real vLLM whose workers share the weights: the same policy as one worker's, and one death."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psutil
import pytest
import torch

pytest.importorskip("vllm")

from rlpeft.adapters.policy import adapter_state, attach_adapter, sequence_logprobs
from rlpeft.errors import EngineDiedError
from rlpeft.models.load import load_base_model
from rlpeft.recipe.run import HypLoraAdapter, LoraFamilyAdapter, SvfAdapter
from rlpeft.rollout.engine import Delivery
from rlpeft.rollout.proof import Proof, Prover
from rlpeft.rollout.vllm.calls import add_expert_call, answer
from rlpeft.rollout.vllm.engine import VllmEngine
from rlpeft.rollout.vllm.start import CPU_KV_CACHE_BYTES
from rlpeft.types import Request, Sampling

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(400)]

GUESTS = {
    "LoRA": LoraFamilyAdapter(type="lora", rank=4),
    "HypLoRA": HypLoraAdapter(type="hyplora", rank=4),
}

CANARY = [[1, *range(20, 50)], [1, 5, 9, 14, 7]]


@pytest.fixture(scope="module")
def policy(tiny: Any) -> Any:
    return attach_adapter(load_base_model(tiny.path, "float32"), SvfAdapter(), seed=0).eval()


@pytest.fixture(scope="module")
def engine(tiny: Any, policy: Any) -> Iterator[VllmEngine]:
    config = adapter_state(policy, 0).config
    engine = VllmEngine(tiny.path, config, max_model_len=64, tensor_parallel=2, max_experts=2)
    yield engine
    engine.close()


def test_two_workers_are_proven_and_sample_as_the_trainer_scores(
    engine: VllmEngine, policy: Any
) -> None:
    prover, generator = Prover(engine), torch.Generator().manual_seed(0)
    for version in range(2):
        state, expected = adapter_state(policy, version), sequence_logprobs(policy, CANARY)
        # Its digest is that of every worker, or the answer would have been refused.
        prover.prove(Proof(state, CANARY, expected, bound=1e-3))
        requests = [Request(str(at), tuple(ids), (0, 1)) for at, ids in enumerate(CANARY)]
        for request, group in zip(requests, engine.rollout(requests, Sampling(8)), strict=True):
            for completion in group:
                row = [*request.prompt_ids, *completion.token_ids]
                scored = sequence_logprobs(policy, [row])[0][len(request.prompt_ids) - 1 :]
                assert completion.logprobs == pytest.approx(scored, abs=1e-3)
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)


def test_experts_that_share_a_batch_say_what_each_says_as_the_policy(
    engine: VllmEngine, policy: Any
) -> None:
    states = {name: adapter_state(policy, at) for at, name in enumerate(("moved", "base"))}
    states["base"] = replace(
        states["base"], tensors={k: torch.ones_like(v) for k, v in states["base"].tensors.items()}
    )
    requests = {name: Request(name, (1, 5, 9, 14), (0,), expert=name) for name in states}
    greedy, alone = Sampling(12, temperature=0.0), {}
    for name, state in states.items():
        engine.load_adapter(state)
        ((alone[name],),) = engine.rollout([replace(requests[name], expert=None)], greedy)
    engine.load_experts(states)
    for (said,), name in zip(engine.rollout([*requests.values()], greedy), states, strict=True):
        assert said.token_ids == alone[name].token_ids
        assert said.logprobs == pytest.approx(alone[name].logprobs, abs=1e-4)
    assert alone["moved"].logprobs != pytest.approx(alone["base"].logprobs, abs=1e-2)


def test_experts_of_other_methods_share_a_batch_on_both_workers(
    engine: VllmEngine, policy: Any, tiny: Any
) -> None:
    engine.load_experts({"own": adapter_state(policy, 0)})
    guests = {name: moved(tiny, adapter) for name, adapter in GUESTS.items()}
    for name, guest in guests.items():
        admit(engine, name, adapter_state(guest, 1))
    requests = [Request(name, CANARY[0], (0, 1), expert=name) for name in guests]
    for name, group in zip(guests, engine.rollout(requests, Sampling(8)), strict=True):
        for completion in group:
            row = [*CANARY[0], *completion.token_ids]
            said = sequence_logprobs(guests[name], [row])[0][len(CANARY[0]) - 1 :]
            other = sequence_logprobs(policy, [row])[0][len(CANARY[0]) - 1 :]
            assert completion.logprobs == pytest.approx(said, abs=1e-3)
            assert completion.logprobs != pytest.approx(other, abs=0.1)


def moved(tiny: Any, adapter: Any) -> Any:
    guest = attach_adapter(load_base_model(tiny.path, "float32"), adapter, seed=0).eval()
    generator = torch.Generator().manual_seed(1)
    for parameter in guest.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return guest


def admit(engine: VllmEngine, name: str, state: Any) -> None:
    """As `rlpeft serve` does, which alone takes experts of several methods."""
    assert engine._loras is not None
    (number,) = engine._loras.new_ids(1)
    call = add_expert_call(number, state)
    with engine._core.alive() as llm:
        digest = answer(llm.collective_rpc(call.method, args=call.args))["digest"]
    assert digest == state.digest
    request = engine._loras.request(name, number, digest)
    engine._experts[name] = request, Delivery(state.version, digest, 0.0)


def test_every_worker_gives_its_cache_back(engine: VllmEngine, policy: Any) -> None:
    engine.load_adapter(adapter_state(policy, 0))
    requests = [Request("r", (1, *range(20, 50)), (0, 1))]
    said = engine.rollout(requests, Sampling(8))
    awake = [process.memory_info().rss for process in workers(engine)]
    engine.rest()
    back = [
        before - process.memory_info().rss
        for before, process in zip(awake, workers(engine), strict=True)
    ]
    assert min(back) > 0.9 * CPU_KV_CACHE_BYTES
    assert engine.rollout(requests, Sampling(8)) == said


def workers(engine: VllmEngine) -> list[psutil.Process]:
    return [p for p in engine.processes if "Worker" in " ".join(p.cmdline())]


def test_a_worker_that_is_killed_ends_the_engine_as_any_death_does(engine: VllmEngine) -> None:
    # Keep it last.
    both = workers(engine)
    assert len(both) == 2
    both[-1].kill()
    with pytest.raises(EngineDiedError, match="start another engine"):
        engine.rollout([Request("r", (1, 5, 9), tuple(range(64)))], Sampling(max_tokens=60))
    engine.close()
    assert not any(p.is_running() for p in engine.processes)
