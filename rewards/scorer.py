"""Score a batch of completions with one or several weighted rewards.

The rules are TRL's where TRL has one (keyword calls, `None` is unscorable, weighted sum over what
is scorable) and stricter where silence would cost a run: a wrong number of scores, a NaN, a
missing column or too many errors stop it with the function, the step and the row named.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import threading
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rewards.dialects import Log, Rollouts
from rewards.errors import RewardError
from rewards.plugins import Reward, load
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
    """

    name: str
    weight: float = 1.0
    options: Mapping[str, object] = field(default_factory=dict)
    correct_at: float | None = None


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
        RewardError: no reward, an unknown one, or one whose signature is not understood.
    """

    def __init__(self, specs: Sequence[RewardSpec], *, error_limit: float = 0.1) -> None:
        if not specs:
            raise RewardError("a scorer needs at least one reward, got none.")
        self._rewards: dict[str, Reward] = {}
        self._weights: list[float] = []
        for spec in specs:
            reward = load(spec.name, spec.options, spec.correct_at)
            self._rewards[self._unique(reward.name)] = reward
            self._weights.append(spec.weight)
        self._error_limit = error_limit
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def required_columns(self) -> frozenset[str]:
        """Dataset columns without which `score` raises."""
        return frozenset().union(*(r.required_columns for r in self._rewards.values()))

    def score(
        self,
        *,
        prompts: Sequence[Any],
        completions: Sequence[str],
        completion_ids: Sequence[Sequence[int]],
        truncated: Sequence[bool],
        columns: Mapping[str, Sequence[Any]],
        step: int,
        trainer_state: object = None,
    ) -> ScoredBatch:
        """Score N completions; see `Rollouts` for the arguments.

        Raises:
            RewardError: a missing column, lists of unequal length, a function that raised or
                returned something else than one finite number or `None` per completion, or a
                share of failures above `error_limit`.
        """
        rollouts = Rollouts(
            prompts, completions, completion_ids, truncated, columns, step, trainer_state
        )
        self._check(rollouts)
        if not completions:
            return ScoredBatch([], {name: [] for name in self._rewards}, {}, {})
        log = Log(len(completions))
        started = [reward.start(rollouts, log) for reward in self._rewards.values()]
        finished = self._await(started)
        by_reward = {
            name: reward.finish(results, rollouts, log)
            for (name, reward), results in zip(self._rewards.items(), finished, strict=True)
        }
        check_failures(by_reward, rollouts, limit=self._error_limit)
        rows = zip(*by_reward.values(), strict=True)
        verdicts = [combine(row, self._weights) for row in rows]
        return ScoredBatch(verdicts, by_reward, log.columns, log.metrics)

    def close(self) -> None:
        """Stop the thread that awaits `async` rewards, if there is one."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None

    def _unique(self, name: str) -> str:
        count = sum(known.split("#")[0] == name for known in self._rewards)
        return name if count == 0 else f"{name}#{count + 1}"

    def _check(self, rollouts: Rollouts) -> None:
        num_rows = len(rollouts.completions)
        lengths = {
            "prompts": len(rollouts.prompts),
            "completion_ids": len(rollouts.completion_ids),
            "truncated": len(rollouts.truncated),
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
                    "Rename the dataset's column, or set it in the reward's options "
                    '(`gold = "..."` names the column of the gold answer).'
                )

    def _await(self, started: list[list[Any]]) -> list[list[Any]]:
        """Await, all at once, whatever is awaitable; exceptions take the place of results."""
        if not any(inspect.isawaitable(x) for results in started for x in results):
            return started
        return asyncio.run_coroutine_threadsafe(_gather(started), self._running_loop()).result()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        # One loop for the scorer's life, on its own thread: clients that async rewards keep
        # between steps are tied to their loop, and the caller may itself run inside another.
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=_run, args=(self._loop,), daemon=True).start()
        return self._loop


def combine(verdicts: Sequence[Verdict], weights: Sequence[float]) -> Verdict:
    """Return the weighted sum of one completion's verdicts.

    Unscorable parts are left out, as TRL does: a gold answer is shared by a whole group, so its
    baseline stays fair. A part that failed (`error`, `timeout`) leaves the whole unscored: left
    out of one completion's sum it would act as a zero. Kind, reason and extracted answer are
    those of the first scored part that was judged, of the first scored one if none was.

    Raises:
        RewardError: the sum is too large for a number.
    """
    failed = next((v for v in verdicts if v.kind in FAILURES), None)
    scored = [(v, w) for v, w in zip(verdicts, weights, strict=True) if v.score is not None]
    if failed is not None:
        return failed
    if not scored:
        return verdicts[0]
    total = float(sum(w * v.score for v, w in scored if v.score is not None))
    if not math.isfinite(total):
        raise RewardError(
            "the weighted sum of a completion's scores must be finite, got "
            f"{' + '.join(f'{w:g} * {v.score:g}' for v, w in scored)}. Lower scores or weights."
        )
    judged = [v for v, _ in scored if v.kind is not VerdictKind.GRADED]
    first = judged[0] if judged else scored[0][0]
    return Verdict(total, first.kind, first.reason, first.extracted)


def check_failures(
    by_reward: Mapping[str, Sequence[Verdict]], rollouts: Rollouts, *, limit: float
) -> None:
    """Stop where a verifier fails too often for its scores to mean anything.

    Raises:
        RewardError: more than `limit` of a reward's verdicts are errors and timeouts; the message
            names the first row.
    """
    for name, verdicts in by_reward.items():
        failed = [row for row, verdict in enumerate(verdicts) if verdict.kind in FAILURES]
        if len(failed) <= limit * len(verdicts):
            continue
        row = failed[0]
        raise RewardError(
            f"errors and timeouts of reward {name!r} must stay at or below {limit:.0%} of a "
            f"batch, got {len(failed)} of {len(verdicts)} at step {rollouts.step}. First: row "
            f"{row}, {verdicts[row].kind.value} ({verdicts[row].reason}), prompt "
            f"{_quote(rollouts.prompts[row])}, completion {_quote(rollouts.completions[row])}."
        )


async def _gather(started: list[list[Any]]) -> list[list[Any]]:
    async def settle(results: list[Any]) -> list[Any]:
        waiting: list[Coroutine[Any, Any, Any]] = [_settled(result) for result in results]
        return list(await asyncio.gather(*waiting))

    return list(await asyncio.gather(*(settle(results) for results in started)))


async def _settled(result: Any) -> Any:
    if not inspect.isawaitable(result):
        return result
    try:
        return await result
    except RewardError:
        raise
    except Exception as error:
        # Recovery: as in `Reward.start`, the exception stands where the result would.
        return error


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


def _quote(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + "..."
