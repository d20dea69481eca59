"""Old names of modules say where they went; the new places exist."""

import importlib
import re
import subprocess
import sys

import pytest

import rewards.moved
import rlpeft.moved

MOVED = rewards.moved.MOVED | rlpeft.moved.MOVED


@pytest.mark.parametrize("old", MOVED)
def test_an_old_name_says_the_new_one(old):
    with pytest.raises(ModuleNotFoundError, match=re.escape(MOVED[old])):
        importlib.import_module(old)


@pytest.mark.parametrize("new", sorted({re.split(r"[ ,]", new)[0] for new in MOVED.values()}))
def test_what_it_names_is_there(new):
    if new != "the":
        importlib.import_module(new)


def test_a_script_that_was_run_as_a_module_says_it_too():
    command = [sys.executable, "-m", "jobs.compare_mixes", "tiny-mix"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "rlpeft compare mixes" in done.stderr
    assert "Traceback" not in done.stderr
