"""By which figure of a validation an expert is chosen, as it is said beforehand."""

import pytest

from rlpeft.recipe.reward import RewardConfig, chosen_by

EXACT, OWN, FROM_HALF = (
    RewardConfig(name="exact"),
    RewardConfig(name="my_rewards:halves"),
    RewardConfig(name="my_rewards:halves", correct_at=0.5),
)


@pytest.mark.parametrize(
    ("select", "rewards", "figure"),
    [
        (None, [EXACT], "accuracy (share of correct answers)"),
        (None, [EXACT, OWN], "accuracy (share of correct answers)"),
        (None, [FROM_HALF], "a score from 0.5 on"),
        (None, [OWN], "accuracy (share of correct answers) where the reward answers True or False"),
        (None, [OWN], "else by mean score"),
        ("score", [EXACT], "mean score (train.select)"),
        ("rewards/halves", [OWN], "mean of rewards/halves (train.select)"),
        ("accuracy", [OWN], "accuracy (share of correct answers)"),
    ],
)
def test_the_figure_that_chooses_follows_the_rewards(select, rewards, figure):
    assert figure in chosen_by(select, {reward.name: reward.correct_at for reward in rewards})
