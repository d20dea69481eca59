"""The README is true: every Python block runs, every command of a `bash` block runs, in order."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
BIN = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.S | re.M)


def run(command: list[str], folder: Path) -> str:
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_python_blocks_run(number, tmp_path):
    (tmp_path / "block.py").write_text(blocks("python")[number])
    run([sys.executable, "block.py"], tmp_path)


@pytest.mark.slow
def test_commands_run_in_order(tmp_path):
    printed = {}
    for block in blocks("bash"):
        for line in block.splitlines():
            printed[line] = run(shlex.split(line), tmp_path)
    trained = next(text for line, text in printed.items() if line.startswith("rlpeft train"))
    assert "The intervals do not overlap" in trained
    assert (tmp_path / "runs/quickstart/report.html").is_file()
    assert (tmp_path / "exported/merged/model.safetensors").is_file()


@pytest.mark.slow
def test_a_task_of_ones_own_runs_from_the_files_shown(tmp_path):
    [row], [recipe, *_] = blocks("json"), blocks("toml")
    [reward] = [block for block in blocks("python") if "my_rewards.py" in block]
    given = json.loads(row)
    numbers = [f"{n}" for n in range(1111, 9999) if "0" not in str(n)]
    rows = [{"question": f"{n}@", "answer": n[2:] + n[:2]} for n in numbers[::13]]
    assert given in [{"question": f"{n}@", "answer": n[2:] + n[:2]} for n in numbers]
    text = "".join(json.dumps(each) + "\n" for each in rows[:300])
    for name, content in {
        "rows.jsonl": text,
        "test.jsonl": "".join(json.dumps(each) + "\n" for each in rows[300:340]),
        "my_rewards.py": reward,
        "mine.toml": recipe,
    }.items():
        (tmp_path / name).write_text(content)
    [shown] = [block for block in blocks("console") if "rlpeft doctor mine.toml" in block]
    commands = [shlex.split(line[2:], comments=True) for line in shown.splitlines()]
    check, doctor, train, evaluate = (run(command, tmp_path) for command in commands)
    assert check.startswith("halves")
    assert "fail" not in doctor
    assert "The intervals do not overlap: the expert is better" in train
    assert "of 40" in evaluate


def test_every_command_shown_exists():
    from typer.main import get_command

    from jobs.cli import app

    known = set(get_command(app).commands)
    shown = set(re.findall(r"(?:^|\$ |; )rlpeft ([a-z]+)", README, flags=re.M))
    assert shown - known == set()


def test_every_recipe_is_in_the_table():
    from jobs.recipes import recipe_names

    assert set(re.findall(r"^\| `([\w-]+)` \|", README, flags=re.M)) == set(recipe_names())


def test_linked_files_exist():
    root = Path(__file__).resolve().parents[2]
    for link in re.findall(r"\]\(((?!http)[^)]+)\)", README):
        assert (root / link).exists(), link
