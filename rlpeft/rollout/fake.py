"""A scripted engine: answers as told, remembers what it was sent, fails on demand.

>>> engine = FakeEngine(lambda request, seed: ((7,), (-0.5,), "7", FinishReason.STOP))
>>> engine.rollout([Request("sums/1", (1, 2), (0,))], Sampling(max_tokens=4))[0][0].text
'7'

It needs no model, so tests of loops, fleets and rewards run in milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rlpeft.adapter_state import AdapterState
from rlpeft.errors import EngineError
from rlpeft.rollout.engine import Delivery, check_experts
from rlpeft.rollout.proof import KICKED
from rlpeft.types import Completion, FinishReason, Request, Sampling

FakeAnswer = Callable[[Request, int], tuple[Sequence[int], Sequence[float], str, FinishReason]]
"""(request, seed) -> token ids, their log-probs, text, finish reason."""

LogProbs = Callable[[Sequence[Sequence[int]]], list[list[float]]]
"""Sequences -> log-prob of each token after the first."""


def certain(sequences: Sequence[Sequence[int]]) -> list[list[float]]:
    """Log-probs of a policy that is sure of every token: all 0."""
    return [[0.0] * (len(sequence) - 1) for sequence in sequences]


def die() -> None:
    """End as an engine does whose own code fails."""
    raise EngineError("the fake engine died, as it was told to.")


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong, and when.

    Attributes:
        digest: reported after a sync in place of the true one.
        stale_by: how many versions behind the last one the completions come from.
        survives: rollouts answered before `death` is called in place of the next; `None`: all.
        is_frozen: it holds what it is sent, and runs what it ran at first.
        death: what ends it; `lambda: os._exit(1)` kills the process, as a lost node would.
    """

    digest: str | None = None
    stale_by: int = 0
    survives: int | None = None
    is_frozen: bool = False
    death: Callable[[], None] = die


class FakeEngine:
    """Fulfils `rlpeft.rollout.engine.RolloutEngine` without a model.

    Args:
        script: makes each completion.
        logprobs: answers the canary; give it the learner's own to agree with it.

    Attributes:
        states, experts, requests, samplings: everything it was sent, in order; one entry a call.
            A kick, and what it was kicked from, are not among the states.
        closed: how often it was closed.
    """

    def __init__(
        self, script: FakeAnswer, *, logprobs: LogProbs = certain, faults: Faults | None = None
    ) -> None:
        self.script, self._logprobs = script, logprobs
        self._is_kicked = False
        self.faults = faults or Faults()
        self.states: list[AdapterState] = []
        self.experts: list[dict[str, AdapterState]] = []
        self.requests: list[list[Request]] = []
        self.samplings: list[Sampling] = []
        self.closed = 0

    def load_adapter(self, state: AdapterState) -> Delivery:
        """Take the state; report its digest, or the false one."""
        is_return, self._is_kicked = self._is_kicked, state.version == KICKED
        if not self._is_kicked and not is_return:
            self.states.append(state)
        return Delivery(state.version, self.faults.digest or state.digest, 0.0)

    def load_experts(self, experts: Mapping[str, AdapterState]) -> dict[str, Delivery]:
        """Take the experts; report their digests."""
        self.experts.append(dict(experts))
        return {name: Delivery(s.version, s.digest, 0.0) for name, s in experts.items()}

    def rollout(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """Ask the script for each request and seed."""
        if self.faults.survives is not None and len(self.requests) >= self.faults.survives:
            self.faults.death()
        check_experts(requests, self._loaded)
        self.requests.append(list(requests))
        self.samplings.append(sampling)
        return [[self._complete(request, seed) for seed in request.seeds] for request in requests]

    def logprobs(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """Answer as told; a kick moves every log-prob by 1."""
        moved = float(self._is_kicked and not self.faults.is_frozen)
        return [[value - moved for value in row] for row in self._logprobs(sequences)]

    def close(self) -> None:
        """Count the call."""
        self.closed += 1

    @property
    def _loaded(self) -> dict[str, AdapterState]:
        return self.experts[-1] if self.experts else {}

    def _complete(self, request: Request, seed: int) -> Completion:
        ids, logprobs, text, finish_reason = self.script(request, seed)
        version, digest = 0, ""
        if request.expert is not None:
            state = self._loaded[request.expert]
            version, digest = state.version, state.digest
        elif self.states:
            version = self.states[-1].version - self.faults.stale_by
            digest = self.states[-1].digest
        return Completion(tuple(ids), tuple(logprobs), text, finish_reason, version, digest)
