"""`rlpeft doctor`: everything that can be known of a recipe before any long work, in one table.

Parts are opened one after the other, as a run would; what cannot be opened is a row that says why,
and the checks that need it are left out. Nothing is written.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

from rewards.errors import RewardError
from rewards.registry import runs_programs
from rewards.scorer import Scorer
from rlpeft import build
from rlpeft.doctor.adapter import check_forward, check_start, check_targets, check_trainable
from rlpeft.doctor.leak import check_leak
from rlpeft.doctor.memory import check_memory
from rlpeft.doctor.programs import check_programs
from rlpeft.doctor.prompts import (
    check_chat,
    check_embeddings,
    check_prompts,
    check_specials,
    check_tags,
    check_tokens,
)
from rlpeft.doctor.reading import Look
from rlpeft.doctor.rewards import check_reward
from rlpeft.doctor.rollout import check_completions, check_gradient, check_signal, check_sync
from rlpeft.doctor.row import Check, fail, ok
from rlpeft.errors import RlpeftError
from rlpeft.models.digest import model_digest
from rlpeft.models.folder import resolve_model
from rlpeft.recipe.run import Recipe
from rlpeft.recipe.scorer import build_scorer
from rlpeft.rollout.engine import RolloutEngine
from rlpeft.rollout.fleet import LocalFleet, PolicyFleet
from rlpeft.scoring import Scores
from rlpeft.tasks.base import SPLITS, ProblemSet, Task
from rlpeft.tasks.catalogue import load_task
from rlpeft.tokens.eos import eos_ids
from rlpeft.tokens.prompter import Prompter
from rlpeft.training.advantage import with_advantages
from rlpeft.training.collect import Evidence, collect, rollout_metrics, to_samples
from rlpeft.training.learner import LocalLearner
from rlpeft.training.protocol import proof_of

NUM_PROBLEMS, GROUP_SIZE = 8, 4
"""Size of the short rollout; both are at most the recipe's own."""

Checks = Iterator[Check]


@dataclass(frozen=True)
class Builders:
    """What makes the parts of a run."""

    prompter: Callable[[Recipe], Prompter] = build.build_prompter
    task: Callable[[Recipe], Task] = lambda recipe: load_task(recipe.task)
    scorer: Callable[[Recipe], Scores] = build_scorer
    learner: Callable[[Recipe], LocalLearner] = build.build_learner
    engine: Callable[[Recipe], RolloutEngine] = build.build_engine


def examine(recipe: Recipe, builders: Builders | None = None, look: Look | None = None) -> Checks:
    """Check a recipe, part by part.

    Args:
        look: is shown prompts, and what the short rollout made of them.

    Yields:
        One row for each thing looked at, as soon as it is known.
    """
    builders = builders or Builders()
    prompter = yield from opened("base model", builders.prompter, recipe)
    if prompter is not None:
        yield ok("base model", _model(recipe))
    task = yield from opened("task", lambda recipe: _whole(builders.task(recipe)), recipe)
    if task is not None:
        yield ok("task", _sizes(task))
    scorer = yield from opened("reward", builders.scorer, recipe)
    if prompter is not None and task is not None:
        yield from guarded("prompts", _prompt_checks(recipe, task, prompter))
    if task is not None:
        yield from guarded("gold answers in prompts", check_leak(task))
    if scorer is not None and task is not None:
        yield from guarded("reward", check_reward(task.split("train"), scorer))
        if any(runs_programs(reward.name) for reward in recipe.reward):
            yield from guarded("modules", check_programs(task.split("train")))
    if prompter is not None and task is not None:
        found = Found(prompter, task, scorer, look)
        yield from _policy_checks(recipe, builders, found)
        if look is not None:
            yield from guarded("prompts as read", look.over(recipe, task, prompter))
    if isinstance(scorer, Scorer):
        scorer.close()


@dataclass(frozen=True)
class Found:
    """Parts that could be opened."""

    prompter: Prompter
    task: Task
    scorer: Scores | None
    look: Look | None


