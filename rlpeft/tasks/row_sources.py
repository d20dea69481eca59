"""Rows that are read a block at a time, from any block on: of files, and of a Hub dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rlpeft.errors import DataError
from rlpeft.tasks.formats import rows_after
from rlpeft.tasks.jsonl import Row
from rlpeft.tasks.stream import RowPlace


@dataclass(frozen=True)
class FileRows:
    """Rows of files, one after the other; a place is a file and how many of its rows were read.

    Args:
        files: of one split; see `rlpeft.tasks.formats`.
    """

    files: Sequence[Path]

    def blocks(self, place: RowPlace, size: int) -> Iterator[tuple[list[Row], RowPlace]]:
        """See `rlpeft.tasks.stream.RowSource`.

        Raises:
            DataError: a file cannot be read, or a row of it is wrong: names file and line.
        """
        first, done = place or (0, 0)
        rows: list[Row] = []
        for at in range(first, len(self.files)):
            for row in rows_after(self.files[at], done):
                rows.append(row)
                done += 1
                if len(rows) == size:
                    yield rows, [at, done]
                    rows = []
            done = 0
        if rows:
            yield rows, [len(self.files), 0]


@dataclass(frozen=True)
class HubRows:
    """Rows of a dataset as `datasets` streams them; a place is its own state, which is exact where
    nothing is shuffled by it.

    Args:
        served: opens the `datasets.IterableDataset`.
        called: its id.
    """

    served: Callable[[], Any]
    called: str

    def blocks(self, place: RowPlace, size: int) -> Iterator[tuple[list[Row], RowPlace]]:
        """See `rlpeft.tasks.stream.RowSource`.

        Raises:
            DataError: the Hub gives no more of it.
        """
        from datasets.exceptions import DatasetGenerationError
        from huggingface_hub.errors import HfHubHTTPError

        served = self.served()
        if place is not None:
            served.load_state_dict(place)
        try:
            rows = iter(served)
            while block := [dict(row) for row in islice(rows, size)]:
                yield block, served.state_dict()
        except (DatasetGenerationError, HfHubHTTPError, OSError, ValueError) as error:
            raise DataError(
                f"dataset {self.called!r} must be served to its end, the Hub stopped before "
                f"({error!s:.200}). Check the network; the same command goes on."
            ) from error
