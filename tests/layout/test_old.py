"""What the code from before the rooms wrote, of commit 72df136, is read, continued and evaluated.

`old/run` is a run of two steps on the built-in model, with its checkpoint and its expert;
`old/step_4.*` is what that code had after two more.
"""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch.testing import assert_close

from jobs.evaluate import evaluate_expert
from jobs.exams import recipe_for
from rlpeft.experts.files import load_expert
from rlpeft.program.run import run
from rlpeft.recipe.run import load_recipe
from rlpeft.runs.records import read_metrics

OLD = Path(__file__).parent / "old"
DECIDED = ("reward", "loss", "grad_norm", "entropy", "num_tokens", "eval_accuracy")


@pytest.fixture
def folder(tmp_path):
    """A copy of the run, which nobody writes to otherwise."""
    return shutil.copytree(OLD / "run", tmp_path / "run")


@pytest.mark.slow
def test_an_old_run_is_continued_from_its_checkpoint_to_the_same_end(folder):
    recipe = load_recipe(folder / "recipe.json", ("train.steps=4",))

    summary = run(recipe, folder)

    # On another machine the last bits differ, and Adam divides small gradients by their own size:
    # a tenth of a step of lr 1e-2 is allowed; a moment or an answer that is lost moves z by more.
    found = load_file(folder / "checkpoints" / "step_00000004" / "state.safetensors")
    assert_close(found, load_file(OLD / "step_4.safetensors"), rtol=1e-3, atol=1e-5)
    wanted = [json.loads(line) for line in (OLD / "step_4.jsonl").read_text().splitlines()]
    rows = read_metrics(folder)
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    for row, old in zip(rows, wanted, strict=True):
        decided = {name: old[name] for name in DECIDED if name in old}
        assert {name: row[name] for name in decided} == pytest.approx(decided, rel=1e-4)
    assert summary["best_step"] == 4
    assert summary["test"]["correct"] == 23


def test_an_old_expert_is_what_it_was(folder):
    assert load_expert(folder / "expert").card.digest.startswith("7d6f8864")
    recipe = recipe_for(folder / "expert", str(folder / "recipe.json"), None, ())
    found = evaluate_expert(folder / "expert", recipe, split="test", num=None, address=None)
    assert (found["base_accuracy"]["correct"], found["accuracy"]["correct"]) == (22, 21)
