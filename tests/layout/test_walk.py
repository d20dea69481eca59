"""The way of a recipe, from the command to the optimizer's step, stays as short as it is."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

WALK = Path(__file__).parent / "walk.py"

pytestmark = pytest.mark.slow

FILES, CLIMBS = 27, 10
"""At most; see `walk.py` for what they count, in one process. With Ray: 30 and 14. Before there
were rooms: 18 and 16, without experts that a run stands on (`rlpeft/program/origin.py`), without
several tasks (`rlpeft/recipe/mix.py`, `rlpeft/tasks/decks.py`), without what is refused before
libraries are loaded (`rlpeft/doctor/early.py`, `rlpeft/recipe/set_up.py`) and without a check that
every section makes of its values. Each file takes a section of the recipe through its door, or
calls one that does; each climb is back to a caller, whose next part needs what the last one made.
"""


@pytest.fixture(scope="module")
def walk():
    """What `walk.py` counts, in a process of its own: nothing is imported or cached there."""
    small = ("task.num_validation=4", "train.prompts_per_step=2", "train.group_size=2")
    command = [sys.executable, WALK, "quickstart", "--json"]
    command += [word for change in small for word in ("--set", change)]
    paths = os.pathsep.join(map(str, (WALK.parents[2], os.environ.get("PYTHONPATH", ""))))
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_it_ends_at_the_optimizer(walk):
    assert walk["files"][0] == "jobs/cli/__init__.py"
    assert "rlpeft/training/learner.py" in walk["files"]


def test_it_passes_through_few_files(walk):
    assert len(walk["files"]) <= FILES, walk["files"]


def test_it_seldom_climbs(walk):
    assert len(walk["climbs"]) <= CLIMBS, walk["climbs"]


def test_the_main_page_tells_it(walk):
    page = (WALK.parents[2] / "README.md").read_text()
    told = [f"{file}:{name}" for name, file in re.findall(r"^([\w.]+) +(\S+\.py)  ", page, re.M)]
    assert len(told) == 10
    assert [name for name in walk["way"] if name in told] == told
