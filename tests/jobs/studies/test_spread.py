"""Runs of a study as tasks of a cluster: the same as in one process, wherever they worked."""

import pytest

from jobs.studies import spread
from jobs.studies.spread import MARK, run_on_ray
from jobs.studies.study import run_here, run_study
from rlpeft.recipe.run import validated
from rlpeft.recipe.study import StudyRecipe

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SMALL = ["train.steps=1", "train.prompts_per_step=2", "train.group_size=2"]
TREE = {
    "name": "s",
    "claim": "one seed is as good as another",
    "recipe": "quickstart",
    "set": [*SMALL, "task.num_validation=4", "task.num_test=6", "learner.lr=0.5"],
    "axes": {"adapter": {"svf": []}},
    "seeds": [0, 1],
}


@pytest.mark.parametrize("is_seen", [True, False])
def test_tasks_bring_what_one_process_brings(cluster, tmp_path, monkeypatch, is_seen):
    study = validated(StudyRecipe, TREE, source="s")
    if not is_seen:  # as on a node with folders of its own
        monkeypatch.setattr(spread, "write_text", lambda path, text: None)
    there = run_study(study, tmp_path / "ray", run_cells=run_on_ray(None))
    here = run_study(study, tmp_path / "here", run_cells=run_here)
    values = [{s: r.values for s, r in each.results["svf"].items()} for each in (there, here)]
    assert values[0] == values[1]
    assert (tmp_path / "ray" / "cells" / MARK).exists() == is_seen
    for cell in (tmp_path / "here" / "cells").iterdir():
        copied = tmp_path / "ray" / "cells" / cell.name / "expert"
        assert {p.name for p in copied.iterdir()} == {p.name for p in (cell / "expert").iterdir()}
        assert (copied.parent / "checkpoints").exists() == is_seen
