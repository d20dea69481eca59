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
        (
            {"contrast": [{"of": {"kl": "0"}, "against": "uniform"}]},
            "needs a study of by = 'adapt'",
        ),
        ({"contrast": [{"of": {"kl": "0"}, "against": "parent"}]}, "needs a study of by = 'adapt'"),
        (
            {"contrast": [{"of": {"kl": "0"}, "against": "uniforms"}]},
            r"against must be one of 'base', .*got 'uniforms'\. Did you mean 'uniform'",
        ),
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
        ({"set": ["name=mine"]}, "set must leave name to the study"),
        ({"set": ["train.seed=7"]}, r"leave train.seed to the study.*seeds = \[0, 1, 2\]"),
        ({"set": ["train={ steps = 2, seed = 7 }"]}, "leave train.seed to the study"),
        ({"axes": {"a": {"b": ["train.seed=7"]}}}, "axes.a.b must leave train.seed"),
        ({"tune": [{"key": "train.seed", "values": [0, 1]}]}, "tune of train.seed must leave"),
        ({"by": "adapt", "set": ["seed=7"]}, "leave seed to the study"),
        ({"by": "adapt", "axes": {"a": {"b": ["shots.seed=7"]}}}, "leave shots.seed"),
        ({"set": ["train.seed"]}, "must be section.key=value"),
        ({"tune": [{"key": "learner.lr", "values": [0.1, 0.1]}]}, "learner.lr must differ"),
        ({"axes": {"a": {"b": ["by=adapt"]}}}, "axes.a.b must have by=train or by=sft"),
        ({"by": "adapt", "axes": {"a": {"b": ["by=sft"]}}}, "got by=sft in one by 'adapt'"),
        ({"set": ["by=sft"]}, "must be said once, by = … of the study"),
        ({"tune": [{"key": "by", "values": ["sft", "train"]}]}, "must be said once"),
        (
            {"axes": {"a": {"b": ["by=sft"]}, "c": {"d": ["by=train"]}}},
            "by must be set once.* in axes.a.b and in axes.c.d",
        ),
        (
            {"tune": [{"key": "adapter.type", "values": ["svf", "lora"]}]},
            "adapter.type must be set once.* in axes.adapter.lora and in tune of adapter.type",
        ),
        (
            {"axes": {"a": {"b": ["adapter.rank=2"]}, "c": {"d": ["adapter={ rank = 4 }"]}}},
            "adapter.rank must be set once.* in axes.a.b and in axes.c.d",
        ),
        (
            {"tune": [{"key": "learner.lr", "values": [0.1, 1]} for _ in range(2)]},
            "learner.lr must be set once",
        ),
    ],
)
def test_a_word_that_means_nothing_is_told(changes, said):
    with pytest.raises(ConfigError, match=said):
        study(**changes)


def test_arms_apart_may_set_one_key_each_in_its_own_way():
    tune = [
        {"key": "learner.lr", "values": [0.1, 1], "of": {"adapter": "svf"}},
        {"key": "learner.lr", "values": [1, 10], "of": {"adapter": "lora"}},
        {"key": "adapter.type", "values": ["svf", "ia3"], "of": {"adapter": "svf"}},
    ]
    assert len(study(tune=tune, set=["learner.lr=5"]).tune) == 3
