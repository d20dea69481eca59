"""One step's evidence: problems drawn, answered, scored, and turned into training samples.

P problem, G group member. A step that was cut off and is run again draws the same problems and
the same completions: everything is a function of `train.seed`, the step and the cursor.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import fmean, pstdev
from typing import Any

from rewards.scorer import ScoredBatch
from rewards.verdict import count_kinds
from rlpeft.errors import EngineError
from rlpeft.recipe.run import Recipe
from rlpeft.rollout.fleet import Fleet
from rlpeft.rollout.groups import roll_out, rollout_seed, training_sampling
from rlpeft.runs.records import recorded_metrics
from rlpeft.scoring import Scores, require_scorable, score_groups
from rlpeft.tokens.prompter import Prompter
from rlpeft.training.advantage import ADVANTAGES, carries_signal
from rlpeft.training.packing import Sample
from rlpeft.types import Group, Problem, Request

MOST_TRUNCATED = 0.5
"""Share of truncated completions above which a step warns."""


@dataclass(frozen=True)
class Collector:
    """Draws, answers and scores the problems of a step.

    Attributes:
        problems: the training split.
    """

    recipe: Recipe
    problems: Sequence[Problem]
    fleet: Fleet
    scorer: Scores
    prompter: Prompter


@dataclass(frozen=True)
class Evidence:
    """What one step saw.

    Attributes:
        groups: one for each problem.
        scored: verdicts of all completions, in order of groups and members.
        cursor: problems drawn so far, over all epochs.
        resampled: groups without signal that were replaced.
    """

    groups: list[Group]
    scored: ScoredBatch
    cursor: int
    resampled: int


def collect(source: Collector, cursor: int, *, step: int, version: int) -> Evidence:
    """Roll out and score one batch; replace groups without signal within the budget.

    Args:
        cursor: where to go on drawing problems.
        version: adapter version that every completion must come from.

    Raises:
        EngineError: a completion comes from another version.
        RewardError: too many completions cannot be scored.
    """
    train = source.recipe.train
    groups, scored = _roll_and_score(source, cursor, train.prompts_per_step, step)
    cursor += train.prompts_per_step
    budget, resampled = train.resample_budget, 0
    while budget and (dull := _dull_groups(groups, scored)):
        count = min(budget, len(dull))
        extra_groups, extra_scored = _roll_and_score(source, cursor, count, step)
        cursor, budget = cursor + count, budget - count
        kept = [g for g in range(len(groups)) if g not in set(dull[:count])]
        groups, scored = _join(groups, scored, kept, extra_groups, extra_scored)
        resampled += count
    _refuse_stale(groups, version)
    what = "a step's completions"
    require_scorable(groups, scored, limit=train.unscorable_limit, step=step, what=what)
    _warn_of_truncation(groups, source.recipe.rollout.max_tokens)
    return Evidence(groups, scored, cursor, resampled)


def _roll_and_score(
    source: Collector, cursor: int, count: int, step: int
) -> tuple[list[Group], ScoredBatch]:
    problems, requests = training_requests(source, cursor, count, step=step)
    groups = roll_out(problems, requests, source.fleet, training_sampling(source.recipe))
    return groups, score_groups(groups, source.scorer, step=step)


def training_requests(
    source: Collector, cursor: int, count: int, *, step: int
) -> tuple[list[Problem], list[Request]]:
    """Problems `cursor` to `cursor + count`, and what an engine is asked for each."""
    problems = draw(source.problems, cursor, count, source.recipe.train.seed)
    names = [f"{step}/{cursor + i}/{problem.id}" for i, problem in enumerate(problems)]
    return problems, [_request(source, p, name) for p, name in zip(problems, names, strict=True)]


def _request(source: Collector, problem: Problem, name: str) -> Request:
    train = source.recipe.train
    # The name holds step and cursor: a problem drawn twice gets other completions.
    seeds = [rollout_seed(train.seed, name, member) for member in range(train.group_size)]
    return replace(source.prompter.request(problem, seeds), id=name)


def draw(problems: Sequence[Problem], cursor: int, count: int, seed: int) -> list[Problem]:
    """Problems `cursor` to `cursor + count` of an endless sequence of shuffled epochs."""
    drawn = []
    for position in range(cursor, cursor + count):
        epoch, index = divmod(position, len(problems))
        drawn.append(problems[_order(len(problems), epoch, seed)[index]])
    return drawn


@lru_cache(maxsize=2)
def _order(size: int, epoch: int, seed: int) -> list[int]:
    return random.Random(f"{seed}/{epoch}").sample(range(size), size)


def _refuse_stale(groups: Sequence[Group], version: int) -> None:
    for group in groups:
        for completion in group.completions:
            if completion.version != version:
                raise EngineError(
                    f"completions of {group.problem.id!r} must come from adapter version "
                    f"{version}, they come from {completion.version}."
                )


def _warn_of_truncation(groups: Sequence[Group], max_tokens: int) -> None:
    truncated = [c.truncated for group in groups for c in group.completions]
    if sum(truncated) > MOST_TRUNCATED * len(truncated):
        # No figure in the text: Python shows equal warnings of one place once.
        warnings.warn(
            "more than half of the completions of a step were cut off at rollout.max_tokens = "
            f"{max_tokens} or at the model's context: they earn no reward and teach the policy "
            "little. Raise rollout.max_tokens; `rlpeft doctor` shows how long completions are.",
            stacklevel=3,
        )


def _grouped(values: Sequence[Any], groups: Sequence[Group]) -> list[list[Any]]:
    iterator = iter(values)
    return [[next(iterator) for _ in group.completions] for group in groups]


def group_rewards(groups: Sequence[Group], scored: ScoredBatch) -> list[list[float | None]]:
    """Scores by group; `None` where a completion could not be scored."""
    return _grouped([verdict.score for verdict in scored.verdicts], groups)


def _dull_groups(groups: Sequence[Group], scored: ScoredBatch) -> list[int]:
    rewards_PG = group_rewards(groups, scored)
    return [index for index, rewards in enumerate(rewards_PG) if not carries_signal(rewards)]


def _join(
    groups: Sequence[Group],
    scored: ScoredBatch,
    kept: Sequence[int],
    extra_groups: Sequence[Group],
    extra: ScoredBatch,
) -> tuple[list[Group], ScoredBatch]:
    """The kept groups followed by the extra ones, with their scores."""

    def pick(values: Sequence[Any], more: Sequence[Any]) -> list[Any]:
        by_group = _grouped(values, groups)
        return [value for index in kept for value in by_group[index]] + list(more)

    names = scored.by_reward.keys()
    shared = scored.columns.keys() & extra.columns.keys()
    return [groups[index] for index in kept] + list(extra_groups), ScoredBatch(
        pick(scored.verdicts, extra.verdicts),
        {name: pick(scored.by_reward[name], extra.by_reward[name]) for name in names},
        {name: pick(scored.columns[name], extra.columns[name]) for name in sorted(shared)},
        scored.metrics | extra.metrics,
    )


def to_samples(seen: Evidence, recipe: Recipe) -> tuple[list[Sample], list[float]]:
    """Completions with their advantages, for the learner; masked ones are left out.

    Returns:
        The samples, and the advantage of every completion in order.
    """
    rewards_PG = group_rewards(seen.groups, seen.scored)
    advantages_PG = ADVANTAGES[recipe.loss.advantage](rewards_PG)
    samples = [
        Sample(group.prompt_ids, completion.token_ids, completion.logprobs, advantage)
        for group, advantages in zip(seen.groups, advantages_PG, strict=True)
        for completion, advantage in zip(group.completions, advantages, strict=True)
        if recipe.loss.trains(completion)
    ]
    return samples, [advantage for advantages in advantages_PG for advantage in advantages]


def rollout_metrics(seen: Evidence, version: int) -> dict[str, float]:
    """What the completions of a step were like, under TRL's names where TRL has one."""
    groups, scored = seen.groups, seen.scored
    completions = [completion for group in groups for completion in group.completions]
    lengths = [len(completion.token_ids) for completion in completions]
    ended = [len(c.token_ids) for c in completions if not c.truncated]
    rewards_PG = group_rewards(groups, scored)
    rewards = [r for group in rewards_PG for r in group if r is not None]
    kinds = count_kinds(verdict.kind for verdict in scored.verdicts)
    dull = sum(not carries_signal(group) for group in rewards_PG)
    return {
        "reward": fmean(rewards) if rewards else 0.0,
        "reward_std": fmean(pstdev(g) for g in _scored_only(rewards_PG)) if rewards else 0.0,
        "frac_reward_zero_std": dull / len(groups),
        "resampled_groups": float(seen.resampled),
        "completions/mean_length": fmean(lengths),
        "completions/min_length": float(min(lengths)),
        "completions/max_length": float(max(lengths)),
        "completions/mean_terminated_length": fmean(ended) if ended else 0.0,
        "completions/clipped_ratio": 1 - len(ended) / len(completions),
        "num_tokens": float(sum(lengths)),
        "sample/staleness_max": float(max(version - c.version for c in completions)),
        **{f"verdicts/{kind}": float(count) for kind, count in kinds.items()},
        **_reward_metrics(scored),
    }


def _scored_only(rewards_PG: Sequence[Sequence[float | None]]) -> list[list[float]]:
    groups = [[r for r in group if r is not None] for group in rewards_PG]
    return [group for group in groups if group]


def _reward_metrics(scored: ScoredBatch) -> dict[str, float]:
    metrics = recorded_metrics(scored.metrics)
    for name, verdicts in scored.by_reward.items():
        scores = [verdict.score for verdict in verdicts if verdict.score is not None]
        if scores:
            metrics[f"rewards/{name}/mean"] = fmean(scores)
            metrics[f"rewards/{name}/std"] = pstdev(scores)
    return metrics
