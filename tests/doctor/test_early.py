"""What is refused, or answered, before libraries are loaded."""

import json
import subprocess
import sys

import pytest

from rlpeft.doctor.early import finished, is_read_soon, refuse_early
from rlpeft.errors import CheckpointError, ConfigError, DataError
from rlpeft.program.run import run
from rlpeft.recipe.run import TaskConfig
from rlpeft.runs.fingerprint import REPORT_FILE, SUMMARY_FILE
from rlpeft.runs.records import RECIPE_FILE

SIZES = {"num_validation": 2, "num_test": 2}


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    golds = ["1" if n else "" for n in range(9)]
    lines = [json.dumps({"prompt": f"{n}@=", "answer": gold}) for n, gold in enumerate(golds)]
    path.write_text("\n".join(lines))
    return {"name": "jsonl", "path": str(path), **SIZES}


def test_rows_that_no_run_could_use_are_refused(quick, rows, tmp_path):
    with pytest.raises(DataError, match=r"row 1 \(train\): a gold answer must be there"):
        refuse_early(quick(task=rows), tmp_path / "run", method="train")
    recipe = quick(task=rows | {"path": "./absent.jsonl"})
    with pytest.raises(DataError, match="must be an existing file"):
        refuse_early(recipe, tmp_path / "run", method="train")


def test_a_batch_that_cannot_be_divided_is_refused_of_a_supervised_run_alone(quick, tmp_path):
    recipe = quick(train={"prompts_per_step": 12})
    with pytest.raises(ConfigError, match=r"divide .* = 12, got 8.*sft\.micro_batch=4"):
        refuse_early(recipe, tmp_path / "run", method="sft")
    refuse_early(recipe, tmp_path / "run", method="train")


def test_answers_that_the_context_cannot_hold_are_refused_of_a_run_that_begins(
    quick, tmp_path, monkeypatch
):
    recipe, largest = (quick(rollout={"max_tokens": most}) for most in (512, 511))
    refuse_early(largest, tmp_path / "run", method="train")
    with pytest.raises(ConfigError, match=r"below the model's context of 512 tokens.* got 512"):
        refuse_early(recipe, tmp_path / "run", method="train")
    monkeypatch.setattr("rlpeft.doctor.early.list_checkpoints", lambda out: [out])
    with pytest.raises(CheckpointError, match="was started with another set-up"):  # comes after
        refuse_early(recipe, tmp_path / "run", method="train")


def test_a_strangers_folder_is_refused(quick, tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(CheckpointError, match=r"holds thesis\.tex"):
        refuse_early(quick(), tmp_path, method="train")


def test_what_takes_long_to_read_is_left_to_the_run(rows, monkeypatch):
    monkeypatch.setattr("rlpeft.doctor.early.MOST_BYTES", 10)
    assert not is_read_soon(TaskConfig(**rows))
    assert not is_read_soon(TaskConfig(name="hub", path="openai/gsm8k"))
    assert is_read_soon(TaskConfig(name="tiny/swap"))


COMMANDS = [("train", "--local"), ("train",), ("sft",)]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_file_that_is_not_there_is_told_before_torch_and_ray_are_imported(command, tmp_path):
    arguments = [*command, "quickstart", "--set", "task={path='absent.jsonl'}"]
    code = (
        "import sys\n"
        "from jobs.cli import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    assert not {'torch', 'transformers', 'ray'} & sys.modules.keys()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert ended.stderr.startswith("error: task.path must be an existing file"), ended.stderr


@pytest.fixture
def ended(quick, tmp_path):
    """A run that has come to its end, and what it was asked."""
    recipe = quick(train={"steps": 1})
    summary = run(recipe, tmp_path / "run")
    (tmp_path / "run" / REPORT_FILE).touch()
    return recipe, tmp_path / "run", summary


@pytest.mark.slow
def test_a_run_that_has_ended_answers_by_its_summary_as_long_as_nothing_differs(ended, quick):
    recipe, out, summary = ended
    assert finished(recipe, out, "train") == json.loads(json.dumps(summary))
    assert finished(recipe, out, "sft") is None
    assert finished(quick(train={"steps": 2}), out, "train") is None
    assert finished(quick(train={"steps": 1, "seed": 5}), out, "train") is None
    (out / REPORT_FILE).unlink()
    assert finished(recipe, out, "train") is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"train": {"seed": 5}}, r"train\.seed was 0, is 5"),
        (
            {"adapter": {"parametrisation": "sigmoid_renorm"}},
            r"adapter\.parametrisation was 'direct'",
        ),
        ({"rollout": {"max_tokens": 7}}, r"rollout\.max_tokens was [0-9]+, is 7"),
        ({"reward": [{"name": "exact", "weight": 2.0}]}, "reward was"),
        ({"learner": {"lr": 0.5}}, r"learner\.lr was"),
    ],
)
def test_a_run_that_goes_on_under_another_set_up_is_refused(ended, quick, changes, told):
    recipe, out, _ = ended
    for same in (recipe, quick(train={"steps": 9}), quick(resources={"learner_cpus": 2})):
        refuse_early(same, out, method="train")
    with pytest.raises(CheckpointError, match=rf"was started with another set-up: .*{told}"):
        refuse_early(quick(**changes), out, method="train")
    with pytest.raises(CheckpointError, match="was started by `rlpeft train`"):
        refuse_early(recipe, out, method="sft")


def test_of_problems_that_have_changed_it_is_said_which(quick, tmp_path):
    path, out = tmp_path / "rows.jsonl", tmp_path / "run"

    def rows(first):
        lines = [{"prompt": f"{n}@=", "answer": "1"} for n in (first, *range(2, 12))]
        path.write_text("\n".join(map(json.dumps, lines)))
        task = {"name": "jsonl", "path": str(path), **SIZES}
        return quick(task=task, reward=[{"name": "exact"}], train={"steps": 1})

    run(rows(1), out)
    refuse_early(rows(1), out, method="train")
    told = (
        r"the problems have changed \(1 of the 7 that are drawn now were not there, such as row 1"
    )
    with pytest.raises(CheckpointError, match=told):
        refuse_early(rows(77), out, method="train")


@pytest.mark.slow
def test_a_run_whose_problems_are_others_now_has_not_ended_with_them(ended):
    recipe, out, _ = ended
    known = json.loads((out / "fingerprint.json").read_text())
    (out / "fingerprint.json").write_text(json.dumps(known | {"data": "0" * 64}))
    assert finished(recipe, out, "train") is None


@pytest.mark.slow
def test_a_summary_from_before_an_extension_is_no_end_of_it(ended):
    recipe, out, summary = ended
    (out / SUMMARY_FILE).write_text(json.dumps(summary | {"steps": 0}))
    assert finished(recipe, out, "train") is None


@pytest.mark.slow
def test_a_run_of_more_steps_than_are_asked_for_has_ended(ended, quick):
    recipe, out, summary = ended
    (out / SUMMARY_FILE).write_text(json.dumps(summary | {"steps": 3}))
    kept = quick(train={"steps": 3}).model_dump(mode="json")
    (out / RECIPE_FILE).write_text(json.dumps(kept))
    assert finished(recipe, out, "train")["steps"] == 3
    cosine = quick(train={"steps": 1}, learner={"schedule": "cosine"})
    assert finished(cosine, out, "train") is None, "its steps are others"
