"""Drawn pictures: what stands where, told from the pixels themselves."""

import random

import numpy as np
import pytest

from rlpeft.tasks.scenes import (
    COLOURS,
    EDGE,
    MOST_SHAPES,
    HalfPicture,
    PictureScene,
    drawn,
    pairs,
    png,
    scene,
)

TRAINABLE, HELD_OUT = pairs()
MIDDLE = EDGE // 2


def scenes(count, of=TRAINABLE):
    rng = random.Random(0)
    return [scene(rng, of) for _ in range(count)]


def colours_in(pixels):
    """Names of the colours that a part of a picture shows, white left out."""
    found = {tuple(pixel) for pixel in pixels.reshape(-1, 3).tolist()} - {(255, 255, 255)}
    return {name for name, rgb in COLOURS.items() if rgb in found}


def test_pairs_differ_in_shape_and_colour_and_none_is_both_kept_and_trained_on():
    assert len(TRAINABLE) == 300
    assert len(HELD_OUT) == 60
    assert not set(TRAINABLE) & set(HELD_OUT)
    assert all(a != b for pair in (*TRAINABLE, *HELD_OUT) for a, b in zip(*pair, strict=True))


def test_each_half_shows_the_colour_of_its_side_alone():
    for shown in scenes(200):
        pixels = np.asarray(drawn(shown))
        assert colours_in(pixels[:, :MIDDLE]) == {shown.left.colour}
        assert colours_in(pixels[:, MIDDLE:]) == {shown.right.colour}


def test_the_sides_differ_in_how_many_they_hold():
    numbers = range(1, MOST_SHAPES + 1)
    found = {(len(shown.left.places), len(shown.right.places)) for shown in scenes(200)}
    assert found == {(a, b) for a in numbers for b in numbers if a != b}


def test_shapes_of_a_side_leave_white_rows_between_them():
    for shown in scenes(200):
        inked = (np.asarray(drawn(shown))[:, :MIDDLE] < 255).any(axis=(1, 2))
        starts = int(inked[0]) + int((inked[1:] & ~inked[:-1]).sum())
        assert starts == len(shown.left.places)


@pytest.mark.parametrize(
    ("shape", "area"), [("square", 121), ("triangle", 66), ("circle", 97), ("cross", 57)]
)
def test_shapes_of_one_size_cover_areas_of_their_own(shape, area):
    side = HalfPicture(shape, "red", ((12, 20, 5),))
    other = HalfPicture("square", "blue", ((36, 20, 5),))
    red = (np.asarray(drawn(PictureScene(side, other))) == COLOURS["red"]).all(-1).sum()
    assert red == pytest.approx(area, abs=6)


def test_a_file_is_the_picture_and_the_same_bytes_again():
    import io

    from PIL import Image

    (shown,) = scenes(1)
    assert png(shown) == png(shown)
    with Image.open(io.BytesIO(png(shown))) as image:
        assert np.array_equal(np.asarray(image), np.asarray(drawn(shown)))
