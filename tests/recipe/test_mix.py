"""Several tasks in one recipe: what they may be, and the recipe of each alone."""

import tomllib

import pytest

from rlpeft.errors import ConfigError
from rlpeft.recipe.run import TaskConfig, parse_recipe, with_overrides
from rlpeft.recipe.toml import filled_in

TWO = """
name = "two"
model.name = "tiny"
rollout.max_tokens = 8
[[task]]
name = "tiny/swap"
weight = 3
reward = [{ name = "exact" }]
[[task]]
path = "rows/sums.jsonl"
max_tokens = 4
completion = "{sum}"
[[task.reward]]
name = "math"
weight = 2.0
"""


def two(*overrides):
    return parse_recipe(with_overrides(tomllib.loads(TWO), overrides), source="two")


def test_each_task_alone_is_a_recipe_with_its_rewards_and_limits():
    swap, sums = two().alone.values()
    assert list(two().alone) == ["swap", "sums"]
    assert swap.task == TaskConfig(name="tiny/swap")
    assert [reward.name for reward in swap.rewards] == ["exact"]
    assert (swap.rollout.max_tokens, swap.sft) == (8, None)
    assert sums.task == TaskConfig(name="jsonl", path="rows/sums.jsonl")
    assert [(reward.name, reward.weight) for reward in sums.rewards] == [("math", 2.0)]
    assert (sums.rollout.max_tokens, sums.sft.completion) == (4, "{sum}")
    assert (sums.model, sums.train, sums.learner) == (two().model, two().train, two().learner)


def test_a_recipe_of_one_task_is_that_of_its_task_alone(quick):
    recipe = quick()
    assert recipe.alone == {"": recipe}
    assert recipe.weights == {"": 1.0}


def test_weights_and_rewards_are_those_of_all_tasks():
    assert two().weights == {"swap": 3.0, "sums": 1.0}
    assert [reward.name for reward in two().rewards] == ["exact", "math"]


def test_a_mixture_is_read_again_from_what_it_is_written_as():
    assert parse_recipe(tomllib.loads(filled_in(two())), source="toml") == two()
    assert parse_recipe(two().model_dump(mode="json"), source="json") == two()


@pytest.mark.parametrize("table", ["task.sums", "task.1"])
def test_a_task_is_set_by_its_label_or_its_place(table):
    assert two(f"{table}.weight=7").weights == {"swap": 3.0, "sums": 7.0}
    assert two(f'{table}.options.template="{{a}}"').alone["sums"].task.options == {
        "template": "{a}"
    }


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.swap.weight=0", r"task.swap.weight: .*greater than 0, got 0"),
        ("task.swap.weight=-1", r"task.swap.weight: .*greater than 0, got -1"),
        ("task.swap.weight=inf", r"task.swap.weight: .*finite"),
        ("task.sums.label=swap", r"label of its own, several are called 'swap'. Set"),
        ("task.sums.label='a b'", r"label of a \[\[task\]\] must be of letters.* got 'a b'"),
        ("task=[]", "must list at least one task, got none"),
        ("task=[{ weight = 2 }]", r"task.0.name must be given. Name a task"),
        ("task=[{ path = 'a.jsonl' }]", "reward of task 'a' must be given for rows of your own"),
        ("task.sums.reward=[]", "reward of task 'sums' must list at least one"),
        ("reward=[{ name = 'math' }]", r"reward must stand in each \[\[task\]\]"),
        ("task.sums.max_tokens=9", "task 'sums' must be at most rollout.max_tokens = 8.* got 9"),
        ("task.sums.completion=sum", "task.sums.completion: completion of a .* must name a column"),
        ("task.sums.reward=[{ name = 'math', w = 1 }]", "key 'task.sums.reward.math.w'"),
        ("task.sums.reward=[{ name = 'a:b', w = 1 }]", "key 'task.sums.reward.0.w'"),
        ("task=[{ name = 'tiny/swap', w = 1 }, { name = 'tiny/swap' }]", "key 'task.0.w'"),
        ("task.swap.weigh=1", "unknown key 'task.swap.weigh'.* Did you mean 'weight'"),
        ("train.select=rewards/tidy", "one of accuracy, score, rewards/exact, rewards/math"),
    ],
)
def test_what_cannot_be_mixed_is_refused_by_name(override, message):
    with pytest.raises(ConfigError, match=message):
        two(override)


def test_one_reward_of_each_task_must_weigh_something():
    with pytest.raises(ConfigError, match="must have a weight other than 0"):
        two("task.sums.reward=[{ name = 'math', weight = 0.0 }]")
