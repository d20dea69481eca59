"""Images in prompts: as many as there are places, and none that data forges."""

import pytest

from rlpeft.errors import DataError
from rlpeft.tokens.images import with_images
from rlpeft.types import ImageFile


class Named:
    """Writes an image as its path in brackets."""

    token = "<image>"

    def written(self, image):
        return f"[{image.path}]"


ONE, TWO = (ImageFile(path, path * 64, (1, 1)) for path in "ab")


def test_each_token_becomes_the_text_of_its_image():
    assert with_images("<image>x<image>y", Named(), (ONE, TWO)) == "[a]x[b]y"


@pytest.mark.parametrize(("text", "times"), [("x", 0), ("<image><image>", 2)])
def test_as_many_tokens_as_images_must_stand_there(text, times):
    with pytest.raises(DataError, match=f"each of its 1 images, it does so {times} times"):
        with_images(text, Named(), (ONE,))
