"""A fleet of Ray actors: requests shared out, deaths mended, no sample lost or counted twice.

A death is a process, a node or an answer that is gone. The engine is started anew and proves the
current policy before it gets work; the requests it had are sent again. An exception raised by an
engine's own code would come again with the same requests, so it ends the run.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray

from jobs.cluster.connect import ActorLostError, fetch, put, send
from rlpeft.adapter_state import AdapterState
from rlpeft.errors import ClusterError, EngineDiedError
from rlpeft.rollout.proof import Proof, SyncReport
from rlpeft.types import Completion, Request, Sampling

MAX_DEATHS = 3
"""Chance kills an engine once or twice; beyond that its requests or its node do."""

CLOSE_TIMEOUT_S = 30.0
"""How long engines may take to end their own child processes."""

Part = tuple[int, ...]
"""Indices of requests that one engine completes in one call."""


class RemoteEngine:
    """One engine's place in a fleet: its actor, and the call it is at.

    Args:
        name: names it in errors.
        spawn: makes a fresh `EngineActor` and gives its handle back.
        timeout_s: how long a call may take.
        max_deaths: how many are mended with no part finished in between.
    """

    def __init__(
        self,
        name: str,
        spawn: Callable[[], Any],
        *,
        timeout_s: float,
        max_deaths: int = MAX_DEATHS,
    ) -> None:
        self.name, self.timeout_s, self.max_deaths = name, timeout_s, max_deaths
        self._spawn, self._actor = spawn, spawn()
        self._deaths = 0
        self.answer: Any = None
        self.deadline = 0.0
        self.part: Part | None = None

    def call(self, method: str, *arguments: Any, part: Part | None = None) -> None:
        """Start a call; it stands until `take`."""
        self._begin(self._actor.call, method, *arguments, part=part)

    def start(self, *policies: Any) -> None:
        """Start to build the engine, under a proof and experts if it succeeds another one."""
        self._begin(self._actor.start, *policies)

    def _begin(self, method: Any, *arguments: Any, part: Part | None = None) -> None:
        self.answer = send(method, *arguments)
        self.deadline, self.part = time.monotonic() + self.timeout_s, part

    def take(self) -> Any:
        """The result of the call.

        Raises:
            ActorLostError: the actor or its engine is gone, or has not answered in time.
        """
        answer, self.answer = self.answer, None
        if not ray.wait([answer], timeout=0)[0]:
            raise ActorLostError(f"no answer within {self.timeout_s:g} s (engine_timeout_s)")
        try:
            result = fetch(answer)
        except EngineDiedError as error:
            raise ActorLostError(str(error)) from error
        if self.part is not None:
            self._deaths = 0
        return result

    def revive(self, cause: ActorLostError, proof: Any, experts: Any) -> None:
        """Put a fresh actor in the place of a lost one, and start it under the current policies.

        Raises:
            ClusterError: it has died too often.
        """
        self._deaths += 1
        if self._deaths > self.max_deaths:
            raise ClusterError(
                f"{self.name} must stay alive, it died {self._deaths} times in a row, at last "
                f"with: {cause}. Look at memory and at Ray's logs on its node; the run continues "
                "from its last checkpoint when started again."
            ) from cause
        print(
            f"note: {self.name} died and is started anew (time {self._deaths} of at most "
            f"{self.max_deaths} in a row)",
            file=sys.stderr,
            flush=True,
        )
        self.kill()
        self._actor = self._spawn()
        self.start(proof, experts)

    def close(self) -> Any:
        """Ask the engine to end; a reference to wait for."""
        return send(self._actor.close)

    def kill(self) -> None:
        """End the actor's process, whatever it is at."""
        ray.kill(self._actor)


class RayFleet:
    """A fleet of policies and experts with engines in actors; they begin to start here."""

    def __init__(self, engines: Sequence[RemoteEngine]) -> None:
        self.engines = engines
        self._proof: Any = None
        self._experts: Any = None
        for engine in engines:
            engine.start()

    def ready(self) -> None:
        """Wait until every engine is built.

        Raises:
            RlpeftError: an engine cannot be built.
            ClusterError: an engine does not stay alive.
        """
        self._gather()

    def sync(self, proof: Proof) -> SyncReport:
        """Send the update once through the object store; every engine proves it."""
        self._proof = put(proof)
        for engine in self.engines:
            engine.call("sync", self._proof)
        reports: list[SyncReport] = self._gather()
        slowest, gap = max(r.load_s for r in reports), max(r.gap for r in reports)
        return SyncReport(proof.state.num_bytes, slowest, gap)

    def load_experts(self, experts: Mapping[str, AdapterState]) -> None:
        """Send the experts once through the object store; every engine's digests are compared."""
        self._experts = put(dict(experts))
        for engine in self.engines:
            engine.call("load_experts", self._experts)
        self._gather()

    def rollout(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """Complete each request once per seed, in request order then seed order."""
        waiting = deque(share(requests, len(self.engines), sampling.max_tokens))
        answers: dict[int, list[Completion]] = {}
        while waiting or self._busy():
            for engine in self.engines:
                if waiting and engine.answer is None:
                    part = waiting.popleft()
                    engine.call("rollout", [requests[i] for i in part], sampling, part=part)
            engine = self._first_done()
            at = engine.part
            try:
                result = engine.take()
            except ActorLostError as error:
                waiting.extend([at] if at else [])
                engine.revive(error, self._proof, self._experts)
            else:
                answers.update(zip(at, result, strict=True) if at else ())
        return [answers[index] for index in range(len(requests))]

    def close(self) -> None:
        """End all engines and their child processes. May be called twice."""
        engines, self.engines = self.engines, []
        if ends := [engine.close() for engine in engines]:
            ray.wait(ends, num_returns=len(ends), timeout=CLOSE_TIMEOUT_S)
        for engine in engines:
            engine.kill()

    def _gather(self) -> list[Any]:
        """The result of every engine's call; a lost engine's comes from its successor's start."""
        results = []
        while self._busy():
            engine = self._first_done()
            try:
                results.append(engine.take())
            except ActorLostError as error:
                engine.revive(error, self._proof, self._experts)
        return results

    def _busy(self) -> list[RemoteEngine]:
        return [engine for engine in self.engines if engine.answer is not None]

    def _first_done(self) -> RemoteEngine:
        """The first busy engine that has answered, or whose time is up."""
        by_answer = {engine.answer: engine for engine in self._busy()}
        due = min(by_answer.values(), key=lambda engine: engine.deadline)
        left_s = max(0.0, due.deadline - time.monotonic())
        done, _ = ray.wait(list(by_answer), num_returns=1, timeout=left_s)
        return by_answer[done[0]] if done else due


def share(requests: Sequence[Request], num_parts: int, max_tokens: int) -> list[Part]:
    """Split requests into parts of about equal tokens: largest first, to the lightest part.

    A group is never split: its completions share their prompt.
    """
    costs = [(len(r.prompt_ids) + max_tokens) * len(r.seeds) for r in requests]
    parts: list[list[int]] = [[] for _ in range(num_parts)]
    loads = [0] * num_parts
    for index in sorted(range(len(requests)), key=lambda i: -costs[i]):
        lightest = loads.index(min(loads))
        parts[lightest].append(index)
        loads[lightest] += costs[index]
    return [tuple(sorted(part)) for part in parts if part]
