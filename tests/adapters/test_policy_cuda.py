"""The policy on a CUDA device, where there is one."""

import pytest

from rlpeft.adapters.policy import attach_adapter, sequence_logprobs
from rlpeft.models.folder import resolve_model
from rlpeft.models.load import load_base_model
from rlpeft.recipe.adapter import SvfAdapter

SEQUENCES = [[5, 6, 7, 8], [9, 10, 11]]


@pytest.mark.gpu
def test_a_policy_scores_on_a_cuda_device_as_it_does_on_the_cpu():
    base = load_base_model(resolve_model("tiny"), "float32")
    policy = attach_adapter(base, SvfAdapter(), seed=0)
    here = sequence_logprobs(policy, SEQUENCES)
    there = sequence_logprobs(policy.to("cuda"), SEQUENCES)
    for ours, theirs in zip(here, there, strict=True):
        assert theirs == pytest.approx(ours, abs=1e-3)
