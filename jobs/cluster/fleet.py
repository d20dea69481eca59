"""A fleet of Ray actors: requests shared out, deaths mended, no sample lost or counted twice.

Each engine has a thread that feeds it; the one that is free first takes the next part. What parts
a batch has depends on the requests and on the number of engines alone, never on who is quick: an
answer is rounded by the company it is computed in, and a step that is run again gives the same.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import ray

from jobs.cluster.connect import put
from jobs.cluster.engine_restart import RemoteEngine
from rlpeft.adapter_state import AdapterState
from rlpeft.rollout.fleet import Answer, ExpertFleet, PolicyFleet, promised
from rlpeft.rollout.proof import Proof, SyncReport
from rlpeft.types import Request, Sampling

CLOSE_TIMEOUT_S = 30.0
"""How long engines may take to end their own child processes."""


@dataclass(frozen=True)
class Part:
    """Requests that one engine completes in one call, and where its answers go.

    Attributes:
        experts: those the requests name, if the engine may hold others.
    """

    requests: Sequence[Request]
    sampling: Sampling
    answers: Sequence[Answer]
    experts: Mapping[str, AdapterState] | None = None


class RayFleet(PolicyFleet, ExpertFleet):
    """Engines in actors, of one policy and of experts.

    Consumes parts, of any number of threads. Each engine's thread waits for a part, then for its
    engine; is unblocked by either, or by the end of the fleet. Produces answers.
    """

    def __init__(self, engines: Sequence[RemoteEngine]) -> None:
        self.engines = engines
        self._parts: SimpleQueue[Part | None] = SimpleQueue()
        self._open: set[Answer] = set()
        self._built: list[Future[None]] = [Future() for _ in engines]
        self._threads = [
            threading.Thread(target=self._feed, args=(engine, built), daemon=True)
            for engine, built in zip(engines, self._built, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def ready(self) -> None:
        """Wait until every engine is built.

        Raises:
            RlpeftError: an engine cannot be built.
            ClusterError: an engine does not stay alive.
        """
        for built in self._built:
            built.result()

    def sync(self, proof: Proof) -> SyncReport:
        """Send the update once through the object store; every engine proves it."""
        reports: list[SyncReport] = self._each("sync", put(proof))
        slowest, gap = max(r.load_s for r in reports), max(r.gap for r in reports)
        return SyncReport(proof.state.num_bytes, slowest, gap)

    def load_experts(self, experts: Mapping[str, AdapterState]) -> None:
        """Send the experts once through the object store; every engine's digests are compared."""
        self._each("load_experts", put(dict(experts)))

    def submit(self, requests: Sequence[Request], sampling: Sampling) -> list[Answer]:
        """Ask for completions, in as many parts as there are engines; does not wait."""
        # More parts would share themselves out better and cost more: on the hf engine a batch cut
        # in two takes 1.5 times the work (SmolLM2-135M, 64 rows), cut in four 2.5 times.
        answers = [promised() for _ in requests]
        for at in share(requests, len(self.engines), sampling.max_tokens):
            self.put(Part([requests[i] for i in at], sampling, [answers[i] for i in at]))
        self._open = {answer for answer in self._open if not answer.done()} | {*answers}
        return answers

    def put(self, part: Part) -> None:
        """Leave a part to whichever engine is free first."""
        self._parts.put(part)

    def close(self) -> None:
        """End all engines and their child processes. May be called twice."""
        engines, self.engines = self.engines, []
        if ends := [engine.close() for engine in engines]:
            ray.wait(ends, num_returns=len(ends), timeout=CLOSE_TIMEOUT_S)
        for engine in engines:
            engine.kill()
        threads, self._threads = self._threads, []
        for _ in threads:
            self._parts.put(None)
        for thread in threads:
            thread.join()

    def _each(self, method: str, argument: Any) -> list[Any]:
        """What every engine gives, once it has answered what it was asked before."""
        self.ready()
        wait(self._open)
        for engine in self.engines:
            engine.ask(method, argument)
        return [engine.result() for engine in self.engines]

    def _feed(self, engine: RemoteEngine, built: Future[None]) -> None:
        try:
            engine.ready()
        except Exception as error:  # it belongs to whoever waits for this engine
            built.set_exception(error)
        else:
            built.set_result(None)
        while (part := self._parts.get()) is not None:
            try:
                built.result()
                answers = _done(engine, part)
            except Exception as error:  # it belongs to whoever asked
                for answer in part.answers:
                    answer.set_exception(error)
            else:
                for answer, completions in zip(part.answers, answers, strict=True):
                    answer.set_result(completions)


def _done(engine: RemoteEngine, part: Part) -> Any:
    if part.experts is not None:
        engine.ask("load_experts", part.experts)
        engine.result()
    engine.ask("rollout", part.requests, part.sampling)
    return engine.result()


def share(requests: Sequence[Request], num_parts: int, max_tokens: int) -> list[tuple[int, ...]]:
    """Split requests into parts of about equal tokens: largest first, to the lightest part.

    A group is never split: its completions share their prompt.

    Returns:
        The indices of each part's requests.
    """
    costs = [(len(r.prompt_ids) + max_tokens) * len(r.seeds) for r in requests]
    parts: list[list[int]] = [[] for _ in range(num_parts)]
    loads = [0] * num_parts
    for index in sorted(range(len(requests)), key=lambda i: -costs[i]):
        lightest = loads.index(min(loads))
        parts[lightest].append(index)
        loads[lightest] += costs[index]
    return [tuple(sorted(part)) for part in parts if part]
