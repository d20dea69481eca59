"""What runs in the actors of a run: plain classes, made into actors where they are placed.

Constructors only remember: an exception in an actor's constructor would reach the driver as text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jobs.cluster.reaper import start_reaper
from rlpeft.adapter_state import AdapterState
from rlpeft.errors import EngineDiedError
from rlpeft.rollout.engine import RolloutEngine
from rlpeft.rollout.fleet import LocalFleet
from rlpeft.rollout.proof import Proof, SyncReport


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
    """A run's learner; Ray, and a list of processes, show an actor by the name of its class."""

    def start(self) -> dict[str, str]:
        """Build the learner; the factors that its node has from now on, module -> digest."""
        super().start()
        return dict(self.held.adapter_state().factors)


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
        try:
            return super().call(method, *arguments)
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
