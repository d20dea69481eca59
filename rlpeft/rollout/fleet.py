"""A fleet: the engines of a run behind two verbs, sync with proof and rollout.

`LocalFleet` holds engines of this process; `jobs.cluster.fleet` holds Ray actors. The trainer
cannot tell them apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rlpeft.adapter_state import AdapterState
from rlpeft.errors import EngineError
from rlpeft.rollout.engine import RolloutEngine
from rlpeft.rollout.proof import Prover
from rlpeft.types import Completion, Request, Sampling


@dataclass(frozen=True)
class Proof:
    """A policy update with what is needed to prove that an engine runs it.

    Attributes:
        state: the update.
        canary: token sequences scored by the trainer under `state`.
        expected: the trainer's log-probs of them.
        bound: largest absolute difference accepted of a single token.
    """

    state: AdapterState
    canary: Sequence[Sequence[int]]
    expected: Sequence[Sequence[float]]
    bound: float


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What one sync cost and proved, the worst engine's figures.

    Attributes:
        num_bytes: bytes of the update, per engine.
        load_s: until the slowest engine had the update and its digest.
        gap: largest canary log-prob difference.
    """

    num_bytes: int
    load_s: float
    gap: float

    def metrics(self) -> dict[str, float]:
        """Under the names that are logged."""
        return {"sync/bytes": self.num_bytes, "sync/seconds": self.load_s, "sync/gap": self.gap}


class Fleet(Protocol):
    """The engines of a run."""

    def sync(self, proof: Proof) -> SyncReport:
        """Make `proof.state` the policy of every engine, proven on each.

        Raises:
            EngineError: an engine cannot prove it.
        """
        ...

    def load_experts(self, experts: Mapping[str, AdapterState]) -> None:
        """Make these the experts that requests may name, on every engine; digests are compared.

        Raises:
            EngineError: an engine cannot run them, or holds something else.
        """
        ...

    def rollout(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """Complete each request once per seed, in request order then seed order."""
        ...

    def close(self) -> None:
        """End all engines."""
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


class LocalFleet:
    """One engine of this process."""

    def __init__(self, engine: RolloutEngine) -> None:
        self.engine, self._prover = engine, Prover(engine)

    def sync(self, proof: Proof) -> SyncReport:
        """Send and prove."""
        delivery, gap = self._prover.prove(
            proof.state, proof.canary, proof.expected, bound=proof.bound
        )
        return SyncReport(proof.state.num_bytes, delivery.seconds, gap)

    def load_experts(self, experts: Mapping[str, AdapterState]) -> None:
        """Load and compare digests."""
        load_proven(self.engine, experts)

    def rollout(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """Complete each request once per seed."""
        return self.engine.rollout(requests, sampling)

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()
