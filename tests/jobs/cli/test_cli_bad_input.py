"""Mistakes: one line that says what, where and how to mend; earlier results stay as they are."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from rlpeft.models.folder import PACKAGED

RECIPE = """
name = "quick"
[model]
name = "tiny"
[task]
name = "tiny/swap"
num_validation = 4
num_test = 4
[rollout]
max_tokens = 6
[[reward]]
name = "exact"
[train]
steps = 2
prompts_per_step = 2
group_size = 2
report_to = []
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run that is done, and its recipe."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "recipe.toml").write_text(RECIPE)
    result = invoke("train", folder / "recipe.toml", "--local", "--out", folder / "run")
    assert result.exit_code == 0, result.output
    assert "Opening model and engines" in result.stderr  # nobody waits without a word
    return folder


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def refused(finished):
    """Runs a command and gives back the line it ends with; the finished run stays as it was."""

    def check(*arguments):
        before = contents(finished)
        result = invoke(*arguments)
        lines = result.stderr.strip().splitlines()
        assert result.exit_code == 1, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert "Traceback" not in result.output
        assert contents(finished) == before
        last = lines[-1]
        assert last.startswith("error: ")
        # What was begun, and progress, may stand before it, but no other mistake.
        assert not any(line.startswith("error") for line in lines[:-1])
        return last

    return check


@pytest.fixture
def train(finished, refused, tmp_path):
    """Trains the finished run's recipe with changes; anew unless told to continue."""

    def check(*settings, out=None):
        changes = [part for setting in settings for part in ("--set", setting)]
        folder = out or tmp_path / "run"
        return refused("train", finished / "recipe.toml", "--local", "--out", folder, *changes)

    return check


@pytest.mark.slow
def test_an_unknown_recipe_key_is_named(train):
    assert "unknown key 'learner.learning_rate'" in train("learner.learning_rate=1e-3")


def test_an_unknown_recipe_is_answered_with_those_there_are(refused):
    assert "one of" in refused("train", "no-such-recipe", "--local")


def test_a_model_folder_without_tokenizer_is_named(train, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(PACKAGED["tiny"], folder)
    for file in folder.glob("tokenizer*"):
        file.unlink()
    assert "must hold a tokenizer" in train(f"model.name={folder}")


@pytest.mark.slow
def test_targets_that_match_nothing_are_answered_with_those_there_are(train, tmp_path):
    line = train('adapter.targets=["query"]')
    assert "adapter.targets must match modules" in line
    assert "q_proj" in line
    assert not (tmp_path / "run" / "expert").exists()


def test_a_missing_column_is_named(train, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"question": "3=", "answer": "3"}\n' * 20)
    line = train("task.name=jsonl", f"task.path={tmp_path / 'rows.jsonl'}")
    assert "'prompt'" in line
    assert "question" in line


def test_an_empty_file_is_named(train, tmp_path):
    (tmp_path / "empty.jsonl").touch()
    assert "empty.jsonl" in train("task.name=jsonl", f"task.path={tmp_path / 'empty.jsonl'}")


@pytest.mark.slow
def test_a_reward_with_a_wrong_number_of_scores_is_named(train, tmp_path, monkeypatch):
    (tmp_path / "short_reward.py").write_text("def grade(completions, **kw):\n    return [1.0]\n")
    monkeypatch.syspath_prepend(tmp_path)
    line = train('reward=[{name="short_reward:grade"}]')
    assert "grade" in line
    assert "step 0" in line


def test_steps_ahead_in_one_process_are_refused(train):
    assert "rollout.max_lag must be 0 in one process, got 1" in train("rollout.max_lag=1")


def test_a_prompt_beyond_the_recipes_limit_is_named(train):
    assert "rollout.max_prompt_tokens = 3" in train("rollout.max_prompt_tokens=3")


def test_a_prompt_beyond_the_models_context_is_named(train, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(PACKAGED["tiny"], folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 7}))
    assert "shorter than the model's context of 7 tokens" in train(f"model.name={folder}")


def test_another_recipe_does_not_continue_a_run(train, finished):
    assert "recipe.learner.lr was 0.01, is 0.5" in train("learner.lr=0.5", out=finished / "run")


