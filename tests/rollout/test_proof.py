"""No bound lets an engine pass that does not run what it was sent."""

from typing import Any

import pytest
import torch

from jobs.recipes import find_recipe, recipe_names
from rlpeft.adapter_state import AdapterState
from rlpeft.adapters.policy import adapter_state, attach_adapter
from rlpeft.errors import EngineError
from rlpeft.recipe.run import HypLoraAdapter, LoraFamilyAdapter, SvfAdapter, load_recipe
from rlpeft.rollout.engine import Delivery
from rlpeft.rollout.hf.engine import HfEngine
from rlpeft.rollout.proof import Proof, Prover, kicked

CANARY = [[1, 7, 9, 22, 31, 4], [1, 8, 40, 12]]
LOOSEST = max(load_recipe(find_recipe(name)).rollout.canary_bound for name in recipe_names())


class Engine(HfEngine):
    """Counts what it is sent; from update `frozen_after` on it answers for it, and keeps the old.

    So does an engine whose graphs were captured before an update came.
    """

    def __init__(self, policy: Any, frozen_after: int = 10**9) -> None:
        super().__init__(policy, None, eos_ids=())
        self.loads, self.frozen_after = 0, frozen_after

    def load_adapter(self, state: AdapterState) -> Delivery:
        self.loads += 1
        if self.loads > self.frozen_after:
            return Delivery(state.version, state.digest, 0.0)
        return super().load_adapter(state)


@pytest.fixture
def pair(llama):
    """A learner's policy in float32, and a maker of engines in bfloat16."""

    def policy(adapter: Any, dtype: torch.dtype) -> Any:
        return attach_adapter(llama(initializer_range=0.2).to(dtype), adapter, seed=0).eval()

    def make(adapter: Any = None, **faults: int) -> tuple[HfEngine, Engine]:
        adapter = adapter or SvfAdapter()
        learner = HfEngine(policy(adapter, torch.float32), None, eos_ids=())
        return learner, Engine(policy(adapter, torch.bfloat16), **faults)

    return make


def scaled(learner: HfEngine, share: float, version: int) -> AdapterState:
    state = adapter_state(learner.policy, version)
    tensors = {name: value * share for name, value in state.tensors.items()}
    state = AdapterState(state.config, tensors, version, state.factors)
    learner.load_adapter(state)
    return state


def prove(prover: Prover, learner: HfEngine, state: AdapterState, bound: float = LOOSEST) -> float:
    return prover.prove(Proof(state, CANARY, learner.logprobs(CANARY), bound)).gap


@pytest.mark.parametrize("adapter", [SvfAdapter(), LoraFamilyAdapter(type="lora", rank=4)])
def test_an_engine_that_runs_its_base_for_ever_fails_under_the_loosest_bound_of_our_recipes(
    pair, adapter
):
    """At its start a policy is its base: nothing but a kick can tell."""
    learner, engine = pair(adapter, frozen_after=0)
    with pytest.raises(EngineError, match="does not sample from it"):
        prove(Prover(engine), learner, adapter_state(learner.policy, 0))


@pytest.mark.parametrize("adapter", [SvfAdapter(), LoraFamilyAdapter(type="lora", rank=4)])
def test_an_engine_in_bfloat16_passes_and_runs_what_it_was_sent(pair, adapter):
    learner, engine = pair(adapter)
    state = adapter_state(learner.policy, 0)
    prover = Prover(engine)
    assert prove(prover, learner, state) > 1e-3, "else bfloat16 does not show"
    assert adapter_state(engine.policy, 0).digest == state.digest
    for version in range(1, 4):
        prove(prover, learner, scaled(learner, 1.03, version))


def test_an_adapter_that_is_fixed_as_flat_passes(pair):
    """A curvature of zero has no other side, and no kick may take it there."""
    learner, engine = pair(HypLoraAdapter(type="hyplora", curvature=0, learn_curvature=False))
    prove(Prover(engine), learner, adapter_state(learner.policy, 0))


def test_an_engine_that_freezes_after_its_first_proof_fails_once_z_has_moved(pair):
    learner, engine = pair(frozen_after=3)
    prover = Prover(engine)
    prove(prover, learner, adapter_state(learner.policy, 0))
    with pytest.raises(EngineError, match="on average after sync of version 1"):
        prove(prover, learner, scaled(learner, 1.1, 1), bound=100.0)


def test_an_engine_that_is_not_restored_after_the_kick_fails(pair):
    learner, engine = pair(frozen_after=2)
    with pytest.raises(EngineError, match="back must restore them"):
        prove(Prover(engine), learner, adapter_state(learner.policy, 0))


def test_an_engine_is_kicked_once(pair):
    learner, engine = pair()
    prover = Prover(engine)
    prove(prover, learner, adapter_state(learner.policy, 0))
    assert engine.loads == 3, "policy, kick, policy"
    prove(prover, learner, adapter_state(learner.policy, 1))
    assert engine.loads == 4


def test_a_kick_moves_every_element_by_its_share(pair):
    learner, _ = pair()
    moved = kicked(adapter_state(learner.policy, 0), 0.05)
    for value in moved.tensors.values():
        torch.testing.assert_close((value - 1).abs(), torch.full_like(value, 0.05))
        assert len(value.unique()) == 2, "up and down, or norms would absorb it"
