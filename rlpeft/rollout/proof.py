"""Proof that an engine runs what it was sent, from its start on.

A digest proves that the bytes arrived, log-probs of a canary that they are *used*. Neither can
tell an engine that has frozen its base, as a graph does that was captured too early: a policy
starts as its base, and in bfloat16 what a step moves is less than the noise. So each engine is
*kicked* first: its adapter is moved by 5 %, which must move the canary far above its noise, and
back, which must restore it. What the kick moved is the measure of every later gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from rlpeft.adapter_state import AdapterState
from rlpeft.errors import EngineError
from rlpeft.models.gap import LogprobRows, largest_gap, mean_gap
from rlpeft.rollout.engine import Delivery, RolloutEngine

KICKED = -1
"""Version of a kicked adapter; nothing is sampled under it."""

KICKS = (0.05, 0.2, 0.8)
"""How far the adapter is moved, relative to itself; further where it decides little."""

ABOVE_NOISE = 10.0
"""How much more a kick must move the canary, on average, than an engine and its trainer differ."""

AGREED = 0.25
"""Share of what the kick moved that the average log-prob may be off at a sync."""


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
    expected: LogprobRows
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


def worst(reports: Sequence[SyncReport]) -> SyncReport:
    """What several engines proved of one version."""
    slowest, gap = max(r.load_s for r in reports), max(r.gap for r in reports)
    return SyncReport(reports[0].num_bytes, slowest, gap)


@dataclass(frozen=True, eq=False)
class Published:
    """A policy that engines take over when they come to what was asked under it.

    Attributes:
        proof: the `Proof`, or a reference to it where engines are elsewhere.
        reports: of the engines that have proven it so far, at least one once an answer came.
    """

    proof: Any
    reports: list[SyncReport] = field(default_factory=list)

    def metrics(self) -> dict[str, float]:
        """As `SyncReport` has them, the worst engine's figures so far."""
        return worst(self.reports).metrics()


Proven = SyncReport | Published
"""What engines have proved of the policy that groups are sampled under."""


class Prover:
    """Sends policies to one engine, each with its proof."""

    def __init__(self, engine: RolloutEngine) -> None:
        self.engine = engine
        self._moved: float | None = None

    def prove(self, proof: Proof) -> SyncReport:
        """Send a policy and prove that the engine runs it.

        Raises:
            EngineError: a digest, the kick or the canary does not agree. The run must stop.
        """
        state, expected = proof.state, proof.expected
        delivery = self._send(state)
        found = self.engine.logprobs(proof.canary)
        gap, mean = largest_gap(found, expected), mean_gap(found, expected)
        if not gap <= proof.bound:  # a NaN gap must fail too
            raise EngineError(
                f"canary log-probs of engine and trainer must agree within {proof.bound:g} after "
                f"sync of version {state.version}, they differ by {gap:.3g}: the adapter arrived "
                "but the engine does not run it as the trainer does (dtype, module mapping or a "
                "stale prefix cache). Raise rollout.canary_bound only if the engine's dtype "
                "explains it."
            )
        if self._moved is None:
            self._moved = self._kick(state, proof.canary, found, mean)
        if not mean <= AGREED * self._moved:
            raise EngineError(
                f"canary log-probs of engine and trainer must differ by at most "
                f"{AGREED * self._moved:.3g} on average after sync of version {state.version} (a "
                f"quarter of what the engine's adapter was seen to move them by), they differ by "
                f"{mean:.3g}: the adapter arrived but the engine samples from an older one."
            )
        return SyncReport(state.num_bytes, delivery.seconds, gap)

    def _send(self, state: AdapterState) -> Delivery:
        delivery = self.engine.load_adapter(state)
        if delivery.digest != state.digest:
            raise EngineError(
                f"the engine must run adapter version {state.version} "
                f"(sha256 {state.digest[:12]}…), it reports {delivery.digest[:12]}…: the update "
                "was not delivered. Check that every adapter module is mapped in the engine."
            )
        return delivery

    def _kick(
        self, state: AdapterState, canary: Sequence[Sequence[int]], before: LogprobRows, mean: float
    ) -> float:
        """How far a kick moves the canary, on average; the engine runs `state` again afterwards."""
        moved = noise = 0.0
        for size in KICKS:
            self._send(kicked(state, size))
            moved = mean_gap(self.engine.logprobs(canary), before)
            self._send(state)
            noise = mean_gap(self.engine.logprobs(canary), before)
            if moved > ABOVE_NOISE * max(noise, mean):
                return moved
        raise EngineError(
            f"moving the adapter by {KICKS[-1]:.0%} must move the engine's canary log-probs far "
            f"above their noise, and back must restore them: on average they moved by {moved:.2g}, "
            f"were restored within {noise:.2g} and are {mean:.2g} off the trainer's. The engine "
            "holds the adapter and does not sample from it, as graphs do that were captured "
            "before it came: set rollout.options.enforce_eager = true, or use the hf engine."
        )


def kicked(state: AdapterState, size: float) -> AdapterState:
    """`state` with every element moved up or down, by `size` of its tensor's root mean square.

    A single number that is zero stays: HypLoRA's flat curvature may not become positive.
    """
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, value in state.tensors.items():
        signs = torch.randint(0, 2, value.shape, generator=generator).to(value) * 2 - 1
        scale = value.float().square().mean().sqrt()
        # LoRA's B starts as zero, and has no size of its own.
        own = float(value.numel() > 1)
        tensors[name] = value + signs * size * (scale if scale > 0 else own)
    return AdapterState(state.config, tensors, KICKED, state.factors)
