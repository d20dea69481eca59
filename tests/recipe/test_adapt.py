"""A recipe of a search says how its shots are answered."""

import pytest

from rlpeft.recipe.adapt import AdaptRecipe


@pytest.mark.parametrize(("samples", "temperature"), [(0, 0.0), (8, 0.7)])
def test_shots_are_answered_greedily_unless_several_samples_are_asked_for(samples, temperature):
    recipe = AdaptRecipe(
        name="x",
        model={"name": "tiny"},
        task={"name": "tiny/mix"},
        experts=("unread",),
        rollout={"temperature": 0.7},
        search={"samples": samples},
    )
    assert recipe.shot_sampling.temperature == temperature
