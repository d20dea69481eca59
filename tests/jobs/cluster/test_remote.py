"""What lives in actors, by the methods of its protocol; reward workers, judged as one batch."""

from typing import Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.cluster.remote import Remote, RemoteScorer, methods_of, slices
from rewards.dialects import Rollouts
from rewards.errors import RewardError
from rewards.scorer import RewardSpec, Scorer
from rlpeft.errors import ClusterError, ModelError
from rlpeft.training.learner import LocalLearner
from rlpeft.training.protocol import Learner


class Counts(Protocol):
    """Stands for a learner with one method more than ours."""

    def add(self, number: int) -> int: ...

    def refuse(self) -> None: ...


@pytest.fixture
def remote(cluster):
    """A maker of objects in actors that have the methods of `Counts`."""
    import ray

    from jobs.cluster.actors import Actor

    def build():
        from rlpeft.errors import ModelError

        class Counter:
            total = 0

            def add(self, number):
                self.total += number
                return self.total

            def refuse(self):
                raise ModelError("no.")

            def die(self):
                import os

                os._exit(1)

        return Counter()

    def make(protocol=Counts, build=build):
        actor = ray.remote(Actor).options(num_cpus=1).remote(build, 1)
        return Remote(protocol, actor, "the counter")

    return make


def test_the_learner_of_this_process_has_every_method_of_the_protocol():
    assert methods_of(Learner) >= {"step", "state_dict"}
    assert all(callable(getattr(LocalLearner, method)) for method in methods_of(Learner))


@pytest.mark.ray
def test_an_object_in_an_actor_has_the_methods_of_its_protocol_and_its_errors(remote):
    counter = remote()
    counter.ready()
    assert [counter.add(2), counter.add(3)] == [2, 5]
    with pytest.raises(ModelError, match=r"^no\.$"):
        counter.refuse()
    with pytest.raises(AttributeError, match="the counter has no method 'die'"):
        counter.die()


@pytest.mark.ray
def test_an_object_whose_actor_is_gone_is_told_by_its_name(remote):
    class Deadly(Counts, Protocol):
        def die(self) -> None: ...

    with pytest.raises(ClusterError, match="the counter must stay alive, it is gone"):
        remote(Deadly).die()


@pytest.mark.ray
def test_an_object_that_cannot_be_built_says_why(remote):
    def build():
        from rlpeft.errors import ModelError

        raise ModelError("no such model.")

    with pytest.raises(ModelError, match=r"^no such model\.$"):
        remote(build=build).ready()


@given(st.integers(0, 200), st.integers(1, 9))
def test_slices_cover_all_rows_in_order_and_differ_by_one_at_most(num_rows, num_parts):
    parts = slices(num_rows, num_parts)
    rows = list(range(num_rows))
    assert [row for part in parts for row in rows[part]] == rows
    sizes = [len(rows[part]) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def batch(completions, answers):
    return Rollouts(
        prompts=["p"] * len(completions),
        completions=completions,
        completion_ids=[[1]] * len(completions),
        truncated=[False] * len(completions),
        columns={"answer": answers},
        step=3,
    )


@pytest.fixture
def workers(cluster):
    import ray

    from jobs.cluster.reward_actor import RewardActor

    def make(build, number=2):
        return [ray.remote(RewardActor).options(num_cpus=1).remote(build) for _ in range(number)]

    return make


@pytest.mark.ray
def test_workers_score_as_one_scorer_does(workers):
    def build():
        return Scorer([RewardSpec("exact")])

    rows = batch(["1", "2", "3", "4", "5"], ["1", "0", "3", "0", "5"])
    scored = RemoteScorer(workers(build), error_limit=0.1).score(rows)
    assert scored == build().score(rows)
    assert [verdict.score for verdict in scored.verdicts] == [1, 0, 1, 0, 1]


@pytest.mark.ray
def test_the_limit_of_failures_is_a_share_of_the_whole_batch(workers):
    def build():
        from rewards.scorer import Scorer

        class Failing(Scorer):
            def score(self, rows):
                from rewards.scorer import ScoredBatch
                from rewards.verdict import Verdict, VerdictKind

                verdicts = [
                    Verdict(None, VerdictKind.ERROR, "seven", None)
                    if text == "7"
                    else Verdict(1.0, VerdictKind.CORRECT, "", None)
                    for text in rows.completions
                ]
                return ScoredBatch(verdicts, {"r": verdicts}, {}, {})

        return Failing([RewardSpec("exact")], error_limit=1.0)

    actors = workers(build)
    rows = batch(["1", "7", "1", "1"], ["1"] * 4)
    # One of two rows of a worker, one of four rows of the batch.
    assert RemoteScorer(actors, error_limit=0.3).score(rows).verdicts[1].score is None
    with pytest.raises(RewardError, match=r"got 1 of 4 at step 3\. First: row 1, error"):
        RemoteScorer(actors, error_limit=0.2).score(rows)


@pytest.mark.ray
def test_a_worker_that_is_free_scores_what_comes_while_another_is_busy(workers, tmp_path):
    def build():
        import time

        from rewards.scorer import RewardSpec, Scorer

        class Waiting(Scorer):
            def score(self, rows):
                while "slow" in rows.completions and not (tmp_path / "go").exists():
                    time.sleep(0.05)
                return super().score(rows)

        return Waiting([RewardSpec("exact")])

    scorer = RemoteScorer(workers(build), error_limit=0.1)
    slow = scorer.begin(batch(["slow"], ["1"]))
    for text in ("1", "2", "3"):
        [verdict] = scorer.begin(batch([text], ["1"]))().verdicts
        assert verdict.score == float(text == "1")
    (tmp_path / "go").touch()
    assert [verdict.score for verdict in slow().verdicts] == [0.0]
    scorer.close()
