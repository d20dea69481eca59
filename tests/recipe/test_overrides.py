"""`--set`: a key of the tree, through sections and through lists of them."""

import pytest

from rlpeft.errors import ConfigError
from rlpeft.recipe.overrides import with_overrides

LIST = {"reward": [{"name": "exact"}, {"name": "exact"}, {"name": "math"}]}


def changed(override):
    return with_overrides({"reward": [dict(each) for each in LIST["reward"]]}, [override])["reward"]


def test_a_table_of_a_list_is_named_by_its_place():
    assert changed("reward.1.weight=2")[1] == {"name": "exact", "weight": 2}


def test_a_table_of_a_list_is_named_by_what_it_alone_is_called():
    assert changed("reward.math.weight=0.5")[2] == {"name": "math", "weight": 0.5}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("reward.exact.weight=2", "of exact, exact, math, got 'exact'"),
        ("reward.3.weight=2", "by its place, from 0, .* got '3'"),
        ("reward.weight=2", r"'reward' is a list. Name one of its tables: reward.0.weight=2 or"),
        ("reward.weight=2", r"or reward.math.weight=2"),
        ("reward.0.name.length=2", "'name' is a value, not a section"),
        ("reward", "must be section.key=value, got 'reward'"),
    ],
)
def test_what_names_no_key_is_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        changed(override)


@pytest.mark.parametrize("names", [["mine:graded"], ["mine.rewards:one", "mine.rewards:two"]])
def test_the_key_that_is_proposed_works(names):
    tree = {"reward": [{"name": name} for name in names]}
    with pytest.raises(ConfigError) as caught:
        with_overrides(tree, ["reward.correct_at=1"])
    proposed = str(caught.value).rpartition(": ")[2]
    with_overrides(tree, proposed.split(" or "))
    assert [reward["correct_at"] for reward in tree["reward"]] == [1] * len(names)
