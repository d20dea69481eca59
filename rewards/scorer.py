"""Score a batch of completions with one or several weighted rewards.

The rules are TRL's where TRL has one (keyword calls, `None` is unscorable, weighted sum over what
is scorable) and stricter where silence would cost a run: a wrong number of scores, a NaN, a
missing column or too many errors stop it with the function, the step and the row named. Rewards of
the user's own run in a process that can be killed, all of a scorer's in one; those that are given
as functions run in this one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rewards.dialects import Log, Rollouts
from rewards.errors import RewardError
from rewards.golds import GoldRule
from rewards.hosted.process import TIMEOUT_S, WARMUP_TIMEOUT_S, Batch, Hosted, RewardProcess
from rewards.plugins import Reward, is_built_in, load
from rewards.reading import LARGEST
from rewards.verdict import Verdict, VerdictKind

FAILURES = frozenset({VerdictKind.ERROR, VerdictKind.TIMEOUT})
"""Kinds that say the verifier failed, not the answer."""


@dataclass(frozen=True, slots=True)
class RewardSpec:
    """One entry of a recipe's `[[reward]]` list.

    >>> RewardSpec("math", weight=2.0, options={"gold": "solution"}).weight
    2.0

    Attributes:
        name: a verifier kind (`math`, `choice`, ...), a name TRL users know, an entry point of
            group `rlpeft.rewards`, or `package.module:function`.
        weight: factor of its score in the sum.
        options: keywords bound to the function; `gold` names the column of the gold answer.
        correct_at: score from which an answer is correct, for a reward that gives numbers.
        timeout_s: what one batch may take, for a reward of the user's own.
        warmup_timeout_s: what loading it may take.
        function: what to call in this process, where no time limit holds; `None`: what the name
            leads to.
    """

    name: str
    weight: float = 1.0
    options: Mapping[str, object] = field(default_factory=dict)
    correct_at: float | None = None
    timeout_s: float = TIMEOUT_S
    warmup_timeout_s: float = WARMUP_TIMEOUT_S
    function: Callable[..., Any] | None = None


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """Scores of N completions.

    Attributes:
        verdicts: the weighted sums, [N]; see `combine` for what an unscored part does.
        by_reward: each reward's own verdicts, unweighted, [N] each, in the order of the specs.
        columns: what functions recorded with `log_extra`, [N] each.
        metrics: what functions recorded with `log_metric`.
    """

    verdicts: list[Verdict]
    by_reward: dict[str, list[Verdict]]
    columns: dict[str, list[object]]
    metrics: dict[str, float]


class Scorer:
    """Weighted rewards over batches of completions.

    Args:
        specs: at least one reward.
        error_limit: share of `error` and `timeout` verdicts of one reward in one batch above
            which `score` raises.

    Raises:
        RewardError: no reward, an unknown one, one whose signature is not understood, or one that
            cannot be loaded in time.
    """

    def __init__(self, specs: Sequence[RewardSpec], *, error_limit: float = 0.1) -> None:
        if not specs:
            raise RewardError("a scorer needs at least one reward, got none.")
        away = [spec for spec in specs if not _runs_here(spec)]
        here = {
            index: load(spec.name, spec.options, spec.correct_at, spec.function)
            for index, spec in enumerate(specs)
            if _runs_here(spec)
        }
        self._process = _process_of(away) if away else None
        hosted = iter(self._process.rewards if self._process else ())
        self._rewards: dict[str, Reward | Hosted] = {}
        for index in range(len(specs)):
            reward = here[index] if index in here else next(hosted)
            self._rewards[self._unique(reward.name)] = reward
        self._weights = [spec.weight for spec in specs]
        self._error_limit = error_limit

    @property
    def rewards(self) -> Mapping[str, Reward | Hosted]:
        """The rewards by their names in metrics."""
        return self._rewards

    @property
    def required_columns(self) -> frozenset[str]:
        """Dataset columns without which `score` raises."""
        return frozenset().union(*(r.required_columns for r in self._rewards.values()))

    @property
    def gold_rules(self) -> list[GoldRule]:
        """What the gold answers of each reward that has some may be."""
        rules = [reward.gold_rule for reward in self._rewards.values()]
        return [rule for rule in rules if rule is not None]

    @property
    def printed(self) -> str:
        """The end of what the user's own rewards printed in the last batch."""
        return self._process.printed() if self._process else ""

    def score(self, rollouts: Rollouts) -> ScoredBatch:
        """Score N completions.

        Raises:
            RewardError: a missing column, lists of unequal length, a function that raised or
                returned something else than one finite number or `None` per completion, or a
                share of failures above `error_limit`.
        """
        self._check(rollouts)
        if not rollouts.completions:
            return ScoredBatch([], {name: [] for name in self._rewards}, {}, {})
        hosted = self._process.score(rollouts) if self._process else Batch([], {}, {})
        remaining, log = iter(hosted.verdicts), Log(len(rollouts.completions))
        by_reward = {
            name: reward.score(rollouts, log) if isinstance(reward, Reward) else next(remaining)
            for name, reward in self._rewards.items()
        }
        by_reward = {name: with_failures(each, rollouts) for name, each in by_reward.items()}
        check_failures(by_reward, rollouts, limit=self._error_limit)
        rows = enumerate(zip(*by_reward.values(), strict=True))
        verdicts = [combine(parts, self._weights, row=row) for row, parts in rows]
        return ScoredBatch(
            verdicts, by_reward, hosted.columns | log.columns, hosted.metrics | log.metrics
        )

    def close(self) -> None:
        """End the process of the user's own rewards, if there is one."""
        if self._process is not None:
            self._process.close()

    def _unique(self, name: str) -> str:
        count = sum(known.split("#")[0] == name for known in self._rewards)
        return name if count == 0 else f"{name}#{count + 1}"

    def _check(self, rollouts: Rollouts) -> None:
        num_rows = len(rollouts.completions)
        lengths = {
            "prompts": len(rollouts.prompts),
            "completion_ids": len(rollouts.completion_ids),
            "truncated": len(rollouts.truncated),
            "prompt_ends": len(rollouts.prompt_ends) or num_rows,
            "outcomes": len(rollouts.outcomes) or num_rows,
        } | {f"column {name!r}": len(values) for name, values in rollouts.columns.items()}
        for name, length in lengths.items():
            if length != num_rows:
                raise RewardError(
                    f"{name} must have one item per completion ({num_rows}), got {length} "
                    f"at step {rollouts.step}."
                )
        for name, reward in self._rewards.items():
            missing = sorted(reward.required_columns - rollouts.columns.keys())
            if missing:
                raise RewardError(
                    f"reward {name!r} needs the columns {missing}, got {sorted(rollouts.columns)}. "
                    "Rename the dataset's column; that of the right answer is named instead, by "
                    "task.options.answer of a recipe, options.gold of a built-in reward, or "
                    "--option gold=COLUMN of `rlpeft reward check`."
                )


