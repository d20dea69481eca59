"""Reinforcement-learning fine-tuning of language models with tiny, mixable adapters."""

from pkgutil import resolve_name
from typing import Any

from rlpeft.moved import tell_new_names
from rlpeft.shadow import look_for_hidden

__version__ = "0.2.0"

look_for_hidden()
tell_new_names()


def __getattr__(name: str) -> Any:
    """`rlpeft.train`, looked up when it is asked for: it loads torch."""
    if name == "train":
        return resolve_name("rlpeft.program.plain:train")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
