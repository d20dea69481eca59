"""Options of all our methods under PEFT's names: which modules are adapted."""

from __future__ import annotations

from dataclasses import dataclass, field

from peft import PeftConfig

from rlpeft.errors import ConfigError
from rlpeft.recipe.adapter import AdapterSection, SvfAdapter


def about(section: type[AdapterSection], option: str) -> dict[str, str]:
    """PEFT's `metadata` of an option that recipes have, too, where its text stands."""
    return {"help": section.model_fields[option].description or ""}


@dataclass
class TargetedConfig(PeftConfig):
    """Where an adapter acts."""

    target_modules: list[str] | str | None = field(
        default=None,
        metadata={"help": "Module names, one regular expression, or 'all-linear'."},
    )
    exclude_modules: list[str] | str | None = field(
        default=None, metadata={"help": "Module names, or one regular expression, to leave out."}
    )
    layers_to_transform: list[int] | int | None = field(
        default=None, metadata=about(SvfAdapter, "layers")
    )
    layers_pattern: list[str] | str | None = field(
        default=None, metadata={"help": "Name of the layer list, where it is an unusual one."}
    )
    modules_to_save: list[str] | None = field(
        default=None, metadata={"help": "Further modules to train and save whole."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("target_modules", "exclude_modules"):
            if isinstance(getattr(self, name), list | tuple):
                setattr(self, name, set(getattr(self, name)))
        if isinstance(self.target_modules, str) and self.layers_to_transform is not None:
            raise ConfigError(
                "layers_to_transform must be absent where target_modules is a regular expression "
                f"(got {self.target_modules!r}): put the layer numbers into the expression."
            )
