"""Prompts that show images, as vLLM takes them: one token for each image, and its pixels.

vLLM's own processor writes the tokens of an image in the place of that one. They must be those that
were sent, of which the learner reads the completion: the engine compares them after each rollout.
"""

from __future__ import annotations

from collections.abc import Sequence

from vllm import TokensPrompt

from rlpeft.errors import EngineError
from rlpeft.image_files import opened
from rlpeft.models.sight import ImageProcessor
from rlpeft.types import Request


def prompt_of(request: Request, processor: ImageProcessor | None) -> TokensPrompt:
    """A request's prompt for vLLM.

    Args:
        processor: of the model, where the request has images.

    Raises:
        EngineError: the tokens of an image do not stand in the prompt.
        DataError: an image has changed, or is damaged.
    """
    prompt = TokensPrompt(prompt_token_ids=list(request.prompt_ids))
    if not request.images:
        return prompt
    assert processor is not None, "the engine refuses such requests"
    prompt["prompt_token_ids"] = _marked(request, processor)
    prompt["multi_modal_data"] = {"image": [opened(image) for image in request.images]}
    # In the place of vLLM's own hash of the pixels: what its caches know an image by.
    prompt["multi_modal_uuids"] = {"image": [image.digest for image in request.images]}
    return prompt


def _marked(request: Request, processor: ImageProcessor) -> list[int]:
    """The token ids with one token in the place of each image."""
    kept: list[int] = []
    rest = list(request.prompt_ids)
    for image in request.images:
        written = processor.ids(image)
        start = _find(rest, written)
        if start is None:
            raise EngineError(
                f"prompt {request.id!r} must hold the tokens of image {image.path!r} as the "
                "model's processor writes them, it does not. Make requests by a Prompter with the "
                "processor of the engine's model."
            )
        kept += [*rest[:start], processor.token_id]
        rest = rest[start + len(written) :]
    return kept + rest


def _find(ids: Sequence[int], part: Sequence[int]) -> int | None:
    """Where a stretch first stands."""
    size = len(part)
    starts = (at for at in range(len(ids) - size + 1) if list(ids[at : at + size]) == list(part))
    return next(starts, None)
