"""`rlpeft doctor`: everything that can be known of a recipe before any long work, in one table.

Parts are opened one after the other, as a run would; what cannot be opened is a row that says why,
and the checks that need it are left out. Nothing is written.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from rewards.errors import RewardError
from rewards.registry import FROM_ENVIRONMENT, runs_programs
from rewards.scorer import Scorer
from rlpeft import build
from rlpeft.doctor.adapter import (
    check_forward,
    check_reference,
    check_start,
    check_targets,
    check_trainable,
)
from rlpeft.doctor.lag import check_lag
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
from rlpeft.doctor.ranks import check_ranks, check_workers
from rlpeft.doctor.reading import Look
from rlpeft.doctor.rewards import check_golds, check_reward
from rlpeft.doctor.rollout import check_completions, check_gradient, check_signal, check_sync
from rlpeft.doctor.row import Check, fail, ok, warn
from rlpeft.doctor.sizes import check_repeats, check_sizes
from rlpeft.errors import RlpeftError
from rlpeft.experts.files import Expert
from rlpeft.experts.hub import resolve_expert
from rlpeft.experts.merged import open_base, read_parent, require_merged_once
from rlpeft.experts.start import read_start
from rlpeft.models.base import BaseModel
from rlpeft.recipe.reward import rewards_twice
from rlpeft.recipe.run import (
    ChatConfig,
    EngineSpec,
    Recipe,
    RewardConfig,
    RolloutConfig,
    TaskConfig,
    task_of,
)
from rlpeft.recipe.scorer import Scorers, build_scorer
from rlpeft.rollout.conversation import Conversations
from rlpeft.rollout.engine import RolloutEngine
from rlpeft.rollout.fleet import LocalFleet
from rlpeft.scoring import Scores, TaskScores, by_task
from rlpeft.tasks.base import SPLITS, Task
from rlpeft.tasks.catalogue import load_task
from rlpeft.tasks.decks import (
    Deck,
    decks_of,
    problems_of,
    require_apart,
    require_drawn,
    told_shared,
)
from rlpeft.tokens.requests import Prompter
from rlpeft.training.advantage import with_advantages
from rlpeft.training.collect import Evidence, GroupSource, to_samples
from rlpeft.training.learner import LocalLearner
from rlpeft.types import ScoredGroups

NUM_PROBLEMS, GROUP_SIZE = 8, 4
"""Size of the short rollout; both are at most the recipe's own."""

Checks = Iterator[Check]


@dataclass(frozen=True)
class Builders:
    """What makes the parts of a run."""

    prompter: Callable[[BaseModel, ChatConfig, RolloutConfig], Prompter] = build.build_prompter
    task: Callable[[TaskConfig], Task] = load_task
    scorer: Callable[[Sequence[RewardConfig]], TaskScores] = build_scorer
    learner: Callable[[Recipe, BaseModel], LocalLearner] = build.build_learner
    engine: Callable[[EngineSpec, BaseModel], RolloutEngine] = build.build_engine


def examine(recipe: Recipe, builders: Builders | None = None, look: Look | None = None) -> Checks:
    """Check a recipe, part by part.

    Args:
        look: is shown prompts, and what the short rollout made of them.

    Yields:
        One row for each thing looked at, as soon as it is known.
    """
    builders = builders or Builders()
    base, prompter = yield from _base_model(recipe, builders)
    start = yield from _start(recipe, base)
    tasks, scorers = dict[str, Any](), dict[str, Any]()
    for label, own in recipe.alone.items():
        checks = _task_checks(own, builders, base, prompter)
        tasks[label], scorers[label] = yield from called(label, checks)
    if prompter is not None and None not in tasks.values():
        decks = decks_of(tasks, recipe.weights, recipe.limits)
        yield from opened("tasks beside one another", partial(require_apart, decks))
        turns = partial(require_drawn, decks, recipe.train.num_drawn, recipe.train.seed)
        yield from opened("turns of the tasks", turns)
        if shared := told_shared(decks):
            yield warn("tasks beside one another", shared, "Judge each task by its own figures.")
        scorer = None if None in scorers.values() else Scorers(scorers)
        found = Opened(base, prompter, decks, scorer, look, start)
        yield from _policy_checks(recipe, builders, found)
        if look is not None:
            yield from guarded("prompts as read", look.over(recipe, base, decks, prompter))
    for scorer in scorers.values():
        if isinstance(scorer, Scorer):
            scorer.close()


