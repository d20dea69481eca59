"""A fleet of Ray actors: requests shared out, deaths mended, no sample lost or counted twice.

Each engine has a thread that feeds it; the one that is free first takes the next part, and one that
dies leaves its part to whoever is. Answers come one by one as they are done. What parts a batch has
depends on the requests and on the number of engines alone, never on who is quick: an answer is
rounded by the company it is computed in, and a step that is run again gives the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from queue import PriorityQueue, SimpleQueue
from statistics import fmean
from typing import Any

import ray

from jobs.cluster.connect import ActorLostError, put
from jobs.cluster.engine_restart import RemoteEngine
from rlpeft.adapter_state import AdapterState
from rlpeft.errors import ClusterError
from rlpeft.rollout.engine import Together
from rlpeft.rollout.fleet import Answer, ExpertFleet, Idle, PolicyFleet, promised
from rlpeft.rollout.proof import Proof, Published, SyncReport, worst
from rlpeft.types import Request, Sampling

CLOSE_TIMEOUT_S = 30.0
"""How long engines may take to end their own child processes."""

Come = Callable[[Sequence[Answer]], object]
"""Is told of answers that came together."""


def unheard(answers: Sequence[Answer]) -> None:
    """Where each answer is waited for by itself."""


@dataclass(frozen=True)
class Part:
    """Requests that one engine completes in one call, and where its answers go.

    Attributes:
        experts: those the requests name, if the engine may hold others.
        policy: what they are answered under, if the engine may run another.
    """

    requests: Sequence[Request]
    sampling: Sampling
    answers: Sequence[Answer]
    experts: Mapping[str, AdapterState] | None = None
    policy: Published | None = None
    tell: Come = unheard

    @property
    def lacking(self) -> list[Answer]:
        """What has not come yet."""
        return [answer for answer in self.answers if not answer.done()]

    def take(self, found: Together) -> None:
        """Hand on what has come, but for what a lost engine had given before."""
        fresh = [place for place in found if not self.answers[place].done()]
        for place in fresh:
            self.answers[place].set_result(found[place])
        if fresh:
            self.tell([self.answers[place] for place in fresh])

    def fail(self, error: Exception) -> None:
        """Let nobody wait any longer."""
        if lacking := self.lacking:
            for answer in lacking:
                answer.set_exception(error)
            self.tell(lacking)


class RayFleet(PolicyFleet, ExpertFleet):
    """Engines in actors, of one policy and of experts.

    Consumes parts, of any number of threads. Each engine's thread waits for a part, then for its
    engine; is unblocked by either, or by the end of the fleet. Produces answers.

    Args:
        rows_a_call: see `rlpeft.recipe.rollout.RolloutConfig.rows_a_call`.
    """

    def __init__(self, engines: Sequence[RemoteEngine], *, rows_a_call: int) -> None:
        self.engines, self.rows_a_call = engines, rows_a_call
        self._order, self._parts = count(), PriorityQueue[tuple[int, Part | None]]()
        self._open: set[Answer] = set()
        self._policy: Published | None = None
        self._built: list[Future[None]] = [Future() for _ in engines]
        self._idle = [Idle() for _ in engines]
        self._threads = [
            threading.Thread(target=self._feed, args=parts, daemon=True)
            for parts in zip(engines, self._built, self._idle, strict=True)
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
        self._policy = None  # until another is published, there is one that all engines run
        return worst(self._each("sync", put(proof)))

    def publish(self, proof: Proof) -> Published:
        """Send the update once through the object store; engines prove it as they come to it."""
        self._policy = Published(put(proof))
        return self._policy

    def rest(self) -> None:
        """Nothing: engines and learner have memory of their own, each in its reservation."""

    def go_back_to(self, policy: Published) -> None:
        """Engines that run another prove it again, as they come to it."""
        self._policy = policy

    @property
    def idle_s(self) -> float:
        """Seconds for which engines have waited for a part so far, a mean over them."""
        return fmean(idle.seconds for idle in self._idle)

    def load_experts(self, experts: Mapping[str, AdapterState]) -> None:
        """Send the experts once through the object store; every engine's digests are compared."""
        self._each("load_experts", put(dict(experts)))

    def submit(self, requests: Sequence[Request], sampling: Sampling) -> list[Answer]:
        """Ask for completions, in parts that the engines share; does not wait."""
        return self._ask(requests, sampling, unheard)

    def stream(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Together]:
        """What has ended together in an engine, as soon as it has; asked for by this call."""
        queue: SimpleQueue[Sequence[Answer]] = SimpleQueue()
        return _come(self._ask(requests, sampling, queue.put), queue)

    def _ask(self, requests: Sequence[Request], sampling: Sampling, tell: Come) -> list[Answer]:
        answers = [promised() for _ in requests]
        for at in share(requests, len(self.engines), sampling.max_tokens, self.rows_a_call):
            own = [answers[i] for i in at]
            own_requests = [requests[i] for i in at]
            self.put(Part(own_requests, sampling, own, policy=self._policy, tell=tell))
        self._open = {answer for answer in self._open if not answer.done()} | {*answers}
        return answers

    def put(self, part: Part) -> None:
        """Leave a part to whichever engine is free first."""
        self._parts.put((next(self._order), part))

    def close(self) -> None:
        """End all engines and their child processes. May be called twice."""
        engines, self.engines = self.engines, []
        if ends := [engine.close() for engine in engines]:
            ray.wait(ends, num_returns=len(ends), timeout=CLOSE_TIMEOUT_S)
        for engine in engines:
            engine.kill()
        threads, self._threads = self._threads, []
        for _ in threads:
            self._parts.put((next(self._order), None))
        for thread in threads:
            thread.join()
        while not self._parts.empty():
            _, part = self._parts.get()
            if part is not None:
                part.fail(ClusterError("the engines have been closed."))

    def _each(self, method: str, argument: Any) -> list[Any]:
        """What every engine gives, once it has answered what it was asked before."""
        self.ready()
        wait(self._open)
        with ExitStack() as turns:
            for engine in self.engines:  # one that died may be starting anew
                turns.enter_context(engine.lock)
            for engine in self.engines:
                engine.ask(method, argument)
            return [engine.result() for engine in self.engines]

    def _feed(self, engine: RemoteEngine, built: Future[None], idle: Idle) -> None:
        while True:
            broken = _unready(engine)
            if not built.done():
                built.set_exception(broken) if broken else built.set_result(None)
            order, part = self._parts.get()
            if part is None:
                return
            with idle.ended():
                if broken is None:
                    self._run(engine, order, part)
                else:
                    part.fail(broken)

    def _run(self, engine: RemoteEngine, order: int, part: Part) -> None:
        try:
            with engine.lock:
                try:
                    _answer(engine, part)
                except ActorLostError as error:
                    engine.start_anew(error)
                    if part.lacking:  # before all asked for later, which a step ahead may be
                        # whole: what is computed together stays together
                        self._parts.put((order, part))
        except Exception as error:  # it belongs to whoever asked
            part.fail(error)


