"""Options of SVF as a PEFT method."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

from peft import PeftConfig
from peft.utils import PeftType

from rlpeft.errors import ConfigError

PARAMETRISATIONS = ("direct", "sigmoid_renorm")
FORMS = ("auto", "dense", "factored")


@dataclass
class SvfConfig(PeftConfig):
    """Configuration of SVF (Transformer², arXiv 2501.06252): one multiplier a singular value.

    >>> SvfConfig(target_modules=["q_proj"]).parametrisation
    'direct'
    """

    target_modules: list[str] | str | None = field(
        default=None,
        metadata={"help": "Module names, one regular expression, or 'all-linear'."},
    )
    exclude_modules: list[str] | str | None = field(
        default=None, metadata={"help": "Module names, or one regular expression, to leave out."}
    )
    layers_to_transform: list[int] | int | None = field(
        default=None, metadata={"help": "Layer indices to adapt; all if absent."}
    )
    layers_pattern: list[str] | str | None = field(
        default=None, metadata={"help": "Name of the layer list, where it is an unusual one."}
    )
    modules_to_save: list[str] | None = field(
        default=None, metadata={"help": "Further modules to train and save whole."}
    )
    parametrisation: str = field(
        default="direct",
        metadata={
            "help": "'direct': z itself, 1 at init (paper). 'sigmoid_renorm': sigmoid(p), "
            "rescaled to keep the nuclear norm (reference code)."
        },
    )
    form: str = field(
        default="auto",
        metadata={
            "help": "'dense' keeps W' beside W (fastest in fp32), 'factored' never forms it (any "
            "dtype, quantised bases), 'auto' takes dense for plain fp32 layers."
        },
    )

    factors: dict[str, str] | None = field(
        default=None,
        metadata={
            "help": "Module name -> digest of the factors that the vectors were trained on; "
            "written by the model, and compared when a file is loaded."
        },
    )

    from_file = False  # no field: whether `factors` are those of a file

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """See `PeftConfig.from_pretrained`; a file that names no factors is told of."""
        config = super().from_pretrained(*args, **kwargs)
        config.from_file = True
        if not config.factors:
            warnings.warn(
                "this SVF adapter was saved before its config named the factors it was trained "
                "on: whether it belongs to the base model cannot be told.",
                stacklevel=2,
            )
        return config

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PeftType.SVF
        if isinstance(self.target_modules, list | tuple):
            self.target_modules = set(self.target_modules)  # type: ignore[assignment]
        if isinstance(self.exclude_modules, list | tuple):
            self.exclude_modules = set(self.exclude_modules)  # type: ignore[assignment]
        if self.parametrisation not in PARAMETRISATIONS:
            raise ConfigError(
                f"parametrisation must be one of {PARAMETRISATIONS}, got {self.parametrisation!r}."
            )
        if self.form not in FORMS:
            raise ConfigError(f"form must be one of {FORMS}, got {self.form!r}.")
        if isinstance(self.target_modules, str) and self.layers_to_transform is not None:
            raise ConfigError(
                "layers_to_transform must be absent where target_modules is a regular expression "
                f"(got {self.target_modules!r}): put the layer numbers into the expression."
            )
