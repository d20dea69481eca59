"""What an evaluation asks, told by cards, recipes and rows alone, before libraries are loaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.recipes import find_recipe, read_adapt_recipe, read_recipe
from rlpeft.doctor.early import read_soon
from rlpeft.doctor.own_rewards import refuse_absent
from rlpeft.errors import ConfigError, DataError
from rlpeft.experts.files import ExpertCard, read_card
from rlpeft.experts.hub import known_as
from rlpeft.experts.steps import run_of
from rlpeft.files import read_json
from rlpeft.models.folder import resolve_model
from rlpeft.program.rows_of_run import (
    may_be_trained_on,
    refuse_trained_on,
    said_of_unseen,
    unseen,
)
from rlpeft.recipe.adapt import AdaptRecipe
from rlpeft.recipe.run import Recipe, StartConfig, TrainingRollout, read_tree, task_of
from rlpeft.runs.records import RECIPE_FILE
from rlpeft.tasks.base import Split, Task, repeats
from rlpeft.types import Problem

if TYPE_CHECKING:
    from rlpeft.build import Data
    from rlpeft.scoring import Needs

DECIDED = {
    "adapter": "the adapter is the expert's own",
    "loss": "nothing is learnt",
    "rollout.temperature": "answers are greedy",
    "rollout.max_lag": "nothing is learned",
}
"""Options that an evaluation never reads, and why."""


@dataclass(frozen=True)
class Samples:
    """Which problems are answered, how often each, and how.

    Attributes:
        number: n, answers to each problem.
        temperature: 0 is greedy.
        ks: of pass@k.
        seed: of every draw.
        num: problems of each task; all of the split if absent.
        unseen: ask those alone that no expert was trained on.

    Raises:
        ConfigError: a k above n; several greedy answers, which would all be the same.
    """

    number: int = 1
    temperature: float = 0.0
    ks: tuple[int, ...] = ()
    seed: int = 0
    split: Split = "test"
    num: int | None = None
    unseen: bool = False

    def __post_init__(self) -> None:
        if self.number > 1 and not self.temperature:
            raise ConfigError(
                f"--temperature must be above 0 for --samples {self.number}: greedy answers to one "
                "problem are all the same. Add --temperature 1, the policy as it was trained."
            )
        if wrong := [k for k in self.ks if not 1 <= k <= self.number]:
            raise ConfigError(
                f"--k must be between 1 and the {self.number} --samples of a problem, got "
                f"{wrong[0]}. Lower it, or draw more samples."
            )


@dataclass(frozen=True)
class AskedProblems:
    """The problems of an exam, and what is to be told of them once they are answered."""

    problems: Sequence[Problem]
    notes: Sequence[str]


def exams_of(
    experts: Sequence[Path],
    recipes: Sequence[str | None],
    tasks: Sequence[str | None],
    overrides: Sequence[str],
) -> list[Recipe]:
    """Every recipe that is named, or that of every expert's run, with every task that is named.

    A recipe of several tasks is an exam for each.
    """
    whose = experts if None in recipes else experts[:1]
    return [
        alone
        for folder in whose
        for recipe in recipes
        for task in tasks
        for alone in recipe_for(folder, recipe, task, overrides).alone.values()
    ]


def refuse_exams(experts: Sequence[Path], exams: Sequence[Recipe], samples: Samples) -> None:
    """Refuse what files alone tell: the evaluation itself asks all of it again.

    Raises:
        RlpeftError, RewardError: experts, recipes, rows or rewards cannot do it.
    """
    for recipe in exams:
        resolve_model(recipe.model.name)
        refuse_absent(reward.name for reward in recipe.rewards)
    refuse_asked(experts, exams, samples)


def refuse_asked(experts: Sequence[Path], exams: Sequence[Recipe], samples: Samples) -> None:
    """Refuse what experts and rows alone tell, wherever models and the user's rewards lie.

    Raises:
        RlpeftError, RewardError: these problems cannot be asked, or built-in rewards not judge.
    """
    cards = [read_card(folder) for folder in experts]
    for recipe in exams:
        section, split = task_of(recipe), samples.split
        only = only_split(recipe, cards, split)
        task = read_soon(section, recipe.rewards, (split,), only=only)
        if task is not None:
            asked_of(task, experts, samples, path=section.path)


def check_judged(recipe: Recipe, data: Data, rewards: Needs) -> None:
    """See `Data.check`; an error says whose rewards they are that cannot judge these problems."""
    try:
        data.check(rewards)
    except DataError as error:
        names = ", ".join(reward.name for reward in recipe.rewards)
        raise DataError(
            f"{error} The rewards are those of the recipe {recipe.name!r}: {names}."
        ) from error


def only_split(recipe: Recipe, cards: Sequence[ExpertCard], split: Split) -> Split | None:
    """The one split that is needed; rows that are called as those of a training are divided so."""
    sections = [section for card in cards for section in card.sections]
    seen = any(may_be_trained_on(task_of(recipe), section) for section in sections)
    return None if seen else split


def recipe_for(
    folder: Path, recipe: str | None, task: str | None, overrides: Sequence[str]
) -> Recipe:
    """The recipe to evaluate an expert by: the one given, or that of the run it comes from.

    Args:
        task: a task in the place of the recipe's, with its default options; of a recipe of several
            the label of one of them.
        overrides: applied last; a file that they name is asked whole, unless they give a number:
            those of the run were to divide other rows.

    Raises:
        ConfigError: no recipe is there, it has several tasks and none by that label, or one of the
            overrides would change nothing.
    """
    _refuse_unread(overrides)
    card, run_recipe = read_card(folder), run_of(folder) / RECIPE_FILE
    if recipe is None and not run_recipe.is_file():
        raise ConfigError(
            f"expert {known_as(folder)!r} must lie in the folder of its run, beside {RECIPE_FILE}, "
            "or be evaluated by a recipe of your own: --recipe RECIPE."
        )
    other = [] if task is None else [f"task={{name={json.dumps(task)}}}"]
    changes = (*other, *overrides)
    if recipe is None and "search" in read_json(run_recipe, ConfigError):
        found = _as_run(read_adapt_recipe(str(run_recipe), changes), card)
        return _whole_file(found, card, overrides)
    name = recipe or str(run_recipe)
    if task is not None and isinstance(read_tree(find_recipe(name)).get("task"), list):
        return _one_of(read_recipe(name, overrides), task)
    return _whole_file(read_recipe(name, changes), card, overrides)


def _whole_file(recipe: Recipe, card: ExpertCard, overrides: Sequence[str]) -> Recipe:
    """The recipe, which asks all of a file that is given for the evaluation alone."""
    given = {override.partition("=")[0].strip() for override in overrides}
    if "task.path" not in given:
        return recipe
    task = task_of(recipe)
    divided = any(may_be_trained_on(task, own) for own in card.sections)
    if divided or not Path(str(task.path)).expanduser().is_file():
        return recipe
    sizes = {"num_validation", "num_test"} - {key.removeprefix("task.") for key in given}
    changed = task.model_copy(update=dict.fromkeys(sizes, "all"))
    return recipe.model_copy(update={"task": changed})


def _one_of(recipe: Recipe, label: str) -> Recipe:
    """One of several tasks, with its own rewards and limits."""
    if label not in recipe.alone:
        raise ConfigError(
            f"--task must be one of {', '.join(recipe.alone)}, the tasks of {recipe.name!r}, each "
            f"of which has rewards of its own, got {label!r}. Or name a recipe: --recipe RECIPE."
        )
    return recipe.alone[label]


def _refuse_unread(overrides: Sequence[str]) -> None:
    for override in overrides:
        name = override.partition("=")[0].strip()
        for decided, why in DECIDED.items():
            if f"{name}.".startswith(f"{decided}."):
                raise ConfigError(
                    f"--set must name what an evaluation reads, got {name!r}: {why}. Leave it out."
                )


def _as_run(recipe: AdaptRecipe, card: ExpertCard) -> Recipe:
    """The recipe that measures a mixture: what its search had, and a learner to prove syncs by."""
    from rlpeft.experts.mixture import mixed_adapter  # which loads torch

    engine = recipe.engine(mixed_adapter(card))
    return Recipe(
        name=recipe.name,
        model=StartConfig(**dict(recipe.model)),
        task=recipe.task,
        chat=recipe.chat,
        adapter=engine.adapter,
        rollout=TrainingRollout(**dict(engine.rollout)),
        reward=recipe.reward,
        resources=recipe.resources,
    )


def asked_of(
    task: Task, experts: Sequence[Path], samples: Samples, *, path: str | None
) -> AskedProblems:
    """The first `samples.num` problems of a split, or all.

    To be told is what of them a figure depends on: whether the source has more, whether some of
    them are there twice, and whether an expert was trained on some.

    Args:
        experts: their folders.
        path: where rows lie, if the task is of rows.

    Raises:
        DataError: the split has fewer, or experts were trained on more than a few of them.
    """
    split, num, every = samples.split, samples.num, task.split(samples.split)
    kept = unseen(experts, every, split) if samples.unseen else every
    if num is not None and num > len(kept):
        raise DataError(
            f"--num must be at most the {len(kept)} {split} problems of {task.called!r}, "
            f"got {num}. Raise task.num_{split} where the source has more."
        )
    problems = kept[:num]
    seen = refuse_trained_on(experts, task, split, problems, path=path)
    notes = said_of_unseen(task.called, every, kept, split)
    if num is None and (more := task.unasked.get(split)):
        notes.append(
            f"task.num_{split} asks {len(every)} of the {len(every) + more} {split} problems of "
            f"{task.called!r}; all of them by --set task.num_{split}=all"
        )
    if again := repeats(problems):
        notes.append(
            f"{again} of the {len(problems)} {split} problems of {task.called!r} repeat the prompt "
            "and the gold of another; intervals take each for a problem of its own and are too "
            "narrow."
        )
    return AskedProblems(problems, [*notes, *seen])


def identity(card: ExpertCard) -> dict[str, Any]:
    """Which policy an evaluation names, and on what base it stands."""
    merged = [parent.model_dump() for parent in card.merged]
    own = {"merged": merged} if merged else {}
    return {"digest": card.digest, "equals_base": card.equals_base, **own}
