"""Images in the text of a prompt: each stands there as the model's processor writes it.

What a processor does with pixels is `rlpeft.models.sight`'s; here is the text alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rlpeft.errors import DataError
from rlpeft.types import ImageFile


class Sight(Protocol):
    """What prompts need to know of how a model sees."""

    @property
    def token(self) -> str:
        """Name of the control token that stands for an image, or a part of one."""
        ...

    def written(self, image: ImageFile) -> str:
        """The text that stands for an image, names of control tokens in it."""
        ...


def with_images(text: str, sight: Sight, images: Sequence[ImageFile]) -> str:
    """A written prompt with the text of each image in the place of its token.

    Raises:
        DataError: there are not as many tokens as images: the chat template leaves them out, or the
            row itself brings some.
    """
    before, *after = text.split(sight.token)
    if len(after) != len(images):
        raise DataError(
            f"a prompt must name {sight.token} once for each of its {len(images)} images, it does "
            f"so {len(after)} times. Take the tokens out of the rows, or mend the chat template."
        )
    return before + "".join(
        sight.written(image) + part for image, part in zip(images, after, strict=True)
    )