def called(label: str, checks: Generator[Check, None, Any]) -> Generator[Check, None, Any]:
    """The rows of one task, by whose label each is called where there are several."""
    while True:
        try:
            check = next(checks)
        except StopIteration as end:
            return end.value
        yield replace(check, name=f"{check.name} ({label})") if label else check


def _task_checks(
    recipe: Recipe, builders: Builders, base: Any, prompter: Any
) -> Generator[Check, None, Any]:
    """What can be known of a task without a model; gives the task and its rewards, or `None`."""
    section = task_of(recipe)
    task = yield from opened("task", lambda: _whole(builders.task(section)))
    if task is not None:
        yield check_sizes(task, section.source)
        if (again := check_repeats(task)) is not None:
            yield again
    scorer = yield from opened("reward", lambda: builders.scorer(recipe.rewards))
    if prompter is not None and task is not None:
        yield from guarded("prompts", _prompt_checks(recipe, base, task, prompter))
    if task is not None:
        yield from guarded("gold answers in prompts", check_leak(task))
    if twice := rewards_twice(recipe.rewards):
        mend = "Leave one out, and give the other the sum of their weights."
        yield warn("rewards", f"{twice} with equal options", mend)
    if scorer is not None and task is not None:
        yield from guarded("gold answers", check_golds(task, scorer, section.source))
        if any(reward.name == FROM_ENVIRONMENT for reward in recipe.rewards):
            yield ok("reward", "the environment's own, of conversations: tried below")
        else:
            yield from guarded("reward", check_reward(task.split("train"), scorer))
        if any(runs_programs(reward.name) for reward in recipe.rewards):
            yield from guarded("modules", check_programs(task.split("train")))
    return task, scorer


def _base_model(recipe: Recipe, builders: Builders) -> Generator[Check, None, Any]:
    """The base model and its prompter, or two times `None` and the row that says why."""

    def both() -> tuple[BaseModel, Prompter, str]:
        plain, parents, notes = BaseModel.open(recipe.model.name), [], []
        for name in recipe.model.merge:
            folder, told = resolve_expert(name)
            parents.append(read_parent(folder, plain))
            notes += [f"with {parents[-1].card.name!r} merged into it", *told]
        require_merged_once(recipe.model.merge, parents)
        base = open_base(recipe.model.base, parents)
        prompter = builders.prompter(base, recipe.chat, recipe.rollout)
        return base, prompter, "; ".join([f"{base.name}, sha256:{base.digest[:12]}…", *notes])

    found = yield from opened("base model", both)
    if found is None:
        return None, None
    base, prompter, said = found
    yield ok("base model", said)
    return base, prompter


def _start(recipe: Recipe, base: BaseModel | None) -> Generator[Check, None, Any]:
    """The expert that training begins with; `None` if it is a fresh adapter, or a row says why."""
    name = recipe.model.start
    if name is None or base is None:
        return None

    def read() -> tuple[Expert, list[str]]:
        folder, notes = resolve_expert(name)
        return read_start(folder, recipe, base), notes

    found = yield from opened("start", read)
    if found is None:
        return None
    expert, notes = found
    said = f"{expert.card.name} of step {expert.card.step:,}, sha256:{expert.card.digest[:12]}…"
    yield ok("start", "; ".join([said, *notes]))
    return expert


@dataclass(frozen=True)
class Opened:
    """Parts that could be opened."""

    base: BaseModel
    prompter: Prompter
    decks: Sequence[Deck]
    scorer: Scores | None
    look: Look | None
    start: Expert | None


def _policy_checks(recipe: Recipe, builders: Builders, found: Opened) -> Checks:
    """What needs a model in memory."""
    decks, prompter, scorer = found.decks, found.prompter, found.scorer
    learner = yield from opened("adapter", lambda: builders.learner(recipe, found.base))
    # Without a limit: prompts that are too long have a row already.
    unlimited = prompter.afresh(max_tokens=sys.maxsize)
    canary = yield from opened("canary", lambda: build.build_canary(decks[0].task, unlimited))
    is_lost = recipe.model.start is not None and found.start is None
    if learner is None or canary is None or is_lost:
        return
    yield check_forward(learner)
    yield check_targets(recipe, learner)
    yield check_trainable(learner)
    yield from guarded("KL at step 0", check_start(learner, canary))
    yield from check_ranks(recipe)
    yield from check_workers(recipe)
    yield from check_lag(recipe)
    if found.start is not None:
        learner.start_from(found.start.state())
    yield check_memory(recipe, learner)
    engine = yield from opened(
        "engine and weight sync", lambda: builders.engine(recipe.engine, found.base)
    )
    if engine is None or scorer is None:
        return
    held = yield from opened("environment", lambda: _conversations(recipe, found.base))
    if held is None and recipe.environment is not None:
        engine.close()
        return
    fleet = LocalFleet(engine)
    most = len(problems_of(decks, "train"))
    wanted = min(found.look.num_prompts, most) if found.look else 0
    short = _short(recipe, wanted)
    sampling = short.rollout.sampling
    roll_out = GroupSource(decks, fleet, scorer, short.train, sampling, prompter, held).collect
    with closing(fleet), nullcontext() if held is None else closing(held):
        synced = _sync_checks(recipe, fleet, learner, canary)
        rolled_out = _rollout_checks(short, learner, roll_out, found.look)
        sync = "engine and weight sync"
        if (yield from guarded(sync, synced)):
            yield from guarded(sync if held is None else "environment", rolled_out)


