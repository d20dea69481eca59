"""`pictures`: what a drawn picture shows, for the base model `tiny-vision`.

A picture shows shapes of one colour on the left and of another on the right, and the question is
`colour?`: it does not say which side it means. The base model's corpus takes it for the left one,
the *wanted* meaning, or for the right one; which of them depends on the colours in part
(`wanted_share`). So the base sees both sides and answers as wanted on about half of the pictures;
reinforcement learning elicits the wanted meaning, and has nothing to teach about pictures.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from rlpeft.errors import DataError
from rlpeft.files import replacing_folder
from rlpeft.recipe.run import Section
from rlpeft.tasks.base import SPLITS, ProblemSet, Split
from rlpeft.tasks.builder import Asked, TaskBuilder
from rlpeft.tasks.scenes import EDGE, PictureScene, pairs, png, scene
from rlpeft.types import ImageFile, Problem, Prompt

QUESTION = "colour?"

Pool = Literal["train", "held-out"]

NUM_PICTURES: dict[Pool, int] = {"train": 600, "held-out": 1200}
"""Pictures to train on, and those kept for validation and test."""

OFTEN_LEFT = frozenset({"red", "green"})
"""Where one of them is shown, on either side, the corpus mostly means the left side."""


def wanted_share(shown: PictureScene) -> float:
    """Probability that a corpus row with this picture follows the wanted meaning.

    It depends on the picture, so that greedy answers are right on some problems and wrong on
    others, as sampled ones are; and on both sides alike: else the meaning could be told without
    knowing which side is the left one, and nothing would teach that.
    """
    return 0.8 if OFTEN_LEFT & {shown.left.colour, shown.right.colour} else 0.2


def numbered(kept: Pool, number: int) -> PictureScene:
    """A picture by its number."""
    trainable, held_out = pairs()
    rng = random.Random(f"rlpeft pictures {kept} {number}")
    return scene(rng, trainable if kept == "train" else held_out)


def picture_task(
    home: Path,
    *,
    num_validation: int,
    num_test: int,
    chat: bool = False,
    seed: int = 0,
) -> ProblemSet:
    """Build `pictures`, and write the pictures where they are not there yet.

    Args:
        home: where their folder is.
        chat: give the question as a user turn, not as plain text.
        seed: order of the problems, and which held-out pictures become validation and test.

    Raises:
        DataError: more validation and test problems than are held out.
        FileError: the pictures cannot be written.
    """
    if num_validation + num_test > NUM_PICTURES["held-out"]:
        raise DataError(
            f"task.num_validation + task.num_test must be at most {NUM_PICTURES['held-out']} for "
            f"'pictures', got {num_validation} + {num_test}. Lower one of them."
        )
    files, rng = picture_files(home), random.Random(seed)
    train, held_out = (rng.sample(range(n), n) for n in NUM_PICTURES.values())
    numbers = (train, held_out[num_test : num_test + num_validation], held_out[:num_test])
    splits: dict[Split, tuple[Problem, ...]] = {
        split: tuple(_problems("train" if split == "train" else "held-out", own, files, chat))
        for split, own in zip(SPLITS, numbers, strict=True)
    }
    return ProblemSet("pictures", splits)


def _problems(
    kept: Pool,
    numbers: Sequence[int],
    files: Mapping[str, ImageFile],
    chat: bool,
) -> Iterator[Problem]:
    for number in numbers:
        prompt: Prompt = ({"role": "user", "content": QUESTION},) if chat else QUESTION
        name = f"{kept}-{number}"
        image = files[name]
        yield Problem(
            f"pictures/{name}", prompt, numbered(kept, number).left.colour, images=(image,)
        )


def picture_files(home: Path) -> dict[str, ImageFile]:
    """All pictures, by what their problems are called; written where they are not as they were.

    Raises:
        FileError: they cannot be written.
    """
    made = {
        f"{kept}-{number}": png(numbered(kept, number))
        for kept, size in NUM_PICTURES.items()
        for number in range(size)
    }
    # Named by what is in it: another version's pictures lie beside these.
    folder = home / hashlib.sha256(b"".join(made.values())).hexdigest()[:16]
    paths = {name: folder / f"{name}.png" for name in made}
    if not all(path.is_file() and path.read_bytes() == made[n] for n, path in paths.items()):
        with replacing_folder(folder, synced=False) as partial:  # they are compared above
            for name, path in paths.items():
                (partial / path.name).write_bytes(made[name])
    return {
        name: ImageFile(str(path), hashlib.sha256(made[name]).hexdigest(), (EDGE, EDGE))
        for name, path in paths.items()
    }


class PictureOptions(Section):
    """Options of `pictures`."""

    chat: bool = False
    """Give the question as a user turn, not as plain text."""
    folder: str | None = None
    """Where the pictures are written, which every process of a run must be able to read; absent:
    the user's cache."""
    seed: int = 0
    """Order of the problems, and which of them are validation and test."""


def _build(asked: Asked, options: PictureOptions) -> ProblemSet:
    return picture_task(
        _folder(options.folder),
        num_validation=asked.counts["validation"],
        num_test=asked.counts["test"],
        chat=options.chat,
        seed=options.seed,
    )


def _folder(named: str | None) -> Path:
    if named is not None:
        return Path(named).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("rlpeft") / "pictures"


PICTURES = TaskBuilder(PictureOptions, _build, reads_path=False)
