"""What engines are asked: seeds that no two completions share."""

from rlpeft.rollout.groups import rollout_seed


def test_seeds_differ_by_run_request_and_member():
    seeds = {rollout_seed(s, r, m) for s in (0, 1) for r in ("a", "b") for m in (0, 1)}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**48 for seed in seeds)
