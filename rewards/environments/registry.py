"""The built-in environments, a line each, and the way from a name in a recipe to one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from rewards.blame import one_line
from rewards.errors import RewardError
from rewards.plugins import import_path
from rewards.registry import imported

ENVIRONMENTS = {
    "calculator": "rewards.environments.calculator:Calculator",
    "python": "rewards.environments.python:Python",
    "retry": "rewards.environments.retry:Retry",
}


def maker(name: str, options: Mapping[str, Any]) -> Callable[[], Any]:
    """What makes the environment of a conversation; one was made to try it.

    Args:
        name: of `ENVIRONMENTS`, or `package.module:Class`.
        options: keywords of the class.

    Raises:
        RewardError: no such environment, options that it does not take, or no `reset` or `step`.
    """
    make = imported(ENVIRONMENTS[name]) if name in ENVIRONMENTS else _own(name)
    try:
        made = make(**options)
    except RewardError:
        raise
    except (Exception, SystemExit) as error:
        raise RewardError(
            f"environment {name!r} must be made of its options ({_parameters(make)}), got "
            f"{', '.join(options) or 'none'}: {one_line(error)}."
        ) from error
    if missing := [each for each in ("reset", "step") if not callable(getattr(made, each, None))]:
        raise RewardError(
            f"environment {name!r} must have reset(row, seed) and step(text), "
            f"{type(made).__name__} has no {' and no '.join(missing)}."
        )
    return lambda: make(**options)


def _own(name: str) -> Callable[..., Any]:
    if ":" not in name:
        near = get_close_matches(name, ENVIRONMENTS, n=1)
        raise RewardError(
            f"environment.name must be one of {', '.join(ENVIRONMENTS)}, or 'module:Class', got "
            f"{name!r}." + (f" Did you mean {near[0]!r}?" if near else "")
        )
    return import_path(name, "environment", "class")


def _parameters(make: Callable[..., Any]) -> str:
    try:
        return ", ".join(inspect.signature(make).parameters) or "none"
    except (TypeError, ValueError):
        return "unknown"
