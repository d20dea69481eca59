"""Engines that several searches share: each piece of work brings the experts that it needs.

A fleet holds one policy or one set of experts for all. Here an engine takes a set of experts and
the requests that name them as one unit, so that units of different searches may follow each
other on it. Deaths are mended as a fleet mends them: a successor does the same unit.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import ray

from jobs.cluster.connect import ActorLostError, bundles_of, reserved
from jobs.cluster.engines import remote_engines
from jobs.cluster.fleet import RemoteEngine
from rlpeft.adapter_state import AdapterState
from rlpeft.recipe.run import Recipe
from rlpeft.types import Completion, Request, Sampling

IDLE_S = 60.0
"""How long engines wait for the next search."""

Answers = list[list[Completion]]


@dataclass(frozen=True)
class Unit:
    """What one engine does at a time, and where its answer goes."""

    experts: Mapping[str, AdapterState]
    requests: Sequence[Request]
    sampling: Sampling
    answer: Future[Answers] = field(default_factory=Future)


class EnginePool:
    """The engines of a recipe, each with a thread that feeds it.

    Consumes units of any number of threads. Each engine's thread waits for a unit, then for its
    engine; is unblocked by either, or by the end of the pool. Produces answers.

    Raises:
        ClusterError: the cluster has no room for them.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._units: SimpleQueue[Unit | None] = SimpleQueue()
        self._stack = ExitStack()
        bundles = bundles_of(recipe.resources, recipe.rollout.num_engines)[1:]  # no learner
        bundles = bundles[: recipe.rollout.num_engines]
        timeout_s = recipe.resources.placement_timeout_s
        group = self._stack.enter_context(reserved(bundles, timeout_s=timeout_s))
        self._engines: list[RemoteEngine] = remote_engines(recipe, group, first=0)
        self._threads = [
            threading.Thread(target=self._feed, args=(engine,), daemon=True)
            for engine in self._engines
        ]
        for thread in self._threads:
            thread.start()

    def rollout(
        self, experts: Mapping[str, AdapterState], requests: Sequence[Request], sampling: Sampling
    ) -> Answers:
        """Complete requests on whichever engine is free first; waits.

        Raises:
            RlpeftError: what the engine raised, or it died too often.
        """
        unit = Unit(experts, requests, sampling)
        self._units.put(unit)
        return unit.answer.result()

    def close(self) -> None:
        """End the engines after the units that were asked for."""
        for _ in self._threads:
            self._units.put(None)
        for thread in self._threads:
            thread.join()
        for engine in self._engines:
            engine.close()
            engine.kill()
        self._stack.close()

    def _feed(self, engine: RemoteEngine) -> None:
        broken = _start(engine)
        while (unit := self._units.get()) is not None:
            try:
                if broken is not None:
                    raise broken
                unit.answer.set_result(_done(engine, unit))
            except Exception as error:  # it belongs to the search that asked
                unit.answer.set_exception(error)


def _start(engine: RemoteEngine) -> Exception | None:
    """Start an engine; what every unit is told if it cannot be."""
    engine.start()
    while True:
        try:
            try:
                _wait(engine)
            except ActorLostError as error:
                engine.revive(error, None, None)
                continue
        except Exception as error:
            return error
        return None


def _done(engine: RemoteEngine, unit: Unit) -> Answers:
    """A unit's answers, from the engine or from its successors."""
    while True:
        try:
            if engine.answer is not None:  # a successor is starting
                _wait(engine)
            engine.call("load_experts", unit.experts)
            _wait(engine)
            engine.call("rollout", unit.requests, unit.sampling, part=(0,))
            answers: Answers = _wait(engine)
            return answers
        except ActorLostError as error:
            engine.revive(error, None, None)


def _wait(engine: RemoteEngine) -> Any:
    ray.wait([engine.answer], timeout=max(0.0, engine.deadline - time.monotonic()))
    return engine.take()


class PoolFleet:
    """A search's view of a pool: a `rlpeft.rollout.fleet.ExpertFleet`."""

    def __init__(self, pool: EnginePool) -> None:
        self.pool = pool
        self._experts: Mapping[str, AdapterState] = {}

    def load_experts(self, experts: Mapping[str, AdapterState]) -> None:
        """Send these along with every later request that names them."""
        self._experts = dict(experts)

    def rollout(self, requests: Sequence[Request], sampling: Sampling) -> Answers:
        """Complete each request, as one unit of the pool."""
        named = {request.expert for request in requests}
        experts = {name: state for name, state in self._experts.items() if name in named}
        return self.pool.rollout(experts, requests, sampling)

    def close(self) -> None:
        """The pool's engines are others' too."""


class Pools:
    """One pool for each kind of engine that searches need; a kind that nobody uses ends soon."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pools: dict[str, EnginePool] = {}
        self._users: Counter[str] = Counter()

    @contextmanager
    def lease(self, recipe: Recipe) -> Iterator[PoolFleet]:
        """Use the engines of a recipe."""
        kind = recipe.model_dump_json(include={"model", "adapter", "rollout", "resources"})
        with self._lock:
            if kind not in self._pools:
                self._end_idle()  # what they hold may be what is wanted
                self._pools[kind] = EnginePool(recipe)
            self._users[kind] += 1
            pool = self._pools[kind]
        try:
            yield PoolFleet(pool)
        finally:
            with self._lock:
                self._users[kind] -= 1
            timer = threading.Timer(IDLE_S, self.end_idle)
            timer.daemon = True
            timer.start()

    def end_idle(self) -> None:
        """End the engines that nobody uses."""
        with self._lock:
            self._end_idle()

    def _end_idle(self) -> None:
        for kind in [kind for kind in self._pools if not self._users[kind]]:
            self._pools.pop(kind).close()
