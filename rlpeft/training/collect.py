"""One step's evidence: problems drawn, answered, scored, and turned into training samples.

P problem, G group member. A step that was cut off and is run again draws the same problems and
the same completions: everything is a function of `train.seed`, the step and the cursor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, pstdev

from rewards.verdict import Verdict, count_kinds
from rlpeft.errors import EngineError
from rlpeft.recipe.run import TrainConfig
from rlpeft.rollout.conversation import Conversations
from rlpeft.rollout.fleet import Fleet
from rlpeft.rollout.groups import TellGroups, ask_scored, rollout_seed, unheard
from rlpeft.runs.records import recorded_metrics
from rlpeft.scoring import Scores, by_task, require_scorable
from rlpeft.tasks.decks import Deck, draw
from rlpeft.tokens.requests import Prompter
from rlpeft.training.advantage import carries_signal
from rlpeft.training.packing import Sample
from rlpeft.types import (
    AdvantagedGroup,
    Completion,
    Problem,
    Request,
    Sampling,
    ScoredGroup,
    ScoredGroups,
)

OF_ALL_TASKS = frozenset({"resampled_groups", "sample/staleness_max"})
"""Metrics of a step that are no one task's."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one step saw.

    Attributes:
        scored: a group for each problem, and what rewards logged.
        cursor: problems drawn so far, over all epochs.
        resampled: groups without signal that were replaced.
    """

    scored: ScoredGroups
    cursor: int
    resampled: int


@dataclass(frozen=True)
class GroupSource:
    """What the groups of a step come from.

    Attributes:
        decks: what training problems are drawn from.
        conversations: how they are answered in several turns; absent: in one.
    """

    decks: Sequence[Deck]
    fleet: Fleet
    scorer: Scores
    train: TrainConfig
    sampling: Sampling
    prompter: Prompter
    conversations: Conversations | None = None

    def collect(self, *, cursor: int, step: int, tell: TellGroups = unheard) -> Evidence:
        """Roll out and score one batch; replace groups without signal within the budget.

        Args:
            cursor: where to go on drawing problems.
            step: every completion must come from the adapter that the step before it left.
            tell: is told how many groups are generated, and of how many.

        Raises:
            EngineError: a completion comes from another version of the adapter.
            RewardError: too many completions cannot be scored.
        """
        train = self.train
        scored = self.ask(cursor, train.prompts_per_step, step=step, tell=tell)()
        cursor, budget = cursor + train.prompts_per_step, train.resample_budget
        while dull := _dull_groups(scored)[:budget]:
            scored = _replaced(scored, dull, self.ask(cursor, len(dull), step=step, tell=tell)())
            cursor, budget = cursor + len(dull), budget - len(dull)
        self.require_usable(scored.groups, step=step, version=step - 1)
        return Evidence(scored, cursor, train.resample_budget - budget)

    def ask(
        self, cursor: int, count: int, *, step: int, tell: TellGroups = unheard
    ) -> Callable[[], ScoredGroups]:
        """Ask for `count` groups, as `collect` does; what comes waits for them, scored."""
        drawn, requests = training_requests(
            self.decks, cursor, count, train=self.train, prompter=self.prompter, step=step
        )
        return ask_scored(
            drawn,
            requests,
            self.fleet,
            self.scorer,
            sampling=self.sampling,
            step=step,
            tell=tell,
            conversations=self.conversations,
        )

    def require_usable(self, groups: Sequence[ScoredGroup], *, step: int, version: int) -> None:
        """Refuse groups that would teach something else than they should.

        Args:
            version: of the adapter that every completion must come from.

        Raises:
            EngineError: a completion comes from another one.
            RewardError: too many completions cannot be scored.
        """
        _refuse_stale(groups, version)
        what = "a step's completions"
        require_scorable(groups, limit=self.train.unscorable_limit, step=step, what=what)


def training_requests(
    decks: Sequence[Deck],
    cursor: int,
    count: int,
    *,
    train: TrainConfig,
    prompter: Prompter,
    step: int,
) -> tuple[list[Problem], list[Request]]:
    """Problems `cursor` to `cursor + count`, and what an engine is asked for each."""
    drawn, requests = draw(decks, cursor, count, train.seed), []
    for position, problem in enumerate(drawn, cursor):
        # The name holds step and cursor: a problem drawn twice gets other completions.
        name = f"{step}/{position}/{problem.id}"
        seeds = [rollout_seed(train.seed, name, member) for member in range(train.group_size)]
        requests.append(replace(prompter.request(problem, seeds), id=name))
    return drawn, requests


def _refuse_stale(groups: Sequence[ScoredGroup], version: int) -> None:
    for scored in groups:
        for completion in scored.group.completions:
            if completion.version != version:
                raise EngineError(
                    f"completions of {scored.group.problem.id!r} must come from adapter version "
                    f"{version}, they come from {completion.version}."
                )


def _dull_groups(scored: ScoredGroups) -> list[int]:
    return [at for at, group in enumerate(scored.groups) if not carries_signal(group.rewards)]


def _replaced(scored: ScoredGroups, lost: Sequence[int], extra: ScoredGroups) -> ScoredGroups:
    """The groups but those at `lost`, then the extra ones.

    A reward may record a column in one call and not in another: what is left are, by name, those
    that all groups of its task have, since a table of completions has the same columns in every
    row.
    """
    every = [*scored.groups, *extra.groups]
    shared: dict[str, set[str]] = {}
    for each in every:
        names = shared.setdefault(each.group.problem.task, set(each.columns))
        names.intersection_update(each.columns)

    def alike(each: ScoredGroup) -> ScoredGroup:
        names = sorted(shared[each.group.problem.task])
        return replace(each, columns={name: each.columns[name] for name in names})

    kept = tuple(alike(group) for at, group in enumerate(every) if at not in lost)
    return ScoredGroups(kept, {**scored.metrics, **extra.metrics})


def to_samples(groups: Sequence[AdvantagedGroup]) -> list[Sample]:
    """Completions with their advantages, for the learner; what is not trained is left out."""
    return [
        Sample(
            scored.group.prompt_ids,
            done.token_ids,
            done.logprobs,
            advantage,
            done.own if done.conversation else (),
            scored.group.problem.images,
        )
        for scored in groups
        for done, advantage, trained in zip(
            scored.group.completions, scored.advantages, scored.trained, strict=True
        )
        if trained
    ]


def rollout_metrics(seen: Evidence, version: int) -> dict[str, float]:
    """What the completions of a step were like, under TRL's names where TRL has one."""
    groups = seen.scored.groups
    completions = [completion for scored in groups for completion in scored.group.completions]
    lengths = [sum(completion.own) for completion in completions]
    ended = [sum(c.own) for c in completions if not c.truncated]
    scored_PG = [[r for r in scored.rewards if r is not None] for scored in groups]
    rewards = [r for scored in scored_PG for r in scored]
    kinds = count_kinds(verdict.kind for verdict in seen.scored.verdicts)
    return {
        "reward": fmean(rewards) if rewards else 0.0,
        "reward_std": fmean(pstdev(g) for g in scored_PG if g) if rewards else 0.0,
        "frac_reward_zero_std": len(_dull_groups(seen.scored)) / len(groups),
        "resampled_groups": float(seen.resampled),
        "completions/mean_length": fmean(lengths),
        "completions/min_length": float(min(lengths)),
        "completions/max_length": float(max(lengths)),
        "completions/mean_terminated_length": fmean(ended) if ended else 0.0,
        "completions/clipped_ratio": 1 - len(ended) / len(completions),
        "num_tokens": float(sum(lengths)),
        "sample/staleness_max": float(max(version - c.version for c in completions)),
        **{f"verdicts/{kind}": float(count) for kind, count in kinds.items()},
        **_conversation_metrics(completions),
        **_reward_metrics(seen.scored),
    }


