"""PEFT's mixed batches: one adapter a row, by `model(..., adapter_names=[...])`, inference only.

PEFT offers them for LoRA alone; our tuners take them by inheriting `MixedBatches`, and their layers
an argument `adapter_names` that is checked by `check_rows`. An engine that serves many experts of
one vector a module gives each row its vector instead (`RowLayer`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import torch
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn

from rlpeft.errors import ConfigError

BASE = "__base__"
"""PEFT's name for rows that no adapter changes."""


class RowLayer(Protocol):
    """A layer that can run one vector [R] a sequence.

    Attributes:
        by_row: what stands in for the layer's forward while it does.
    """

    @property
    def vector_size(self) -> int:
        """R."""
        ...

    by_row: Callable[[torch.Tensor], torch.Tensor] | None

    def row_form(self, z: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """What maps x [B, T, N] to y [B, T, M], without gradients; z [B, 1, R] fp32."""
        ...

    def own_vector(self) -> torch.Tensor:
        """[R] fp32: what the layer runs now; the base model's where no adapter is active."""
        ...

    def growth(self, vector_R: torch.Tensor) -> float:
        """How many times as large a vector makes the layer's weight; 1 is the base's."""
        ...

    def vector_of(self, tensor_R: torch.Tensor, config: Mapping[str, Any]) -> torch.Tensor:
        """[R] fp32 from what an expert has trained under a PEFT config."""
        ...


class RowVectors:
    """Within it every sequence of a batch runs its own vectors, without gradients.

    It may be entered again and again: for each token of a batch, say.

    Args:
        layers: unmerged; what else they have active does not count.
        vectors_BS: those of every sequence, fp32, of all layers side by side.
    """

    def __init__(self, layers: Sequence[RowLayer], vectors_BS: torch.Tensor) -> None:
        sizes = [layer.vector_size for layer in layers]
        each = vectors_BS[:, None].split(sizes, -1)
        self._forms = [(m, m.row_form(z_B1R)) for m, z_B1R in zip(layers, each, strict=True)]

    def __enter__(self) -> None:
        for layer, form in self._forms:
            layer.by_row = form

    def __exit__(self, *error: object) -> None:
        for layer, _ in self._forms:
            layer.by_row = None


class MixedBatches(BaseTuner):
    """A tuner whose layers take `adapter_names`."""

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        """Pass `adapter_names` (one adapter a row of the batch) on to the layers.

        Raises:
            ConfigError: the model trains or is merged, or a name is unknown.
        """
        names = kwargs.pop("adapter_names", None)
        if names is None:
            yield
            return
        self._check_names(names)
        repeated = [name for name in names for _ in range(_copies(kwargs))]
        encoder = _encoder_modules(self.model)
        handles = [
            module.register_forward_pre_hook(
                # `generate` repeats the rows behind an encoder, not those that it reads.
                partial(_add_names, names=list(names) if module in encoder else repeated),
                with_kwargs=True,
            )
            for module in self.modules()
            if isinstance(module, self.tuner_layer_cls | AuxiliaryTrainingWrapper)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _check_names(self, names: Any) -> None:
        if not isinstance(names, list | tuple):
            raise ConfigError(
                f"adapter_names must be a list with one name a row, got {names!r:.80}."
            )
        if self.training:
            raise ConfigError("adapter_names needs evaluation mode. Call model.eval() first.")
        unknown = sorted({str(name) for name in names} - {BASE, *self.peft_config})
        if unknown:
            raise ConfigError(
                f"adapter_names must be among {sorted(self.peft_config)} or {BASE!r}, "
                f"got {unknown}."
            )
        for module in self.modules():
            if isinstance(module, BaseTunerLayer):
                _check_unmerged(module)


def check_rows(layer: BaseTunerLayer, x: torch.Tensor, names: Sequence[str]) -> None:
    """Refuse names that are not one a row of x [B, ...], and a merged layer.

    Raises:
        ConfigError: they are, or it is.
    """
    if len(names) != len(x):
        raise ConfigError(
            f"adapter_names must have one name a row, got {len(names)} names for {len(x)} rows."
        )
    _check_unmerged(layer)


def _check_unmerged(layer: BaseTunerLayer) -> None:
    if layer.merged:
        raise ConfigError(
            f"adapter_names needs unmerged adapters, {sorted(layer.merged_adapters)} are merged: "
            "every row would run them. Call model.unmerge_adapter() first."
        )


def _copies(kwargs: dict[str, Any]) -> int:
    """How often `generate` repeats each row, by its own rule."""
    config = kwargs.get("generation_config")
    counts = []
    for name in ("num_beams", "num_return_sequences"):
        count = kwargs[name] if name in kwargs else getattr(config, name, None)
        counts.append(count if isinstance(count, int) else 1)
    return max(counts)


def _encoder_modules(model: nn.Module) -> set[nn.Module]:
    find: Any = getattr(model, "get_encoder", None)
    encoder = None if find is None else find()
    # A model without an encoder gives itself.
    return set() if encoder is None or encoder is model else set(encoder.modules())


def _add_names(
    _: nn.Module, args: Any, kwargs: dict[str, Any], *, names: list[str]
) -> tuple[Any, dict[str, Any]]:
    return args, {**kwargs, "adapter_names": names}
