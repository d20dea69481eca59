"""What an evaluation of several experts on several tasks asks, read and checked before any model.

A recipe is an exam here: a task with its rewards and limits. Everything that the exams must share,
since one engine runs all of them, is refused where it differs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jobs.exams import Samples, asked_of, check_judged, only_split
from rlpeft.build import pinned, read_data
from rlpeft.errors import ConfigError
from rlpeft.experts.card_parts import BASE
from rlpeft.experts.files import Expert, load_expert, read_card
from rlpeft.experts.hub import known_as
from rlpeft.experts.merged import base_of
from rlpeft.models.base import BaseModel
from rlpeft.program.expert_of_run import said_of_runs
from rlpeft.program.origin import said_of_environments, said_of_prompts
from rlpeft.program.parts import conversations_here
from rlpeft.recipe.run import Recipe, task_of
from rlpeft.recipe.scorer import build_scorer
from rlpeft.recipe.set_up import code_names
from rlpeft.rollout.conversation import Conversations
from rlpeft.rollout.groups import rollout_seed
from rlpeft.runs.fingerprint import REWARD_CODE, TOKENIZER
from rlpeft.runs.reward_code import reward_code
from rlpeft.scoring import Scores
from rlpeft.tasks.base import Task
from rlpeft.tokens.requests import Prompter
from rlpeft.types import Problem, Sampling

MEASURED: Any = {
    "task": True,
    "chat": True,
    "reward": True,
    "environment": True,
    "rollout": {"max_tokens", "max_prompt_tokens", "stop"},
}
"""Parts of a recipe that make an exam: two that agree in them are one."""

SHARED = (
    "engine",
    "num_engines",
    "tensor_parallel",
    "batch_size",
    "dtype",
    "canary_bound",
    "options",
)
"""Keys of `[rollout]` that decide the engine, which all exams share."""


@dataclass(frozen=True)
class Exam:
    """A task with what judges its answers."""

    name: str
    recipe: Recipe
    task: Task
    problems: Sequence[Problem]
    prompter: Prompter
    scorer: Scores
    sampling: Sampling
    conversations: Conversations | None


@dataclass(frozen=True)
class Survey:
    """Experts and exams, and how often each answers each.

    Attributes:
        folders: of the experts, by their names.
        notes: what is to be told once they answer.
    """

    base: BaseModel
    experts: Mapping[str, Expert]
    folders: Mapping[str, Path]
    exams: Sequence[Exam]
    samples: Samples
    notes: Sequence[str] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Who is examined, the base model first."""
        return (BASE, *self.experts)

    def seeds(self, problem: Problem) -> list[int]:
        """Of each sample; the same for all policies, which are compared by problem."""
        drawn = self.samples
        return [rollout_seed(drawn.seed, problem.id, member) for member in range(drawn.number)]

    def fingerprint(self) -> dict[str, Any]:
        """What must not change under an evaluation that goes on: all that decides an answer."""
        code = reward_code(name for exam in self.exams for name in code_names(exam.recipe))
        shared = self.exams[0].recipe
        rollout = shared.rollout.model_dump(mode="json", include=set(SHARED))
        if rollout["tensor_parallel"] == 1:  # as in those from before it was
            del rollout["tensor_parallel"]
        return {
            **({REWARD_CODE: code} if code else {}),
            "method": "evaluate",
            "experts": {name: expert.card.digest for name, expert in self.experts.items()},
            "base_model": self.base.digest,
            TOKENIZER: self.base.tokenizer_parts,
            "model": shared.model.model_dump(mode="json"),
            # With its size and number: answers are rounded by the company they are computed in.
            "rollout": rollout,
            "exams": {
                exam.name: _measured(exam.recipe)
                | {"data": exam.task.fingerprint(), "problems": len(exam.problems)}
                for exam in self.exams
            },
            "samples": [self.samples.number, self.samples.temperature, self.samples.seed],
            "split": self.samples.split,
            **({"unseen": True} if self.samples.unseen else {}),  # as in those from before it was
        }


@contextmanager
def open_survey(
    folders: Sequence[Path],
    recipes: Sequence[Recipe],
    samples: Samples,
    *,
    pins: Path | None = None,
) -> Iterator[Survey]:
    """Read experts and tasks, load rewards, and find what would stop the evaluation later.

    Args:
        recipes: exams; those that ask the same are one.
        pins: a folder with the recipes of an evaluation that goes on, whose dates stay.

    Raises:
        RlpeftError, RewardError: experts, recipes, data or rewards cannot do it.
    """
    base = base_of(folders[0], read_card(folders[0]), recipes[0].model)
    experts, places = _read_experts(folders, base)
    cards = {str(places[who]): expert.card for who, expert in experts.items()}
    full = [_filled_in(recipe, experts) for recipe in recipes]
    notes = said_of_runs(folders, [reward.name for recipe in full for reward in recipe.rewards])
    with ExitStack() as stack:
        exams: list[Exam] = []
        for at, (name, recipe) in enumerate(_named(_agreed(_distinct(full))).items()):
            recipe = pinned(recipe, base, (pins or Path()) / pin_name(at))
            notes += said_of_environments(cards, recipe.environment)
            if recipe.chat not in [exam.recipe.chat for exam in exams]:
                notes += said_of_prompts(cards, base, recipe.chat)
            scorer = build_scorer(recipe.rewards, error_limit=recipe.train.error_limit)
            stack.enter_context(closing(scorer))
            only = only_split(recipe, [*cards.values()], samples.split)
            data = read_data(recipe, base, splits=(samples.split,), only=only)
            asked = asked_of(data.task, folders, samples, path=task_of(recipe).path)
            notes += asked.notes
            check_judged(recipe, data, scorer)
            notes += data.notes(scorer)
            sampling = replace(recipe.rollout.sampling, temperature=samples.temperature)
            held = stack.enter_context(conversations_here(recipe, base))
            own = name, recipe, data.task, asked.problems, data.prompter, scorer, sampling, held
            exams.append(Exam(*own))
        yield Survey(base, experts, places, exams, samples, notes)


