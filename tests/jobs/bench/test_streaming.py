"""What the figures of streaming are measured with."""

from jobs.bench import slow_reward
from jobs.bench.streaming import Simulated
from rlpeft.rollout.engine import StreamingEngine
from rlpeft.types import Request, Sampling


def test_simulated_answers_end_one_after_another_and_are_all_there():
    engine = Simulated(seconds=0.01)
    assert isinstance(engine, StreamingEngine)
    requests = [Request(f"{k}", (1,), (2 * k, 2 * k + 1)) for k in range(8)]
    parts = list(engine.stream(requests, Sampling(max_tokens=4)))
    order = [place for part in parts for place in part]
    assert sorted(order) == list(range(8)) != order
    assert all(len(completions) == 2 for part in parts for completions in part.values())


def test_the_slow_reward_gives_what_the_free_one_gives():
    assert slow_reward.slow(["7", "8"]) == slow_reward.free(["7", "8"]) == [0.0, 1.0]
