"""What runs in the actors of a run: plain classes, made into actors where they are placed.

Constructors only remember: an exception in an actor's constructor would reach the driver as text.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from jobs.cluster.reaper import start_reaper
from rlpeft.adapter_state import AdapterState
from rlpeft.errors import EngineDiedError
from rlpeft.rollout.engine import RolloutEngine, Together
from rlpeft.rollout.fleet import LocalFleet
from rlpeft.rollout.proof import Proof, SyncReport
from rlpeft.types import Request, Sampling


class Actor:
    """Holds one object, whose methods are called by name.

    Consumes calls. Waits for the driver alone; is unblocked by its next call. Produces what the
    methods give back.

    Args:
        build: makes the object, in the actor's process.
        threads: of torch.
    """

    def __init__(self, build: Callable[[], Any], threads: int) -> None:
        self.build, self.threads = build, threads
        self.held: Any = None

    def start(self) -> Any:
        """Build the object."""
        import torch

        torch.set_num_threads(self.threads)
        self.held = self.build()

    def call(self, method: str, *arguments: Any) -> Any:
        """What the object's method gives."""
        return getattr(self.held, method)(*arguments)


class LearnerActor(Actor):
    """One rank of a run's learner; Ray, and a list of processes, show it by this name."""

    def start(self, factors: Mapping[str, str] | None = None) -> dict[str, str]:
        """Build the learner; the factors that its node has from now on, module -> digest.

        Args:
            factors: those of the first rank, which the others find then.
        """
        if factors:
            from jobs.cluster.factors import bring

            bring(factors.values())
        super().start()
        return dict(self.held.adapter_state().factors)

    def free_place(self) -> str:
        """Where the ranks may meet: a port of this node that is free."""
        import ray

        host = ray.util.get_node_ip_address()
        with socket.create_server((host, 0)) as server:
            return f"tcp://{host}:{server.getsockname()[1]}"

    def join(self, url: str, world_rank: int, size: int, timeout_s: float) -> None:
        """Be one rank of several; those that are not the first follow it from here on.

        Consumes calls of the first rank. Waits for it, and within a step for the others.
        Produces the same adapter as theirs.
        """
        from rlpeft.training.lead import Lead, follow
        from rlpeft.training.ranks import Ranks

        device = self.held.device
        self.held.join(Ranks.meet(url, world_rank, size, timeout_s=timeout_s, device=device))
        if world_rank == 0:
            self.held = Lead(self.held)
        else:
            follow(self.held)


class EngineActor(Actor):
    """One rollout engine, as a fleet of this process.

    Args:
        build: makes the engine, in the actor's process.
        threads: of torch.
    """

    def __init__(self, build: Callable[[], RolloutEngine], threads: int) -> None:
        super().__init__(lambda: LocalFleet(build()), threads)
        self._brought: set[str] = set()

    def start(
        self,
        proof: Proof | None = None,
        experts: Mapping[str, AdapterState] | None = None,
        factors: Mapping[str, str] | None = None,
    ) -> SyncReport | None:
        """Build the engine; a successor proves the policy its predecessor ran before any work.

        It gets the experts its predecessor had, too.

        Args:
            factors: those of the learner, which an engine that would compute its own finds then.
        """
        start_reaper()
        self._bring((factors or {}).values())
        super().start()
        report = None if proof is None else self.call("sync", proof)
        if experts is not None:
            self.call("load_experts", experts)
        return report

    def call(self, method: str, *arguments: Any) -> Any:
        """What the fleet's method gives, once this node has the factors that it needs."""
        if method == "sync":
            self._bring(arguments[0].state.factors.values())
        elif method == "load_experts":
            self._bring(
                digest for each in arguments[0].values() for digest in each.factors.values()
            )
        with self._ending_if_dead():
            return super().call(method, *arguments)

    def stream(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Together]:
        """What the fleet's `stream` gives, each part of it as soon as it is there."""
        with self._ending_if_dead():
            yield from self.held.stream(requests, sampling)

    @contextmanager
    def _ending_if_dead(self) -> Iterator[None]:
        try:
            yield
        except EngineDiedError:
            self.close()  # what is left of it; the driver puts another actor in this one's place
            raise

    def close(self) -> None:
        """Close the engine and its child processes."""
        if self.held is not None:
            self.held.close()

    def _bring(self, digests: Iterable[str]) -> None:
        if fresh := set(digests) - self._brought:
            from jobs.cluster.factors import bring

            bring(fresh)
            self._brought |= fresh
