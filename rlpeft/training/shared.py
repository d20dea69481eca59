"""One policy that several learners move, each when it is called: its own adapter is in it then.

The base, its factors and what a step allocates exist once; of its own each has an adapter, moments
and counters, which are small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from rlpeft.adapter_state import AdapterState
    from rlpeft.training.learner import LocalLearner


class SharedLearner(Protocol):
    """Learners behind one verb; `SharedPolicy` in this process, or its actor's place."""

    def call(self, name: str, method: str, *arguments: Any) -> Any:
        """What a method of `rlpeft.training.protocol.Learner` gives, of the learner so named."""
        ...


class SharedPolicy:
    """Fulfils `SharedLearner` in this process.

    Args:
        learners: of the same policy, by name.
        fresh: what each one's parameters begin with, in their order.
    """

    def __init__(
        self,
        learners: Mapping[str, LocalLearner],
        fresh: Mapping[str, Sequence[torch.Tensor]],
    ) -> None:
        self._learners, self._away = learners, dict(fresh)
        self._here = next(iter(learners))
        self.any.put(self._away.pop(self._here))

    @property
    def any(self) -> LocalLearner:
        """The learner whose adapter is in the policy."""
        return self._learners[self._here]

    def call(self, name: str, method: str, *arguments: Any) -> Any:
        """What a learner's method gives, with its own adapter in the policy."""
        if name != self._here:
            self._away[self._here] = self.any.values()
            self._here = name
            self.any.put(self._away.pop(name))
        return getattr(self.any, method)(*arguments)

    def adapter_state(self) -> AdapterState:
        """That of any of them: all have the same factors."""
        return self.any.adapter_state()
