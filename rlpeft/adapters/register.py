"""Make our methods PEFT methods.

PEFT's `register_peft_method` insists on a member of its `PeftType` enum, so the enum is extended
first. All of `tests/adapters` runs against the installed PEFT, and would notice if that stopped
working.
"""

from __future__ import annotations

from aenum import extend_enum
from peft.utils import PeftType


def add_peft_type(name: str) -> None:
    """Add `PeftType.<NAME>`; a second call does nothing."""
    if name.upper() not in PeftType.__members__:
        extend_enum(PeftType, name.upper(), name.upper())
