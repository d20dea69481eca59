"""Packages and variables of a job, as Ray takes them, from a file and from the command line."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from ray.runtime_env import RuntimeEnv

from rlpeft.errors import ConfigError
from rlpeft.recipe.yaml import read_yaml
from rlpeft.suggest import did_you_mean

KNOWN = sorted(key for key in RuntimeEnv.known_fields if not key.startswith("_"))
OURS = {"working_dir": "--working-dir sends the folder", "excludes": ".gitignore says what stays"}
"""Keys of Ray's that a file may not set, and what says the same."""

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def environment_of(
    file: Path | None = None, pip: Sequence[str] = (), variables: Sequence[str] = ()
) -> dict[str, Any]:
    """What a job's processes have beside what is installed on their machines.

    Args:
        file: YAML or JSON with keys of Ray's `RuntimeEnv`.
        pip: requirements to install there, as `trackio>=0.5`.
        variables: `NAME=VALUE`, or `NAME` for the value that it has here.

    Raises:
        ConfigError: no such keys, requirements or variables; values are never part of the message.
    """
    found = {} if file is None else _read(file)
    if pip:
        found["pip"] = _with_packages(found.get("pip", []), pip)
    if variables:
        found["env_vars"] = {**found.get("env_vars", {}), **dict(map(_variable, variables))}
    _check(found, file)
    return found


def _read(file: Path) -> dict[str, Any]:
    found = read_yaml(file, what="runtime environment")
    for key in found:
        if key in OURS:
            raise ConfigError(f"{str(file)!r} must not set {key!r}: {OURS[key]}.")
        if key not in KNOWN:
            known = [name for name in KNOWN if name not in OURS]
            raise ConfigError(
                f"{str(file)!r} must hold keys of Ray's runtime environments, {', '.join(known)}, "
                f"got {key!r}.{did_you_mean(key, known)}"
            )
    variables = found.get("env_vars", {})
    pairs = variables.items() if isinstance(variables, Mapping) else [("", None)]
    if not all(isinstance(part, str) for pair in pairs for part in pair):
        raise ConfigError(
            f"env_vars of {str(file)!r} must be names and texts; quote what looks like a number."
        )
    return found


def _with_packages(kept: Any, pip: Sequence[str]) -> Any:
    """The requirements of a file and of the command line."""
    for each in pip:
        try:
            Requirement(each)
        except InvalidRequirement as error:
            raise ConfigError(
                f"--pip must be a requirement such as 'trackio>=0.5', got {each!r}: "
                f"{str(error).splitlines()[0]}. What pip finds only here is sent along: "
                "--working-dir."
            ) from error
    if isinstance(kept, list):
        return [*kept, *pip]
    if isinstance(kept, Mapping) and isinstance(kept.get("packages"), list):
        return {**kept, "packages": [*kept["packages"], *pip]}
    raise ConfigError("--pip adds to a list of requirements: write pip of --runtime-env as one.")


def _variable(text: str) -> tuple[str, str]:
    name, given, value = text.partition("=")
    if not VARIABLE.fullmatch(name):
        raise ConfigError(f"--env must be NAME=VALUE, or NAME alone, got the name {name!r:.60}.")
    if given:
        return name, value
    if name not in os.environ:
        raise ConfigError(f"--env {name} takes its value from here, where it has none. Set it.")
    return name, os.environ[name]


def _check(found: Mapping[str, Any], file: Path | None) -> None:
    """Ray's own rules, before anything is sent."""
    try:
        RuntimeEnv(**found)
    except (ValueError, TypeError) as error:
        values = (found.get("env_vars") or {}).values()
        said = " ".join(str(error).split())
        for value in sorted(filter(None, values), key=len, reverse=True):
            said = said.replace(value, "***")
        raise ConfigError(
            f"the runtime environment{f' {str(file)!r}' if file else ''} must be one that Ray "
            f"takes, it said: {said}"
        ) from error
