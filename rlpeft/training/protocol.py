"""What a run needs of its learner, wherever that is.

`rlpeft.training.learner.LocalLearner` fulfils it in this process. One in an actor has the same
methods by their names (`jobs.cluster.remote`), so that a method added here is one there, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rlpeft.adapter_state import AdapterState
from rlpeft.rollout.proof import Proof
from rlpeft.training.packing import Sample


class Learner(Protocol):
    """Moves one policy."""

    def step(self, samples: Sequence[Sample]) -> dict[str, float]:
        """One optimizer step on a batch; returns its metrics.

        Raises:
            ModelError: the loss, or a gradient, is not finite; the adapter has not moved.
        """
        ...

    def adapter_state(self) -> AdapterState:
        """The adapter as it is now; its version is the number of steps taken."""
        ...

    def load_adapter(self, state: AdapterState) -> None:
        """Take over another adapter's values; optimizer and step count stay as they are.

        Raises:
            ModelError: the policy has no place for one of its tensors.
        """
        ...

    def start_from(self, state: AdapterState) -> None:
        """Take over the values that training begins with, before its first step or a checkpoint.

        With `loss.reference = "start"` the KL is measured from them, to the end of the run.

        Raises:
            ModelError: the policy has no place for one of its tensors.
        """
        ...

    def proof(self, canary: Sequence[Sequence[int]], bound: float) -> Proof:
        """The adapter as it is now, with what proves its delivery; see `Proof`."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the next step."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`.

        Raises:
            CheckpointError: it belongs to an adapter with other parameters.
        """
        ...
