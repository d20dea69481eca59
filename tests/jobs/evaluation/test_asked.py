"""What is asked is refused before any model is loaded, where it cannot be answered."""

import pytest

from jobs.exams import Samples
from rlpeft.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"number": 4, "temperature": 1.0, "ks": (1, 5)}, "between 1 and the 4 --samples .* 5"),
        ({"number": 4, "temperature": 1.0, "ks": (0,)}, "between 1 and the 4 --samples .* 0"),
        ({"number": 4}, "--temperature must be above 0"),
    ],
)
def test_samples_that_mean_nothing_are_refused(fields, said):
    with pytest.raises(ConfigError, match=said):
        Samples(**fields)


def test_recipes_that_ask_the_same_are_one_exam(asked, quick):
    survey = asked(recipes=[quick(name="a"), quick(name="b", train={"seed": 3})])
    assert [exam.name for exam in survey.exams] == ["tiny/swap"]


def test_exams_of_one_task_are_told_apart_by_their_recipes(asked, quick):
    longer = quick(name="b", rollout={"max_tokens": 7})
    survey = asked(recipes=[quick(name="a"), longer])
    assert [exam.name for exam in survey.exams] == ["tiny/swap (a)", "tiny/swap (b)"]


def test_problems_that_rewards_cannot_judge_are_told_with_the_recipe_of_these(asked, quick):
    of_words = quick(name="own", reward=[{"name": "exact", "options": {"gold": "rev"}}])
    with pytest.raises(DataError, match=r"columns \['rev'\].*--set 'reward=.*'own': exact\.$"):
        asked(recipes=[of_words])


def test_recipes_that_need_different_engines_are_refused(asked, quick):
    other = quick(name="b", task={"name": "tiny/sort"}, rollout={"batch_size": 4})
    with pytest.raises(ConfigError, match=r"rollout\.batch_size is None .* and 4 .* --set"):
        asked(recipes=[quick(), other])


def test_experts_that_end_their_answers_differently_are_refused(
    asked, quick, tiny, tiny_start, make_expert
):
    state = tiny_start
    fields = {"config": dict(state.config), "base_digest": tiny.digest}
    folders = [
        make_expert(name, state.tensors, stop=(name,), **fields, adapter={"type": "svf"})
        for name in "ab"
    ]
    with pytest.raises(ConfigError, match="must end alike"):
        asked(folders=folders, recipes=[quick()])


def test_experts_of_one_name_are_known_by_their_folders(asked, tiny_experts, tmp_path):
    again = tmp_path / "up"
    again.symlink_to(tiny_experts / "up")
    survey = asked(folders=["up", again])
    assert survey.names == ("base", str(tiny_experts / "up"), str(again))


def test_exams_of_recipes_with_one_name_are_refused_by_what_they_differ_in(asked, quick):
    others = [quick(name="a"), quick(name="a", reward=[{"name": "math"}])]
    with pytest.raises(
        ConfigError, match=r"differ in \[reward\]: .*'?exact.* and .*math.*--recipe"
    ):
        asked(recipes=others)
