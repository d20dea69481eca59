"""Fleets: the engines of a run, of one policy or of many experts, behind a few verbs.

`LocalFleet` holds an engine of this process; `jobs.cluster.fleet` holds Ray actors. Whoever asks a
fleet cannot tell them apart, and asks for no more of one than it uses.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import contextmanager
from threading import Lock
from typing import Protocol

from rlpeft.adapter_state import AdapterState
from rlpeft.errors import EngineError
from rlpeft.rollout.engine import RestingEngine, RolloutEngine, StreamingEngine, Together
from rlpeft.rollout.proof import Proof, Proven, Prover, Published, SyncReport, worst
from rlpeft.types import Completion, Request, Sampling

Answer = Future[list[Completion]]
"""What a request will have given: a completion for each of its seeds, or the engine's error."""


class Fleet(Protocol):
    """Engines that answer."""

    def submit(self, requests: Sequence[Request], sampling: Sampling) -> list[Answer]:
        """Ask for each request's completions; an answer for each, in order.

        Every engine that is free takes a part. `concurrent.futures.as_completed` gives answers in
        the order in which they come; they cannot be cancelled. Requests of one call may share a
        batch, which is cheaper than a call for each. All of them run under the policy, or the
        experts, of this moment: the next sync waits for them.
        """
        ...

    def rollout(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """Complete each request once per seed, in request order then seed order.

        Raises:
            EngineError: an engine refuses a request.
        """
        answers = self.submit(requests, sampling)
        wait(answers, return_when=FIRST_EXCEPTION)
        for answer in answers:
            if answer.done():
                answer.result()  # the first error is told without waiting for the others
        return [answer.result() for answer in answers]

    def stream(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Together]:
        """Do as `rollout` does, and yield what has ended together as soon as it has.

        Nothing but the order of what is yielded depends on which engine is quick.

        Raises:
            EngineError: an engine refuses a request.
        """
        yield dict(enumerate(self.rollout(requests, sampling)))

    def close(self) -> None:
        """End all engines."""
        ...


class PolicyFleet(Fleet, Protocol):
    """Engines that run one policy, the learner's."""

    def sync(self, proof: Proof) -> Proven:
        """Make `proof.state` the policy of every engine, proven on each.

        Raises:
            EngineError: an engine cannot prove it.
        """
        ...

    def publish(self, proof: Proof) -> Published:
        """Make `proof.state` the policy of what is asked from now on; does not wait.

        What was asked before, a `stream` too of which nothing was taken yet, keeps its own policy.
        Each engine proves a policy when it comes to it; one that cannot fails what was asked.
        """
        ...

    def go_back_to(self, policy: Published) -> None:
        """Have what is asked from now on answered under a policy that was published before."""
        ...

    def rest(self) -> None:
        """Leave memory to a learner in the same process, which works now, until the next call.

        Engines of other actors need not: they may be at what the next step asks for.
        """
        ...

    @property
    def idle_s(self) -> float:
        """Seconds for which engines have waited for work so far, a mean over them."""
        ...


class ExpertFleet(Fleet, Protocol):
    """Engines whose requests may name experts, others in one batch."""

    def load_experts(self, experts: Mapping[str, AdapterState]) -> None:
        """Make these the experts that requests may name, on every engine; digests are compared.

        Raises:
            EngineError: an engine cannot run them, or holds something else.
        """
        ...


def load_proven(engine: RolloutEngine, experts: Mapping[str, AdapterState]) -> None:
    """Load experts into an engine; what it then holds must be what was sent.

    Raises:
        EngineError: a digest differs.
    """
    for name, delivery in engine.load_experts(experts).items():
        if delivery.digest != experts[name].digest:
            raise EngineError(
                f"the engine must hold expert {name!r} (sha256 {experts[name].digest[:12]}…), it "
                f"reports {delivery.digest[:12]}…: the expert was not delivered."
            )


def promised() -> Answer:
    """An answer that nobody can cancel: an engine is at it."""
    answer = Answer()
    answer.set_running_or_notify_cancel()
    return answer


class Idle:
    """How long an engine has had nothing to do; one thread works, any may read."""

    def __init__(self) -> None:
        # Seconds before, and since when it waits again: in one piece, as it is read in.
        self._waited: tuple[float, float | None] = 0.0, time.perf_counter()

    @property
    def seconds(self) -> float:
        """So far, of this moment too."""
        before, since = self._waited
        return before if since is None else before + time.perf_counter() - since

    @contextmanager
    def ended(self) -> Iterator[None]:
        """The engine has work, within."""
        self._waited = self.seconds, None
        try:
            yield
        finally:
            self._waited = self.seconds, time.perf_counter()


class LocalFleet(PolicyFleet, ExpertFleet):
    """One engine of this process.

    It answers before `submit` returns, and a `stream` where its parts are taken: an interrupt must
    find the engine in the thread that it interrupts, and learner and engine would share the
    process's cores in any case.
    """

    def __init__(self, engine: RolloutEngine) -> None:
        self.engine, self._prover, self._idle = engine, Prover(engine), Idle()
        self._turn = Lock()
        self._policy: Published | None = None
        self._running: Published | None = None

    def sync(self, proof: Proof) -> SyncReport:
        """Send and prove."""
        policy = self.publish(proof)
        with self._working_under(policy):
            return worst(policy.reports)

    def publish(self, proof: Proof) -> Published:
        """Send and prove when it is needed."""
        self._policy = Published(proof)
        return self._policy

    def go_back_to(self, policy: Published) -> None:
        """Send and prove it again, when it is needed."""
        self._policy = policy

    def rest(self) -> None:
        """Have the engine rest, if it can."""
        if isinstance(self.engine, RestingEngine):
            with self._turn:
                self.engine.rest()

    @property
    def idle_s(self) -> float:
        """Seconds between what was asked, so far."""
        return self._idle.seconds

    def load_experts(self, experts: Mapping[str, AdapterState]) -> None:
        """Load and compare digests."""
        load_proven(self.engine, experts)

    def submit(self, requests: Sequence[Request], sampling: Sampling) -> list[Answer]:
        """Complete each request once per seed, before this returns: every answer is there.

        Raises:
            EngineError: the engine refuses a request.
        """
        answers = [promised() for _ in requests]
        for answer, found in zip(answers, self.rollout(requests, sampling), strict=True):
            answer.set_result(found)
        return answers

    def rollout(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """Complete each request once per seed."""
        with self._working_under(self._policy):
            return self.engine.rollout(requests, sampling)

    def stream(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Together]:
        """What the engine has done, as it is done where it tells."""
        return self._stream(self._policy, requests, sampling)

    def _stream(
        self, policy: Published | None, requests: Sequence[Request], sampling: Sampling
    ) -> Iterator[Together]:
        with self._working_under(policy):
            if isinstance(self.engine, StreamingEngine):
                yield from self.engine.stream(requests, sampling)
            else:
                yield dict(enumerate(self.engine.rollout(requests, sampling)))

    @contextmanager
    def _working_under(self, policy: Published | None) -> Iterator[None]:
        """The engine runs a policy, for one thread at a time."""
        with self._turn, self._idle.ended():
            if policy is not None and policy is not self._running:
                policy.reports.append(self._prover.prove(policy.proof))
                self._running = policy
            yield

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()
