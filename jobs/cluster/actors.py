"""The engines and the learner of a run: plain classes, made into actors where they are placed.

Constructors only remember: an exception in an actor's constructor would reach the driver as text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jobs.cluster.watchdog import watch_me
from rlpeft.adapter_state import AdapterState
from rlpeft.errors import EngineDiedError
from rlpeft.rollout.engine import RolloutEngine
from rlpeft.rollout.fleet import Proof, SyncReport, load_proven
from rlpeft.rollout.proof import Prover
from rlpeft.training.packing import Sample
from rlpeft.types import Completion, Request, Sampling


class EngineActor:
    """One rollout engine.

    Consumes policy updates with their proofs, and requests. Waits for the driver alone; is
    unblocked by its next call. Produces sync reports and completions.

    Args:
        build: makes the engine, in the actor's process.
        threads: of torch.
    """

    def __init__(self, build: Callable[[], RolloutEngine], threads: int) -> None:
        self.build, self.threads = build, threads
        self.engine: RolloutEngine | None = None
        self._prover: Prover | None = None

    def start(
        self, proof: Proof | None, experts: Mapping[str, AdapterState] | None = None
    ) -> SyncReport | None:
        """Build the engine; a successor proves the policy its predecessor ran before any work.

        It gets the experts its predecessor had, too.
        """
        _use_threads(self.threads)
        watch_me()
        self.engine = self.build()
        self._prover = Prover(self.engine)
        report = None if proof is None else self.prove(proof)
        if experts is not None:
            self.load_experts(experts)
        return report

    def prove(self, proof: Proof) -> SyncReport:
        """Take a policy update and prove it."""
        assert self._prover is not None, "start comes first"
        try:
            delivery, gap = self._prover.prove(
                proof.state, proof.canary, proof.expected, bound=proof.bound
            )
        except EngineDiedError:
            self.close()  # what is left of it; the driver puts another actor in this one's place
            raise
        return SyncReport(proof.state.num_bytes, delivery.seconds, gap)

    def load_experts(self, experts: Mapping[str, AdapterState]) -> None:
        """Take the experts that requests may name."""
        try:
            load_proven(self._engine(), experts)
        except EngineDiedError:
            self.close()  # what is left of it; the driver puts another actor in this one's place
            raise

    def rollout(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """Complete each request once per seed."""
        try:
            return self._engine().rollout(requests, sampling)
        except EngineDiedError:
            self.close()  # what is left of it; the driver puts another actor in this one's place
            raise

    def close(self) -> None:
        """Close the engine and its child processes."""
        if self.engine is not None:
            self.engine.close()

    def _engine(self) -> RolloutEngine:
        assert self.engine is not None, "start comes first"
        return self.engine


class LearnerActor:
    """The learner.

    Consumes samples, other adapters and checkpoints. Waits for the driver alone; is unblocked by
    its next call. Produces policy updates, canary log-probs, metrics and checkpoints.

    Args:
        build: makes the learner, in the actor's process.
        threads: of torch.
    """

    def __init__(self, build: Callable[[], Any], threads: int) -> None:
        self.build, self.threads = build, threads
        self.learner: Any = None

    def start(self) -> None:
        """Build the learner."""
        _use_threads(self.threads)
        self.learner = self.build()

    def step(self, samples: Sequence[Sample]) -> dict[str, float]:
        """See `Learner.step`, as for all below."""
        return self.learner.step(samples)

    def adapter_state(self) -> AdapterState:
        """The adapter as it is now."""
        return self.learner.adapter_state()

    def load_adapter(self, state: AdapterState) -> None:
        """Take over another adapter's values."""
        self.learner.load_adapter(state)

    def logprobs(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """Log-prob of each token after the first."""
        return self.learner.logprobs(sequences)

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the next step."""
        return self.learner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.learner.load_state_dict(state)


def _use_threads(number: int) -> None:
    import torch

    torch.set_num_threads(number)
