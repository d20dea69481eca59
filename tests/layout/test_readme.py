"""The READMEs are true: blocks of `python` and `bash` run, `toml` is read, `console` is parsed."""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command

from jobs.cli import app
from jobs.recipes import (
    ADAPT,
    PACKAGED,
    TOGETHER,
    read_adapt_recipe,
    read_recipe,
    read_together,
    recipe_names,
)
from rewards.registry import REWARDS
from rlpeft import __version__
from rlpeft.recipe.run import parse_recipe, validated
from rlpeft.recipe.study import StudyRecipe
from rlpeft.recipe.together import parse_together

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
ROOMS = ("jobs", "rewards", "rlpeft", "tests")
MAIN = ROOT / "README.md"
BESIDE = sorted(path for room in ROOMS for path in (ROOT / room).rglob("README.md"))
AFTER = ROOT / "jobs/README.md"
"""Its commands take what those of the main page leave."""
SITE = sorted((ROOT / "jobs/site/pages").glob("*.md"))
"""Pages of the site alone; where their links lead is seen when it is built (tests/jobs/site)."""
READMES = [MAIN, ROOT / "CHANGELOG.md", *BESIDE]
PAGES = [*READMES, *SITE]

pytestmark = pytest.mark.apart

A_PATH = re.compile(r"^[A-Z]+$")
"""What the reader puts something of his own for, such as RECIPE."""


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), flags=re.S | re.M)


def each(language: str) -> list:
    return [
        pytest.param(block, id=f"{named(page)}-{number}")
        for page in PAGES
        for number, block in enumerate(blocks(page, language))
    ]


def shown_commands(page: Path) -> list[list[str]]:
    """The words of every `rlpeft` command that is shown and not run."""
    lines = [line for block in blocks(page, "console") for line in block.splitlines()]
    typed = [line[2:] for line in lines if line.startswith("$ ")]
    found = [part for line in typed for part in re.findall(r"\brlpeft [^;]*", line)]
    return [shlex.split(command, comments=True)[1:] for command in found]


# --- what is run ---------------------------------------------------------------------------------


def run(command: list[str], folder: Path) -> str:
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_all(page: Path, folder: Path) -> dict[str, str]:
    """What each command of a page printed, in order."""
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    return {line: run(shlex.split(line, comments=True), folder) for line in lines}


@pytest.fixture
def folder(tmp_path):
    """A folder with the files that the main page shows."""
    [row] = map(json.loads, blocks(MAIN, "json"))
    numbers = [f"{n}" for n in range(1111, 9999) if "0" not in str(n)]
    rows = [{"question": f"{n}@", "answer": n[2:] + n[:2]} for n in numbers]
    assert row in rows
    lines = [json.dumps(row) + "\n" for row in rows[::13]]
    (tmp_path / "rows.jsonl").write_text("".join(lines[:300]))
    (tmp_path / "test.jsonl").write_text("".join(lines[300:340]))
    kinds = [(page, kind) for page in PAGES for kind in ("python", "toml")]
    for block in (block for page, kind in kinds for block in blocks(page, kind)):
        if name := re.match(r"# ([\w.-]+\.(?:py|toml))\b", block):
            (tmp_path / name[1]).write_text(block)
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(1800)  # on however busy a machine
def test_the_commands_of_the_main_page_and_of_the_next_run_in_order(folder):
    printed = run_all(MAIN, folder)
    trained = {line: text for line, text in printed.items() if line.startswith("rlpeft train")}
    assert {line.split()[2] for line in trained} == {"quickstart", "mine.toml"}
    for text in trained.values():
        assert "the expert is better than its base." in " ".join(text.split())
    assert (folder / "runs/quickstart/report.html").is_file()
    assert (folder / "exported/merged/model.safetensors").is_file()
    [doctor] = [text for line, text in printed.items() if line.startswith("rlpeft doctor")]
    assert "fail" not in doctor
    [check] = [text for line, text in printed.items() if line.startswith("rlpeft reward check")]
    assert check.startswith("halves")
    [own] = [text for line, text in printed.items() if "task.path=test.jsonl" in line]
    assert "of 40" in own
    run_all(AFTER, folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [page for page in (*BESIDE, *SITE) if page != AFTER and blocks(page, "bash")],
    ids=named,
)
def test_the_commands_of_a_page_run_where_the_files_of_the_main_page_are(folder, page):
    run_all(page, folder)


@pytest.mark.slow
@pytest.mark.parametrize("block", each("python"))
def test_python_blocks_run(block, tmp_path):
    (tmp_path / "block.py").write_text(block)
    run([sys.executable, "block.py"], tmp_path)


# --- what is read --------------------------------------------------------------------------------


@pytest.mark.parametrize("block", each("toml"))
def test_toml_blocks_are_recipes_or_parts_of_one(block):
    whole = {"name": "shown", "model": {"name": "tiny"}, "task": {"name": "tiny/swap"}}
    tree = tomllib.loads(block)
    if "claim" in tree:
        validated(StudyRecipe, tree, source="block")
    elif "expert" in tree:
        parse_together(whole | tree, source="block")
    else:
        parse_recipe(whole | tree, source="block")


