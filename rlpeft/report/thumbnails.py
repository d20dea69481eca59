"""The images that a prompt showed, small and within the page.

Records name them by path and digest, and records may be a stranger's: a file is shown if it is the
one that the model saw, read as `rlpeft.image_files` reads it, and drawn anew.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from rlpeft.errors import DataError
from rlpeft.image_files import MOST_PIXELS, opened
from rlpeft.types import ImageFile

EDGE = 96
"""Pixels of a thumbnail's longer side, at most: 28 kB without any compression."""

MOST_SHOWN = 4
"""Images of a prompt."""


@dataclass(frozen=True)
class Thumbnail:
    """One image of a prompt.

    Attributes:
        uri: a PNG within the page; empty where the file is not what it was.
        name: of its file.
    """

    uri: str
    name: str


def thumbnails(row: Mapping[str, Any]) -> list[Thumbnail]:
    """Those of a recorded completion's prompt; none where no images are recorded."""
    named = row.get("images")
    if not isinstance(named, list):
        return []
    images = [image for image in map(_recorded, named[:MOST_SHOWN]) if image is not None]
    return [Thumbnail(_uri(image), PurePath(image.path).name) for image in images]


def _recorded(named: object) -> ImageFile | None:
    """An image as records have it; `None` of what a reward recorded under this name."""
    if not isinstance(named, dict):
        return None
    path, digest = named.get("path"), named.get("digest")
    size = named.get("width"), named.get("height")
    if not (isinstance(path, str) and isinstance(digest, str) and path and "\0" not in path):
        return None
    width, height = size
    if not (isinstance(width, int) and isinstance(height, int)):
        return None
    return ImageFile(path, digest, (width, height))


def _uri(image: ImageFile) -> str:
    width, height = image.size
    if not 0 < width * height <= MOST_PIXELS:
        return ""
    try:
        picture = opened(image)
    except DataError:  # gone, or another by now
        return ""
    picture.thumbnail((EDGE, EDGE))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
