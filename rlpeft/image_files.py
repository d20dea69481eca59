"""Image files that rows name: found, bounded, and known by their digests before a run begins.

They come from strangers: PNG, JPEG and WebP are read and nothing else, no larger than bounds that
are checked before anything is unpacked, and none from outside the folder of the rows.
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
    path = (folder / name).resolve()
    if not path.is_relative_to(folder):
        raise DataError(f"must name images below the folder of its file, got {name!r:.80}")
    if not path.is_file():
        raise DataError(f"must name images that are there, {name!r:.80} is not in {str(folder)!r}")
    stat = path.stat()
    if stat.st_size > MOST_BYTES:
        raise DataError(
            f"must have images of at most {MOST_BYTES:,} bytes, {name!r:.80} has {stat.st_size:,}"
        )
    return _measured(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=100_000)
def _measured(path: Path, _size: int, _time_ns: int) -> ImageFile:
    """Digest and size, from the bytes and the header; pixels are not unpacked."""
    from PIL import Image

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
                image.verify()
    # Its readers fail on a stranger's file in any way at all.
    except Exception as error:
        raise DataError(
            f"must name images of {', '.join(FORMATS)}, {path.name!r:.80} cannot be read: "
            f"{str(error)[:120] or type(error).__name__}"
        ) from error
    if width * height > MOST_PIXELS:
        raise DataError(
            f"must have images of at most {MOST_PIXELS:,} pixels, {path.name!r:.80} has {width} x "
            f"{height}"
        )
    return ImageFile(str(path), digest, (width, height))


def opened(image: ImageFile) -> Any:
    """Its pixels as a PIL image in RGB.

    Raises:
        DataError: the file has changed, or is damaged.
    """
    return _opened(image).copy()


@lru_cache(maxsize=64)
def _opened(image: ImageFile) -> Any:
    from PIL import Image

    try:
        data = Path(image.path).read_bytes()
        if hashlib.sha256(data).hexdigest() != image.digest:
            raise ValueError("it has changed since the run began")
        return Image.open(io.BytesIO(data), formats=FORMATS).convert("RGB")
    # Its readers fail on a stranger's file in any way at all.
    except Exception as error:
        said = str(error)[:120] or type(error).__name__
        raise DataError(f"image {image.path!r} cannot be read: {said}.") from error
