"""The fake engine fulfils the protocol, remembers, and fails as told."""

import pytest
import torch

from rlpeft.adapter_state import AdapterState
from rlpeft.errors import EngineError
from rlpeft.rollout.fake import FakeEngine, Faults
from rlpeft.rollout.proof import Proof, Prover
from rlpeft.types import FinishReason, Request, Sampling

CANARY = [[1, 2, 3]]
REQUESTS = [Request("a", (1, 2), (10, 11)), Request("b", (3,), (12,))]
SAMPLING = Sampling(max_tokens=4)


def echo(request, seed):
    return (seed,), (-0.5,), f"{request.id}{seed}", FinishReason.STOP


def state(version=3):
    return AdapterState({"peft_type": "SVF"}, {"z": torch.ones(4)}, version)


def proof():
    return Proof(state(), CANARY, [[0.0, 0.0]], bound=1e-6)


def test_answers_come_in_request_order_then_seed_order():
    answers = FakeEngine(echo).rollout(REQUESTS, SAMPLING)
    assert [[done.text for done in each] for each in answers] == [["a10", "a11"], ["b12"]]


def test_completions_carry_the_version_and_digest_of_the_last_state():
    engine = FakeEngine(echo)
    engine.load_adapter(state(version=3))
    (done,) = engine.rollout(REQUESTS[1:], SAMPLING)[0]
    assert (done.version, done.digest) == (3, state().digest)


def test_it_remembers_what_it_was_sent():
    engine = FakeEngine(echo)
    engine.load_adapter(state())
    engine.rollout(REQUESTS, SAMPLING)
    engine.close()
    assert [s.version for s in engine.states] == [3]
    assert engine.requests == [REQUESTS]
    assert engine.samplings == [SAMPLING]
    assert engine.closed == 1


def test_an_honest_one_proves_delivery():
    assert Prover(FakeEngine(echo)).prove(proof()).gap == 0


def test_a_false_digest_fails_the_proof():
    engine = FakeEngine(echo, faults=Faults(digest="f" * 64))
    with pytest.raises(EngineError, match="was not delivered"):
        Prover(engine).prove(proof())


def test_other_log_probs_fail_the_proof():
    engine = FakeEngine(echo, logprobs=lambda rows: [[0.0, float("nan")] for _ in rows])
    with pytest.raises(EngineError, match="canary"):
        Prover(engine).prove(proof())


def test_a_stale_one_answers_with_an_older_version():
    engine = FakeEngine(echo, faults=Faults(stale_by=2))
    engine.load_adapter(state(version=3))
    assert engine.rollout(REQUESTS, SAMPLING)[0][0].version == 1


def test_it_dies_after_as_many_rollouts_as_told():
    engine = FakeEngine(echo, faults=Faults(survives=1))
    engine.rollout(REQUESTS, SAMPLING)
    with pytest.raises(EngineError, match="died"):
        engine.rollout(REQUESTS, SAMPLING)
