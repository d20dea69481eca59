"""A base model as a run holds it: opened once by its name, each part read when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rlpeft.models import load
from rlpeft.models.digest import model_digest
from rlpeft.models.folder import resolve_model
from rlpeft.models.quantised import quantised_digest
from rlpeft.models.tokenizer import load_tokenizer
from rlpeft.models.tokenizer_digest import tokenizer_digest, tokenizer_parts
from rlpeft.models.weight_files import places, read_tensors
from rlpeft.tokens.eos import eos_ids
from rlpeft.types import Quantisation

if TYPE_CHECKING:
    import torch

    from rlpeft.models.sight import ImageProcessor


@dataclass(frozen=True)
class BaseModel:
    """A base model on this machine. What its files do not allow is a `ModelError`, when asked for.

    >>> base = BaseModel.open("tiny")
    >>> base.context_length, base.num_embeddings, sorted(base.eos_ids)
    (512, 280, [2])

    Attributes:
        name: as in a recipe's `model.name`: what an actor on another machine opens it by.
        path: its folder.
        made: digest of one that is made of others (`rlpeft.experts.merged`), which names what it
            is made of; empty for one that is what its files hold.
        maker: makes it again, on another machine.
        quantisation: how its linear layers are, as in a recipe's `model.quantisation`; absent: as
            its files hold them.
    """

    name: str
    path: Path
    made: str = ""
    maker: Callable[[], BaseModel] | None = field(default=None, repr=False, compare=False)
    quantisation: Quantisation | None = None

    @classmethod
    def open(cls, name: str) -> Self:
        """Find the folder; nothing of it is read yet (`rlpeft.models.folder.resolve_model`)."""
        return cls(name, resolve_model(name))

    def quantised(self, quantisation: Quantisation | None) -> BaseModel:
        """It, loaded in this way: another base, with a digest of its own."""
        return replace(self, quantisation=quantisation) if quantisation else self

    @cached_property
    def config(self) -> Any:
        """Its config, as transformers has it."""
        return load.load_config(self.path)

    @cached_property
    def tokenizer(self) -> Any:
        """Its fast tokenizer."""
        return load_tokenizer(self.path)

    @cached_property
    def processor(self) -> ImageProcessor | None:
        """How it sees; `None` where it cannot be shown images."""
        if not load.sees(self.config, self.path):
            return None
        from rlpeft.models.sight import ImageProcessor  # which loads torch

        return ImageProcessor.load(self.path)

    @property
    def tokenizer_parts(self) -> dict[str, Any]:
        """What decides tokens and prompts, part by part, as JSON has it."""
        return tokenizer_parts(self.path)

    @property
    def tokenizer_digest(self) -> str:
        """SHA-256 (hex) over these parts."""
        return tokenizer_digest(self.path)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of its tensors, of what its config computes, and of its quantisation."""
        digest = self.made or model_digest(self.path)
        return quantised_digest(digest, self.quantisation) if self.quantisation else digest

    @property
    def elsewhere(self) -> Callable[[], BaseModel]:
        """Opens it on another machine, whose process this is sent to."""
        maker = self.maker or partial(BaseModel.open, self.name)
        return partial(_quantised, maker, self.quantisation) if self.quantisation else maker

    @cached_property
    def eos_ids(self) -> frozenset[int]:
        """Every token that ends a completion."""
        return eos_ids(self.path, self.tokenizer)

    @cached_property
    def context_length(self) -> int:
        """Tokens that it can attend to."""
        return load.context_length(self.config)

    @cached_property
    def num_embeddings(self) -> int:
        """Tokens that it has an embedding for."""
        return int(self.config.get_text_config().vocab_size)

    @cached_property
    def skeleton(self) -> Any:
        """Its modules with their shapes, and no weights."""
        return load.model_skeleton(self.path)

    @cached_property
    def tensor_files(self) -> Mapping[str, Path]:
        """Which file holds each tensor, by the name it has there."""
        return places(self.path)

    def tensors(self, names: Iterable[str]) -> Iterator[tuple[str, torch.Tensor]]:
        """Tensors as the files hold them, unquantised, one at a time; the model is not loaded."""
        return read_tensors({name: self.tensor_files[name] for name in names})

    def model(self, dtype: str = "float32") -> Any:
        """Its frozen weights in its modules, loaded afresh: adapters change what they are put into.

        Args:
            dtype: name of a torch dtype, as in `model.dtype` of a recipe.
        """
        return load.load_base_model(self.path, dtype, quantisation=self.quantisation)


def _quantised(maker: Callable[[], BaseModel], quantisation: Quantisation) -> BaseModel:
    return maker().quantised(quantisation)
