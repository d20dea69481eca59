import asyncio
import threading
from contextlib import closing

import pytest

from rewards import RewardError, Verdict, VerdictKind
from rewards.dialects import Rollouts
from rewards.scorer import RewardSpec, Scorer, combine

RIGHT = Verdict(1.0, VerdictKind.CORRECT, "right", "7")
WRONG = Verdict(0.0, VerdictKind.WRONG, "wrong", "8")
BAD_GOLD = Verdict(None, VerdictKind.UNSCORABLE, "gold?")
CRASH = Verdict(None, VerdictKind.ERROR, "crash")
SLOW = Verdict(None, VerdictKind.TIMEOUT, "slow")


def test_scores_are_summed_by_weight_under_the_first_kind():
    total = combine([RIGHT, WRONG, RIGHT], [1.0, 5.0, 0.5])

    assert (total.score, total.kind, total.extracted) == (1.5, VerdictKind.CORRECT, "7")


def test_the_kind_is_that_of_the_first_part_that_judges():
    graded = Verdict(0.5, VerdictKind.GRADED)
    assert combine([graded, WRONG, RIGHT], [1, 1, 1]).kind is VerdictKind.WRONG
    assert combine([graded, graded], [1.0, 2.0]) == Verdict(1.5, VerdictKind.GRADED)


@pytest.mark.parametrize("weight", [1e300, 1e9])
def test_a_sum_too_large_for_training_is_named(weight):
    with pytest.raises(RewardError, match=r"must lie between .* \* 1e\+09 for row 2"):
        combine([Verdict(1e9, VerdictKind.GRADED)], [weight], row=2)


def test_a_threshold_for_a_verifier_that_judges_is_refused():
    with pytest.raises(RewardError, match="'math' says itself what is correct"):
        Scorer([RewardSpec("math", correct_at=0.5)])


def test_a_threshold_makes_a_graded_reward_judge(score):
    spec = RewardSpec("length", options={"target_len": 4}, correct_at=0.5)
    batch = score([spec], ["a", "abcd"])
    assert [v.kind.value for v in batch.verdicts] == ["wrong", "correct"]
    assert [v.score for v in batch.verdicts] == [0.25, 1.0]


def test_unscorable_parts_are_left_out_of_the_sum():
    assert combine([BAD_GOLD, RIGHT], [1.0, 0.5]).score == 0.5
    assert combine([BAD_GOLD, BAD_GOLD], [1.0, 0.5]).kind is VerdictKind.UNSCORABLE


@pytest.mark.parametrize("failure", [CRASH, SLOW])
def test_a_part_that_failed_leaves_the_whole_unscored(failure):
    assert combine([RIGHT, failure], [1.0, 1.0]) is failure


def test_built_in_verifiers_read_their_gold_column(score):
    batch = score(
        [RewardSpec("math", options={"gold": "solution"})],
        ["It is \\boxed{7}.", "It is \\boxed{8}.", ""],
        columns={"solution": ["7", 7, 7.0]},
    )

    assert [v.kind.value for v in batch.verdicts] == ["correct", "wrong", "unparsable"]


def test_a_truncated_completion_without_an_answer_is_truncated(score):
    batch = score(
        ["math"],
        ["First we add 3 and", "So it is \\boxed{7}. And further"],
        truncated=[True, True],
        columns={"answer": ["7", "7"]},
    )

    assert [v.kind.value for v in batch.verdicts] == ["truncated", "correct"]


def test_a_missing_gold_answer_is_unscorable(score):
    batch = score(["math"], ["\\boxed{7}"], columns={"answer": [None]})

    assert batch.verdicts[0].kind is VerdictKind.UNSCORABLE


def test_a_gold_answer_of_another_type_names_the_way_out(score):
    with pytest.raises(RewardError, match=r"gold answer must be text or a number.*\['7'\]"):
        score(["math"], ["7"], columns={"answer": [["7"]]})


def test_a_missing_column_is_named_with_those_there_are(score):
    with pytest.raises(RewardError, match=r"'accuracy_reward' needs.*\['solution'\].*\['answer'\]"):
        score(["accuracy_reward"], ["7"], columns={"answer": ["7"]})


