"""What an `[environment]` cannot have, and its reward without one."""

import pytest

from rlpeft.errors import ConfigError
from rlpeft.recipe.run import parse_recipe
from rlpeft.recipe.set_up import code_names, set_up

TREE = {"name": "t", "model": {"name": "tiny"}, "task": {"name": "tiny/swap"}}


def read(**sections):
    return parse_recipe(TREE | sections, source="t")


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"environment": {"name": "calculatr"}}, "Did you mean 'calculator'"),
        ({"environment": {"name": "calculator", "max_turns": 0}}, "max_turns"),
        (
            {"environment": {"name": "calculator", "max_turns": 2.5}},
            "max_turns: must be a valid integer, got 2.5",
        ),
        ({"environment": {"name": "retry"}, "rollout": {"max_lag": 1}}, "max_lag must be 0 with"),
        ({"reward": [{"name": "environment"}]}, "is that of an \\[environment\\]"),
    ],
)
def test_what_cannot_be_is_refused(sections, said):
    with pytest.raises(ConfigError, match=said):
        read(**sections)


def test_a_module_that_lies_here_is_known_for_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "world.py").write_text("")
    with pytest.raises(ConfigError, match=r"Name a class of world\.py, as 'world:Class'"):
        read(environment={"name": "world"})


def test_a_recipe_without_one_is_set_up_as_before_there_were_any():
    assert "environment" not in set_up(read())


def test_limits_of_its_process_may_change_under_a_run():
    one = read(environment={"name": "my:World"})
    other = read(environment={"name": "my:World", "timeout_s": 1, "memory_mb": 100})
    assert set_up(one) == set_up(other) != set_up(read(environment={"name": "my:Other"}))
    assert code_names(one) == ["math", "my:World"]
