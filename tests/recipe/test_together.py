"""Several `[[expert]]` of a recipe: each is a lone run's, and they share what they must."""

import copy

import pytest

from jobs.recipes import TOGETHER, read_recipe, read_together, recipe_names
from rlpeft.errors import ConfigError
from rlpeft.recipe.run import parse_recipe
from rlpeft.recipe.together import parse_together

TREE = {
    "name": "both",
    "model": {"name": "tiny"},
    "reward": [{"name": "exact"}],
    "train": {"steps": 4, "prompts_per_step": 8},
    "expert": [
        {"name": "swap", "task": {"name": "tiny/swap"}},
        {"name": "ends", "task": {"name": "tiny/ends"}, "train": {"steps": 2, "seed": 1}},
    ],
}


def changed(number=None, **changes):
    tree = copy.deepcopy(TREE)
    place = tree if number is None else tree["expert"][number]
    return {**tree, **changes} if number is None else place.update(changes) or tree


def test_an_expert_is_its_own_sections_over_those_of_all():
    found = parse_together(copy.deepcopy(TREE), source="t")
    lone = {key: TREE[key] for key in ("model", "reward")}
    lone |= {"name": "ends", "task": {"name": "tiny/ends"}}
    lone["train"] = {"steps": 2, "prompts_per_step": 8, "seed": 1}
    assert found.name == "both"
    assert list(found.recipes) == ["swap", "ends"]
    assert found.recipes["ends"] == parse_recipe(lone, source="t")


def test_a_list_of_tasks_or_rewards_is_an_experts_own():
    tasks = [{"name": name, "reward": [{"name": "exact"}]} for name in ("tiny/swap", "tiny/sort")]
    tree = changed(0, task=tasks)
    del tree["reward"]
    tree["expert"][1]["reward"] = [{"name": "math"}]
    swap, ends = parse_together(tree, source="t").recipes.values()
    assert [*swap.alone] == ["swap", "sort"]
    assert [reward.name for reward in ends.rewards] == ["math"]


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        (changed(1, name="swap"), "name of its own, 2 are called 'swap'"),
        (changed(1, name="../swap"), "hold no slash"),
        (changed(1, model={"name": "other"}), r"\[\[expert\]\] ends': model must be the same"),
        (changed(1, adapter={"type": "lora"}), "adapter must be the same for all experts"),
        (changed(1, resources={"learners": 2}), "resources must be the same"),
        (
            changed(1, rollout={"engine": "vllm"}),
            "rollout.engine must be .*'hf', 'ends' has 'vllm'",
        ),
        (changed(1, learner={"gradient_checkpointing": True}), "learner.gradient_checkpointing"),
        (changed(1, lerner={}), "unknown key 'lerner'"),
        (changed(1, train={"stepz": 2}), r"\[\[expert\]\] ends': unknown key 'train.stepz'"),
        (changed(1, train={"report_to": ["wandb"]}), "for several experts, got wandb"),
        (changed(rollout={"max_lag": 1}), "rollout.max_lag must be 0 for several experts, got 1"),
        (changed(resources={"learners": 2}), "resources.learners must be 1 for several"),
        (changed(resources={"reward_workers": 2}), "resources.reward_workers must be 0"),
        (changed(expert=[]), r"sections \[\[expert\]\], one for each"),
        (changed(expert={"name": "swap"}), r"sections \[\[expert\]\], one for each"),
        (changed(name="a/b"), "hold no slash"),
    ],
)
def test_what_experts_together_cannot_be_is_told_in_one_line(tree, said):
    with pytest.raises(ConfigError, match=said) as error:
        parse_together(tree, source="t")
    assert "\n" not in str(error.value)


def test_packaged_recipes_of_several_experts_are_recipes():
    for name in recipe_names(TOGETHER):
        found = read_together(name, ["expert.swap.train.seed=7", "train.prompts_per_step=4"])
        assert found.recipes["swap"].train.seed == 7
        assert {own.train.prompts_per_step for own in found.recipes.values()} == {4}


def test_a_recipe_of_one_expert_is_none_of_several():
    assert read_together("quickstart") is None


def test_other_commands_are_told_to_name_the_recipe_of_one():
    with pytest.raises(ConfigError, match=r"several \[\[expert\]\].*recipe.json"):
        read_recipe("tiny-four")


@pytest.mark.parametrize(
    ("override", "whose"),
    [
        ("train.steps=6", ["kind"]),
        ("reward.0.weight=2", ["ends", "kind"]),
        ("rollout.max_tokens=9", ["ends", "kind"]),
        ("learner.lr=0.5", []),
        ("expert.kind.train.steps=6", []),
        ("name=mine", []),
    ],
)
def test_what_is_set_for_all_and_does_not_hold_for_each_is_told(override, whose):
    notes = read_together("tiny-four", [override]).notes
    key = override.partition("=")[0]
    told = f"--set {key} does not hold for {', '.join(whose)}, whose [[expert]] sets its own"
    assert [told in note for note in notes] == [True] * bool(whose)