def _policy_checks(recipe: Recipe, builders: Builders, found: Found) -> Checks:
    """What needs a model in memory."""
    task, prompter, scorer = found.task, found.prompter, found.scorer
    learner = yield from opened("adapter", builders.learner, recipe)
    # Without a limit: prompts that are too long have a row already.
    unlimited = prompter.afresh(max_tokens=sys.maxsize)
    canary = yield from opened("canary", lambda _: build.build_canary(task, unlimited), recipe)
    if learner is None or canary is None:
        return
    yield check_forward(learner)
    yield check_targets(recipe, learner)
    yield check_trainable(learner)
    yield from guarded("KL at step 0", check_start(learner, canary))
    yield check_memory(recipe, learner)
    engine = yield from opened("engine and weight sync", builders.engine, recipe)
    if engine is None or scorer is None:
        return
    fleet = LocalFleet(engine)
    problems = task.split("train")
    wanted = min(found.look.num_prompts, len(problems)) if found.look else 0
    short = _short(recipe, wanted)
    roll_out = partial(collect, problems, fleet, scorer, recipe=short, prompter=prompter)
    with closing(fleet):
        synced = _sync_checks(recipe, fleet, learner, canary)
        rolled_out = _rollout_checks(short, learner, roll_out, found.look)
        yield from guarded("engine and weight sync", chain(synced, rolled_out))


def opened(name: str, make: Callable[[Recipe], Any], recipe: Recipe) -> Generator[Check, None, Any]:
    """Make a part; a failure is a row, and the part is `None`."""
    try:
        return make(recipe)
    except Exception as error:
        # Recovery: whatever is wrong with a part is what the table is for.
        yield failure(name, error)
        return None


def guarded(name: str, checks: Checks) -> Checks:
    """The checks, up to the first that raises, which becomes a row."""
    try:
        yield from checks
    except Exception as error:
        # Recovery: as in `opened`.
        yield failure(name, error)


def failure(name: str, error: Exception) -> Check:
    """A row for an exception; ours say how to mend it, others are named by their type."""
    text = " ".join(str(error).split())
    if isinstance(error, RlpeftError | RewardError):
        return fail(name, text, "")
    return fail(name, f"{type(error).__name__}: {text}", "Not one of ours: look at its cause.")


def _prompt_checks(recipe: Recipe, task: Task, prompter: Prompter) -> Checks:
    problem = task.split("train")[0]
    eos = eos_ids(resolve_model(recipe.model.name), prompter.tokenizer)
    yield from check_tokens(prompter, problem, eos)
    yield check_chat(prompter, problem, eos)
    yield check_specials(task, prompter)
    yield from check_tags(prompter.tokenizer, recipe)
    yield check_embeddings(build.num_embeddings(recipe), task, prompter)
    yield from check_prompts(recipe, task, prompter)


def _sync_checks(
    recipe: Recipe, fleet: PolicyFleet, learner: LocalLearner, canary: list[list[int]]
) -> Checks:
    yield check_sync(fleet.sync(proof_of(learner, canary, bound=recipe.rollout.canary_bound)))


def _rollout_checks(
    recipe: Recipe, learner: LocalLearner, roll_out: Callable[..., Evidence], look: Look | None
) -> Checks:
    with warnings.catch_warnings():
        # Of truncation: the row on completion lengths says it, with figures.
        warnings.simplefilter("ignore", UserWarning)
        seen = roll_out(cursor=0, step=1, version=0)
    if look is not None:
        look.seen = seen
    metrics = rollout_metrics(seen, 0)
    yield check_completions(recipe, seen)
    yield check_signal(metrics)
    groups = with_advantages(seen.scored.groups, recipe.loss.advantage)
    yield check_gradient(learner.forward_backward(to_samples(groups, recipe.loss)))


def _short(recipe: Recipe, num_prompts: int) -> Recipe:
    """The recipe with a step that is small enough to try, of so many prompts at least."""
    train = recipe.train
    size = {
        "prompts_per_step": max(num_prompts, min(NUM_PROBLEMS, train.prompts_per_step)),
        "group_size": min(GROUP_SIZE, train.group_size),
        "resample_budget": 0,
    }
    return recipe.model_copy(update={"train": train.model_copy(update=size)})


def _model(recipe: Recipe) -> str:
    path = resolve_model(recipe.model.name)
    return f"{recipe.model.name}, sha256:{model_digest(path)[:12]}…"


def _whole(task: Task) -> Task:
    """The task, if it has every split that a run needs."""
    for split in SPLITS:
        task.split(split)
    return task


def _sizes(task: Task) -> str:
    sizes = [f"{len(task.split(split))} {split}" for split in SPLITS]
    left_out = sum(task.left_out.values()) if isinstance(task, ProblemSet) else 0
    went = f"; {left_out} left out, whose prompts stand in a later split" if left_out else ""
    return f"{task.name}: {', '.join(sizes)} problems{went}"
