"""A client of the CEM service: find it or start it, ask it, and wait for a search."""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from jobs.cem.service import RUNNING, CemService, SearchStatus
from jobs.cluster.connect import ActorLostError, connected, fetch
from rlpeft.errors import ClusterError, ConfigError
from rlpeft.recipe.adapt import AdaptRecipe

SERVICE, NAMESPACE = "cem", "rlpeft"
"""What the actor is called on its cluster."""

ANSWER_TIMEOUT_S = 120.0
"""Long enough for a service that is being started again."""

LONGEST_ID = 128
"""It names a folder."""

POLL_S = 0.5
MAX_CALLS = 64
"""Questions answered at once."""


class Client:
    """Questions to the service; each is one remote call."""

    def __init__(self, service: Any) -> None:
        self._service = service

    def submit(self, recipe: AdaptRecipe, id: str | None = None) -> SearchStatus:
        """Begin a search; gives its status, `id` among it.

        Raises:
            ConfigError: an id that cannot be a folder's name.
            ClusterError: the id stands for another search.
        """
        id = id or f"{recipe.name}-{uuid.uuid4().hex[:8]}"
        if not re.fullmatch(r"\w[\w.-]*", id) or len(os.fsencode(id)) > LONGEST_ID:
            raise ConfigError(
                f"--id must be letters, digits, '-', '_' and '.', at most {LONGEST_ID} bytes of "
                f"them, got {id!r:.200}."
            )
        return dict(self._ask("submit", id, absolute(recipe).model_dump(mode="json")))

    def status(self, id: str) -> SearchStatus:
        """How a search stands."""
        return dict(self._ask("status", id))

    def list(self) -> list[SearchStatus]:
        """How every search stands."""
        return list(self._ask("list"))

    def cancel(self, id: str) -> SearchStatus:
        """End a search."""
        return dict(self._ask("cancel", id))

    def result(self, id: str) -> dict[str, Any]:
        """The summary of a search that is done; see `CemService.result`."""
        return dict(self._ask("result", id))

    def follow(self, id: str) -> Iterator[SearchStatus]:
        """A search's status again and again, until it ends; to stop looking does not end it."""
        while True:
            status = self.status(id)
            yield status
            if status["state"] != RUNNING:
                return
            time.sleep(POLL_S)

    def wait(self, id: str) -> None:
        """Wait until a search has ended."""
        for _ in self.follow(id):
            pass

    def _ask(self, method: str, *arguments: Any) -> Any:
        try:
            answer = getattr(self._service, method).remote(*arguments)
            return fetch(answer, timeout_s=ANSWER_TIMEOUT_S)
        except ActorLostError as error:
            raise ClusterError(
                f"the CEM service must answer, got: {error}. Its searches are kept and go on when "
                "it is back; look at Ray's logs on its node."
            ) from error


@contextmanager
def open_client(address: str | None, *, start_in: Path | None = None) -> Iterator[Client]:
    """A client of the cluster's service.

    Args:
        address: the cluster's head; the one running on this machine if absent.
        start_in: starts the service where there is none, with its searches in this folder.

    Raises:
        ClusterError: no cluster, or no service on it.
    """
    with connected(address or "auto"):
        try:
            service = ray.get_actor(SERVICE, namespace=NAMESPACE)
        except ValueError as error:
            if start_in is None:
                raise ClusterError(
                    "the cluster must have a CEM service, it has none. "
                    "The first `rlpeft cem submit RECIPE` starts it."
                ) from error
            service = start_service(start_in)
        yield Client(service)


def start_service(folder: Path) -> Any:
    """Start the service, or find one that somebody else started meanwhile."""
    return (
        ray.remote(CemService)
        .options(
            name=SERVICE,
            namespace=NAMESPACE,
            get_if_exists=True,
            lifetime="detached",
            max_restarts=-1,
            max_task_retries=-1,
            max_concurrency=MAX_CALLS,
            num_cpus=0,
        )
        .remote(str(folder.absolute()))
    )


def absolute(recipe: AdaptRecipe) -> AdaptRecipe:
    """The recipe with its paths as the service finds them, from whatever folder it runs in."""
    from rlpeft.experts.hub import on_hub

    changes: dict[str, Any] = {
        # An id of the Hub is asked for where the service runs.
        "experts": tuple(
            root if on_hub(root) else str(Path(root).expanduser().absolute())
            for root in recipe.experts
        )
    }
    for section, name in (("model", "name"), ("task", "path"), ("shots", "path")):
        value = getattr(getattr(recipe, section), name)
        if value and Path(value).expanduser().exists():
            found = {name: str(Path(value).expanduser().absolute())}
            changes[section] = getattr(recipe, section).model_copy(update=found)
    return recipe.model_copy(update=changes)
