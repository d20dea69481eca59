import math

import pytest

from rewards import RewardError
from rewards.scorer import RewardSpec


def scores(score, name, lengths, **options):
    batch = score(
        [RewardSpec(name, options=options)],
        ["x"] * len(lengths),
        completion_ids=[list(range(n)) for n in lengths],
    )
    return [verdict.score for verdict in batch.verdicts]


def test_soft_overlong_punishment_is_dapos_equation_13(score):
    # L_max = 100, L_cache = 20: free to 80, then (80 - n) / 20, then -1.
    got = scores(
        score,
        "get_soft_overlong_punishment",
        [0, 80, 85, 90, 100, 101, 500],
        max_completion_len=100,
        soft_punish_cache=20,
    )

    assert got == [0.0, 0.0, -0.25, -0.5, -1.0, -1.0, -1.0]


def test_soft_overlong_punishment_without_a_cache_is_a_step(score):
    name, options = "get_soft_overlong_punishment", {"max_completion_len": 5}

    assert scores(score, name, [5, 6], soft_punish_cache=0, **options) == [0.0, -1.0]
    with pytest.raises(RewardError, match="soft_punish_cache"):
        scores(score, name, [5], soft_punish_cache=6, **options)


def test_repetition_is_punished_by_the_share_of_repeated_ngrams(score):
    batch = score(
        [RewardSpec("get_repetition_penalty_reward", options={"ngram_size": 2})],
        ["x"] * 4,
        completion_ids=[[1, 2, 3, 4], [5, 5, 5, 5, 5], [1], []],
    )

    assert [verdict.score for verdict in batch.verdicts] == [0.0, -0.75, 0.0, 0.0]


def test_a_positive_repetition_penalty_is_refused(score):
    with pytest.raises(RewardError, match="max_penalty"):
        scores(score, "get_repetition_penalty_reward", [3], max_penalty=0.5)


def test_length_reward_falls_from_its_target(score):
    got = scores(score, "length", [0, 5, 9, 10, 11, 15, 30], target_len=10, tolerance=1)

    assert got == pytest.approx([0.1, 0.6, 1.0, 1.0, 1.0, 0.6, 0.0])


def test_the_cosine_schedule_pays_short_right_and_spares_long_wrong(score):
    batch = score(
        [RewardSpec("get_cosine_scaled_reward", options={"max_len": 100})],
        [r"\boxed{7}"] * 4 + [r"\boxed{8}"] * 3,
        completion_ids=[[0] * n for n in (0, 50, 100, 300, 0, 50, 100)],
        columns={"solution": ["7"] * 7},
    )

    # Right: 1 down to 0.5; wrong: -1 up to -0.5; midpoints where the cosine is 0.
    want = [1.0, 0.75, 0.5, 0.5, -1.0, -0.75, -0.5]
    assert [v.score for v in batch.verdicts] == pytest.approx(want)


def test_the_cosine_schedule_is_a_cosine_between_its_ends(score):
    batch = score(
        [RewardSpec("get_cosine_scaled_reward", options={"max_len": 12})],
        [r"\boxed{7}"],
        completion_ids=[[0] * 3],
        columns={"solution": ["7"]},
    )

    assert batch.verdicts[0].score == pytest.approx(0.5 + 0.25 * (1 + math.sqrt(0.5)))


def test_an_unreadable_gold_answer_stays_unscorable_under_the_schedule(score):
    batch = score(
        [RewardSpec("get_cosine_scaled_reward", options={"max_len": 12})],
        [r"\boxed{7}"],
        columns={"solution": [""]},
    )

    assert batch.verdicts[0].score is None


@pytest.mark.parametrize(
    ("name", "option"),
    [("get_cosine_scaled_reward", "max_len"), ("get_repetition_penalty_reward", "ngram_size")],
)
def test_a_length_of_nothing_is_refused(score, name, option):
    with pytest.raises(RewardError, match=f"^{option} must be at least 1, got 0"):
        scores(score, name, [3], **{option: 0})
