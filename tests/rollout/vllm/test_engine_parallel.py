"""A real vLLM whose workers share the weights: the same policy as one worker's, and one death."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

pytest.importorskip("vllm")

from rlpeft.adapters.policy import adapter_state, attach_adapter, sequence_logprobs
from rlpeft.errors import EngineDiedError
from rlpeft.models.load import load_base_model
from rlpeft.recipe.run import SvfAdapter
from rlpeft.rollout.proof import Proof, Prover
from rlpeft.rollout.vllm.engine import VllmEngine
from rlpeft.types import Request, Sampling

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(400)]

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


def test_a_worker_that_is_killed_ends_the_engine_as_any_death_does(engine: VllmEngine) -> None:
    # Keep it last.
    workers = [p for p in engine._core.processes if "Worker" in " ".join(p.cmdline())]
    assert len(workers) == 2
    workers[-1].kill()
    with pytest.raises(EngineDiedError, match="start another engine"):
        engine.rollout([Request("r", (1, 5, 9), tuple(range(64)))], Sampling(max_tokens=60))
    engine.close()
    assert not any(p.is_running() for p in engine._core.processes)
