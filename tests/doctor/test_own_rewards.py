"""Rewards that are not where a recipe says, told by their files alone."""

import pytest

from rewards.errors import RewardError
from rlpeft.doctor.own_rewards import refuse_absent


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module of rewards in the working folder, which would say so if it were run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_own.py").write_text(
        "raise SystemExit('run')\n"
        "from os.path import join as joined\n"
        "def halves(completions, **_): ...\n"
        "class Judge: ...\n"
        "alias = halves\n"
    )
    return tmp_path


@pytest.mark.parametrize("name", ["halves", "Judge", "alias", "joined"])
def test_what_a_module_binds_is_there(mine, name):
    refuse_absent([f"mine_own:{name}", f"mine_own.{name}", "math", "__main__:halves"])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("mine_own:halve", r"got no 'halve' in '.*mine_own\.py'\. Did you mean 'halves'\?"),
        ("mine_won:halves", "got no module 'mine_won', neither installed nor in"),
        ("mathh", r"must be a built-in .*Did you mean 'math'\?"),
        ("broken_own:f", "got a mistake in line 2 of '.*broken_own.py': "),
    ],
)
def test_what_no_import_would_find_is_refused(mine, name, told):
    (mine / "broken_own.py").write_text("x = 1\ndef f(:\n")
    with pytest.raises(RewardError, match=told):
        refuse_absent([name])


@pytest.mark.parametrize(
    "text", ["from os.path import *", "def __getattr__(name): ...", "globals()['f'] = print"]
)
def test_what_only_an_import_can_tell_is_left_to_the_run(mine, text):
    (mine / "open_own.py").write_text(text)
    refuse_absent(["open_own:f", "xml.no_such_module:f"])
