"""Options of SVF as a PEFT method."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

from peft.utils import PeftType

from rlpeft.adapters.config import TargetedConfig, about
from rlpeft.adapters.svf.decompose import DECOMPOSITIONS
from rlpeft.errors import ConfigError
from rlpeft.recipe.adapter import SvfAdapter

PARAMETRISATIONS = ("direct", "sigmoid_renorm")
FORMER: dict[str, Any] = {"decomposition": "svd"}
"""What files mean that do not name it: there was no other."""
FORMS = ("auto", "dense", "factored")


@dataclass
class SvfConfig(TargetedConfig):
    """Configuration of SVF (Transformer², arXiv 2501.06252): one multiplier a singular value.

    >>> SvfConfig(target_modules=["q_proj"]).parametrisation
    'direct'
    """

    parametrisation: str = field(default="direct", metadata=about(SvfAdapter, "parametrisation"))
    form: str = field(
        default="auto",
        metadata={
            "help": "'dense' keeps W' beside W (fastest in fp32), 'factored' never forms it (any "
            "dtype, quantised bases), 'auto' takes dense for plain fp32 layers."
        },
    )

    decomposition: Any = field(default=None, metadata=about(SvfAdapter, "decomposition"))

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

    @classmethod
    def from_json_file(cls, path_json_file: str, **kwargs: Any) -> Any:
        """See `PeftConfig.from_json_file`; what a file from before does not name, is as it was."""
        return {**FORMER, **super().from_json_file(path_json_file, **kwargs)}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PeftType.SVF
        if self.parametrisation not in PARAMETRISATIONS:
            raise ConfigError(
                f"parametrisation must be one of {PARAMETRISATIONS}, got {self.parametrisation!r}."
            )
        if self.decomposition is None:
            # PEFT has doors beside `from_json_file`; what names factors comes from a file.
            own = SvfAdapter.model_fields["decomposition"].default
            self.decomposition = FORMER["decomposition"] if self.factors else own
        if self.decomposition not in DECOMPOSITIONS:
            raise ConfigError(
                f"decomposition must be one of {tuple(DECOMPOSITIONS)}, got {self.decomposition!r}."
            )
        if self.form not in FORMS:
            raise ConfigError(f"form must be one of {FORMS}, got {self.form!r}.")
