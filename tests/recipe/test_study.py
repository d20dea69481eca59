"""A study says what it means, or which word of it means nothing."""

import pytest

from rlpeft.errors import ConfigError
from rlpeft.recipe.run import validated
from rlpeft.recipe.study import StudyRecipe

TREE = {
    "name": "s",
    "claim": "svf beats lora",
    "recipe": "quickstart",
    "axes": {"adapter": {"svf": [], "lora": ["adapter.type=lora"]}, "kl": {"0": [], "0.1": []}},
}


def study(**changes):
    return validated(StudyRecipe, TREE | changes, source="s")


def test_a_claim_and_axes_are_enough():
    assert study().seeds == (0, 1, 2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"contrast": [{"of": {"adaptor": "svf"}, "against": "base"}]}, "Did you mean 'adapter'"),
        ({"contrast": [{"of": {"adapter": "svg"}, "against": "base"}]}, "Did you mean 'svf'"),
        ({"contrast": [{"of": {"kl": "0"}, "against": {"adapter": "svf"}}]}, "on the same axes"),
        ({"contrast": [{"of": {"kl": "0"}, "against": {"kl": "0"}}]}, "two places"),
        ({"contrast": [{"of": {"kl": "0"}, "against": "uniform"}]}, "test no such"),
        (
            {"tune": [{"key": "learner.lr", "values": [0.1, 1], "of": {"x": "y"}}]},
            "one of the axes",
        ),
        ({"tune": [{"key": "learner.lr", "values": [0.1]}]}, "at least 2"),
        ({"by": "adapt", "tune": [{"key": "seed", "values": [0, 1]}]}, "no validation|has none"),
        ({"seeds": [0, 0]}, "seeds must differ"),
        ({"seeds": []}, "at least 1"),
        ({"axes": {}}, "at least 1"),
        ({"axes": {"adapter": {}}}, "must hold something"),
        ({"axes": {"a/b": {"x": []}}}, "they name folders"),
    ],
)
def test_a_word_that_means_nothing_is_told(changes, said):
    with pytest.raises(ConfigError, match=said):
        study(**changes)
