"""What would stop a run and can be told in a second.

Commands ask it before they import what needs torch, which takes a busy machine half a minute. The
run itself asks all of it again, and knows model, tokenizer and the user's own rewards too.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from rewards.plugins import is_built_in
from rlpeft.files import read_json_if_there
from rlpeft.recipe.adapt import AdaptRecipe
from rlpeft.recipe.reward import RewardConfig
from rlpeft.recipe.run import Recipe, task_of
from rlpeft.recipe.scorer import build_scorer
from rlpeft.recipe.task import TaskConfig
from rlpeft.runs.fingerprint import (
    DATA,
    FINGERPRINT_FILE,
    REPORT_FILE,
    REWARD_CODE,
    SUMMARY_FILE,
    refuse_strangers,
)
from rlpeft.runs.records import RECIPE_FILE
from rlpeft.runs.reward_code import reward_code
from rlpeft.tasks.base import SPLITS, Split
from rlpeft.tasks.catalogue import is_generated, load_task
from rlpeft.tasks.decks import decks_of, fingerprints
from rlpeft.tasks.golds import require_judgeable
from rlpeft.tasks.sources import is_here

MOST_BYTES = 32 * 2**20
"""Of rows that are read for this alone: more take longer than libraries do."""


def refuse_early(recipe: Recipe | AdaptRecipe, out: Path) -> None:
    """Refuse a folder of something else, rows that are not there, and golds that are no use.

    Args:
        out: the folder of the run.

    Raises:
        CheckpointError: the folder is a stranger's.
        ConfigError, DataError: rows, or what built-in rewards read of them, would stop the run.
        RewardError: a built-in reward does not exist, or not with these options.
    """
    refuse_strangers(out)
    if isinstance(recipe, AdaptRecipe):
        _refuse_rows(recipe.task, recipe.rewards, (recipe.shots.split, "test"))
        return
    for own in recipe.alone.values():
        _refuse_rows(task_of(own), own.rewards, SPLITS)


def finished(recipe: Recipe, out: Path, method: str) -> dict[str, Any] | None:
    """The summary of a run that has ended as its recipe asks; `None` where more must be looked at.

    That is done by the run itself, which then mends what it can, or says what differs.
    Rows and the code of rewards are those that it ended with. Its model is not looked at: nothing
    is computed by it.

    Args:
        method: what trains, as `rlpeft.program.run.run` takes it.
    """
    summary = read_json_if_there(out / SUMMARY_FILE) or {}
    expert = Path(summary.get("expert", ""))
    is_whole = expert.is_dir() and (out / REPORT_FILE).is_file()
    is_own = expert.parent.resolve() == out.resolve()  # and not of the run that this is a copy of
    if summary.get("steps") != recipe.train.steps or not (is_whole and is_own):
        return None
    kept, asked = read_json_if_there(out / RECIPE_FILE) or {}, recipe.model_dump(mode="json")
    asked["chat"]["date"] = asked["chat"]["date"] or kept.get("chat", {}).get("date")
    known = read_json_if_there(out / FINGERPRINT_FILE) or {}
    sections = {label: task_of(own) for label, own in recipe.alone.items()}
    soon = all(map(is_read_soon, sections.values()))
    if kept != asked or known.get("method") != method or not soon:
        return None
    tasks = {label: load_task(section) for label, section in sections.items()}
    rows = fingerprints(decks_of(tasks, recipe.weights, recipe.limits))
    code = reward_code([reward.name for reward in recipe.rewards])
    same = known.get(DATA) == rows and known.get(REWARD_CODE, {}) == code
    return summary if same else None


def _refuse_rows(
    section: TaskConfig, rewards: Sequence[RewardConfig], splits: Sequence[Split]
) -> None:
    if not is_read_soon(section):
        return
    task = load_task(section)
    known = [reward for reward in rewards if is_built_in(reward.name)]
    if not known:
        require_judgeable(task, splits, [], frozenset())
        return
    with closing(build_scorer(known)) as scorer:
        require_judgeable(task, splits, scorer.gold_rules, scorer.required_columns)


def is_read_soon(section: TaskConfig) -> bool:
    """Whether problems are made here, or of a few rows that lie here."""
    if section.path is None:
        return is_generated(section.name)
    path = Path(section.path).expanduser()
    files = path.iterdir() if path.is_dir() else [path]
    return (
        is_here(section.path) and sum(f.stat().st_size for f in files if f.is_file()) < MOST_BYTES
    )
