"""Reinforcement-learning fine-tuning of language models with tiny, mixable adapters."""

import logging
from pkgutil import resolve_name
from typing import Any

from rlpeft.moved import tell_new_names
from rlpeft.shadow import look_for_hidden

__version__ = "0.2.0"

for _name in ("torchao", "bitsandbytes", "torch.utils._pytree"):
    # PEFT imports them wherever they are, and each names every kernel of other devices.
    logging.getLogger(_name).setLevel(logging.ERROR)
look_for_hidden()
tell_new_names()


DOORS = {
    "train": "rlpeft.program.from_python:train",
    "open_trainee": "rlpeft.program.trainee:open_trainee",
}
"""What the package itself offers, looked up when it is asked for: it loads torch."""


def __dir__() -> list[str]:
    return [*globals(), *DOORS]


def __getattr__(name: str) -> Any:
    if name in DOORS:
        return resolve_name(DOORS[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
