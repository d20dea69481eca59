"""Rollout engines in actors of their own, started anew when they die.

A death is a process, a node or an answer that is gone. The engine is started anew, proves the
policy and takes the experts that it had. What it was to load it loads again; its requests go back
to whoever shared them out, for another engine may be free sooner. An exception raised by an
engine's own code would come again with the same question, so it is raised here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import ray

from jobs.cluster.actors import EngineActor
from jobs.cluster.connect import ActorLostError, fetch, place, send
from rlpeft.build import build_engine
from rlpeft.errors import ClusterError, EngineDiedError
from rlpeft.experts import merged
from rlpeft.models.base import BaseModel
from rlpeft.models.device import require_gpu
from rlpeft.program.threads import num_threads
from rlpeft.recipe.engines import ENGINES
from rlpeft.recipe.run import EngineSpec, ResourceConfig
from rlpeft.rollout.engine import RolloutEngine, Together
from rlpeft.terminal import note
from rlpeft.types import Request, Sampling

MAX_DEATHS = 3
"""Chance kills an engine once or twice; beyond that its requests or its node do."""


class RemoteEngine:
    """One engine's place in a fleet: its actor, and what that is asked.

    Attributes:
        lock: held by the thread whose turn it is.

    Args:
        name: names it in errors.
        spawn: makes a fresh `EngineActor` and gives its handle back; one begins to start here.
        timeout_s: how long a call may take.
        max_deaths: how many are mended with no rollout finished in between.
        factors: reference to the learner's factors, for which an engine has to wait that would
            compute its own.
    """

    def __init__(
        self,
        name: str,
        spawn: Callable[[], Any],
        *,
        timeout_s: float,
        max_deaths: int = MAX_DEATHS,
        factors: Any = None,
    ) -> None:
        self.name, self.timeout_s, self.max_deaths = name, timeout_s, max_deaths
        self.lock, self._deaths, self._closed = threading.Lock(), 0, threading.Event()
        self._had: dict[str, Any] = {}
        self._asked: tuple[str, Any] | None = None
        self._spawn, self._actor = spawn, spawn()
        self._answer: Any = None
        self._deadline, self._factors = 0.0, factors
        self._send(self._actor.start, None, None, factors)
        self._is_starting = True

    def ready(self) -> None:
        """Wait until the engine, or its successor, is built.

        Raises:
            RlpeftError: it cannot be.
            ClusterError: it does not stay alive.
        """
        if self._is_starting:
            self.result()

    def runs(self, proof: Any) -> bool:
        """Whether the engine, or a successor that is starting, has the policy of this reference."""
        return self._had.get("sync") is proof

    def ask(self, method: str, argument: Any) -> None:
        """Have the engine load something, as `rlpeft.rollout.fleet.LocalFleet` does it."""
        self._asked = (method, argument)
        if not self._is_starting:
            self._send(self._actor.call, method, argument)

    def result(self) -> Any:
        """What the engine, or a successor of it, gives for what it was to load.

        Raises:
            ClusterError: it has died too often, or was closed.
        """
        while True:
            try:
                self._wait()
                found = _taken(self._answer)
                if not self._is_starting:
                    return self._noted(found)
                self._is_starting = False
                if self._asked is None:
                    return None
                self._send(self._actor.call, *self._asked)
            except ActorLostError as error:
                self.start_anew(error)

    def stream(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Together]:
        """What the engine has done of these requests, as it is done.

        Raises:
            ActorLostError: it is gone; `start_anew` puts a successor in its place.
            ClusterError: it was closed.
        """
        self._send(self._actor.stream.options(num_returns="streaming"), requests, sampling)
        while True:
            self._wait()
            try:
                reference = next(self._answer)
            except StopIteration:
                self._deaths = 0
                return
            yield _taken(reference)

    def close(self) -> Any:
        """Ask the engine to end; a reference to wait for. It has no successor any more."""
        self._closed.set()
        return send(self._actor.close)

    def kill(self) -> None:
        """End the actor's process, whatever it is at."""
        ray.kill(self._actor)

    def _send(self, method: Any, *arguments: Any) -> None:
        if self._closed.is_set():
            raise ClusterError(f"{self.name} has been closed.")
        self._answer = send(method, *arguments)
        self._deadline = time.monotonic() + self.timeout_s

    def _wait(self) -> None:
        left_s = max(0.0, self._deadline - time.monotonic())
        if not ray.wait([self._answer], timeout=left_s)[0]:
            raise ActorLostError(f"no answer within {self.timeout_s:g} s (engine_timeout_s)")

    def _noted(self, found: Any) -> Any:
        """Keep in mind what a successor has to load."""
        assert self._asked is not None
        (method, argument), self._asked = self._asked, None
        self._had[method] = argument
        return found

    def start_anew(self, cause: ActorLostError) -> None:
        """Put a fresh actor in the place of a lost one; it starts under what that had.

        Raises:
            ClusterError: it has died too often, or was closed.
        """
        if self._closed.is_set():
            raise ClusterError(f"{self.name} has been closed.") from cause
        self._deaths += 1
        if self._deaths > self.max_deaths:
            raise ClusterError(
                f"{self.name} must stay alive, it died {self._deaths} times in a row, at last "
                f"with: {cause}. Look at memory and at Ray's logs on its node; the run continues "
                "from its last checkpoint when started again."
            ) from cause
        note(
            f"{self.name} died and is started anew (time {self._deaths} of at most "
            f"{self.max_deaths} in a row)"
        )
        self.kill()
        self._actor, self._is_starting = self._spawn(), True
        if self._closed.is_set():  # meanwhile, by another thread
            self.kill()
        had = self._had.get("sync"), self._had.get("load_experts")
        self._send(self._actor.start, *had, self._factors)


def _taken(reference: Any) -> Any:
    try:
        return fetch(reference)
    except EngineDiedError as error:
        raise ActorLostError(str(error)) from error


def remote_engines(
    spec: EngineSpec,
    resources: ResourceConfig,
    group: Any,
    *,
    first: int,
    learner: Any = None,
    open_base: Callable[[], BaseModel] | None = None,
) -> list[RemoteEngine]:
    """A recipe's engines in actors that are being placed, from bundle `first` on.

    Args:
        learner: reference to the start of its actor, which gives the learner's factors.
        open_base: opens the base model on an engine's machine; by its name if absent.
    """
    if 0 < resources.engine_gpus < 1:
        spec = spec.with_gpu_share(resources.engine_gpus)
    takes_only_named = ENGINES[spec.rollout.engine].needs_factors
    factors = None if takes_only_named else learner
    build, timeout_s = partial(_open_engine, spec, resources, open_base), resources.engine_timeout_s
    # Those of its workers share the actor's CPUs, and it waits for them.
    threads = num_threads(resources.engine_cpus / spec.rollout.tensor_parallel)
    actors = [
        place(EngineActor, group, first + index, threads=threads)
        for index in range(spec.rollout.num_engines)
    ]
    return [
        RemoteEngine(
            f"engine {index}",
            partial(actor.remote, build, threads),
            timeout_s=timeout_s,
            factors=factors,
        )
        for index, actor in enumerate(actors)
    ]


def _open_engine(
    spec: EngineSpec, resources: ResourceConfig, open_base: Callable[[], BaseModel] | None
) -> RolloutEngine:
    """In the engine's actor, which finds the base model on its own machine."""
    require_gpu(resources.engine_gpus, "resources.engine_gpus")
    base = merged.open_base(spec.model) if open_base is None else open_base()
    engine: RolloutEngine = build_engine(spec, base)
    return engine