@pytest.mark.slow
def test_a_corrupt_checkpoint_is_named(train, finished, tmp_path):
    shutil.copytree(finished / "run", tmp_path / "run")
    newest = sorted((tmp_path / "run" / "checkpoints").glob("step_*"))[-1]
    (newest / "state.safetensors").write_bytes(b"not a tensor")
    expert = contents(tmp_path / "run" / "expert")
    assert str(newest) in train("train.steps=9")
    assert contents(tmp_path / "run" / "expert") == expert


def test_an_expert_for_another_base_is_refused_with_both_digests(refused, finished, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(PACKAGED["tiny"], folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-3}))
    line = refused("evaluate", finished / "run" / "expert", "--set", f"model.name={folder}")
    assert "was trained on base model sha256:" in line
    assert "the base here, of the recipe or of the first expert, is sha256:" in line


def test_an_expert_that_is_not_there_is_named(refused, tmp_path):
    assert str(tmp_path) in refused("evaluate", tmp_path / "expert")


@pytest.mark.ray
def test_a_cluster_without_room_is_named_with_what_it_has(cluster, finished, refused, tmp_path):
    line = refused(
        "train",
        finished / "recipe.toml",
        "--out",
        tmp_path / "run",
        "--set",
        "resources.learner_gpus=2",
        "--set",
        "resources.placement_timeout_s=0.5",
    )
    assert "GPU: 2 asked, 0 there, 0 free" in line


def evaluated(finished, *arguments):
    result = invoke("evaluate", finished / "run" / "expert", "--json", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["held_out.jsonl", "test.jsonl"])
def test_an_expert_is_evaluated_on_test_rows_alone(finished, tmp_path, name):
    rows = [{"prompt": f"{n}@=?", "answer": f"{n}"[2:] + f"{n}"[:2]} for n in range(1111, 1118)]
    (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = tmp_path if name == "test.jsonl" else tmp_path / name
    found = evaluated(finished, "--task", "jsonl", "--set", f"task.path={path}")
    assert (found["accuracy"]["total"], found["split"]) == (7, "test")


def test_evaluate_compares_expert_and_base_on_the_same_problems(finished):
    result = invoke("evaluate", finished / "run" / "expert", "--num", 3, "--json")
    found = json.loads(result.stdout)
    assert found["accuracy"]["total"] == found["base_accuracy"]["total"] == 3
    assert found["split"] == "test"


@pytest.mark.slow
def test_several_samples_are_figured_and_kept_where_it_is_said(finished, tmp_path):
    arguments = ("--samples", 4, "--temperature", 1, "--k", 2, "--out", tmp_path / "out")
    found = evaluated(finished, *arguments)
    (task,) = found["tasks"].values()
    assert task["metrics"] == ["avg@4", "pass@2", "maj@4"]
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == found


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--samples", 4, "--temperature", 1, "--k", 5), "between 1 and the 4 --samples"),
        (("--samples", 4), "--temperature must be above 0"),
        (("--temperature", 1e-39), "must be 0, which is greedy, or 0.01 to 100.0, got 1e-39"),
        (("--temperature", -1), "must be 0, which is greedy, or 0.01 to 100.0, got -1.0"),
        (("--seed", 3), "greedy answers have none"),
        (("--out", "run"), "was started by `rlpeft train`"),
    ],
)
def test_an_evaluation_that_means_nothing_is_refused(refused, finished, arguments, said):
    given = [finished / "run" if word == "run" else word for word in arguments]
    assert said in refused("evaluate", finished / "run" / "expert", *given)


@pytest.mark.parametrize(
    "arguments",
    [
        ("generate", "x", "--experts", "a", "--experts", "b"),
        ("train", "quickstart", "--out", "a", "--local", "--out", "b"),
        ("study", "run", "x", "--out", "a", "--out", "b"),
    ],
)
def test_an_option_of_which_one_would_be_dropped_is_refused(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments)
    assert result.exit_code == 1
    assert "must be given once, got 2" in result.stderr
    assert list(tmp_path.iterdir()) == []
