"""What engines are asked, with seeds that no two completions share, and the scored groups."""

import pytest

from rewards.errors import RewardError
from rewards.scorer import ScoredBatch, check_failures
from rewards.verdict import Verdict, VerdictKind
from rlpeft.rollout.fake import FakeEngine
from rlpeft.rollout.fleet import LocalFleet
from rlpeft.rollout.groups import ask_scored, rollout_seed
from rlpeft.types import FinishReason, Problem, Request, Sampling


def test_seeds_differ_by_run_request_and_member():
    seeds = {rollout_seed(s, r, m) for s in (0, 1) for r in ("a", "b") for m in (0, 1)}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**48 for seed in seeds)


class Parts(FakeEngine):
    """Ends requests in this order, those of one list together."""

    def __init__(self, log, order):
        super().__init__(
            lambda request, seed: ((seed,), (-0.5,), f"{request.id}{seed}", FinishReason.STOP)
        )
        self.log, self.order = log, order

    def stream(self, requests, sampling):
        whole = self.rollout(requests, sampling)
        for places in self.order:
            self.log.append(f"ended {places}")
            yield {place: whole[place] for place in places}


class Whole:
    """Rewards of this process."""

    def __init__(self, log, failing=""):
        self.log, self.failing = log, failing

    def score(self, rollouts):
        texts = [str(text) for text in rollouts.completions]
        self.log.append(f"scored {' '.join(texts)}")
        verdicts = [
            Verdict(None, VerdictKind.ERROR, "fails")
            if text == self.failing
            else Verdict(1.0, VerdictKind.CORRECT)
            for text in texts
        ]
        seen = dict.fromkeys(("said", f"with {texts[0]}"), texts)
        levels = list(rollouts.columns["level"])
        return ScoredBatch(
            verdicts, {"r": verdicts}, seen | {"level": levels}, {"rows": float(len(texts))}
        )


class Elsewhere(Whole):
    """Rewards in workers."""

    def begin(self, rollouts):
        found = self.score(rollouts)
        return lambda: found

    def judge(self, scored, rollouts):
        check_failures(scored.by_reward, rollouts, limit=0.2)


PROBLEMS = [Problem("a", "a?", columns={"level": 3}), Problem("b", "b?"), Problem("c", "c?")]
REQUESTS = [Request("a", (1,), (0, 1)), Request("b", (1,), (2,)), Request("c", (1,), (4, 5))]


def scored(rewards, order=((2,), (0, 1)), failing=""):
    log, told = [], []
    found = ask_scored(
        PROBLEMS,
        REQUESTS,
        LocalFleet(Parts(log, order)),
        rewards(log, failing),
        sampling=Sampling(4),
        step=3,
        tell=lambda done, of: told.append((done, of)),
    )()
    return found, log, told


def test_rewards_in_workers_score_what_has_ended_while_others_are_generated():
    found, log, told = scored(Elsewhere)
    assert log == ["ended (2,)", "scored c4 c5", "ended (0, 1)", "scored a0 a1 b2"]
    assert told == [(1, 3), (3, 3)]
    assert [scored.group.problem.id for scored in found.groups] == ["a", "b", "c"]
    assert [scored.columns["said"] for scored in found.groups] == [
        ("a0", "a1"),
        ("b2",),
        ("c4", "c5"),
    ]


def test_rewards_of_this_process_see_the_whole_batch():
    found, log, _ = scored(Whole)
    assert log == ["ended (2,)", "ended (0, 1)", "scored a0 a1 b2 c4 c5"]
    assert [scored.group.problem.id for scored in found.groups] == ["a", "b", "c"]


def test_what_is_scored_in_parts_has_the_columns_of_all_and_the_mean_over_groups():
    found, _, _ = scored(Elsewhere)
    assert [scored.columns["level"] for scored in found.groups] == [(3, 3), (None,), (None, None)]
    assert [scored.columns["with c4"] for scored in found.groups] == [
        (None, None),
        (None,),
        ("c4", "c5"),
    ]
    assert found.metrics == {"rows": pytest.approx((3 + 3 + 2) / 3)}


def test_the_order_in_which_parts_come_changes_nothing():
    assert scored(Elsewhere)[0] == scored(Elsewhere, order=((0, 1), (2,)))[0]


def test_the_share_of_failures_is_that_of_all_parts_and_rows_are_counted_by_problems():
    # One of two of the part that ends first, one of five in all.
    assert scored(Elsewhere, failing="c5")[0].groups[2].rewards == [1.0, None]
    with pytest.raises(RewardError, match=r"got 2 of 5 at step 3\. First: row 0, error"):
        scored(Failing)


class Failing(Elsewhere):
    """Fails for every first completion of a call."""

    def score(self, rollouts):
        self.failing = rollouts.completions[0]
        return super().score(rollouts)
