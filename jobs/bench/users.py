"""What users ask for: many experts compared at once, training that goes on, tools, mixed tasks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jobs.bench.cem import population
from jobs.bench.onward import rows as onward
from jobs.bench.rows import BenchRow, interleave, medians
from jobs.bench.tool import rows as tool
from jobs.recipes import read_recipe
from rlpeft.build import build_card, build_state, read_decks
from rlpeft.experts.files import save_expert
from rlpeft.models.base import BaseModel
from rlpeft.tasks.decks import draw

EXPERTS, TASKS = 4, ("tiny/swap", "tiny/sort", "tiny/ends")
RECIPE, MIXED = "quickstart", "tiny-two"

HELP_S = 0.5

COMMAND = "import sys; sys.argv[0] = 'rlpeft'; from jobs.cli import main; main()"
"""As the entry point runs it, wherever this is installed."""


def rows(*, repeats: int = 3, num: int = 500) -> Iterator[BenchRow]:
    """Time the commands, their start included, on the tiny base model."""
    with TemporaryDirectory(prefix="rlpeft-bench-") as folder:
        experts = _experts(Path(folder))
        found: dict[str, Any] = {}

        def together() -> None:
            found["together"] = _evaluate(experts, TASKS, num)

        def alone() -> None:
            pairs = [(expert, task) for expert in experts for task in TASKS]
            found["alone"] = {pair: _evaluate(pair[:1], pair[1:], num) for pair in pairs}

        seconds = medians(interleave({"together": together, "alone": alone}, repeats=repeats))
    yield _row(seconds, _same(found), num)
    yield from onward()
    yield from tool()
    yield _shares()
    yield _help(repeats=2 * repeats + 1)


def _shares(number: int = 1000) -> BenchRow:
    """The share of the first of two tasks mixed 3 : 1, and whether a run that goes on draws it."""
    recipe = read_recipe(MIXED)
    decks, seed = read_decks(recipe, BaseModel.open(recipe.model.name)).decks, recipe.train.seed
    whole = draw(decks, 0, number, seed)
    parts = [p for cut in range(number) for p in draw(decks, cut, 1, seed)]
    share = sum(problem.task == decks[0].label for problem in whole) / number
    same = "the same" if parts == whole else "others"
    return BenchRow(
        f"share of the first of two tasks mixed 3 : 1 ({MIXED}), {number:,} problems, {same} "
        "where each is drawn by itself",
        share,
        3 / 4,
        share / (3 / 4),
        "",
        "0.75 ± 0.014 by independent draws",
        "0.75 ± 0.01, exact on resume",
        abs(share - 3 / 4) <= 0.01 and parts == whole,
    )


def _help(*, repeats: int) -> BenchRow:
    """What the first command of a visitor takes, beside the library that prints it alone."""

    def started(code: str, *words: str) -> None:
        command = [sys.executable, "-c", code, *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    sides = {
        "help": partial(started, COMMAND, "--help"),
        "typer": partial(started, "import typer, typer.main, typer.rich_utils"),
    }
    seconds = medians(interleave(sides, repeats=repeats))
    ours, peer = seconds["help"], seconds["typer"]
    return BenchRow(
        "rlpeft --help, beside Python importing typer and rich",
        ours,
        peer,
        ours / peer,
        "s",
        "1 x: what prints it",
        f"<= {HELP_S} s, on a quiet machine",
        ours <= HELP_S,
    )


def _experts(folder: Path) -> list[Path]:
    """Experts around the base, each in a folder of its own."""
    recipe = read_recipe(RECIPE, ['adapter.parametrisation="direct"'])
    base = BaseModel.open(recipe.model.name)
    card = build_card(recipe, base)
    folders = []
    for name, state in population(build_state(recipe.engine, base), EXPERTS).items():
        folders.append(folder / name)
        own = {"name": name, "digest": state.digest}
        save_expert(folders[-1], state, card.model_copy(update=own))
    return folders


def _evaluate(experts: Sequence[Path], tasks: Sequence[str], num: int) -> Any:
    """The JSON document of one `rlpeft evaluate`."""
    options = [word for task in tasks for word in ("--task", task)]
    command = [sys.executable, "-c", COMMAND, "evaluate", *map(str, experts), *options]
    command += ["--recipe", RECIPE, "--num", str(num), "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def _same(found: dict[str, Any]) -> int:
    """How many accuracies are the same both ways."""
    return sum(
        found["together"]["tasks"][task]["results"][expert.name]["accuracy"]["value"]
        == alone["accuracy"]["value"]
        for (expert, task), alone in found["alone"].items()
    )


def _row(seconds: dict[str, float], same: int, num: int) -> BenchRow:
    runs = EXPERTS * len(TASKS)
    ratio = seconds["together"] / seconds["alone"]
    return BenchRow(
        f"evaluation of {EXPERTS} experts x {len(TASKS)} tasks in one run against {runs} runs, "
        f"tiny, {num} problems each ({same} of {runs} accuracies the same)",
        seconds["together"],
        seconds["alone"],
        ratio,
        "s",
        f"{1 / runs:.2f} x: one start for {runs}",
        "<= 0.4 x",
        ratio <= 0.4 and same == runs,
    )
