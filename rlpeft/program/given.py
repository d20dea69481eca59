"""Plain objects as recipes have them: rows in files, a config as a section, functions by name."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from rlpeft.errors import CheckpointError, ConfigError, DataError
from rlpeft.files import read_text, replacing_folder
from rlpeft.program.folder import has_results, lone_run
from rlpeft.recipe.adapter import SECTIONS
from rlpeft.recipe.scorer import Functions
from rlpeft.runs.checkpoint import list_checkpoints
from rlpeft.runs.fingerprint import ROWS_FOLDER
from rlpeft.tasks.base import Split
from rlpeft.tasks.folder import FILE_SPLITS

if TYPE_CHECKING:
    from peft import PeftConfig

GivenRows = Iterable[Mapping[str, Any]]
"""Such as a list, or a `datasets.Dataset`."""
Dataset = str | Path | GivenRows | Mapping[str, GivenRows]
"""A path or Hub id; rows, to be divided; or rows by split, such as a `datasets.DatasetDict`."""
RewardFunction = Callable[..., Any]
GivenReward = str | Mapping[str, Any] | RewardFunction
"""A built-in's name or `module:function`; a `[[reward]]`; a function of this process."""

SPLIT_OF: dict[str, Split] = {
    **{alias: split for split, aliases in FILE_SPLITS.items() for alias in aliases},
    "eval": "validation",
}
"""Splits by what data sets and trainers call them."""

SETTLED = {
    "task_type",
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "fan_in_fan_out",
}
"""Options of PEFT's configs that are settled by the model, or by being trained."""


def keep_rows(dataset: GivenRows | Mapping[str, GivenRows], out: Path, name: str) -> Path:
    """Write rows into a run's folder, which then stands for itself; the path that a recipe gives.

    Raises:
        DataError: something that is no row, or that JSON cannot hold.
        CheckpointError: the run has begun with others, or another driver is at work in it.
    """
    files = _files(dataset, name)
    folder = out / ROWS_FOLDER
    with lone_run(out):
        kept = {path for path in folder.rglob("*") if path.is_file()}
        there = {str(path.relative_to(folder)): read_text(path) for path in kept}
        if there != files:
            if list_checkpoints(out) or has_results(out):
                raise CheckpointError(
                    f"run {str(out)!r} must go on with the rows that it began with, in "
                    f"{str(folder)!r}, and was given others. Choose another folder."
                )
            with replacing_folder(folder) as partial:
                for file, text in files.items():
                    (partial / file).parent.mkdir(exist_ok=True)
                    (partial / file).write_text(text, encoding="utf-8")
    return folder / (name if isinstance(dataset, Mapping) else f"{name}.jsonl")


def _files(dataset: GivenRows | Mapping[str, GivenRows], name: str) -> dict[str, str]:
    """Names and texts of the files of rows."""
    if not isinstance(dataset, Mapping):
        return {f"{name}.jsonl": _lines(dataset, "dataset")}
    if not dataset:
        raise DataError(f"dataset must have rows by split ({', '.join(SPLIT_OF)}), got none.")
    if unknown := [split for split in dataset if split not in SPLIT_OF]:
        raise DataError(
            f"dataset must have rows by split ({', '.join(SPLIT_OF)}), got {unknown[0]!r}. Give a "
            "list of rows to have it divided."
        )
    if len({SPLIT_OF[split] for split in dataset}) < len(dataset):
        raise DataError(f"dataset must have each split once, got {', '.join(dataset)}.")
    return {
        f"{name}/{SPLIT_OF[split]}.jsonl": _lines(rows, f"dataset[{split!r}]")
        for split, rows in dataset.items()
    }


def _lines(rows: GivenRows, where: str) -> str:
    if not isinstance(rows, Iterable):
        raise DataError(
            f"{where} must be rows, dicts of columns, got {type(rows).__name__}. Of rows in a "
            "file or on the Hub give the path or id as dataset."
        )
    return "".join(_line(row, f"{where}, row {n}") for n, row in enumerate(rows, 1))


