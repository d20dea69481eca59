"""What one of several experts that train together has in the place of a learner and a fleet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from rlpeft.rollout.engine import Together, in_order
from rlpeft.rollout.fleet import Answer, PolicyFleet
from rlpeft.rollout.proof import Proof, Published
from rlpeft.training.shared import SharedLearner
from rlpeft.types import Completion, Request, Sampling

Aside = Callable[[], AbstractContextManager[None]]
"""Within it, others may work: this expert waits for what is elsewhere."""


class LearnerSeat:
    """Fulfils `rlpeft.training.protocol.Learner` by what its name is at a shared learner."""

    def __init__(self, shared: SharedLearner, name: str, aside: Aside) -> None:
        self._shared, self._name, self._aside = shared, name, aside

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return partial(self._call, method)

    def _call(self, method: str, *arguments: Any) -> Any:
        with self._aside():
            return self._shared.call(self._name, method, *arguments)


class FleetSeat(PolicyFleet):
    """Engines that others ask, too: what is asked here is answered under this expert's policy."""

    def __init__(self, fleet: PolicyFleet, aside: Aside) -> None:
        self.fleet, self._aside = fleet, aside
        self._policy: Published | None = None

    def sync(self, proof: Proof) -> Published:
        """Does not wait: engines prove it when they come to what is asked here."""
        return self.publish(proof)

    def publish(self, proof: Proof) -> Published:
        """See `PolicyFleet`."""
        self._policy = self.fleet.publish(proof)
        return self._policy

    def go_back_to(self, policy: Published) -> None:
        """See `PolicyFleet`."""
        self._policy = policy

    def rest(self) -> None:
        """See `PolicyFleet`; in one process nobody else works meanwhile."""
        self.fleet.rest()

    @property
    def idle_s(self) -> float:
        """Of the engines, whoever asked them."""
        return self.fleet.idle_s

    def submit(self, requests: Sequence[Request], sampling: Sampling) -> list[Answer]:
        """See `Fleet`."""
        self._bring_own()
        return self.fleet.submit(requests, sampling)

    def rollout(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """See `Fleet`."""
        return in_order(self.stream(requests, sampling))

    def stream(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Together]:
        """See `Fleet`; asked for by this call."""
        self._bring_own()
        return self._come(self.fleet.stream(requests, sampling))

    def _come(self, stream: Iterator[Together]) -> Iterator[Together]:
        while True:
            with self._aside():
                found = next(stream, None)
            if found is None:
                return
            yield found

    def _bring_own(self) -> None:
        assert self._policy is not None, "a policy must be published before anything is asked"
        self.fleet.go_back_to(self._policy)

    def close(self) -> None:
        """The engines are others', too."""
