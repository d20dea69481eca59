"""Parts that are made once, and fail once: to open a model again takes long, and fails again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rlpeft.tokens.deadline import OvertimeError


def remembered(make: Callable[[Any], Any]) -> Any:
    """A property whose value, or the error in making it, is kept."""
    name = make.__name__

    def get(self: Any) -> Any:
        kept = self.__dict__.setdefault("kept", {})
        if name not in kept:
            try:
                kept[name] = make(self), None
            except (Exception, OvertimeError) as error:
                # Recovery: the same error is raised to whoever asks again.
                kept[name] = None, error
        value, failure = kept[name]
        if failure is not None:
            raise failure
        return value

    return property(get, doc=make.__doc__)
