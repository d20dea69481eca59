"""The geometric bench's exact half, on the tiny base; timings are for a quiet machine."""

import pytest

from jobs.bench.geometric import ADAPTERS, generate, moved, precision_rows
from jobs.bench.learner import Workload
from rlpeft.adapters.lowrank import LowRankLayer


def test_updates_are_as_exact_as_the_goals_ask():
    rows = precision_rows("tiny")
    assert [row.met for row in rows] == [True] * 4
    assert all(row.ours > 0 for row in rows)  # an update of zero would be exact too


@pytest.mark.parametrize("name", ["HypLoRA", "MoSLoRA"])
def test_generation_runs_the_fused_forms(name):
    from rlpeft.models.folder import resolve_model
    from rlpeft.models.tokenizer import load_tokenizer
    from rlpeft.rollout.hf.engine import HfEngine
    from rlpeft.tokens.eos import eos_ids

    path = resolve_model("tiny")
    tokenizer, policy = load_tokenizer(path), moved("tiny", ADAPTERS[name])
    engine = HfEngine(policy, tokenizer, eos_ids=eos_ids(path, tokenizer))
    assert generate(engine, Workload(groups=2, prompt=8, completion=3, group_size=2)) == 12
    layers = [module for module in policy.modules() if isinstance(module, LowRankLayer)]
    assert layers
    assert all(set(layer._cache) == {("fused", "default")} for layer in layers)
