"""Drawn pictures: some shapes of one colour on the left, others of another colour on the right.

The two sides differ in shape, in colour and in how many there are. Which shape of which colour
stands beside which is a *pair*; some pairs are kept for validation and test, so that an answer
there is read from a picture and not known by heart. Places and sizes are drawn for each picture.
"""

from __future__ import annotations

import io
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

EDGE = 48
"""Pixels of a picture in width and height."""

SLOT = 16
"""Pixels that a shape may take in height: there are three places below each other on a side."""

SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = {
    "red": (215, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 220),
    "yellow": (240, 205, 40),
    "purple": (150, 60, 180),
    "black": (30, 30, 30),
}
MOST_SHAPES = 3
"""On a side."""

NUM_HELD_OUT_PAIRS = 60
"""Of 360."""

ShapeColour = tuple[str, str]
"""A shape and a colour."""

KindPair = tuple[ShapeColour, ShapeColour]
"""What stands on the left and on the right."""


@dataclass(frozen=True, slots=True)
class HalfPicture:
    """One half of a picture.

    Attributes:
        places: of each shape its centre and half its width, in pixels.
    """

    shape: str
    colour: str
    places: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class PictureScene:
    """What a picture shows."""

    left: HalfPicture
    right: HalfPicture


@cache
def pairs() -> tuple[tuple[KindPair, ...], tuple[KindPair, ...]]:
    """All pairs that differ in shape and in colour, in one fixed shuffled order: trainable, held
    out."""
    kinds = list(itertools.product(SHAPES, COLOURS))
    every = [(a, b) for a in kinds for b in kinds if a[0] != b[0] and a[1] != b[1]]
    random.Random("rlpeft pairs").shuffle(every)
    return tuple(every[NUM_HELD_OUT_PAIRS:]), tuple(every[:NUM_HELD_OUT_PAIRS])


def scene(rng: random.Random, of: Sequence[KindPair]) -> PictureScene:
    """Draw what a picture shows, of some pairs."""
    left, right = rng.choice(of)
    numbers = rng.sample(range(1, MOST_SHAPES + 1), 2)
    return PictureScene(_side(rng, left, numbers[0], 0), _side(rng, right, numbers[1], EDGE // 2))


def _side(rng: random.Random, kind: ShapeColour, number: int, start: int) -> HalfPicture:
    slots = sorted(rng.sample(range(EDGE // SLOT), number))
    places = []
    for slot in slots:
        half = rng.randint(5, 7)
        x = start + rng.randint(half + 1, EDGE // 2 - half - 2)
        places.append((x, slot * SLOT + rng.randint(half, SLOT - half - 2), half))
    return HalfPicture(*kind, tuple(places))


def drawn(shown: PictureScene) -> Image:
    """The picture, in RGB on white."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (EDGE, EDGE), "white")
    pen = ImageDraw.Draw(image)
    for side in (shown.left, shown.right):
        colour = COLOURS[side.colour]
        for x, y, half in side.places:
            left, top, right, bottom = x - half, y - half, x + half, y + half
            match side.shape:
                case "circle":
                    pen.ellipse((left, top, right, bottom), fill=colour)
                case "square":
                    pen.rectangle((left, top, right, bottom), fill=colour)
                case "triangle":
                    pen.polygon(((x, top), (left, bottom), (right, bottom)), fill=colour)
                case "cross":
                    pen.rectangle((left, y - 1, right, y + 1), fill=colour)
                    pen.rectangle((x - 1, top, x + 1, bottom), fill=colour)
    return image


def png(shown: PictureScene) -> bytes:
    """The picture as a file; without compression, which libraries do in ways of their own."""
    file = io.BytesIO()
    drawn(shown).save(file, "PNG", compress_level=0)
    return file.getvalue()