def _runs_here(spec: RewardSpec) -> bool:
    return spec.function is not None or is_built_in(spec.name)


def _process_of(specs: Sequence[RewardSpec]) -> RewardProcess:
    return RewardProcess(
        [
            {"name": spec.name, "options": dict(spec.options), "correct_at": spec.correct_at}
            for spec in specs
        ],
        timeouts_s=[spec.timeout_s for spec in specs],
        warmup_timeout_s=max(spec.warmup_timeout_s for spec in specs),
    )


def combine(verdicts: Sequence[Verdict], weights: Sequence[float], *, row: int = 0) -> Verdict:
    """Return the weighted sum of one completion's verdicts.

    Unscorable parts are left out, as TRL does: a gold answer is shared by a whole group, so its
    baseline stays fair. A part that failed (`error`, `timeout`) leaves the whole unscored: left
    out of one completion's sum it would act as a zero. Kind, reason and extracted answer are
    those of the first scored part that was judged, of the first scored one if none was.

    Args:
        row: of the batch, for errors.

    Raises:
        RewardError: the sum is too large for training.
    """
    failed = next((v for v in verdicts if v.kind in FAILURES), None)
    scored = [(v, w) for v, w in zip(verdicts, weights, strict=True) if v.score is not None]
    if failed is not None:
        return failed
    if not scored:
        return verdicts[0]
    total = float(sum(w * v.score for v, w in scored if v.score is not None))
    if not abs(total) <= LARGEST:
        raise RewardError(
            f"the weighted sum of a completion's scores must lie between {-LARGEST:g} and "
            f"{LARGEST:g}, got {' + '.join(f'{w:g} * {v.score:g}' for v, w in scored)} for row "
            f"{row}. Lower scores or weights."
        )
    judged = [v for v, _ in scored if v.kind is not VerdictKind.GRADED]
    first = judged[0] if judged else scored[0][0]
    return Verdict(total, first.kind, first.reason, first.extracted)


def with_failures(verdicts: Sequence[Verdict], rollouts: Rollouts) -> list[Verdict]:
    """The verdicts, but for conversations whose environment failed: what they came to is no answer.

    It is that failure, whatever a reward makes of the words so far.
    """
    given = rollouts.outcomes or [None] * len(verdicts)
    pairs = zip(verdicts, given, strict=True)
    return [outcome if isinstance(outcome, Verdict) else verdict for verdict, outcome in pairs]


def check_failures(
    by_reward: Mapping[str, Sequence[Verdict]], rollouts: Rollouts, *, limit: float
) -> None:
    """Stop where a verifier fails too often for its scores to mean anything.

    Raises:
        RewardError: more than `limit` of a reward's verdicts are errors and timeouts; the message
            names the first row, and begins with what an environment did wrong where it was one.
    """
    for name, verdicts in by_reward.items():
        failed = [row for row, verdict in enumerate(verdicts) if verdict.kind in FAILURES]
        if len(failed) <= limit * len(verdicts):
            continue
        row = failed[0]
        verdict = verdicts[row]
        share = f"must stay at or below {limit:.0%} of a batch"
        got = f"got {len(failed)} of {len(verdicts)} at step {rollouts.step}. First: row {row}"
        where = (
            f"prompt {_quote(rollouts.prompts[row])}, "
            f"completion {_quote(rollouts.completions[row])}."
        )
        if rollouts.outcomes and isinstance(rollouts.outcomes[row], Verdict):  # no reward's fault
            raise RewardError(
                f"{verdict.reason} {MEND_ENVIRONMENT[verdict.kind]} Its errors and timeouts "
                f"{share} (train.error_limit), {got}, {where}"
            )
        raise RewardError(
            f"errors and timeouts of reward {name!r} {share}, {got}, {verdict.kind.value} "
            f"({verdict.reason}), {where}"
        )


MEND_ENVIRONMENT = {
    VerdictKind.ERROR: "Mend its code.",
    VerdictKind.TIMEOUT: "Make it quicker, or raise the limit.",
}


def _quote(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + "..."
