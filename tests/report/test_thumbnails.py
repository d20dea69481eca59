"""Images within a page: small, of the very file that was seen, whatever records and files say."""

import base64
import io

import pytest
from PIL import Image

from rlpeft.image_files import images_of
from rlpeft.report.thumbnails import EDGE, MOST_SHOWN, thumbnails
from rlpeft.runs.records import image_records
from rlpeft.types import Problem


@pytest.fixture
def recorded(make_image):
    """A maker of what a completion's row records of an image, and of its file."""

    def make(seed=0, **changes):
        path = make_image(seed, size=(300, 200))
        (named,) = image_records(Problem("p", "?", images=images_of(path.name, path.parent)))
        return {**named, **changes}, path

    return make


def read(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))


def test_a_thumbnail_is_the_picture_in_small(recorded):
    named, path = recorded()
    (shown,) = thumbnails({"images": [named]})
    assert read(shown.uri).size == (EDGE, 64)
    assert shown.name == path.name
    assert len(shown.uri) < 4 / 3 * 3 * EDGE * EDGE + 1000


def test_a_file_that_is_another_by_now_is_not_shown(recorded):
    named, path = recorded()
    path.write_bytes(path.read_bytes() + b"more")
    assert [shown.uri for shown in thumbnails({"images": [named]})] == [""]


def test_a_file_that_is_gone_is_not_shown(recorded):
    named, path = recorded()
    path.unlink()
    assert [shown.uri for shown in thumbnails({"images": [named]})] == [""]


def test_no_more_than_some_are_shown(recorded):
    named, _ = recorded()
    assert len(thumbnails({"images": [named] * 10})) == MOST_SHOWN


@pytest.mark.parametrize(
    "images",
    [
        None,
        "a.png",
        [7],
        [{"path": "a.png"}],
        [{"path": 7, "digest": "0", "width": 1, "height": 1}],
        [{"path": "a\0b.png", "digest": "0", "width": 1, "height": 1}],
        [{"path": "a.png", "digest": "0", "width": "1", "height": 1}],
    ],
)
def test_what_is_no_record_of_an_image_shows_nothing(images):
    assert thumbnails({"images": images}) == []


@pytest.mark.parametrize("path", ["/etc/hostname", "/", "nowhere.png"])
def test_a_file_that_records_only_claim_to_know_is_not_shown(path):
    named = {"path": path, "digest": "0" * 64, "width": 8, "height": 8}
    assert [shown.uri for shown in thumbnails({"images": [named]})] == [""]


def test_a_row_without_images_shows_nothing():
    assert thumbnails({"prompt": "?"}) == []
