"""A run writes to a folder of its own, and never over something else."""

import json
import shutil

import pytest

from jobs.sft import run as sft_run
from rlpeft.doctor.early import refuse_early
from rlpeft.errors import CheckpointError, FileError
from rlpeft.files import PARTIAL
from rlpeft.program.folder import lone_run, say_continuing
from rlpeft.program.run import run
from rlpeft.runs.records import OWN_METRICS, OWN_PREFIXES, read_metrics


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, make_quick):
    """The folder of a run of two steps, and its recipe; tests take a copy."""
    folder, recipe = tmp_path_factory.mktemp("finished") / "run", make_quick(train={"steps": 2})
    run(recipe, folder)
    return folder, recipe


@pytest.fixture
def copy(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    return tmp_path / "run", finished[1]


@pytest.mark.parametrize(
    "name", ["expert/card.json", "metrics.jsonl", "completions/mine.parquet", "notes.txt"]
)
def test_a_strangers_folder_is_refused_and_left_as_it_was(quick, tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    with pytest.raises(CheckpointError, match=f"holds {name.split('/')[0]}"):
        run(quick(), tmp_path)
    assert contents(tmp_path) == {path: b"mine"}


def test_a_folder_that_holds_only_what_a_killed_start_left_is_taken(tmp_path):
    (tmp_path / f"{PARTIAL}x").write_text("half")
    (tmp_path / ".lock").touch()
    with lone_run(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.slow
def test_a_finished_expert_is_not_overwritten_when_its_checkpoints_are_gone(copy):
    folder, recipe = copy
    shutil.rmtree(folder / "checkpoints")
    before = contents(folder)
    with pytest.raises(CheckpointError, match="has results and must have a checkpoint"):
        run(recipe, folder)
    assert contents(folder) == before


@pytest.mark.parametrize("lost", ["checkpoints", "summary.json"])
def test_a_finished_run_is_not_continued_by_another_recipe(copy, quick, lost):
    folder, _ = copy
    path = folder / lost
    path.unlink() if path.is_file() else shutil.rmtree(path)
    before = contents(folder)
    with pytest.raises(CheckpointError, match=r"recipe\.learner\.lr was 0\.05, is 0\.5"):
        run(quick(train={"steps": 2}, learner={"lr": 0.5}), folder)
    assert contents(folder) == before


@pytest.mark.slow
def test_supervised_training_does_not_continue_a_run_of_reinforcement(copy, quick):
    folder, _ = copy
    recipe = quick(train={"steps": 2}, sft={"micro_batch": 4})
    with pytest.raises(CheckpointError, match="started by `rlpeft train`, this is `rlpeft sft`"):
        sft_run(recipe, folder)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "\udcff"}', "[" * 100_000, "{}"])
def test_a_damaged_summary_is_named_with_its_mend(copy, text):
    folder, recipe = copy
    (folder / "summary.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises((FileError, CheckpointError), match=r"summary\.json.*must"):
        run(recipe, folder)
    (folder / "summary.json").unlink()
    assert run(recipe, folder)["best_step"] >= 0


@pytest.mark.slow
def test_a_copy_of_a_finished_run_names_its_own_expert(copy):
    folder, recipe = copy
    elsewhere = json.loads((folder / "summary.json").read_text())["expert"]
    assert run(recipe, folder)["expert"] == str(folder / "expert") != elsewhere


@pytest.mark.slow
@pytest.mark.parametrize("section", ["adapter", "chat", "resources", "train"])
def test_a_damaged_recipe_is_named_with_its_section(copy, section):
    folder, recipe = copy
    kept = json.loads((folder / "recipe.json").read_text())
    (folder / "recipe.json").write_text(json.dumps(kept | {section: 3}))
    with pytest.raises(FileError, match=rf"recipe\.json' must be a recipe, its {section} is 3"):
        run(recipe, folder)


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("recipe", {"recipe": 3}),
        ("recipe.adapter", {"recipe": {"adapter": 3}}),
        ("reward_code", {"reward_code": [1]}),
    ],
)
def test_a_damaged_fingerprint_is_named_with_its_part(copy, part, changed):
    folder, recipe = copy
    kept = json.loads((folder / "fingerprint.json").read_text())
    (folder / "fingerprint.json").write_text(json.dumps(kept | changed))
    with pytest.raises(CheckpointError, match=rf"fingerprint\.json' .*, its {part} is "):
        refuse_early(recipe, folder, method="train")
    with pytest.raises(CheckpointError, match=rf"fingerprint\.json' .*, its {part} is "):
        run(recipe, folder)


@pytest.mark.slow
def test_a_run_without_its_metrics_still_ends(copy):
    folder, recipe = copy
    (folder / "metrics.jsonl").unlink()
    (folder / "summary.json").unlink()
    with pytest.warns(UserWarning, match="has lost the lines of 3 of 3 steps"):
        summary = run(recipe, folder)
    assert summary["sync_ms"] is None
    assert json.loads((folder / "summary.json").read_text())["sync_ms"] is None


def test_all_metrics_of_a_run_have_names_that_rewards_cannot_take(finished):
    for row in read_metrics(finished[0]):
        for name in row:
            assert name in OWN_METRICS or name.startswith(OWN_PREFIXES), name


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda path: path.touch() or path, "file is where a folder must be"),
        (lambda path: path.touch() or path / "run", "part of that path is a file"),
        (lambda path: path / ("x" * 300), "shorter path"),
        (lambda path: path / "/".join(["x" * 200] * 30), "shorter path"),
        (lambda path: path / "a\0b", "null byte"),
    ],
    ids=["a file", "below a file", "a long name", "a long path", "a null byte"],
)
def test_an_impossible_folder_is_one_line(quick, tmp_path, make, cause):
    with pytest.raises(FileError, match=cause):
        run(quick(), make(tmp_path / "out"))


@pytest.mark.parametrize(("steps", "total", "told"), [((), 9, ""), ((3, 4), 9, "4"), ((9,), 9, "")])
def test_a_run_that_goes_on_says_from_where(steps, total, told, tmp_path, capsys):
    for step in steps:
        (tmp_path / "checkpoints" / f"step_{step:08d}").mkdir(parents=True)
    say_continuing(tmp_path, total)
    said = " ".join(capsys.readouterr().err.split())
    assert said == (f"continuing from step {told} of {tmp_path}" if told else "")


def test_nothing_is_said_of_going_on_where_that_is_refused(copy, quick, capsys):
    out, _ = copy
    with pytest.raises(CheckpointError, match="another set-up"):
        run(quick(train={"steps": 3}, learner={"lr": 0.5}), out)
    assert capsys.readouterr().err == ""