def _conversation_metrics(completions: Sequence[Completion]) -> dict[str, float]:
    """How conversations with an environment went; nothing where there is none."""
    held = [done for done in completions if done.conversation is not None]
    found = [done.conversation for done in completions if done.conversation is not None]
    if not found:
        return {}
    failed = sum(isinstance(each.outcome, Verdict) for each in found)
    return {
        "environment/turns": fmean(sum(turn.is_own for turn in each.turns) for each in found),
        "environment/tokens": fmean(len(done.token_ids) - sum(done.own) for done in held),
        "environment/unfinished": 1 - sum(each.is_done for each in found) / len(found),
        "environment/failed": float(failed),
    }


def metrics_by_task(seen: Evidence, version: int) -> dict[str, float]:
    """The same of each task of a recipe of several, and how many groups it has; else nothing."""
    metrics: dict[str, float] = {}
    for label, groups in by_task(seen.scored.groups).items():
        own = rollout_metrics(replace(seen, scored=ScoredGroups(groups)), version)
        own["groups"] = float(len(groups))
        metrics |= {f"tasks/{label}/{name}": own[name] for name in own if name not in OF_ALL_TASKS}
    return metrics


def _reward_metrics(scored: ScoredGroups) -> dict[str, float]:
    metrics = recorded_metrics(scored.metrics)
    for name in dict.fromkeys(name for group in scored.groups for name in group.by_reward):
        verdicts = (v for group in scored.groups for v in group.by_reward.get(name, ()))
        scores = [verdict.score for verdict in verdicts if verdict.score is not None]
        if scores:
            metrics[f"rewards/{name}/mean"] = fmean(scores)
            metrics[f"rewards/{name}/std"] = pstdev(scores)
    return metrics
