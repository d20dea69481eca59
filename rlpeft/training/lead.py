"""The first of a learner's ranks, which the run speaks to, and the others, which do as it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from rlpeft.errors import ClusterError, RlpeftError
from rlpeft.training.learner import LocalLearner

SHARED = frozenset({"step", "load_adapter", "start_from", "load_state_dict", "proof", "logprobs"})
"""Verbs that every rank has to do: what moves adapters, and forward passes, for which sharded
weights are gathered. What else is asked of a learner the first one knows alone."""


class Lead:
    """Fulfils `rlpeft.training.protocol.Learner` for all ranks, in the process of the first.

    Args:
        learner: its own, which has joined the others.
    """

    def __init__(self, learner: LocalLearner) -> None:
        self.learner = learner

    def __getattr__(self, name: str) -> Any:
        return partial(self._on_all, name) if name in SHARED else getattr(self.learner, name)

    def tell(self, do: Callable[..., Any], *arguments: Any) -> None:
        """Have every other rank call a function of its learner and these arguments."""
        self.learner.ranks.say((do, arguments))

    def _on_all(self, name: str, *arguments: Any) -> Any:
        self.tell(getattr(LocalLearner, name), *arguments)
        return getattr(self.learner, name)(*arguments)

    def dismiss(self, value: Any = None) -> None:
        """Have `follow` of every other rank return this."""
        self.learner.ranks.say(Dismissed(value))


@dataclass(frozen=True, slots=True)
class Dismissed:
    """Ends `follow`, which gives the value."""

    value: Any


def follow(learner: LocalLearner) -> Any:
    """Do what the first rank does, until it dismisses this one.

    Consumes calls of the first rank. Waits for it, and within a step for the others. Produces the
    same adapter as theirs.

    Raises:
        ClusterError: another rank is gone.
    """
    while not isinstance(heard := learner.ranks.hear(), Dismissed):
        do, arguments = heard
        try:
            do(learner, *arguments)
        except ClusterError:
            raise
        except RlpeftError:  # the first rank raises it, too, and its caller tells it
            continue
    return heard.value
