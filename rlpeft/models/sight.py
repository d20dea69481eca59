"""How a vision-language model sees: its processor, and images among its input embeddings.

Engine and learner embed a prompt by the same function: the vision tower is frozen and no adapter
is in it, so what they see is the same.

B row, T token, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch

from rlpeft.errors import ModelError
from rlpeft.image_files import opened
from rlpeft.models.load import cause
from rlpeft.types import ImageFile


class ImageProcessor:
    """A model's own processor.

    Attributes:
        token, token_id: what stands in a prompt for an image's features, one each.
    """

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self.token: str = processor.image_token
        self.token_id: int = processor.image_token_id
        self._ids: dict[tuple[int, int], tuple[int, ...]] = {}

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read it from a model's folder; no code that came with the model is run.

        Raises:
            ModelError: it cannot be read.
        """
        from transformers import AutoProcessor

        try:
            return cls(AutoProcessor.from_pretrained(folder, trust_remote_code=False))
        except Exception as error:
            # As with tokenizers; SmolVLM's wants torchvision, which may be broken or absent.
            raise ModelError(
                f"processor in {str(folder)!r} cannot be read: {cause(error)}"
            ) from error

    def ids(self, image: ImageFile) -> tuple[int, ...]:
        """The tokens that stand for an image; they depend on its size alone."""
        if image.size not in self._ids:
            found = self._processor(text=self.token, images=[[opened(image)]])
            ids = self._processor.tokenizer(self.token)["input_ids"]
            whole, around = found["input_ids"][0], ids.index(self.token_id)
            self._ids[image.size] = tuple(whole[around : len(whole) - (len(ids) - around - 1)])
        return self._ids[image.size]

    def written(self, image: ImageFile) -> str:
        """The text that stands for an image."""
        tokenizer = self._processor.tokenizer
        return str(
            tokenizer.decode(
                self.ids(image), skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        )

    def pixels(self, image: ImageFile) -> dict[str, torch.Tensor]:
        """What the model's vision tower takes: fp32 pixel values and their mask."""
        found = self._processor.image_processor(images=[[opened(image)]], return_tensors="pt")
        wanted = ("pixel_values", "pixel_attention_mask")
        return {name: found[name] for name in wanted if name in found}


@torch.no_grad()
def embedded(
    model: Any,
    processor: ImageProcessor,
    ids_BT: torch.Tensor,
    shows_BT: torch.Tensor,
    images: Sequence[ImageFile],
) -> torch.Tensor:
    """Input embeddings [B, T, D] with the features of images in the places of their tokens.

    Args:
        model: a vision-language model, adapted or not.
        shows_BT: bool, tokens of prompts that show images. Elsewhere the token is one like others:
            a policy may sample it.
        images: of all rows, in the order of rows and tokens.

    Raises:
        ModelError: there are not as many features as tokens for them.
    """
    embeds_BTD: torch.Tensor = model.get_input_embeddings()(ids_BT)
    places_BT = shows_BT & (ids_BT == processor.token_id)
    # One at a time: neighbours would choose other kernels, and round in ways of their own.
    features = [_features(model, processor, image) for image in images]
    every_ND = torch.cat(features) if features else embeds_BTD.new_empty(0, embeds_BTD.shape[-1])
    if len(every_ND) != int(places_BT.sum()):
        raise ModelError(
            f"the processor must write a token for each of an image's features, it writes "
            f"{int(places_BT.sum())} for {len(every_ND)}. Save the processor that belongs to the "
            "model (image_seq_len)."
        )
    embeds_BTD = embeds_BTD.clone()
    embeds_BTD[places_BT] = every_ND.to(embeds_BTD.dtype)
    return embeds_BTD


def _features(model: Any, processor: ImageProcessor, image: ImageFile) -> torch.Tensor:
    pixels = {name: t.to(model.device) for name, t in processor.pixels(image).items()}
    features: torch.Tensor = model.get_image_features(**pixels).pooler_output
    return features.flatten(0, -2)
