"""The CEM service: searches of many clients on one cluster, each of them cut off at any moment.

A detached actor with a name. Every search is a run of `jobs.adapt` in a folder of its own below
the service's: its evaluations are written down as they are answered, its state after each
iteration. Ray starts the service again when its process dies; it then reads its folder and goes
on with every search that was running.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from jobs.adapt import run
from jobs.cluster.pool import Pools
from jobs.cluster.reaper import start_reaper
from rewards.errors import RewardError
from rlpeft.errors import CheckpointError, ClusterError, RlpeftError
from rlpeft.files import make_folder, read_json, write_json
from rlpeft.recipe.adapt import AdaptRecipe
from rlpeft.recipe.run import validated
from rlpeft.runs.checkpoint import load_checkpoint
from rlpeft.runs.fingerprint import RECORD_FILE, SUMMARY_FILE
from rlpeft.search.few_shot import Standing, total_iterations

RUNNING, DONE, FAILED, CANCELLED = "running", "done", "failed", "cancelled"

SearchStatus = dict[str, Any]


class CancelledError(ClusterError):
    """Its client wants no more of this search."""


@dataclass
class HeldSearch:
    """One search: what is on the disk, and its thread."""

    id: str
    recipe: AdaptRecipe
    state: str = RUNNING
    error: str = ""
    latest: dict[str, Any] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def record(self) -> dict[str, Any]:
        """What is on the disk."""
        recipe = self.recipe.model_dump(mode="json")
        return {"id": self.id, "state": self.state, "error": self.error, "recipe": recipe}


class CemService:
    """Consumes recipes, and questions after them. Waits for engines, one thread a search; each is
    unblocked by its answers, or by a cancellation. Produces mixed experts and their summaries.

    Every method may be called again with the same arguments: Ray does so when the process dies.

    Args:
        folder: where all searches are kept, on the node of the service.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        make_folder(self.folder)
        self._pools, self._lock = Pools(), threading.Lock()
        self._searches: dict[str, HeldSearch] = {}
        start_reaper()
        for path in sorted(self.folder.glob(f"*/{RECORD_FILE}")):
            try:
                search = _read(path)
            except RlpeftError as error:  # one damaged record must not keep the others waiting
                print(f"error: a search is left out: {error}", file=sys.stderr, flush=True)
                continue
            self._searches[search.id] = search
            if search.state == RUNNING:
                self._begin(search)

    def submit(self, id: str, tree: dict[str, Any]) -> SearchStatus:
        """Begin a search, or continue one that failed or was cancelled.

        Raises:
            ConfigError: no valid recipe.
            ClusterError: a search of this id is running another recipe.
        """
        recipe = validated(AdaptRecipe, tree, source=id)
        with self._lock:
            known = self._searches.get(id)
            if known is not None and known.state in (RUNNING, DONE):
                if known.recipe != recipe:
                    raise ClusterError(
                        f"search {id!r} is {known.state} with another recipe. Choose another --id."
                    )
                return self._status(known)
            if known is not None and known.thread is not None:
                known.thread.join()
            search = self._searches[id] = HeldSearch(id, recipe)
            self._begin(search)
            return self._status(search)

    def status(self, id: str) -> SearchStatus:
        """How a search stands."""
        return self._status(self._find(id))

    def list(self) -> list[SearchStatus]:
        """How every search stands, those of earlier processes too."""
        return [self._status(search) for _, search in sorted(self._searches.items())]

    def result(self, id: str) -> dict[str, Any]:
        """The summary of a search that is done.

        Raises:
            ClusterError: it is not.
        """
        search = self._find(id)
        if search.state == FAILED:
            raise ClusterError(f"search {id!r} failed: {search.error}")
        if search.state != DONE:
            hint = (
                "Wait for it: rlpeft cem result --wait"
                if search.state == RUNNING
                else "Submit it again with the same --id to continue it"
            )
            status = self._status(search)
            raise ClusterError(
                f"search {id!r} has no result, it is {search.state} at iteration "
                f"{status['iteration']} of {status['total']}. {hint}."
            )
        return read_json(self.folder / id / SUMMARY_FILE)

    def cancel(self, id: str) -> SearchStatus:
        """End a search; what it knows stays, so that it may be continued."""
        search = self._find(id)
        if search.state == RUNNING:
            search.stop.set()
            self._end(search, CANCELLED)
        return self._status(search)

    def _find(self, id: str) -> HeldSearch:
        if id not in self._searches:
            known = ", ".join(sorted(self._searches)) or "none"
            raise ClusterError(f"there must be a search {id!r}, there are: {known}.")
        return self._searches[id]

    def _begin(self, search: HeldSearch) -> None:
        write_record(self.folder, search)
        search.thread = threading.Thread(target=self._run, args=(search,), daemon=True)
        search.thread.start()

    def _run(self, search: HeldSearch) -> None:
        try:
            run(
                search.recipe,
                self.folder / search.id,
                open_fleet=partial(self._pools.lease, resources=search.recipe.resources),
                parallel=search.recipe.rollout.num_engines,
                on_iteration=partial(_follow, search),
            )
            self._end(search, DONE)
        except CancelledError:
            pass  # recorded by `cancel`, whose client must not wait for this thread
        except (RlpeftError, RewardError) as error:
            self._end(search, FAILED, str(error))
        except Exception as error:  # a bug must reach the client too, not a log nobody reads
            self._end(search, FAILED, f"{type(error).__name__}: {error}")
            raise

    def _end(self, search: HeldSearch, state: str, error: str = "") -> None:
        if search.stop.is_set() and state != CANCELLED:
            return
        search.state, search.error = state, error
        write_record(self.folder, search)

    def _status(self, search: HeldSearch) -> SearchStatus:
        latest = search.latest or self._saved(search)
        status = {key: value for key, value in search.record().items() if key != "recipe"}
        total = total_iterations(search.recipe)
        return (
            status
            | {"name": search.recipe.name, "iteration": 0, "total": total}
            | latest
            | {"out": str(self.folder / search.id)}
        )

    def _saved(self, search: HeldSearch) -> dict[str, Any]:
        """The newest iteration on the disk: an earlier process was told of it."""
        tree = load_checkpoint(self.folder / search.id)
        if tree is None:
            return {}
        rows = [row for stage in tree["stages"].values() for row in stage["history"]]
        return _figures(tree["step"], rows[-1])


def write_record(folder: Path, search: HeldSearch) -> None:
    """Write a search's record whole or not at all."""
    write_json(folder / search.id / RECORD_FILE, search.record())


def _read(path: Path) -> HeldSearch:
    record = read_json(path, CheckpointError)
    missing = {"id", "recipe", "state", "error"} - record.keys()
    if missing or record["id"] != path.parent.name:
        raise CheckpointError(
            f"{str(path)!r} must be the record of search {path.parent.name!r}, it is of "
            f"{record.get('id')!r} and lacks {sorted(missing)}. Submit that search again."
        )
    recipe = validated(AdaptRecipe, record["recipe"], source=str(path))
    return HeldSearch(record["id"], recipe, record["state"], record["error"])


def _follow(search: HeldSearch, standing: Standing, row: Any) -> None:
    search.latest = _figures(standing.step, {"stage": standing.stage} | dict(row))
    if search.stop.is_set():
        raise CancelledError(f"search {search.id!r} was cancelled")


def _figures(iteration: int, row: Any) -> dict[str, Any]:
    names = ("stage", "best", "mean", "spread", "graded")
    return {"iteration": iteration, **{name: row[name] for name in names if name in row}}
