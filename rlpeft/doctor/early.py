"""What would stop a run and can be told in a second.

Commands ask it before they import what needs torch, which takes a busy machine half a minute. The
run itself asks all of it again, and knows model, tokenizer and the user's own rewards too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from rewards.plugins import is_built_in
from rlpeft.experts.files import EXPERT_FOLDER
from rlpeft.experts.summary import read_summary
from rlpeft.models.load import context_written
from rlpeft.recipe.adapt import AdaptRecipe
from rlpeft.recipe.reward import RewardConfig
from rlpeft.recipe.rollout import require_room
from rlpeft.recipe.run import ChatConfig, Recipe, task_of
from rlpeft.recipe.scorer import Functions, build_scorer
from rlpeft.recipe.set_up import code_names, search_set_up, set_up
from rlpeft.recipe.sft import sft_config
from rlpeft.recipe.task import TaskConfig
from rlpeft.runs.checkpoint import list_checkpoints
from rlpeft.runs.fingerprint import (
    DATA,
    REPORT_FILE,
    REWARD_CODE,
    SUMMARY_FILE,
    read_fingerprint,
    refuse_other,
    refuse_strangers,
)
from rlpeft.runs.records import RECIPE_FILE, read_kept_recipe
from rlpeft.runs.reward_code import reward_code
from rlpeft.runs.trained_on import marks_of, read_trained, text_of
from rlpeft.tasks.base import SPLITS, Split, Task
from rlpeft.tasks.catalogue import is_generated, load_task
from rlpeft.tasks.decks import Deck, decks_of, fingerprints, problems_of
from rlpeft.tasks.golds import require_judgeable, row_of
from rlpeft.tasks.sources import is_here

MOST_BYTES = 32 * 2**20
"""Of rows that are read for this alone: more take longer than libraries do."""


def refuse_early(
    recipe: Recipe | AdaptRecipe, out: Path, *, method: str, functions: Functions | None = None
) -> None:
    """Refuse what files alone tell: a folder of something else, another set-up, rows of no use.

    Args:
        out: the folder of the run.
        method: what trains, as `rlpeft.program.run.run` takes it; `adapt` of a search.
        functions: rewards that are not looked up by their names.

    Raises:
        CheckpointError: the folder is a stranger's, or its run was started with something else.
        ConfigError, DataError: its answers, batch, rows, or what built-in rewards read of them,
            would stop the run.
        RewardError: a built-in reward does not exist, or not with these options.
    """
    refuse_strangers(out)
    _refuse_no_room(recipe.model.name, recipe.rollout.max_tokens, out)
    if isinstance(recipe, AdaptRecipe):
        task = read_soon(recipe.task, recipe.rewards, (recipe.shots.split, "test"))
        tree = search_set_up(recipe)
        del tree["experts"]  # those of the Hub lie there by their commits
        code = reward_code(code_names(recipe), functions)
        asked = {"method": method, "recipe": tree, REWARD_CODE: code}
        _refuse_other(out, asked if task is None else asked | {DATA: task.fingerprint()})
        return
    tasks = {
        label: read_soon(
            task_of(own), [r for r in own.rewards if r.name not in (functions or ())], SPLITS
        )
        for label, own in recipe.alone.items()
    }
    read = {label: task for label, task in tasks.items() if task is not None}
    decks = decks_of(read, recipe.weights, recipe.limits) if len(read) == len(tasks) else ()
    code = reward_code(code_names(recipe), functions)
    asked = {"method": method, "recipe": _as_begun(recipe, out), REWARD_CODE: code}
    _refuse_other(out, asked | {DATA: fingerprints(decks)} if decks else asked, decks)
    if method == "sft":
        sft_config(recipe)


def _refuse_no_room(model: str, max_tokens: int, out: Path) -> None:
    """See `require_room`; a run that goes on began so, and stays as it is."""
    context = context_written(model)
    if context is not None and not list_checkpoints(out):
        require_room(max_tokens, context)


def _refuse_other(out: Path, asked: Mapping[str, Any], decks: Sequence[Deck] = ()) -> None:
    """See `rlpeft.runs.fingerprint.check_fingerprint`: what of it can be told without the model."""
    if not list_checkpoints(out) and not (out / SUMMARY_FILE).is_file():
        return  # nothing is lost if it is begun anew
    known = read_fingerprint(out)
    recipe = {k: v for k, v in known.get("recipe", {}).items() if k in asked["recipe"]}
    stored = {name: known[name] for name in asked if name in known} | {"recipe": recipe}
    which = _others(out, decks) if stored.get(DATA) != asked.get(DATA) else ""
    refuse_other(out, stored, {name: asked[name] for name in stored}, which=which)


def _as_begun(recipe: Recipe, out: Path) -> dict[str, Any]:
    """What the recipe asks for, with what a run keeps from its start where it does not say.

    See `rlpeft.build.pinned`, which knows more of adapters: what is at its default may be kept.
    """
    kept = read_kept_recipe(out / RECIPE_FILE)
    day = recipe.chat.date or kept.get("chat", {}).get("date")
    chat = ChatConfig(**{**dict(recipe.chat), "date": day})
    recipe = recipe.model_copy(update={"chat": chat})
    tree, fields = set_up(recipe), type(recipe.adapter).model_fields
    begun = read_fingerprint(out).get("recipe", {}).get("adapter", {})
    if begun.get("type") == recipe.adapter.type:
        said = {
            option: value
            for option, value in tree["adapter"].items()
            if option in begun and getattr(recipe.adapter, option) != fields[option].default
        }
        tree["adapter"] = begun | said
    return tree


def _others(out: Path, decks: Sequence[Deck]) -> str:
    """Which of the problems that may be drawn are none of those that the run began with."""
    trained, drawn = read_trained(out), problems_of(decks, "train") if decks else ()
    if trained is None or not drawn:
        return ""
    others = [problem for problem in drawn if not marks_of(problem) & trained.marks]
    if not others:
        return "all that are drawn now were there, with other columns, or others beside them"
    first = f"{row_of(others[0])}, {text_of(others[0].prompt)!r:.60}"
    return f"{len(others)} of the {len(drawn)} that are drawn now were not there, such as {first}"


def finished(recipe: Recipe, out: Path, method: str) -> dict[str, Any] | None:
    """The summary of a run that has ended as its recipe asks; `None` where more must be looked at.

    That is done by the run itself, which then mends what it can, or says what differs.
    Rows and the code of rewards are those that it ended with. Its model is not looked at: nothing
    is computed by it.

    Args:
        method: what trains, as `rlpeft.program.run.run` takes it.
    """
    summary = read_summary(out)
    is_whole = (out / EXPERT_FOLDER).is_dir() and (out / REPORT_FILE).is_file()
    if summary is None or not is_whole or (summary.get("steps") or 0) < recipe.train.steps:
        return None
    kept, asked = read_kept_recipe(out / RECIPE_FILE), recipe.model_dump(mode="json")
    if recipe.learner.schedule == "constant":  # then fewer steps than it has begin alike
        asked["train"]["steps"] = summary["steps"]
    asked["chat"]["date"] = asked["chat"]["date"] or kept.get("chat", {}).get("date")
    known = read_fingerprint(out)
    sections = {label: task_of(own) for label, own in recipe.alone.items()}
    soon = all(map(is_read_soon, sections.values()))
    if kept != asked or known.get("method") != method or not soon:
        return None
    tasks = {label: load_task(section) for label, section in sections.items()}
    rows = fingerprints(decks_of(tasks, recipe.weights, recipe.limits))
    code = reward_code(code_names(recipe))
    same = known.get(DATA) == rows and known.get(REWARD_CODE, {}) == code
    return summary if same else None


def read_soon(
    section: TaskConfig,
    rewards: Sequence[RewardConfig],
    splits: Sequence[Split],
    *,
    only: Split | None = None,
) -> Task | None:
    """The problems of a task, if they are soon read; refuses what rewards could not judge of them.

    Args:
        splits, only: see `rlpeft.build.read_data`.

    Raises:
        ConfigError, DataError, RewardError: see `refuse_early`.
    """
    if not is_read_soon(section):
        return None
    task = load_task(section, only=only)
    known = [reward for reward in rewards if is_built_in(reward.name)]
    if not known:
        require_judgeable(task, splits, [], frozenset())
        return task
    with closing(build_scorer(known)) as scorer:
        require_judgeable(task, splits, scorer.gold_rules, scorer.required_columns)
    return task


def is_read_soon(section: TaskConfig) -> bool:
    """Whether problems are made here, or of a few rows that lie here."""
    if section.path is None:
        return is_generated(section.name)
    path = Path(section.path).expanduser()
    files = path.iterdir() if path.is_dir() else [path]
    return (
        is_here(section.path) and sum(f.stat().st_size for f in files if f.is_file()) < MOST_BYTES
    )