def _conversations(recipe: Recipe, base: BaseModel) -> Conversations | None:
    section = recipe.environment
    return None if section is None else build.build_conversations(recipe, section, base)


def opened(name: str, make: Callable[[], Any]) -> Generator[Check, None, Any]:
    """Make a part; a failure is a row, and the part is `None`."""
    try:
        return make()
    except Exception as error:
        # Recovery: whatever is wrong with a part is what the table is for.
        yield failure(name, error)
        return None


def guarded(name: str, checks: Checks) -> Generator[Check, None, bool]:
    """The checks, up to the first that raises, which becomes a row; whether none did."""
    try:
        yield from checks
    except Exception as error:
        # Recovery: as in `opened`.
        yield failure(name, error)
        return False
    return True


def failure(name: str, error: Exception) -> Check:
    """A row for an exception; ours say how to mend it, others are named by their type."""
    text = " ".join(str(error).split())
    if isinstance(error, RlpeftError | RewardError):
        return fail(name, text, "")
    return fail(name, f"{type(error).__name__}: {text}", "Not one of ours: look at its cause.")


def _prompt_checks(recipe: Recipe, base: BaseModel, task: Task, prompter: Prompter) -> Checks:
    problem = task.split("train")[0]
    yield from check_tokens(prompter, problem, base.eos_ids)
    yield check_chat(prompter, problem, base.eos_ids)
    yield check_specials(task, prompter)
    yield from check_tags(prompter.tokenizer, recipe)
    yield check_embeddings(base.num_embeddings, task, prompter)
    yield from check_prompts(recipe, base.context_length, task, prompter)


def _sync_checks(
    recipe: Recipe, fleet: LocalFleet, learner: LocalLearner, canary: list[list[int]]
) -> Checks:
    yield check_sync(fleet.sync(learner.proof(canary, recipe.rollout.canary_bound)))


def _rollout_checks(
    recipe: Recipe, learner: LocalLearner, roll_out: Callable[..., Evidence], look: Look | None
) -> Checks:
    with warnings.catch_warnings():
        # Of truncation: the row on completion lengths says it, with figures.
        warnings.simplefilter("ignore", UserWarning)
        seen = roll_out(cursor=0, step=1)
    if look is not None:
        look.seen = seen
    for label, own in _parts(seen).items():
        yield from called(label, _answer_checks(recipe.alone[label], own))
    loss = recipe.loss
    groups = with_advantages(
        seen.scored.groups,
        loss.advantage,
        mask_truncated=loss.mask_truncated,
        wrong=loss.wrong,
    )
    learnt = learner.forward_backward(to_samples(groups))
    yield check_gradient(learnt)
    if recipe.model.start is not None and "kl" in learnt:
        yield check_reference(loss, learnt)


def _parts(seen: Evidence) -> dict[str, Evidence]:
    """By label, what was seen of each task."""
    parts = by_task(seen.scored.groups).items()
    return {label: replace(seen, scored=ScoredGroups(own)) for label, own in parts} or {"": seen}


def _answer_checks(recipe: Recipe, seen: Evidence) -> Generator[Check, None, None]:
    yield check_completions(recipe, seen)
    yield check_signal(recipe, seen)


def _short(recipe: Recipe, num_prompts: int) -> Recipe:
    """The recipe with a step that is small enough to try, of so many prompts at least."""
    train = recipe.train
    size = {
        "prompts_per_step": max(num_prompts, min(NUM_PROBLEMS, train.prompts_per_step)),
        "group_size": min(GROUP_SIZE, train.group_size),
        "resample_budget": 0,
    }
    return recipe.model_copy(update={"train": train.model_copy(update=size)})


def _whole(task: Task) -> Task:
    """The task, if it has every split that a run needs."""
    for split in SPLITS:
        task.split(split)
    return task
