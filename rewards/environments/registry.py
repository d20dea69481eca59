"""The built-in environments, a line each, and the way from a name in a recipe to one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
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
    _require_taken(name, make, options)
    try:
        made = make(**options)
    except RewardError:
        raise
    except (Exception, SystemExit) as error:
        raise RewardError(
            f"environment {name!r} must be made of environment.options = {dict(options)!r:.200}, "
            f"got {one_line(error)}."
        ) from error
    for method, arguments in CALLED.items():
        _require_method(name, made, method, arguments)
    return lambda: make(**options)


CALLED: Mapping[str, Mapping[str, Any]] = {"reset": {"row": {}, "seed": 0}, "step": {"text": ""}}
"""The methods of an environment, and what each is given, in this order."""


def no_such_name(name: str) -> str:
    """What is wrong with a name that is neither built in nor leads to a class."""
    near = get_close_matches(name, ENVIRONMENTS, n=1)
    module = name.removesuffix(".py")
    meant = f" Did you mean {near[0]!r}?" if near else ""
    if module.isidentifier() and Path(f"{module}.py").is_file():
        meant = f" Name a class of {module}.py, as '{module}:Class'."
    return (
        f"environment.name must be one of {', '.join(ENVIRONMENTS)}, or 'module:Class', got "
        f"{name!r}.{meant}"
    )


def _require_taken(name: str, make: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuse options that a class does not take, and a class that wants others."""
    signature = _signature(make)
    if signature is None:
        return
    kinds = signature.parameters.values()
    known = [p.name for p in kinds if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    is_open = any(p.kind is p.VAR_KEYWORD for p in kinds)
    unknown = [] if is_open else [option for option in options if option not in known]
    if unknown:
        near = get_close_matches(unknown[0], known, n=1)
        raise RewardError(
            f"environment.options of {name!r} must be of {', '.join(known) or 'none'}, got "
            f"{', '.join(unknown)}." + (f" Did you mean {near[0]!r}?" if near else "")
        )
    needed = [p.name for p in kinds if p.name in known and p.default is p.empty]
    if missing := [each for each in needed if each not in options]:
        raise RewardError(
            f"environment.options of {name!r} must give {', '.join(missing)}, got "
            f"{', '.join(options) or 'none'}."
        )


def _require_method(name: str, made: Any, method: str, arguments: Mapping[str, Any]) -> None:
    """Refuse a class without one of its methods, or with one that cannot be called as it will."""
    form = f"{method}({', '.join(arguments)})"
    called = getattr(made, method, None)
    if not callable(called):
        raise RewardError(
            f"environment {name!r} must have {form}, {type(made).__name__} has no {method}."
        )
    signature = _signature(called)
    if signature is None:
        return
    try:
        signature.bind(*arguments.values())
    except TypeError as error:
        given = ", ".join(signature.parameters)
        raise RewardError(
            f"environment {name!r} must have {form}, {type(made).__name__} has {method}({given})."
        ) from error


def _own(name: str) -> Callable[..., Any]:
    if ":" not in name:
        raise RewardError(no_such_name(name))
    return import_path(name, "environment", "class")


def _signature(called: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(called)
    except (TypeError, ValueError):  # of code that is no Python
        return None
