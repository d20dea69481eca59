"""Engines that several searches share: each part of work brings the experts that it needs.

A fleet holds one policy or one set of experts for all. Here an engine takes a set of experts and
the requests that name them as one part, so that parts of different searches may follow each
other on it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from jobs.cluster.connect import bundles_of, reserved
from jobs.cluster.engine_restart import remote_engines
from jobs.cluster.fleet import Part, RayFleet
from rlpeft.adapter_state import AdapterState
from rlpeft.recipe.run import EngineSpec, ResourceConfig
from rlpeft.rollout.fleet import Answer, ExpertFleet, promised
from rlpeft.types import Request, Sampling

IDLE_S = 60.0
"""How long engines wait for the next search."""

Kind = tuple[str, str]
"""A spec and the resources of its actors, as text: their options are no keys of a dict."""


class EnginePool:
    """The engines of a spec, and what is reserved for them.

    Raises:
        ClusterError: the cluster has no room for them.
    """

    def __init__(self, spec: EngineSpec, resources: ResourceConfig) -> None:
        self._stack = ExitStack()
        bundles = bundles_of(resources, spec.rollout.num_engines)[resources.learners :]
        bundles = bundles[: spec.rollout.num_engines]
        timeout_s = resources.placement_timeout_s
        group = self._stack.enter_context(reserved(bundles, timeout_s=timeout_s))
        engines = remote_engines(spec, resources, group, first=0)
        self.fleet = RayFleet(engines, rows_a_call=spec.rollout.rows_a_call)

    def close(self) -> None:
        """End the engines."""
        self.fleet.close()
        self._stack.close()


class PoolFleet(ExpertFleet):
    """A search's view of a pool's engines."""

    def __init__(self, fleet: RayFleet) -> None:
        self.fleet = fleet
        self._experts: Mapping[str, AdapterState] = {}

    def load_experts(self, experts: Mapping[str, AdapterState]) -> None:
        """Send these along with every later request that names them."""
        self._experts = dict(experts)

    def submit(self, requests: Sequence[Request], sampling: Sampling) -> list[Answer]:
        """Ask for completions, all from whichever engine is free first."""
        named = {request.expert for request in requests}
        experts = {name: state for name, state in self._experts.items() if name in named}
        answers = [promised() for _ in requests]
        self.fleet.put(Part(requests, sampling, answers, experts))
        return answers

    def close(self) -> None:
        """The pool's engines are others' too."""


class Pools:
    """One pool for each kind of engine that searches need; a kind that nobody uses ends soon."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pools: dict[Kind, EnginePool] = {}
        self._users: Counter[Kind] = Counter()

    @contextmanager
    def lease(self, spec: EngineSpec, resources: ResourceConfig) -> Iterator[PoolFleet]:
        """Use the engines of a spec, which share what another search with it has started."""
        kind = spec.model_dump_json(), resources.model_dump_json()
        with self._lock:
            if kind not in self._pools:
                self._end_idle()  # what they hold may be what is wanted
                self._pools[kind] = EnginePool(spec, resources)
            self._users[kind] += 1
            pool = self._pools[kind]
        try:
            yield PoolFleet(pool.fleet)
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