def _line(row: Mapping[str, Any], where: str) -> str:
    if not isinstance(row, Mapping):
        raise DataError(
            f"{where} must be a dict of columns, got {type(row).__name__} {row!r:.60}. Of a pandas "
            "frame give frame.to_dict('records')."
        )
    for column, value in row.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise DataError(
                f"{where} must hold what JSON can, column {column!r} has "
                f"{type(value).__name__} {value!r:.60}: {error}. Convert or drop it."
            ) from error
    return json.dumps(dict(row)) + "\n"


def rewards_given(given: GivenReward | Iterable[GivenReward]) -> tuple[list[Any], Functions]:
    """The `[[reward]]` list of a recipe, and the functions that it names.

    Raises:
        ConfigError: what is no reward, or a function without a name of its own.
    """
    alone = isinstance(given, str | Mapping) or callable(given)
    sections: list[Any] = []
    functions: dict[str, RewardFunction] = {}
    each: Iterable[Any] = [given] if alone else _each(given)
    for one in each:
        if not isinstance(one, str | Mapping):
            name = _function_name(one)
            if functions.setdefault(name, one) is not one:
                raise ConfigError(f"reward must have functions of different names, got {name!r}.")
            one = name
        sections.append({"name": one} if isinstance(one, str) else dict(one))
    return sections, functions


def _each(given: Any) -> Iterator[Any]:
    if not isinstance(given, Iterable):
        raise ConfigError(f"reward must be a name or a function, got {type(given).__name__}.")
    yield from given


def _function_name(function: Any) -> str:
    name = getattr(function, "__qualname__", "")
    is_named = inspect.isroutine(function) and getattr(function, "__module__", None)
    if not is_named or "<lambda>" in name:
        raise ConfigError(
            "reward must be a name, 'module:function', or a function written by def, whose name "
            f"metrics have, got {function!r:.80}."
        )
    return f"{function.__module__}:{name}"


def adapter_given(given: str | Mapping[str, Any] | PeftConfig) -> dict[str, Any]:
    """The `[adapter]` section of a recipe.

    Raises:
        ConfigError: a config of another method, or with an option that recipes do not have.
    """
    if isinstance(given, str):
        return {"type": given}
    return dict(given) if isinstance(given, Mapping) else _section(given)


def _section(config: PeftConfig) -> dict[str, Any]:
    from peft import PeftConfig  # which takes seconds, as the table of methods does

    from rlpeft.adapters.methods import METHODS, RENAMED, method_of

    called, method = type(config).__name__, None
    if isinstance(config, PeftConfig):
        method = method_of({field.name: getattr(config, field.name) for field in fields(config)})
    if method is None:
        raise ConfigError(
            f"adapter must be one of {', '.join(METHODS)}, or a PEFT config of such a method, got "
            f"{called}."
        )
    options = resolve_name(SECTIONS[method.name]).model_fields.keys() - {"type"}
    names = {"target_modules": "targets"} | {
        RENAMED.get(name, name): name for name in options - {"targets"}
    }
    plain = type(config)()
    for field in fields(config):
        name, value = field.name, getattr(config, field.name)
        if name in names or name in SETTLED or name in method.marks:
            continue
        if value != getattr(plain, name):
            raise ConfigError(
                f"adapter must be what a recipe can say, {called}({name}={value!r}) is not. Leave "
                f"it out; options are {', '.join(sorted(names))}."
            )
    given = {ours: getattr(config, theirs) for theirs, ours in names.items()}
    return {"type": method.name} | {
        ours: _listed(value) if ours in ("targets", "layers", "feedforward") else value
        for ours, value in given.items()
        if value is not None
    }


def _listed(value: Any) -> Any:
    """Names or numbers in an order of their own: PEFT's configs hold sets."""
    if isinstance(value, int):
        return [value]
    return value if isinstance(value, str) else sorted(value)
