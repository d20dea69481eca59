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

from jobs.evaluate import first_problems
from rlpeft.build import Data, pinned, read_data
from rlpeft.errors import ConfigError
from rlpeft.experts.files import Expert, load_expert, read_card
from rlpeft.experts.hub import known_as
from rlpeft.experts.merged import base_of
from rlpeft.experts.mixture import BASE
from rlpeft.models.base import BaseModel
from rlpeft.program.expert_of_run import tell_of_runs
from rlpeft.program.origin import tell_other_prompts
from rlpeft.program.rows_of_run import may_be_trained_on, refuse_trained_on
from rlpeft.recipe.run import Recipe, task_of
from rlpeft.recipe.scorer import build_scorer
from rlpeft.rollout.groups import rollout_seed
from rlpeft.runs.fingerprint import REWARD_CODE, TOKENIZER
from rlpeft.runs.reward_code import reward_code
from rlpeft.scoring import Scores
from rlpeft.tasks.base import Split, Task
from rlpeft.tokens.requests import Prompter
from rlpeft.types import Problem, Sampling

MEASURED: Any = {
    "task": True,
    "chat": True,
    "reward": True,
    "rollout": {"max_tokens", "max_prompt_tokens", "stop"},
}
"""Parts of a recipe that make an exam: two that agree in them are one."""

SHARED = ("engine", "num_engines", "batch_size", "dtype", "canary_bound", "options")
"""Keys of `[rollout]` that decide the engine, which all exams share."""


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
class Exam:
    """A task with what judges its answers."""

    name: str
    recipe: Recipe
    task: Task
    problems: Sequence[Problem]
    prompter: Prompter
    scorer: Scores
    sampling: Sampling


@dataclass(frozen=True)
class Survey:
    """Experts and exams, and how often each answers each.

    Attributes:
        folders: of the experts, by their names.
    """

    base: BaseModel
    experts: Mapping[str, Expert]
    folders: Mapping[str, Path]
    exams: Sequence[Exam]
    samples: Samples

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
        rewards = [reward.name for exam in self.exams for reward in exam.recipe.rewards]
        code = reward_code(rewards)
        shared = self.exams[0].recipe
        return {
            **({REWARD_CODE: code} if code else {}),
            "method": "evaluate",
            "experts": {name: expert.card.digest for name, expert in self.experts.items()},
            "base_model": self.base.digest,
            TOKENIZER: self.base.tokenizer_parts,
            "model": shared.model.model_dump(mode="json"),
            # With its size and number: answers are rounded by the company they are computed in.
            "rollout": shared.rollout.model_dump(mode="json", include=set(SHARED)),
            "exams": {
                exam.name: exam.recipe.model_dump(mode="json", include=MEASURED)
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
    tell_of_runs(folders, [reward.name for recipe in full for reward in recipe.rewards])
    with ExitStack() as stack:
        exams: list[Exam] = []
        for at, (name, recipe) in enumerate(_named(_agreed(_distinct(full))).items()):
            recipe = pinned(recipe, base, (pins or Path()) / pin_name(at))
            if recipe.chat not in [exam.recipe.chat for exam in exams]:
                tell_other_prompts(cards, base, recipe.chat)
            scorer = build_scorer(recipe.rewards, error_limit=recipe.train.error_limit)
            stack.enter_context(closing(scorer))
            sections = [section for card in cards.values() for section in card.sections]
            seen = any(may_be_trained_on(task_of(recipe), section) for section in sections)
            only = None if seen else samples.split
            data = read_data(recipe, base, splits=(samples.split,), only=only)
            exam = _exam(name, recipe, data, scorer, samples, folders)
            path = task_of(recipe).path
            refuse_trained_on(folders, exam.task, samples.split, exam.problems, path=path)
            data.check(scorer)
            exams.append(exam)
        yield Survey(base, experts, places, exams, samples)


def pin_name(at: int) -> str:
    """Where the recipe of an exam lies in the folder of an evaluation."""
    return f"recipe_{at:02d}.json"


def _exam(
    name: str,
    recipe: Recipe,
    data: Data,
    scorer: Scores,
    samples: Samples,
    folders: Sequence[Path],
) -> Exam:
    sampling = replace(recipe.rollout.sampling, temperature=samples.temperature)
    unseen_by = folders if samples.unseen else ()
    problems = first_problems(data.task, samples.split, samples.num, unseen_by=unseen_by)
    return Exam(name, recipe, data.task, problems, data.prompter, scorer, sampling)


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
    return json.dumps(recipe.model_dump(mode="json", include=MEASURED), sort_keys=True)


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
