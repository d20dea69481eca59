"""Image files that rows name: found, bounded, and known by their digests before a run begins.

They come from strangers: PNG, JPEG and WebP are read and nothing else, no larger than bounds that
are checked before anything is unpacked, and none from outside the folder of the rows. What passes
has been unpacked once, by the function that gives its pixels later.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

from rlpeft.errors import DataError
from rlpeft.types import ImageFile

FORMATS = ("PNG", "JPEG", "WEBP")

MOST_BYTES = 8 * 2**20
MOST_PIXELS = 2**24
"""Of an image file: 4096 x 4096."""

MOST_IMAGES = 16
"""Images of one row."""


def images_of(value: object, root: Path) -> tuple[ImageFile, ...]:
    """The images that a row's column names.

    Args:
        value: a path, or a list of paths, relative to `root`.
        root: the folder of the file of rows.

    Raises:
        DataError: it is neither, or one of them is no image that may be read.
    """
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not 0 < len(names) <= MOST_IMAGES:
        raise DataError(
            f"must name images as a path, or a list of 1 to {MOST_IMAGES} paths, got {value!r:.80}"
        )
    return tuple(_image(name, root) for name in names)


def _image(name: object, root: Path) -> ImageFile:
    if not isinstance(name, str) or not name or "\0" in name:
        raise DataError(f"must name an image by its path, got {name!r:.80}")
    folder = root.resolve()
    try:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder):
            raise DataError(f"must name images below the folder of its file, got {name!r:.80}")
        is_there, stat = path.is_file(), path.stat()
    except FileNotFoundError:
        is_there = False
    # Too long, a circle of links (no OSError before Python 3.13), or no text that names a file.
    except (OSError, RuntimeError, UnicodeError) as error:
        raise DataError(
            f"must name images that are there, {name!r:.80} cannot be: {str(error)[:120]}"
        ) from error
    if not is_there:
        raise DataError(f"must name images that are there, {name!r:.80} is not in {str(folder)!r}")
    if stat.st_size > MOST_BYTES:
        raise DataError(
            f"must have images of at most {MOST_BYTES:,} bytes, {name!r:.80} has {stat.st_size:,}"
        )
    return _measured(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=100_000)
def _measured(path: Path, _size: int, _time_ns: int) -> ImageFile:
    """Digest and size. Its pixels are unpacked: damage ends a run here, or hours later."""
    from PIL import Image

    try:
        data = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                image.verify()  # checksums, which unpacking passes over
            size = _unpacked(data).size
    # Its readers fail on a stranger's file in any way at all.
    except Exception as error:
        raise DataError(
            f"must name images of {', '.join(FORMATS)}, {path.name!r:.80} cannot be read: "
            f"{str(error)[:120] or type(error).__name__}"
        ) from error
    return ImageFile(str(path), hashlib.sha256(data).hexdigest(), size)


def _unpacked(data: bytes) -> Any:
    """A PIL image in RGB, turned as its EXIF says, on white where it is transparent.

    Raises:
        ValueError: pixels, frames or bits are more than what is read.
    """
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(
                f"it has {image.width} x {image.height} pixels, at most {MOST_PIXELS:,} are read"
            )
        # The further pictures that cameras put into a JPEG are previews.
        if image.format in ("PNG", "WEBP") and getattr(image, "n_frames", 1) > 1:
            raise ValueError("it is animated. Save the frame that is meant")
        if image.mode.startswith(("I", "F")):
            raise ValueError("it has more than 8 bits a pixel of grey. Scale it to 8")
        turned = ImageOps.exif_transpose(image)
    if not turned.has_transparency_data:
        return turned.convert("RGB")
    turned = turned.convert("RGBA")
    white = Image.new("RGBA", turned.size, "white")
    return Image.alpha_composite(white, turned).convert("RGB")


def opened(image: ImageFile) -> Any:
    """Its pixels as a PIL image in RGB, turned as its EXIF says, on white where it is transparent.

    Raises:
        DataError: the file has changed, or is damaged.
    """
    return _opened(image).copy()


@lru_cache(maxsize=64)
def _opened(image: ImageFile) -> Any:
    try:
        data = Path(image.path).read_bytes()
        if hashlib.sha256(data).hexdigest() != image.digest:
            raise ValueError("it has changed since the run began")
        return _unpacked(data)
    # Its readers fail on a stranger's file in any way at all.
    except Exception as error:
        said = str(error)[:120] or type(error).__name__
        raise DataError(f"image {image.path!r} cannot be read: {said}.") from error
