"""A user's file or folder with the name of one of our packages is found, and told in one line."""

import subprocess
import sys
from pathlib import Path

import pytest

from jobs.cluster.submit import Work, submit
from rlpeft.errors import ConfigError
from rlpeft.shadow import hiding

BIN = Path(sys.executable).parent


@pytest.fixture(params=["rewards.py", "rewards/__init__.py", "jobs.py", "jobs/__init__.py"])
def hider(request, tmp_path):
    """A module in a folder of the user's, that is named as one of our packages."""
    path = tmp_path / request.param
    path.parent.mkdir(exist_ok=True)
    path.touch()
    return tmp_path / Path(request.param).parts[0]


def test_what_hides_a_package_is_named_with_a_new_name(hider):
    line = hiding([str(hider.parent), *sys.path])
    assert f"{str(hider)!r} hides it. Rename it, such as to 'my_{hider.name}'" in line


def test_what_comes_after_ours_hides_nothing(hider):
    assert hiding([*sys.path, str(hider.parent)]) is None


def test_another_checkout_of_ours_hides_nothing(hider):
    (hider.parent / "rlpeft").mkdir()
    (hider.parent / "rlpeft" / "__init__.py").touch()
    assert hiding([str(hider.parent), *sys.path]) is None


def test_a_folder_without_modules_hides_nothing_behind_an_installed_package(tmp_path):
    (tmp_path / "jobs").mkdir()
    assert hiding([str(tmp_path), str(Path(__file__).parents[1])]) is None


@pytest.mark.parametrize(
    "command", [[BIN / "rlpeft", "models", "list"], [sys.executable, "-m", "jobs.train", "--help"]]
)
def test_a_program_of_ours_ends_in_one_line(tmp_path, command):
    (tmp_path / "rewards.py").write_text("def r(completions, **kw): return [1.0]\n")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no module of yours may have the name")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_script_that_needs_the_adapters_alone_is_warned_and_goes_on(tmp_path):
    (tmp_path / "rewards.py").touch()
    (tmp_path / "script.py").write_text("import rlpeft.adapters\nprint('done')\n")
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "done\n"
    assert "UserWarning: no module of yours may have the name" in done.stderr


def test_a_folder_that_would_hide_ours_on_the_cluster_is_not_sent(hider):
    work = Work(("train", "quickstart"), "quickstart")
    with pytest.raises(ConfigError, match=f"'my_{hider.name}'"):
        submit(work, address="http://127.0.0.1:9", working_dir=hider.parent)
