"""How a reward function wants to be called: the parameters behind whatever decorates it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rewards.dialects import EVERYTHING, Dialect, detect

Parameters = Mapping[str, inspect.Parameter]

_MOST_LAYERS = 8


def parameters_of(function: Callable[..., Any]) -> Parameters:
    """The parameters that say how to call `function`.

    A decorator without `functools.wraps` leaves `(*args, **kwargs)`; the parameters are then those
    of the one function inside it that speaks a dialect.
    """
    return _speaker(function, _MOST_LAYERS) or _own(function)


def dialect_of(function: Callable[..., Any], parameters: Parameters) -> Dialect | None:
    """The dialect that these parameters speak; TRL's, with everything, for `(**kwargs)` alone."""
    found = detect(parameters)
    if found is None and is_open(parameters) and _is_bare(parameters):
        # A class is built with its options first; what it makes is the reward.
        return None if inspect.isclass(function) else EVERYTHING
    return found


def is_open(parameters: Parameters) -> bool:
    """Whether there is a `**kwargs`."""
    return any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _own(function: Callable[..., Any]) -> Parameters:
    return inspect.signature(function).parameters


def _is_bare(parameters: Parameters) -> bool:
    return all(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters.values())


def _speaker(function: Callable[..., Any], layers: int) -> Parameters | None:
    parameters = _own(function)
    if detect(parameters) is not None:
        return parameters
    if not layers or inspect.isclass(function) or not _is_bare(parameters):
        return None
    inner = [_speaker(hidden, layers - 1) for hidden in _hidden(function)]
    found = [parameters for parameters in inner if parameters is not None]
    return found[0] if len(found) == 1 else None


def _hidden(function: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """What a wrapper calls: functions in its closure, or in the attributes of an object."""
    plain = getattr(function, "__func__", function)
    cells = getattr(plain, "__closure__", None) or ()
    found = [cell.cell_contents for cell in cells if _is_filled(cell)]
    if not inspect.isroutine(function):
        found += list(vars(function).values()) if hasattr(function, "__dict__") else []
    for each in found:
        if callable(each) and not inspect.isclass(each) and _has_signature(each):
            yield each


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # a name that was never bound
        return False


def _has_signature(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function)
    except (TypeError, ValueError):
        return False
    return True