def leaf(words: list[str]):
    """The command that is named, its words, and what remains."""
    command, path = get_command(app), []
    while hasattr(command, "commands"):
        assert words, f"rlpeft {' '.join(path)} is a group"
        assert words[0] in command.commands, f"rlpeft {' '.join([*path, words[0]])} does not exist"
        path, command, words = [*path, words[0]], command.commands[words[0]], words[1:]
    return path, command, words


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_that_are_shown_can_be_typed(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in shown_commands(page):
        path, command, rest = leaf(words)
        given = command.make_context(" ".join(path), rest).params
        if "recipe" in given:
            check_recipe(path, given["recipe"], given.get("overrides") or [])


def check_recipe(path, recipe, overrides):
    """A recipe that is named is packaged, and takes what is set; RECIPE stands for any."""
    if recipe is None or recipe.endswith(".toml"):
        return
    is_mix = path[0] in ("adapt", "cem") or path == ["compare", "mixes"]
    read, default = (read_adapt_recipe, "tiny-mix") if is_mix else (read_recipe, "quickstart")
    if path == ["train"] and recipe in recipe_names(TOGETHER):
        read = read_together
    read(default if A_PATH.match(recipe) else recipe, overrides)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_in_the_text_and_their_options_exist(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.S | re.M)
    for found in re.findall(r"`rlpeft ([^`]+)`", text):
        words = re.sub(r"[\[\]]", " ", found).split()
        if words[0] in ("…", "--help"):
            continue
        _, command, rest = leaf(words)
        known = {name for parameter in command.params for name in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= known, found


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_targets_of_make_exist(page):
    made = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), flags=re.M))
    assert set(re.findall(r"(?:\$ |`)make ([a-z-]+)", page.read_text())) <= made


def test_every_recipe_is_in_the_tables():
    text = (PACKAGED / "README.md").read_text()
    shown = re.findall(r"^\| `([\w-]+)` \|", text, flags=re.M)
    folders = (PACKAGED, TOGETHER, ADAPT)
    assert sorted(shown) == sorted(name for folder in folders for name in recipe_names(folder))


def test_every_built_in_reward_is_in_the_tables():
    shown = re.findall(r"^\| (`[^|]*`) \|", (ROOT / "rewards/README.md").read_text(), flags=re.M)
    assert sorted(re.findall(r"`([\w]+)`", " ".join(shown))) == sorted(REWARDS)


def test_what_methods_can_is_what_their_records_say():
    from rlpeft.adapters.methods import METHODS, methods

    text = (ROOT / "rlpeft/adapters/README.md").read_text()
    types = re.findall(r"^\| (`.*`) \|", text, flags=re.M)
    assert sorted(re.findall(r"`(\w+)`", " ".join(types))) == sorted(METHODS)
    for method in methods():
        can = method.is_mergeable, method.mixing, method.is_transferable, method.runs_rows
        words = ["yes" if each else "no" for each in (*can, method.change)]
        assert f"| {method.label} | {' | '.join(words)} |" in text
        assert method.slice is not None


def test_tables_to_add_a_line_to_are_where_the_main_page_says():
    shown = re.findall(r"`([A-Z]+)` of \[[^]]*\]\((.*?)\)", MAIN.read_text())
    assert len(shown) > 3
    for table, file in shown:
        assert re.search(rf"^{table}\b.* = \{{$", (ROOT / file).read_text(), flags=re.M), table


def anchors(page: Path) -> set[str]:
    """Names that headings have on GitHub."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", READMES, ids=named)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(((?!http)[^)]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_changelog_and_the_citation_are_of_this_version():
    [newest, *_] = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.M)
    [cited] = re.findall(r"version = \{(.*)\}", (SITE[0].parent / "contributing.md").read_text())
    assert newest == cited == __version__


def test_every_page_is_linked():
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in re.findall(r"\]\(((?!http)[^)]+)\)", page.read_text())
    }
    assert {*BESIDE, *SITE} <= linked | {SITE[0].parent / "index.md"}


# --- the main page -------------------------------------------------------------------------------


def test_the_main_page_can_be_read_from_top_to_bottom():
    assert len(MAIN.read_text().splitlines()) < 180


def floors() -> dict[str, int]:
    tree = ast.parse((ROOT / "tests/layout/test_architecture.py").read_text())
    [found] = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FLOORS"
    ]
    return ast.literal_eval(found)


def test_the_map_shows_every_room_on_its_floor():
    shown = {}
    for numbers, rooms in re.findall(r"^\| ([\d, ]+) \| (.*) \|$", MAIN.read_text(), flags=re.M):
        for room in re.findall(r"`((?:jobs|rlpeft|rewards)[\w.]*)`", rooms):
            shown[room] = {int(number) for number in numbers.split(",")}
    known = floors()
    folders = {name for name in known if (ROOT / name.replace(".", "/")).is_dir()}
    assert folders <= shown.keys() <= known.keys()
    assert {room for room, numbers in shown.items() if known[room] not in numbers} == set()
