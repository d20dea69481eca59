"""The protocol every rollout engine fulfils, and what all of them refuse."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol, runtime_checkable

from rlpeft.adapter_state import AdapterState
from rlpeft.errors import EngineError
from rlpeft.types import LONGEST_STOP, MOST_STOPS, Completion, Request, Sampling


@dataclass(frozen=True, slots=True)
class Delivery:
    """An engine's receipt for one policy update.

    Attributes:
        version: the version it now runs.
        digest: digest computed by the engine from the tensors it will use.
        seconds: wall time from receiving the state to being ready, digest included.
    """

    version: int
    digest: str
    seconds: float


Together = dict[int, list[Completion]]
"""What ended together: a request's completions, in seed order, by the place of their request."""


class RolloutEngine(Protocol):
    """Generates completions under the last adapter state it was given.

    `hf`, `vllm` and `fake` fulfil it. Engines are built around one base model and one adapter
    config; `load_adapter` and `load_experts` replace values only.
    """

    def load_adapter(self, state: AdapterState) -> Delivery:
        """Make `state` the policy of every later request; drop caches of older policies."""
        ...

    def load_experts(self, experts: Mapping[str, AdapterState]) -> dict[str, Delivery]:
        """Make these the experts that requests may name, in the place of earlier ones.

        Requests of one batch may name different ones (or none: the current policy).

        Raises:
            EngineError: the engine's adapter cannot differ within a batch, or a state does not
                fit it. The earlier experts stay.
        """
        ...

    def rollout(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """Complete each request once per seed, in request order then seed order.

        Raises:
            EngineError: a request names an expert that is not loaded, or does not fit the context.
        """
        ...

    def logprobs(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """Log-prob (temperature 1) of each token after the first, under the current policy."""
        ...

    def close(self) -> None:
        """Release memory and end child processes. May be called twice."""
        ...


@runtime_checkable
class StreamingEngine(RolloutEngine, Protocol):
    """One that tells of answers while it is still at others; `hf` and `vllm` do."""

    def stream(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Together]:
        """Do as `rollout` does, and yield what has ended after every token at which any has.

        A request has ended with the last of its completions. What is computed together, and so
        every number, is what it is in `rollout`; the same requests give the same parts.
        """
        ...


@runtime_checkable
class RestingEngine(RolloutEngine, Protocol):
    """One that keeps memory between requests which it can do without; `vllm` is."""

    def rest(self) -> None:
        """Give back what is kept for generating, and nothing of the policy; may be called twice.

        The next call takes it again by itself, and finds nothing that was cached before.
        """
        ...


def whole_requests(
    requests: Sequence[Request], ended: Iterable[Mapping[int, Completion]]
) -> Iterator[Together]:
    """From completions as they end to requests as they do.

    Args:
        ended: what ended together, by row: a row for each seed of each request, in their order.
    """
    starts = [0, *accumulate(len(request.seeds) for request in requests)]
    owners = [place for place, request in enumerate(requests) for _ in request.seeds]
    empty: Together = {place: [] for place, own in enumerate(requests) if not own.seeds}
    if empty:
        yield empty
    done: dict[int, Completion] = {}
    for together in ended:
        done |= together
        touched = sorted({owners[row] for row in together})
        own = {place: range(starts[place], starts[place + 1]) for place in touched}
        whole = [place for place in touched if all(row in done for row in own[place])]
        if whole:
            yield {place: [done[row] for row in own[place]] for place in whole}


def in_order(stream: Iterable[Together]) -> list[list[Completion]]:
    """What a stream of requests gives in all, in the order of the requests."""
    done: Together = {}
    for ended in stream:
        done |= ended
    return [done[place] for place in range(len(done))]


def check_experts(requests: Sequence[Request], loaded: Collection[str]) -> None:
    """Refuse requests for experts that an engine does not hold."""
    for request in requests:
        if request.expert is not None and request.expert not in loaded:
            known = ", ".join(sorted(loaded)) or "none"
            raise EngineError(
                f"expert {request.expert!r} of request {request.id!r} must be loaded "
                f"(load_experts), loaded: {known}."
            )


def check_sampling(sampling: Sampling) -> None:
    """Refuse sampling that means nothing.

    Raises:
        EngineError: a temperature that is no number at or above 0; an empty stop string, which
            every completion would contain at its start; or more of them, or longer ones, than
            anybody means.
    """
    if not (math.isfinite(sampling.temperature) and sampling.temperature >= 0):
        raise EngineError(
            f"temperature must be finite and at least 0, got {sampling.temperature!r}."
        )
    if "" in sampling.stop:
        raise EngineError(f"stop strings must not be empty, got {list(sampling.stop)!r}.")
    if (number := len(sampling.stop)) > MOST_STOPS:
        raise EngineError(f"stop strings must be at most {MOST_STOPS}, got {number}.")
    if (longest := max(map(len, sampling.stop), default=0)) > LONGEST_STOP:
        raise EngineError(
            f"a stop string must have at most {LONGEST_STOP} characters, got one of {longest}."
        )


def check_images(request: Request, *, sees: bool) -> None:
    """Refuse images that an engine cannot show to its model.

    Raises:
        EngineError: names the request.
    """
    if request.images and not sees:
        raise EngineError(
            f"prompt {request.id!r} must show no images, its engine's model sees none. "
            "Build the engine with the model's processor."
        )


def check_tokens(token_ids: Sequence[int], vocabulary: int, *, of: str) -> None:
    """Refuse token ids that have no embedding.

    Raises:
        EngineError: names the first of them and what it is part of.
    """
    for token_id in token_ids:
        if not 0 <= token_id < vocabulary:
            raise EngineError(
                f"token ids of {of} must be 0 to {vocabulary - 1}, which is what the model embeds, "
                f"got {token_id}. Is the tokenizer another model's?"
            )
