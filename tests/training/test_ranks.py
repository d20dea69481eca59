"""Two ranks of one learner, real processes over gloo: one gradient, one adapter, one end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parent / "ranked.py"
ADAPTERS = ("svf", "lora", "moslora")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each of the two ranks has seen."""
    url = f"file://{tmp_path_factory.mktemp('ranks') / 'meet'}"
    ranks = [
        subprocess.Popen([sys.executable, str(SCRIPT), str(rank), url], stdout=subprocess.PIPE)
        for rank in range(2)
    ]
    return [json.loads(rank.communicate()[0]) for rank in ranks]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_two_ranks_have_the_gradient_of_one(found, adapter):
    assert [rank[adapter]["error"] <= 1e-6 for rank in found] == [True, True]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_all_ranks_come_to_the_same_adapter_bit_for_bit(found, adapter):
    first, second = (rank[adapter]["moved"] for rank in found)
    assert first == second


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_metrics_are_of_all_ranks(found, adapter):
    first, second = (rank[adapter]["metrics"] for rank in found)
    assert first["perf/learner_ranks"] == 2
    assert first == second


@pytest.mark.parametrize("case", [*ADAPTERS, "checkpointed"])
def test_ranks_that_hold_a_part_of_the_model_have_the_gradient_of_one(found, case):
    """Among them a step of one micro-batch, in which one rank has nothing to do."""
    for rank in found:
        assert max(rank["sharded"][case]["errors"]) <= 1e-6
        assert rank["sharded"][case]["gap"] <= 1e-5
    first, second = (rank["sharded"][case]["moved"] for rank in found)
    assert first == second


@pytest.mark.parametrize("case", [*ADAPTERS, "checkpointed"])
def test_ranks_hold_a_part_of_base_and_basis_after_a_step(found, case):
    assert [rank["sharded"][case]["held"] <= 0.55 for rank in found] == [True, True]


def test_a_sharded_step_that_breaks_on_one_rank_stops_all(found):
    for rank in found:
        assert "the loss must be finite, got nan" in rank["sharded_and_broken"]["text"]


def test_a_loss_that_is_not_finite_on_one_rank_stops_all(found):
    for rank in found:
        assert rank["broken"]["kind"] == "ModelError"
        assert "the loss must be finite, got nan at step 1" in rank["broken"]["text"]
        assert rank["broken"]["clean"]
        assert rank["broken"]["same"]


def test_a_rank_that_breaks_is_told_by_the_others(found):
    first, second = (rank["defective"] for rank in found)
    assert second["kind"] == "MemoryError"
    assert first["kind"] == "ModelError"
    assert (
        "rank 1 of the learner must finish its part of a step, got MemoryError: no room"
        in (first["text"])
    )


def test_a_rank_without_micro_batches_follows(found):
    assert [rank["few"]["error"] <= 1e-6 for rank in found] == [True, True]
    assert [rank["few"]["empty"]["loss"] for rank in found] == [0.0, 0.0]


def test_ranks_that_have_come_apart_are_stopped(found):
    for rank in found:
        assert "adapters after step 1 must be bit-equal on all 2 ranks" in rank["apart"]["text"]


def test_a_state_goes_on_bit_for_bit_on_as_many_ranks_and_but_for_rounding_on_one(found):
    assert [rank["resumed"]["same"] for rank in found] == [True, True]
    assert [rank["resumed"]["gap"] < 1e-3 for rank in found] == [True, True]


def test_a_rank_that_stalls_is_named(found):
    said = found[0]["stalled"]
    assert said["kind"] == "ClusterError"
    assert "all 2 ranks of the learner must answer within" in said["text"]
    assert "1 failed to pass monitoredBarrier" in said["text"]
