"""Train from Python: a recipe made of plain objects, and the one program that runs recipes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlpeft.doctor.early import refuse_early
from rlpeft.errors import ConfigError
from rlpeft.experts.files import read_card
from rlpeft.experts.measures import Measure, PairedDifference
from rlpeft.models.folder import resolve_model
from rlpeft.program.given import (
    Dataset,
    GivenReward,
    adapter_given,
    keep_rows,
    rewards_given,
)
from rlpeft.program.opening import said_of_training
from rlpeft.recipe.reward import chosen_by
from rlpeft.recipe.run import Recipe, parse_recipe
from rlpeft.recipe.scorer import Functions
from rlpeft.runs.figures import figures
from rlpeft.runs.reward_code import can_be_imported, source_of
from rlpeft.tasks.rows import divided
from rlpeft.terminal import note_each, quiet_libraries, say

if TYPE_CHECKING:
    from peft import PeftConfig

    from rlpeft.program.parts import Venue
    from rlpeft.program.run import Summary
    from rlpeft.training.loop import OnStep, Progress

SOURCE = "rlpeft.train"
"""Where a recipe comes from that is made of objects, for errors."""


@dataclass(frozen=True)
class TrainedExpert:
    """What training came to.

    Attributes:
        expert: the folder of the best expert by validation.
        test: what it is worth.
        base_test: what its base model is worth, on the same test problems.
        against_base: the difference, paired by problem.
        summary: what `summary.json` of the run's folder holds.
    """

    expert: Path
    test: Measure | None
    base_test: Measure | None
    against_base: PairedDifference | None
    summary: Summary


def train(
    model: str | Path | Mapping[str, Any],
    dataset: Dataset,
    reward: GivenReward | Iterable[GivenReward],
    *,
    out: str | Path,
    adapter: str | Mapping[str, Any] | PeftConfig = "svf",
    venue: Venue | None = None,
    on_step: OnStep | None = None,
    **sections: Any,
) -> TrainedExpert:
    """Train an expert by reinforcement learning, then test it against its base model.

    The folder is that of `rlpeft train`, with the same expert for the same recipe: called again,
    an unfinished run in it goes on, and a finished one gives what it came to.

    >>> train("tiny", rows, "exact", out="runs/mine", train={"steps": 20})  # doctest: +SKIP

    Args:
        model: a folder, a Hub id, or a `[model]` section.
        dataset: a path or Hub id; rows, of which some validate and test; or rows by split. Rows
            are kept as JSON in the run's folder.
        reward: names, `module:function`, `[[reward]]` sections, functions, or a list of these. A
            function runs in this process and cannot be killed; what is named runs in workers.
        out: the run's folder, whose name is the expert's, unless `name` is given.
        adapter: a method's name, a PEFT config, or an `[adapter]` section.
        venue: where learner and engines live, this process if absent; `jobs.train` has a cluster's.
        on_step: told of the first validation and of each step; absent: a line on the error stream.
        sections: others of a recipe (`rlpeft recipe`), as mappings: `task`, `rollout`, `train` …

    Raises:
        RlpeftError, RewardError: recipe, data, model, adapter, reward or cluster cannot do it.
    """
    out = Path(out)
    rewards, functions = rewards_given(reward)
    tree: dict[str, Any] = {"name": out.absolute().name, **sections}
    tree |= {"model": _model(model), "adapter": adapter_given(adapter), "reward": rewards}
    # Checked before rows are written: a path that is none stands for them.
    shown = str(dataset) if isinstance(dataset, str | Path) else "dataset"
    recipe = _recipe(tree, {"path": shown})
    _refuse(functions, recipe, venue)
    if not isinstance(dataset, str | Path):
        shown = str(keep_rows(dataset, out, recipe.name))
    sizes = _sizes(shown, sections.get("task", {}))
    recipe = _recipe(tree, {"path": shown, **sizes})
    resolve_model(recipe.model.name)
    refuse_early(recipe, out, method="train", functions=functions)
    _say_training(recipe)
    note_each([*_said_of_sizes(sizes), *_said_of_functions(functions)])
    return _trained(recipe, out, venue, functions, on_step or _line_of(recipe))


def _say_training(recipe: Recipe) -> None:
    figure = chosen_by(recipe.train.select, {own.name: own.correct_at for own in recipe.rewards})
    say(said_of_training(recipe.name, recipe.train.steps, figure), err=True)


def _trained(
    recipe: Recipe, out: Path, venue: Venue | None, functions: Functions, on_step: OnStep
) -> TrainedExpert:
    from rlpeft.program.parts import HERE  # what follows loads torch
    from rlpeft.program.run import run
    from rlpeft.report.page import write_report

    quiet_libraries()
    where = replace(venue or HERE, functions=functions)
    summary = run(recipe, out, venue=where, on_step=on_step)
    write_report(out)
    return _came_to(summary)


def _line_of(recipe: Recipe) -> OnStep:
    """Tells each step in a line."""
    steps, in_groups = recipe.train.steps, recipe.loss.compares_groups

    def tell(progress: Progress, metrics: Mapping[str, float]) -> None:
        shown = figures(metrics, None, in_groups=in_groups)
        say(f"step {progress.step}/{steps}  {shown}", err=True)

    return tell


def _came_to(summary: Summary) -> TrainedExpert:
    expert = Path(summary["expert"])
    card = read_card(expert)
    return TrainedExpert(expert, card.test, card.base_test, card.against_base, summary)


def _model(given: Any) -> Any:
    if isinstance(given, Mapping):
        return given
    if not isinstance(given, str | Path):
        raise ConfigError(
            f"model must be a folder, a Hub id or a [model] section, got {type(given).__name__}: "
            "learner and engines each load their own. Save it and its tokenizer to a folder, by "
            "save_pretrained, and name that."
        )
    if not str(given):
        raise ConfigError("model must name a folder or a Hub id, got ''.")
    return {"name": str(given)}


def _recipe(tree: Mapping[str, Any], rows: Mapping[str, Any]) -> Recipe:
    """The recipe with these rows, whose other options are those of the `task` section."""
    task = tree.get("task", {})
    if not isinstance(task, Mapping) or "path" in task:
        raise ConfigError(
            "task must be a mapping of options beside dataset, which names its rows: name, "
            f"options, num_validation, num_test; got {task!r:.80}."
        )
    return parse_recipe({**tree, "task": {**rows, **task}}, source=SOURCE)


def _sizes(path: str, task: Mapping[str, Any]) -> dict[str, int]:
    """How a small file is divided, where nothing else is said."""
    return {k: n for k, n in divided(Path(path).expanduser()).items() if k not in task}


def _said_of_sizes(sizes: Mapping[str, int]) -> list[str]:
    said = ", ".join(f"{name!r}: {number}" for name, number in sizes.items())
    line = f"rows are divided by task={{{said}}}; give others where these will not do."
    return [line] if sizes else []


def _refuse(functions: Functions, recipe: Recipe, venue: Venue | None) -> None:
    """Refuse what is not to be had there.

    Raises:
        ConfigError: rewards shall run in actors, which have no such functions, or engines ahead of
            a learner in the same process.
    """
    if venue is None:
        recipe.rollout.require_apart()
    actors = venue is not None and venue.has_reward_actors and recipe.resources.reward_workers
    if functions and actors:
        names = " and ".join(functions)
        raise ConfigError(
            f"resources.reward_workers must be 0 for functions of this process, {names}. Write "
            "them into a file and name them 'module:function'."
        )


def _said_of_functions(functions: Functions) -> list[str]:
    """What is not so of a function of this process."""
    if not functions:
        return []
    said = [
        f"reward {' and '.join(functions)} runs in this process and cannot be killed; named as "
        "'module:function' it runs in workers that can, within its timeout_s."
    ]
    if unread := [k for k, own in functions.items() if not (can_be_imported(k) or source_of(own))]:
        said.append(
            f"the lines of {' and '.join(unread)} are kept nowhere: a run that goes on under "
            "others of that name cannot be told from this."
        )
    return said
