"""What an expert is worth: it and its base model on the same problems, each proven before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.cluster.parts import on_ray
from jobs.recipes import find_recipe, read_adapt_recipe, read_recipe
from rlpeft.build import Data, build_canary, read_data
from rlpeft.errors import ConfigError, DataError
from rlpeft.experts.files import ExpertCard, adapter_of, load_expert, read_card
from rlpeft.experts.hub import known_as
from rlpeft.experts.measures import Accuracy, difference_of
from rlpeft.experts.merged import base_of
from rlpeft.experts.mixture import mixed_adapter
from rlpeft.experts.steps import run_of
from rlpeft.files import read_json
from rlpeft.models.base import BaseModel
from rlpeft.program.examiner import Examiner, Measured, labels_of
from rlpeft.program.expert_of_run import tell_of_runs
from rlpeft.program.origin import tell_other_prompts
from rlpeft.program.parts import HERE, loaded_scorer
from rlpeft.program.rows_of_run import may_be_trained_on, refuse_trained_on, unseen
from rlpeft.recipe.adapt import AdaptRecipe
from rlpeft.recipe.run import Recipe, StartConfig, TrainingRollout, read_tree, task_of
from rlpeft.runs.records import RECIPE_FILE
from rlpeft.tasks.base import Split, Task, repeats
from rlpeft.terminal import note
from rlpeft.types import Problem

DECIDED = {
    "adapter": "the adapter is the expert's own",
    "loss": "nothing is learnt",
    "rollout.temperature": "answers are greedy",
    "rollout.max_lag": "nothing is learned",
}
"""Options that an evaluation never reads, and why."""


def evaluate_expert(
    folder: Path,
    recipe: Recipe,
    *,
    split: Split = "test",
    num: int | None = None,
    unseen: bool = False,
    address: str | None = None,
) -> dict[str, Any]:
    """Greedy accuracy, or mean score, of an expert and of its base model.

    Args:
        folder: the expert's.
        recipe: model, task, rewards and sampling; the adapter is the expert's own, and so are the
            stop strings if `rollout.stop` is not given.
        num: problems of the split; all if absent.
        unseen: ask those alone that the expert was not trained on.
        address: a Ray cluster; this process does it if absent.

    Raises:
        ExpertError: no expert there, or one for another base model.
        DataError: problems that may have been trained on.
    """
    base = base_of(folder, read_card(folder), recipe.model)
    expert = load_expert(folder, base_digest=base.digest)
    tell_other_prompts({known_as(folder): expert.card}, base, recipe.chat)
    tell_of_runs([folder], [reward.name for reward in recipe.rewards])
    recipe = _of_expert(recipe, expert.card)
    data = _read_split(expert.card, recipe, base, split)
    problems = first_problems(data.task, split, num, unseen_by=[folder] if unseen else ())
    refuse_trained_on([folder], data.task, split, problems, path=task_of(recipe).path)
    venue = HERE if address is None else on_ray(address)
    with (
        loaded_scorer(recipe, venue, check=lambda scores: data.check(scores.of(""))) as scorer,
        venue.open(recipe, base, scorer) as parts,
    ):
        if scorer is None:
            data.check(parts.scorer.of(""))
        canary, bound = build_canary(data.task, data.prompter, split), recipe.rollout.canary_bound
        sampling, labels = recipe.rollout.sampling, labels_of(recipe)
        examiner = Examiner(parts, data.prompter, sampling, canary, bound, labels)
        bare = examiner.measure(examiner.proof(), problems)
        found = examiner.measure(examiner.load(expert), problems)
    card = expert.card
    whose = {"expert": known_as(folder), "digest": card.digest, "equals_base": card.equals_base}
    return whose | {"split": split} | _of_exam(recipe, base) | _compared(found, bare)


def _of_exam(recipe: Recipe, base: BaseModel) -> dict[str, Any]:
    """What an evaluation says of what was asked, and of whom beside the expert."""
    return {
        "base_digest": base.digest,
        "tokenizer_digest": base.tokenizer_digest,
        "task": task_of(recipe).source,
        "stop": list(recipe.rollout.stop_strings),
    }


def _compared(expert: Measured, base: Measured) -> dict[str, Any]:
    """What an evaluation says of both, and of the difference."""
    kind = "accuracy" if isinstance(expert[0], Accuracy) else "score"
    against = difference_of(expert[1], base[1])
    return {
        f"base_{kind}": base[0].model_dump(),
        kind: expert[0].model_dump(),
        "against_base": against and against.model_dump(),
    }


def _read_split(card: ExpertCard, recipe: Recipe, base: BaseModel, split: Split) -> Data:
    """The problems of a split; rows that are called as those of the training are divided so."""
    section = task_of(recipe)
    only = None if any(may_be_trained_on(section, own) for own in card.sections) else split
    return read_data(recipe, base, splits=(split,), only=only)


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


def _of_expert(recipe: Recipe, card: ExpertCard) -> Recipe:
    """The recipe with the expert's adapter, and its stop strings where it gives none itself."""
    rollout = recipe.rollout
    if rollout.stop is None:
        rollout = rollout.model_copy(update={"stop": card.stop})
    return recipe.model_copy(update={"adapter": adapter_of(card), "rollout": rollout})


def first_problems(
    task: Task, split: Split, num: int | None, *, unseen_by: Sequence[Path] = ()
) -> Sequence[Problem]:
    """The first `num` problems of a split, or all; says what of them a figure depends on.

    That is whether the source has more, and whether some of them are there twice.

    Args:
        unseen_by: folders of experts; problems that one was trained on are passed over.

    Raises:
        DataError: the split has fewer.
    """
    problems = unseen(unseen_by, task.split(split), split)
    if num is not None and num > len(problems):
        raise DataError(
            f"--num must be at most the {len(problems)} {split} problems of {task.called!r}, "
            f"got {num}. Raise task.num_{split} where the source has more."
        )
    asked = problems[:num]
    if num is None and (more := task.unasked.get(split)):
        note(
            f"task.num_{split} asks {len(task.split(split))} of the "
            f"{len(task.split(split)) + more} {split} problems of {task.called!r}; all of them by",
            f"--set task.num_{split}=all",
        )
    if again := repeats(asked):
        note(
            f"{again} of the {len(asked)} {split} problems repeat the prompt and the gold of "
            "another; intervals take each for a problem of its own and are too narrow."
        )
    return asked
