"""What a command says before libraries are loaded."""

import shutil
import subprocess
import sys

import pytest

from jobs.cli.beginning import ended, say_training
from jobs.recipes import read_recipe
from rlpeft.errors import ExpertError
from rlpeft.program.hub import refuse_origin
from rlpeft.program.opening import LOADING
from rlpeft.program.run import run
from rlpeft.recipe.run import parse_recipe

WITHOUT_TORCH = "import sys; sys.modules['torch'] = None\nfrom jobs.cli import app; app()"


@pytest.fixture(scope="module")
def ended_run(tmp_path_factory):
    """The folder of a run that has ended."""
    folder = tmp_path_factory.mktemp("ended") / "run"
    sizes = {"num_validation": 4, "num_test": 4}
    tree = {"name": "a", "model": {"name": "tiny"}, "task": {"name": "tiny/swap", **sizes}}
    steps = {"steps": 1, "prompts_per_step": 2, "group_size": 2, "report_to": []}
    run(parse_recipe(tree | {"train": steps}, source="test"), folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("train", "quickstart", "--local"),
        ("sft", "quickstart"),
        ("doctor", "quickstart"),
        ("adapt", "tiny-mix", "--set", "experts=['run']"),
        ("evaluate", "run/expert"),
        ("generate", "3714@=", "--experts", "run"),
        ("serve", "--experts", "run"),
        ("report", "run"),
        ("export", "run/expert", "--out", "exported"),
        ("experts", "show", "run/expert"),
    ],
    ids=lambda words: words[0],
)
def test_what_is_begun_is_said_before_libraries_are_loaded(words, ended_run, tmp_path):
    (tmp_path / "run").symlink_to(ended_run)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    said, _, failed = done.stderr.partition("Traceback")
    assert " ".join(said.split()).endswith(LOADING)
    assert "torch" in failed
    assert done.stdout == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("evaluate", "absent"), "an expert is a folder with card.json"),
        (("evaluate", "run/expert", "--num", "9"), "--num must be at most the 4 test problems"),
        (("evaluate", "run/expert", "--samples", "2"), "--temperature must be above 0"),
        (("evaluate", "run/expert", "--set", "ltrain.steps=1"), "unknown key 'ltrain'"),
        (("evaluate", "run/expert", "--set", "model.name=tinny"), "model.name must be an existing"),
        (("evaluate", "run/expert", "--split", "validation", "--num", "5"), "--num must be at"),
        (("experts", "show", "absent"), "an expert is a folder with card.json"),
        (("serve", "--experts", "absent"), "--experts must name a folder"),
        (("serve", "--experts", "run", "--load-from", "run"), "--load-from and --load-hub need"),
        (("serve", "--load-from", "absent", "--api-key", "k"), "--load-from must name a folder"),
        (("report", "absent"), "a report needs a run folder with metrics.jsonl"),
        (("report", "absent", "--follow"), "a run must have been started in 'absent'"),
        (("report", "run", "run"), "a comparison must name each run once"),
        (("export", "absent", "--out", "out"), "an expert is a folder with card.json"),
        (("export", "run/expert", "--out", "run"), "--out must not exist yet"),
        (("export", "run/expert", "--out", "out", "--rank", "4"), "--rank must be"),
        (("export", "run/expert", "--out", "o", "--format", "lora"), "lora. Add --rank 16, or"),
        (("adapt", "tiny-mix", "--set", "experts=['absent']"), "experts must name a folder"),
        (("adapt", "tiny-mix", "--set", "experts=['run','again']"), "experts must have different"),
        (("generate", "37@=", "--experts", "absent"), "--experts must name a folder"),
        (("generate", "37@=", "--experts", "run", "--strategy", "b"), "--strategy must be prompt"),
        (("generate", "--file", "absent", "--experts", "run"), "--file must be a JSONL file"),
        (("train", "quickstart", "--set", "reward=[{name='mine:f'}]"), "got no module 'mine'"),
        (("train", "quickstart", "--set", "reward=[{name='mathh'}]"), "must be a built-in"),
    ],
    ids=lambda words: " ".join(words)[:40] if isinstance(words, tuple) else "",
)
def test_what_files_tell_is_told_before_libraries_are_loaded(words, told, ended_run, tmp_path):
    (tmp_path / "run").symlink_to(ended_run)
    shutil.copytree(ended_run / "expert", tmp_path / "again")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *words], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stderr.startswith(f"error: {told}") or f" {told}" in done.stderr
    assert "Loading libraries" not in done.stderr
    assert done.returncode == 1


def test_a_run_says_by_what_its_expert_is_chosen(quick, tmp_path, capsys):
    say_training(quick(train={"steps": 1}), tmp_path, is_given=True)
    said = " ".join(capsys.readouterr().err.split())
    assert "1 step. The best in validation is kept as the expert" in said
    assert "the best by accuracy (share of correct answers)." in said


@pytest.mark.parametrize("setting", ["model.start='absent'", "model.merge=['absent']"])
def test_an_expert_that_is_not_there_is_told_before_libraries_are_loaded(setting, tmp_path):
    with pytest.raises(ExpertError, match="an expert is a folder with card"):
        ended(read_recipe("quickstart", [setting]), tmp_path / "run", method="train")


@pytest.mark.parametrize("setting", ["model.start={!r}", "model.merge=[{!r}]"])
def test_an_expert_of_another_base_of_ours_is_told_before_libraries_are_loaded(
    setting, tiny_experts, tmp_path
):
    up = str(tiny_experts / "up")
    given = [setting.format(up), "model.name=tiny-tools"]
    with pytest.raises(
        ExpertError, match=r"trained on base model tiny, model\.name is 'tiny-tools"
    ):
        ended(read_recipe("quickstart", given), tmp_path / "run", method="train")
    refuse_origin(tmp_path, "folder/that-may-hold-tiny", start=up, merge=())


def test_a_run_that_goes_on_needs_the_expert_that_it_began_with_no_more(tmp_path):
    (tmp_path / "checkpoints/step_00000001").mkdir(parents=True)
    (tmp_path / "checkpoints/step_00000001/state.json").touch()
    refuse_origin(tmp_path, "tiny", start="absent", merge=())
