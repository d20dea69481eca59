"""What a command says before libraries are loaded."""

import subprocess
import sys

import pytest

from jobs.cli.beginning import LOADING, say_training

WITHOUT_TORCH = "import sys; sys.modules['torch'] = None\nfrom jobs.cli import app; app()"


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("train", "quickstart", "--local"),
        ("sft", "quickstart"),
        ("doctor", "quickstart"),
        ("adapt", "tiny-mix"),
        ("evaluate", "runs"),
        ("generate", "3714@="),
        ("serve",),
        ("report", "runs"),
        ("export", "runs", "--out", "exported"),
        ("experts", "show", "runs"),
    ],
    ids=lambda words: words[0],
)
def test_what_is_begun_is_said_before_libraries_are_loaded(words, tmp_path):
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


def test_a_run_says_by_what_its_expert_is_chosen(quick, tmp_path, capsys):
    say_training(quick(train={"steps": 1}), tmp_path, is_given=True)
    said = " ".join(capsys.readouterr().err.split())
    assert "1 step. The best in validation is kept as the expert" in said
    assert "the best by accuracy (share of correct answers)." in said