def _unready(engine: RemoteEngine) -> Exception | None:
    """Why an engine cannot work, once it has started: it belongs to whoever asks."""
    try:
        with engine.lock:
            engine.ready()
    except Exception as error:
        return error
    return None


def _come(answers: Sequence[Answer], queue: SimpleQueue[Sequence[Answer]]) -> Iterator[Together]:
    places = {answer: place for place, answer in enumerate(answers)}
    while places:
        yield {places.pop(answer): answer.result() for answer in queue.get()}


def _answer(engine: RemoteEngine, part: Part) -> None:
    if part.policy is not None and not engine.runs(part.policy.proof):
        engine.ask("sync", part.policy.proof)
        part.policy.reports.append(engine.result())
    if part.experts is not None:
        engine.ask("load_experts", part.experts)
        engine.result()
    for found in engine.stream(part.requests, part.sampling):
        part.take(found)


def share(
    requests: Sequence[Request], num_engines: int, max_tokens: int, rows_a_call: int
) -> list[tuple[int, ...]]:
    """Split requests into the parts that engines take, each of them as it gets free.

    As many as there are engines, of about equal tokens: more would share themselves out better and
    cost more, for on the hf engine a batch cut in two takes 1.5 times the work (SmolLM2-135M, 64
    rows), cut in four 2.5 times. Where an engine could not run its part at once, that costs
    nothing: calls have at most `rows_a_call` then, those with the longest prompts first.
    A group is never split: its completions share their prompt.

    Returns:
        The indices of each part's requests.
    """
    num_rows = sum(len(request.seeds) for request in requests)
    if num_engines > 1 and num_rows > num_engines * rows_a_call:
        return _calls(requests, rows_a_call)
    costs = [(len(r.prompt_ids) + max_tokens) * len(r.seeds) for r in requests]
    parts: list[list[int]] = [[] for _ in range(num_engines)]
    loads = [0] * num_engines
    for index in sorted(range(len(requests)), key=lambda i: -costs[i]):
        lightest = loads.index(min(loads))
        parts[lightest].append(index)
        loads[lightest] += costs[index]
    return [tuple(sorted(part)) for part in parts if part]


def _calls(requests: Sequence[Request], rows_a_call: int) -> list[tuple[int, ...]]:
    """Requests in the order of their prompts' lengths, cut where a call has its rows."""
    calls: list[list[int]] = [[]]
    room = rows_a_call
    for index in sorted(range(len(requests)), key=lambda i: -len(requests[i].prompt_ids)):
        rows = len(requests[index].seeds)
        if rows > room and calls[-1]:
            calls.append([])
            room = rows_a_call
        calls[-1].append(index)
        room -= rows
    return [tuple(sorted(call)) for call in calls]
