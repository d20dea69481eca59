"""Geometric adapters trained by RL with real vLLM rollouts: delivered, proven, and in agreement."""

import pytest

pytest.importorskip("vllm")

from rlpeft.experts.files import load_expert
from rlpeft.program.run import run
from rlpeft.recipe.run import parse_recipe
from rlpeft.runs.records import completions_steps, read_completions, read_metrics

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(600)]

BOUND = 1e-4
"""Log-prob difference accepted between trainer and engine in float32."""


def recipe(adapter, lag):
    tree = {
        "name": "geometric",
        "model": {"name": "tiny"},
        "task": {"name": "tiny/swap", "num_validation": 8, "num_test": 8},
        "adapter": adapter,
        "rollout": {"engine": "vllm", "max_tokens": 6, "max_prompt_tokens": 16},
        "reward": [{"name": "exact"}],
        "learner": {"lr": 5e-3},
        "train": {"steps": 3, "prompts_per_step": 8, "eval_every": 3, "report_to": []},
    }
    tree["rollout"] |= {"canary_bound": BOUND, "max_lag": lag}
    return parse_recipe(tree, source="geometric")


@pytest.mark.parametrize(
    ("kind", "lag", "sampled_by"),
    [("hyplora", 0, [{0}, {1}, {2}]), ("moslora", 1, [{0}, {0}, {1}])],
)
def test_rl_with_vllm_rollouts_delivers_every_policy_and_agrees_with_the_trainer(
    tmp_path, kind, lag, sampled_by
):
    summary = run(recipe({"type": kind, "rank": 8}, lag), tmp_path)
    rows = read_metrics(tmp_path)
    # Every sync was proven within the bound, or the run would have stopped; and the canaries did
    # not agree because nothing had changed.
    assert 0 < max(row["sync/gap"] for row in rows if "sync/gap" in row) <= BOUND
    if not lag:  # ahead of the learner, two policies differ
        assert max(row["sampling/sampling_logp_difference/max"] for row in rows[1:]) <= BOUND
    versions = [
        {row["version"] for row in read_completions(p)} for p in completions_steps(tmp_path)
    ]
    assert versions == sampled_by
    trained = load_expert(tmp_path / "expert").tensors
    assert summary["sync_bytes"] == sum(t.numel() * 4 for t in trained.values())