def pin_name(at: int) -> str:
    """Where the recipe of an exam lies in the folder of an evaluation."""
    return f"recipe_{at:02d}.json"


def _read_experts(
    folders: Sequence[Path], base: BaseModel
) -> tuple[dict[str, Expert], dict[str, Path]]:
    """Experts by the names on their cards, or by their folders where two have one name."""
    read = {folder: load_expert(folder, base_digest=base.digest) for folder in folders}
    names = [expert.card.name for expert in read.values()]
    experts, places = {}, {}
    for folder, expert in read.items():
        name = expert.card.name
        if names.count(name) > 1 or name == BASE:
            name = known_as(folder)
        experts[name], places[name] = expert, folder
    return experts, places


def _key(recipe: Recipe) -> str:
    return json.dumps(_measured(recipe), sort_keys=True)


def _measured(recipe: Recipe) -> dict[str, Any]:
    """What makes an exam of a recipe; as evaluations have it from before there were environments
    where it has none."""
    tree = recipe.model_dump(mode="json", include=MEASURED)
    return {name: part for name, part in tree.items() if (name, part) != ("environment", None)}


def _distinct(recipes: Sequence[Recipe]) -> list[Recipe]:
    found: dict[str, Recipe] = {}
    for recipe in recipes:
        found.setdefault(_key(recipe), recipe)
    return list(found.values())


def _named(recipes: Sequence[Recipe]) -> dict[str, Recipe]:
    """Exams by their task's name or path, with their recipe's where that is not enough."""
    tasks = [task_of(recipe).source for recipe in recipes]
    named: dict[str, Recipe] = {}
    for task, recipe in zip(tasks, recipes, strict=True):
        name = task if tasks.count(task) == 1 else f"{task} ({recipe.name})"
        if name in named:
            raise ConfigError(
                f"exams of one task must be of recipes with different names, two are {name!r} and "
                f"differ in {_difference(named[name], recipe)}. Judge all by one: --recipe RECIPE; "
                "or give a recipe another name."
            )
        named[name] = recipe
    return named


def _difference(one: Recipe, other: Recipe) -> str:
    """The first part of an exam in which two recipes differ, with what each has."""
    asked, other_asked = (r.model_dump(mode="json", include=MEASURED) for r in (one, other))
    part = next(part for part in asked if asked[part] != other_asked[part])
    return f"[{part}]: {json.dumps(asked[part])} and {json.dumps(other_asked[part])}"


def _agreed(recipes: Sequence[Recipe]) -> Sequence[Recipe]:
    """Refuse exams that cannot share an engine.

    Raises:
        ConfigError: names the key in which two recipes differ.
    """
    first = recipes[0]
    for other in recipes[1:]:
        sides = [_engine_keys(recipe) for recipe in (first, other)]
        for key, ours in sides[0].items():
            if ours != (theirs := sides[1][key]):
                raise ConfigError(
                    f"recipes that are evaluated together share one engine: {key} is {ours!r} in "
                    f"{first.name!r} and {theirs!r} in {other.name!r}. Give one value to all: "
                    f"--set {key}=…"
                )
    if any(recipe.resources.reward_gpus for recipe in recipes):
        raise ConfigError(
            "resources.reward_gpus must be 0 in an evaluation of several: its rewards run beside "
            "the driver. Evaluate these experts one by one, or --set resources.reward_gpus=0."
        )
    return recipes


def _engine_keys(recipe: Recipe) -> dict[str, Any]:
    rollout = {f"rollout.{key}": getattr(recipe.rollout, key) for key in SHARED}
    sections = {"model": recipe.model, "resources": recipe.resources}
    others = {
        f"{name}.{key}": value
        for name, section in sections.items()
        for key, value in section.model_dump().items()
        if not key.startswith("reward_workers")
    }
    return rollout | others


def _filled_in(recipe: Recipe, experts: Mapping[str, Expert]) -> Recipe:
    """The recipe with its default reward, and its experts' stop strings where it gives none.

    Raises:
        ConfigError: these differ: answers that are compared must end alike.
    """
    stop = recipe.rollout.stop
    if stop is None:
        stops = {expert.card.stop: name for name, expert in experts.items()}
        if len(stops) > 1:
            (one, first), (other, second) = list(stops.items())[:2]
            raise ConfigError(
                f"answers that are compared must end alike: expert {first!r} ends at {list(one)}, "
                f"{second!r} at {list(other)}. Say where all of them end: --set rollout.stop=[…]"
            )
        (stop,) = stops
    rollout = recipe.rollout.model_copy(update={"stop": stop})
    return recipe.model_copy(update={"rollout": rollout, "reward": recipe.rewards})
