"""The arithmetic behind the sync bench."""

from __future__ import annotations

from jobs.bench.sync import factor_flops, plain_flops
from rlpeft.adapters.policy import adapter_state, attach_adapter
from rlpeft.models.folder import resolve_model
from rlpeft.models.load import load_base_model
from rlpeft.recipe.run import SvfAdapter


def test_flops_of_a_token_are_those_counted_by_hand() -> None:
    # `tiny`: 4 layers of width 128, 64 for k and v, MLP 256, vocabulary 280.
    policy = attach_adapter(load_base_model(resolve_model("tiny")), SvfAdapter(), seed=0)
    weights = 4 * (2 * 128 * 128 + 2 * 64 * 128 + 3 * 256 * 128) + 280 * 128
    assert plain_flops(policy) == 2 * weights
    assert factor_flops(policy) == 4 * 4 * (2 * 128**2 + 2 * 64**2 + 3 * 128**2)
    assert adapter_state(policy, 0).num_bytes == 4 * 4 * (5 * 128 + 2 * 64)