@pytest.mark.parametrize(
    "change",
    [
        {"prompts": ["p"]},
        {"completion_ids": [[1]]},
        {"truncated": [False] * 3},
        {"columns": {"answer": ["7"]}},
    ],
)
def test_lists_of_unequal_length_are_refused(score, change):
    with pytest.raises(RewardError, match=r"one item per completion \(2\)"):
        score(["math"], ["7", "8"], **({"columns": {"answer": ["7", "7"]}} | change))


def test_too_many_errors_stop_with_the_first_row_quoted(module, score):
    name = module("def check(completion, gold): return 1 / int(completion)")
    completions = ["1"] * 8 + ["0", "0"]

    with pytest.raises(RewardError, match=r"'check'.*2 of 10 at step 7.*row 8.*ZeroDivision.*'0'"):
        score([f"{name}:check"], completions, columns={"answer": [""] * 10})


def test_what_an_environment_did_wrong_begins_the_message():
    late = Verdict(None, VerdictKind.TIMEOUT, "environment 'w:E' must answer within 2 s.")
    rollouts = Rollouts(["q"], ["x"], [[1]], [False], {"answer": ["7"]}, 1, outcomes=[late])
    with closing(Scorer([RewardSpec("math")])) as scorer, pytest.raises(RewardError) as caught:
        scorer.score(rollouts)
    start = f"{late.reason} Make it quicker, or raise the limit. Its errors and timeouts must stay "
    assert str(caught.value).startswith(start)
    assert "(train.error_limit), got 1 of 1 at step" in str(caught.value)


def test_errors_within_the_limit_are_reported_and_left_unscored(module, score):
    name = module("def check(completion, gold): return 1 / int(completion)")
    completions = ["1"] * 9 + ["0"]

    batch = score([f"{name}:check"], completions, columns={"answer": [""] * 10})

    assert [v.score for v in batch.verdicts] == [1.0] * 9 + [None]


def test_no_reward_is_refused():
    with pytest.raises(RewardError, match="at least one"):
        Scorer([])


def test_an_empty_batch_is_scored(score):
    assert score(["math"], [], columns={"answer": []}).verdicts == []


@pytest.mark.parametrize(
    ("kind", "completions", "golds"),
    [
        ("math", ["\\boxed{7}", "\\boxed{0.5}", "\\boxed{9**9**9}", ""], ["7", "1/2", "7", "7"]),
        ("choice", ["Answer: (B)", "B or C"], ["B", "B"]),
        ("regex", ["aa", "b"], ["a+", "a+"]),
        ("code", ["x = 1", "x = 2"], ["assert x == 1", "assert x == 1"]),
    ],
)
def test_threads_and_event_loops_get_the_same_verdicts(score, kind, completions, golds):
    def run():
        return score([kind], completions, columns={"answer": golds}).verdicts

    async def in_loop():
        return run(), await asyncio.to_thread(run)

    here = run()
    found = []
    thread = threading.Thread(target=lambda: found.append(run()))
    thread.start()
    thread.join()
    assert [*found, *asyncio.run(in_loop())] == [here] * 3
    assert here[0].kind is VerdictKind.CORRECT


@pytest.mark.ray
def test_a_ray_actor_gives_the_same_verdicts():
    import ray

    completions = ["\\boxed{7}", "\\boxed{9**9**9}", "Answer: (B)", "```python\nx = 1\n```"]
    kinds = {
        "math": ["7", "7", "B", "1"],
        "choice": ["A", "B", "B", "D"],
        "code": ["", "", "", "assert x == 1"],
    }

    class Actor:
        def score(self, kind, golds):
            scorer = Scorer([RewardSpec(kind)], error_limit=1.0)
            n = len(golds)
            rollouts = Rollouts(
                prompts=[""] * n,
                completions=completions,
                completion_ids=[[1]] * n,
                truncated=[False] * n,
                columns={"answer": golds},
                step=0,
            )
            batch = scorer.score(rollouts)
            return [(v.score, v.kind.value, v.extracted) for v in batch.verdicts]

        async def score_async(self, kind, golds):
            return self.score(kind, golds)

    # The session may have a cluster already; it is not ours to end.
    ours = not ray.is_initialized()
    if ours:
        ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        for concurrency in (1, 4):
            actor = ray.remote(Actor).options(max_concurrency=concurrency, num_cpus=0).remote()
            for kind, golds in kinds.items():
                here = Actor().score(kind, golds)
                assert ray.get(actor.score.remote(kind, golds)) == here
                assert ray.get(actor.score_async.remote(kind, golds)) == here
    finally:
        if ours:
            ray.shutdown()
