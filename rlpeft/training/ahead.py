"""Where a step's groups come from: generated in turn with the learner, or ahead of it.

    in turn   generate 1 | learn 1 | generate 2 | learn 2 | generate 3 …
    ahead     generate 1 | generate 2 | generate 3 | …
                           learn 1    | learn 2    | …

Ahead, the groups of a step were sampled `rollout.max_lag` versions before the learner's own: which
is fixed (`rlpeft.training.ledger`), so that a run goes on exactly. Nothing is cut off or thrown
away, which would favour short answers; the importance ratio of the loss corrects for the lag.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from rlpeft.rollout.fleet import PolicyFleet
from rlpeft.rollout.groups import TellGroups
from rlpeft.rollout.proof import Proof, Proven, Published
from rlpeft.training.collect import Evidence, GroupSource
from rlpeft.training.ledger import Ask, Ledger
from rlpeft.types import ScoredGroups


@dataclass(frozen=True)
class Taken:
    """The groups of one step.

    Attributes:
        proven: of the policy that they were sampled under.
        times: metrics of generating beside learning.
    """

    evidence: Evidence
    proven: Proven
    times: dict[str, float] = field(default_factory=dict)


class RolloutOrder(Protocol):
    """What gives each step its groups."""

    @property
    def earlier(self) -> Sequence[Proof]:
        """The policies, but the learner's own, that steps to come are sampled under."""
        ...

    def sync(self) -> Proven:
        """Have what is asked from now on answered under the learner's adapter as it is now."""
        ...

    def go_on(self) -> None:
        """Have engines begin whatever they may."""
        ...

    def take(self, step: int, cursor: int) -> Taken:
        """Wait for the groups of the next step, from which the learner is to learn."""
        ...

    def close(self) -> None:
        """Wait for nothing any more."""
        ...


class InTurn:
    """Engines generate while the learner waits, and the other way round.

    Args:
        sync: proves the learner's adapter on every engine.
        collect: gives a step's groups, by `step` and `cursor`.
    """

    earlier: Sequence[Proof] = ()

    def __init__(self, sync: Callable[[], Proven], collect: Callable[..., Evidence]) -> None:
        self._sync, self._collect = sync, collect
        self._synced: Proven | None = None

    def sync(self) -> Proven:
        """What stands until the learner moves: a step after a validation has it proven already."""
        self._synced = self._synced or self._sync()
        return self._synced

    def go_on(self) -> None:
        """Nothing: it is the learner's turn."""

    def take(self, step: int, cursor: int) -> Taken:
        """Generate and score them."""
        proven = self.sync()
        evidence, self._synced = self._collect(step=step, cursor=cursor), None
        return Taken(evidence, proven)

    def close(self) -> None:
        """Nothing is going on."""


class Ahead:
    """Engines generate the next steps while the learner learns.

    Consumes the learner's policies. Its one thread waits for engines and rewards, step after step;
    is unblocked by answers, by an error or by the end of the fleet. Produces groups, in order.

    Args:
        source: whose groups are asked, step by step.
        prove: the learner's adapter as it is now, with its proof.
        earlier: of the run that goes on.
        tell: see `GroupSource.collect`; is told of the step that the learner waits for.
    """

    def __init__(
        self,
        source: GroupSource,
        fleet: PolicyFleet,
        ledger: Ledger,
        *,
        prove: Callable[[], Proof],
        earlier: Sequence[Proof],
        tell: TellGroups,
    ) -> None:
        self._fleet, self._ledger, self._tell = fleet, ledger, tell
        self._source, self._prove = source, prove
        self._policies = {proof.state.version: proof for proof in earlier}
        self._published: dict[int, Published] = {}
        self._open: dict[int, tuple[Ask, Published, Future[tuple[ScoredGroups, float]]]] = {}
        self._thread = ThreadPoolExecutor(1, "rollouts")
        self._awaited, self._idle_s = 0, fleet.idle_s

    @property
    def earlier(self) -> Sequence[Proof]:
        """Of as many versions as the lag has."""
        return [self._policies[version] for version in self._ledger.versions[:-1]]

    def sync(self) -> Published:
        """Does not wait: engines prove it when they come to what is asked next."""
        learned = self._ledger.learned
        if learned not in self._policies:
            kept = {version: self._policies[version] for version in self._ledger.versions[:-1]}
            self._policies = kept | {learned: self._prove()}
        return self._publish(learned)

    def go_on(self) -> None:
        """Ask each step that may be asked, under its own version."""
        self.sync()
        for ask in self._ledger.due():
            policy = self._publish(ask.version)
            groups = self._source.ask(
                ask.cursor,
                self._ledger.prompts_per_step,
                step=ask.step,
                tell=partial(self._heard, ask.step),
            )
            self._open[ask.step] = ask, policy, self._thread.submit(_timed, groups)

    def take(self, step: int, cursor: int) -> Taken:
        """Wait for what was asked `lag` steps ago."""
        started, self._awaited = time.perf_counter(), step
        ask, policy, answer = self._open.pop(step)
        groups, seconds = answer.result()
        self._source.require_usable(groups.groups, step=step, version=ask.version)
        self._ledger.learn(step)
        before, self._idle_s = self._idle_s, self._fleet.idle_s
        times = {
            "perf/rollout_s": seconds,
            "perf/learner_idle_s": time.perf_counter() - started,
            "perf/engine_idle_s": self._idle_s - before,
        }
        return Taken(Evidence(groups, cursor + len(groups.groups), 0), policy, times)

    def close(self) -> None:
        """Leave what was asked to the fleet, which answers it or ends."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _publish(self, version: int) -> Published:
        if version not in self._published:
            self._published = {version: self._fleet.publish(self._policies[version])}
        return self._published[version]

    def _heard(self, step: int, done: int, of: int) -> None:
        if step == self._awaited:
            self._tell(done, of)


def _timed(groups: Callable[[], ScoredGroups]) -> tuple[ScoredGroups, float]:
    """Groups, and the seconds that they took since those of the step before were there."""
    started = time.perf_counter()
    return groups(), time.perf_counter() - started
