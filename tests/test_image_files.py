"""Image files of strangers: what is read, how it is shown, and what is refused at the start."""

import hashlib
import io
import struct
import zlib

import pytest
from PIL import Image

from rlpeft.errors import DataError
from rlpeft.image_files import MOST_BYTES, images_of, opened


def test_a_path_names_an_image_by_digest_and_size(make_image):
    path = make_image(1, size=(20, 12))
    (found,) = images_of(path.name, path.parent)
    assert found.size == (20, 12)
    assert found.digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_list_names_several_in_their_order(make_image, tmp_path):
    for seed in (1, 2):
        make_image(seed, folder=tmp_path)
    found = images_of(["2.png", "1.png"], tmp_path)
    assert [image.path for image in found] == [str(tmp_path / "2.png"), str(tmp_path / "1.png")]


@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_the_three_formats_are_read(ending, tmp_path):
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / f"red.{ending}")
    (found,) = images_of(f"red.{ending}", tmp_path)
    red, green, blue = opened(found).getpixel((4, 4))
    assert red > 240
    assert green < 15
    assert blue < 15


@pytest.mark.parametrize("ending", ["gif", "bmp", "tiff", "ppm"])
def test_other_formats_are_refused_whatever_they_are_called(ending, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / f"a.{ending}")
    (tmp_path / f"a.{ending}").rename(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"images of PNG, JPEG, WEBP, 'a.png' cannot be read"):
        images_of("a.png", tmp_path)


@pytest.mark.parametrize("value", [None, 3, [], {"path": "a.png"}, ["a.png"] * 17])
def test_what_names_no_images_is_refused(value, tmp_path):
    with pytest.raises(DataError, match=r"must name images as a path, or a list"):
        images_of(value, tmp_path)


def test_a_path_out_of_the_folder_is_refused(make_image, tmp_path):
    path, inside = make_image(1, folder=tmp_path), tmp_path / "rows"
    inside.mkdir()
    (inside / "link.png").symlink_to(path)
    for name in ("../1.png", str(path), "link.png"):
        with pytest.raises(DataError, match=r"below the folder of its file"):
            images_of(name, inside)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(DataError, match=r"at most 8,388,608 bytes, 'a.png' has 8,388,609"):
        images_of("a.png", tmp_path)


def png(width, height, *, depth=1):
    """A small file of grey that says that it is large."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 64))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [4097, 20_000, 60_000])
def test_an_image_of_too_many_pixels_is_refused_by_its_header(side, tmp_path):
    (tmp_path / "a.png").write_bytes(png(side, side))
    with pytest.raises(DataError, match=r"'a.png' cannot be read: .* pixels"):
        images_of("a.png", tmp_path)


def test_a_file_that_changes_after_the_start_is_not_read(make_image):
    path = make_image(1)
    (found,) = images_of(path.name, path.parent)
    make_image(2, folder=path.parent, name=path.name)
    with pytest.raises(DataError, match=r"cannot be read: it has changed since the run began"):
        opened(found)


def test_a_damaged_file_is_told_by_its_name(make_image):
    path = make_image(1)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"'1.png' cannot be read"):
        images_of(path.name, path.parent)


def jpeg(pixels):
    data = io.BytesIO()
    pixels.save(data, "JPEG")
    return data.getvalue()


def test_what_is_damaged_behind_its_header_is_refused_at_the_start(make_image, tmp_path):
    with Image.open(make_image(1, size=(64, 64))) as noise:
        cut = jpeg(noise.convert("RGB"))[:1500]
    for name, data in {"short.png": png(300, 300), "cut.jpg": cut}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=rf"'{name}' cannot be read: .*truncated"):
            images_of(name, tmp_path)


def test_a_photograph_is_turned_as_its_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # its left is the top
    pixels = Image.new("RGB", (50, 30))
    pixels.paste((255, 0, 0), (0, 0, 25, 30))
    pixels.save(tmp_path / "a.jpg", exif=exif)
    (found,) = images_of("a.jpg", tmp_path)
    shown = opened(found)
    assert found.size == shown.size == (30, 50)
    assert shown.getpixel((15, 5))[0] > 240
    assert shown.getpixel((15, 45))[0] < 15


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_on_white(mode, tmp_path):
    pixels = Image.new(mode, (4, 4))
    pixels.save(tmp_path / "a.png", **({"transparency": 0} if mode == "P" else {}))
    assert opened(*images_of("a.png", tmp_path)).getcolors() == [(16, (255, 255, 255))]


def test_half_of_a_colour_shows_half_of_white(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 51)).save(tmp_path / "a.png")
    assert opened(*images_of("a.png", tmp_path)).getcolors() == [(16, (204, 204, 204))]


def test_grey_of_16_bits_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(png(4, 4, depth=16))
    with pytest.raises(DataError, match=r"'a.png' cannot be read: it has more than 8 bits"):
        images_of("a.png", tmp_path)


@pytest.mark.parametrize("ending", ["png", "webp"])
def test_an_animation_is_refused(ending, tmp_path):
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    first.save(tmp_path / f"a.{ending}", save_all=True, append_images=[second])
    with pytest.raises(DataError, match=rf"'a.{ending}' cannot be read: it is animated"):
        images_of(f"a.{ending}", tmp_path)


def test_the_preview_in_a_photograph_is_no_animation(tmp_path):
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    red, _, blue = opened(*images_of("a.jpg", tmp_path)).getpixel((4, 4))
    assert red > 240
    assert blue < 15


def test_a_name_that_no_file_can_have_is_refused(tmp_path):
    (tmp_path / "0.png").symlink_to("0.png")
    for name in ("0.png", "a" * 300, "a/" * 3000, "\ud800.png"):
        with pytest.raises(DataError, match=r"must name images that are there, .* cannot be: "):
            images_of(name, tmp_path)
