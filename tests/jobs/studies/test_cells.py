"""The runs of a study: which there are, what recipe each has, and where it lies."""

import pytest

from jobs.studies.cells import Cells, StudyArm, arms_of, pairs_of, require_few, settings_of
from rlpeft.errors import ConfigError
from rlpeft.recipe.run import validated
from rlpeft.recipe.study import StudyRecipe


def study(**changes):
    tree = {
        "name": "s",
        "claim": "svf beats lora",
        "recipe": "quickstart",
        "set": ["train.steps=2"],
        "axes": {
            "adapter": {"svf": [], "lora": ["adapter={ type = 'lora', rank = 4 }"]},
            "kl": {"0": [], "0.1": ["loss.kl_coef=0.1"]},
        },
        "tune": [
            {"key": "learner.lr", "values": [0.01, 0.1]},
            {"key": "adapter.alpha", "values": [4, 8], "of": {"adapter": "lora"}},
        ],
        "contrast": [
            {"of": {"adapter": "svf"}, "against": {"adapter": "lora"}},
            {"of": {"adapter": "svf", "kl": "0"}, "against": "base"},
        ],
    }
    return validated(StudyRecipe, tree | changes, source="s")


def test_every_combination_is_an_arm():
    names = [arm.name for arm in arms_of(study())]
    assert names == ["svf, 0", "svf, 0.1", "lora, 0", "lora, 0.1"]


def test_a_key_is_tuned_where_it_is_asked_for():
    of = {arm.name: settings_of(study(), arm) for arm in arms_of(study())}
    assert of["svf, 0"] == [{"learner.lr": 0.01}, {"learner.lr": 0.1}]
    assert len(of["lora, 0"]) == 4
    assert of["lora, 0"][1] == {"learner.lr": 0.01, "adapter.alpha": 8}


def test_a_cell_has_all_changes_and_the_seed():
    arm = StudyArm({"adapter": "lora", "kl": "0.1"})
    recipe = Cells(study()).cell(arm, {"learner.lr": 0.5}, 7).recipe
    assert (recipe.adapter.type, recipe.adapter.rank) == ("lora", 4)
    assert (recipe.loss.kl_coef, recipe.learner.lr) == (0.1, 0.5)
    assert (recipe.train.steps, recipe.train.seed) == (2, 7)


def test_a_cell_keeps_its_folder_while_its_recipe_stays():
    arm, setting = StudyArm({"adapter": "svf", "kl": "0"}), {"learner.lr": 0.01}
    first = Cells(study()).cell(arm, setting, 0).id
    assert first == Cells(study(seeds=[0, 1, 2, 3])).cell(arm, setting, 0).id
    assert first != Cells(study(set=["train.steps=3"])).cell(arm, setting, 0).id


def test_contrasts_compare_what_differs_in_their_axes_alone():
    pairs = [(a.name, b if isinstance(b, str) else b.name) for a, b in pairs_of(study())]
    assert pairs == [("svf, 0", "lora, 0"), ("svf, 0.1", "lora, 0.1"), ("svf, 0", "base")]


def test_a_change_that_makes_no_recipe_is_told_before_anything_runs():
    with pytest.raises(ConfigError, match=r"quickstart.toml of lora, 0.*lerner"):
        Cells(study(tune=[{"key": "lerner.lr", "values": [1, 2], "of": {"adapter": "lora"}}]))


def test_a_search_is_seeded_in_its_shots_as_well():
    one = study(recipe="tiny-mix", by="adapt", set=[], tune=[], contrast=[], axes={"a": {"b": []}})
    recipe = Cells(one).cell(StudyArm({"a": "b"}), {}, 5).recipe
    assert (recipe.seed, recipe.shots.seed) == (5, 5)


def test_an_axis_may_name_the_command_of_its_arms():
    axes = {"objective": {"rl": [], "next_token": ["by=sft", "train.steps=3"]}}
    one = study(axes=axes, set=[], tune=[], contrast=[])
    rl, gold = (Cells(one).cell(arm, {}, 0) for arm in arms_of(one))
    assert (rl.by, gold.by) == ("train", "sft")
    assert gold.recipe.train.steps == 3


def test_a_run_by_another_command_is_another_run():
    by_one, by_other = (
        Cells(study(by=by)).cell(StudyArm({"adapter": "svf", "kl": "0"}), {"learner.lr": 0.01}, 0)
        for by in ("train", "sft")
    )
    assert by_one.recipe == by_other.recipe
    assert by_one.id != by_other.id


def test_a_tuned_path_names_no_folder_elsewhere():
    tuned = study(tune=[{"key": "model.name", "values": ["../../x/y", "tiny"]}])
    found = Cells(tuned).cell(
        StudyArm({"adapter": "svf", "kl": "0"}), {"model.name": "../../x/y"}, 0
    )
    assert "/" not in found.id


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"axes": {f"a{i}": {f"b{j}": [] for j in range(8)} for i in range(12)}, "tune": []},
            r"most 10,000 runs, 's' has 206,158,430,208, of 68,719,476,736 arms with 3 seeds",
        ),
        (
            {"tune": [{"key": f"a.b{i}", "values": list(range(8))} for i in range(12)]},
            r"274,877,906,956, of 4 arms.* fewer values of \[\[tune\]\]",
        ),
    ],
)
def test_a_study_without_an_end_is_counted_and_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        require_few(study(**changes, contrast=[]))
