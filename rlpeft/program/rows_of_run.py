"""Whether problems are those that an expert was trained on: an accuracy on them tells nothing.

They are compared by what they say, not by the file that they lie in: rows that were renamed,
copied or shuffled, a file that has grown and is divided anew, a generated task that is dealt by
another seed, all give problems to test that were trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

from rlpeft.errors import DataError
from rlpeft.experts.files import read_card
from rlpeft.experts.hub import known_as
from rlpeft.experts.steps import run_of
from rlpeft.recipe.run import TaskConfig
from rlpeft.runs.fingerprint import read_fingerprint
from rlpeft.runs.trained_on import (
    TRAINED_FILE,
    Trained,
    keep_trained,
    keep_trained_block,
    marks_of,
    read_trained,
    text_of,
    trained_on,
)
from rlpeft.tasks.base import SPLITS, Split, Task, repeats
from rlpeft.tasks.decks import Deck
from rlpeft.tasks.golds import row_of
from rlpeft.tasks.stream import Stream
from rlpeft.terminal import note
from rlpeft.types import Problem

FEW = 0.01
"""Share of the problems that may have been trained on: public sets repeat some of each other, and
must stay of use. No accuracy moves by more than this share, which is told."""

Way = Literal["kept", "unseen"]
"""How problems are asked that were not trained on: rows are divided as in the training, or
`--unseen` passes over those that were."""


def may_be_trained_on(task: TaskConfig, trained: Mapping[str, Any]) -> bool:
    """Whether these are called as the rows that the expert was trained on, of which it saw a part.

    Then they are divided as they were in training. A path is compared by its last part: a run may
    have been started in another folder.
    """
    if task.name != trained.get("name"):
        return False
    paths = (task.path, trained.get("path"))
    return None in paths or len({Path(str(path)).name for path in paths}) == 1


def tell_rows(source: str, task: Task) -> None:
    """Say which rows weigh more than others in a run, or nothing: repeated, and left out."""
    if isinstance(task, Stream):
        note(
            f"rows of {source!r} stream, {task.size:,} at a time: its validation and test problems "
            "are the first rows of their files, or else of the train rows, and none is trained on."
        )
    known = SPLITS if task.num_train is not None else SPLITS[1:]
    again = {split: repeats(task.split(split)) for split in known}
    for counted, why in (
        (again, "repeat the prompt and the gold of another: each is a problem of its own"),
        (task.left_out, "are left out: their prompts stand in a later split too"),
        (task.unasked, "are not asked: task.num_… of their split is lower"),
    ):
        if any(counted.values()):
            each = " and ".join(f"{counted[s]:,} {s}" for s in SPLITS if counted.get(s))
            note(f"of {source!r} {each} problems {why}.")


def unseen(folders: Sequence[Path], problems: Sequence[Problem], split: Split) -> Sequence[Problem]:
    """The problems that none of some experts was trained on.

    Args:
        folders: of the experts; of one without the folder of its run that cannot be told.

    Raises:
        DataError: there is none.
    """
    every = [trained.marks for folder in folders if (trained := read_trained(run_of(folder)))]
    kept = [p for p in problems if not any(marks_of(p) & marks for marks in every)]
    if not kept:
        raise DataError(
            f"all {len(problems)} {split} problems were in the training of an expert, and none is "
            "left to ask. Name other rows, by task.path."
        )
    return kept


def said_of_unseen(
    source: str, problems: Sequence[Problem], kept: Sequence[Problem], split: Split
) -> list[str]:
    """How many problems are passed over; nothing where all are asked."""
    gone = len(problems) - len(kept)
    counted = f"{gone} of the {len(problems)} {split} problems of {source!r}"
    return [f"{counted} were trained on and are not asked."] if gone else []


def keep_trained_on(
    run: Path,
    problems: Sequence[Problem],
    chosen_by: Sequence[Problem] = (),
    *,
    before: Sequence[Path],
) -> None:
    """Write into the folder of a run what its expert is trained on.

    Args:
        problems: those that it may draw.
        chosen_by: those that it chooses its expert by.
        before: folders of the experts that it goes back to.
    """
    known = {known_as(folder): read_trained(run_of(folder)) for folder in before}
    keep_trained(run, trained_on(problems, chosen_by, known))


def keep_streamed(run: Path, decks: Sequence[Deck]) -> None:
    """Write into the folder of a run what it reads to be trained on while it goes on.

    The blocks that were read before it began are in `keep_trained_on`'s.
    """

    def keep(name: str, block: int, problems: Sequence[Problem]) -> None:
        keep_trained_block(run, f"{name}{block:06d}", problems)

    for deck in decks:
        if isinstance(deck.task, Stream):
            deck.task.watch(partial(keep, f"{deck.label}-" if deck.label else ""))


def refuse_trained_on(
    folders: Sequence[Path],
    task: Task,
    split: Split,
    problems: Sequence[Problem],
    *,
    path: str | None,
    ways: Sequence[Way] = ("kept", "unseen"),
) -> list[str]:
    """Refuse to measure experts on problems that they were trained on; gives what is to be told.

    Of an expert without the folder of its run that cannot be told, which is to be said. Who asks
    for the train split asks for such problems.

    Args:
        folders: of the experts.
        task, path: what the problems are taken from, and where its rows lie, if it is of rows.
        problems: of the split, those that are asked.
        ways: what the command offers beside other rows.

    Raises:
        DataError: more than a few of them were trained on.
    """
    if split == "train":
        return []
    marks = [(problem, marks_of(problem)) for problem in problems]
    untold, unfolded, notes = list[str](), list[str](), list[str]()
    digest = cache(task.fingerprint)
    for folder in folders:
        trained = read_trained(run_of(folder))
        if trained is not None:
            untold += trained.untold
            unfolded += [] if trained.folded else [known_as(folder)]
            own = folder, trained, path or task.name, split, marks
            notes += _judge(*own, has_rows=bool(path), ways=ways)
        elif not _divided_as_then(folder, digest):
            untold.append(known_as(folder))
    if untold:
        notes.append(
            f"whether {split} problems were trained on cannot be told of "
            f"{', '.join(dict.fromkeys(untold))}: there is no folder of its run that keeps this."
        )
    if unfolded:
        notes.append(
            f"{TRAINED_FILE} of {', '.join(unfolded)} is from before texts were compared as they "
            "are seen: a row written there with full-width or invisible signs is known again in "
            "that very form alone."
        )
    return notes


def _judge(
    folder: Path,
    trained: Trained,
    source: str,
    split: Split,
    marks: Sequence[tuple[Problem, frozenset[str]]],
    *,
    has_rows: bool,
    ways: Sequence[Way],
) -> list[str]:
    """Refuse what one expert has seen of the problems, by their marks, or give it to be told."""
    notes = []
    name, number = known_as(folder), len(marks)
    counted = partial(_counted, number=number, split=split, source=source, has_rows=has_rows)
    seen = [problem for problem, found in marks if found & trained.marks]
    chosen = [problem for problem, found in marks if found & trained.chosen]
    if seen:
        said = f"{counted(seen)} were in the training of {name!r}"
        if len(seen) > FEW * number:
            raise DataError(
                f"{said}: what it is worth on others cannot be told by them. Name rows that it has "
                f"not seen, by task.path{''.join(_way(way, folder) for way in ways)}."
            )
        notes.append(f"{said}: its accuracy may be off by {len(seen) / number:.2%}.")
    if chosen and split == "test":
        notes.append(
            f"{counted(chosen)} are those that the step of {name!r} was "
            "chosen by, on which it does somewhat better than on others."
        )
    return notes


def said_of_shots(folders: Sequence[Path], shots: Sequence[Problem]) -> list[str]:
    """How many shots the experts were trained on: a search is then misled, its test is not."""
    known = {known_as(folder): read_trained(run_of(folder)) for folder in folders}
    seen = [
        {name for name, found in known.items() if found and marks_of(shot) & found.marks}
        for shot in shots
    ]
    if not any(seen):
        return []
    return [
        f"{sum(map(bool, seen))} of the {len(shots)} shots were in the training of "
        f"{' and '.join(sorted(set[str]().union(*seen)))}, which may do better on them than on "
        "others."
    ]


def _divided_as_then(folder: Path, digest: Callable[[], str]) -> bool:
    """Whether this is the very task of a run that did not keep what it trains on."""
    data = read_fingerprint(run_of(folder)).get("data")  # of several tasks, by their labels
    return data is not None and digest() in (data.values() if isinstance(data, dict) else [data])


def _counted(
    seen: Sequence[Problem], *, number: int, split: Split, source: str, has_rows: bool
) -> str:
    """How many of the problems, and the first of them."""
    place = f"{row_of(seen[0])}, " if has_rows else ""
    return (
        f"{len(seen)} of the {number} {split} problems of {source!r}, such as {place}"
        f"{text_of(seen[0].prompt)!r:.60},"
    )


def _way(way: Way, folder: Path) -> str:
    """A way as the errors offer it."""
    if way == "unseen":
        return (
            "; or ask those alone that no expert has seen: rlpeft evaluate and adapt take --unseen"
        )
    return f"; or {_kept_as(folder)} as in its training: they are then divided as they were"


def _kept_as(folder: Path) -> str:
    """What is to stay as it was for the problems of a training to be divided as they were."""
    sections = read_card(folder).sections
    names = " and ".join(Path(str(own.get("path") or own.get("name"))).name for own in sections)
    if any(own.get("path") for own in sections):
        return f"keep rows, [task] and the name of their file ({names})"
    return f"keep [task] ({names})"
