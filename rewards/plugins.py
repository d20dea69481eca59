"""From the name in a recipe to a reward that can be called.

A name is a built-in verifier (`math`, `choice`, ...), a reward TRL users know by name, an entry
point of group `rlpeft.rewards`, or a dotted path `package.module:function`. All end as one
`Reward`: a function, its dialect, and the options bound to it.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from typing import Any

from rewards.dialects import NAMED_ONLY, Call, Dialect, Log, Rollouts, detect
from rewards.errors import RewardError
from rewards.reading import to_verdict
from rewards.verdict import Verdict
from rewards.verify import VERIFIERS, verify_batch

ENTRY_POINT_GROUP = "rlpeft.rewards"

# Names beside the verifier kinds: where the function is, and the column its gold answer is in.
NAMED = {
    "accuracy_reward": ("rewards.formats:accuracy_reward", "solution"),
    "reasoning_accuracy_reward": ("rewards.formats:reasoning_accuracy_reward", "solution"),
    "think_format_reward": ("rewards.formats:think_format_reward", "answer"),
    "get_soft_overlong_punishment": ("rewards.shaping:soft_overlong_punishment", "answer"),
    "get_cosine_scaled_reward": ("rewards.shaping:CosineScaledReward", "solution"),
    "get_repetition_penalty_reward": ("rewards.shaping:repetition_penalty", "answer"),
    "length": ("rewards.shaping:length_reward", "answer"),
    "regex_format": ("rewards.formats:regex_format_reward", "answer"),
    # In training the prompt may begin the program, which `verify_batch` knows nothing of.
    "code": ("rewards.code:code_reward", "answer"),
    "mbpp": ("rewards.code:mbpp_reward", "test_list"),
    "humaneval": ("rewards.code:humaneval_reward", "test"),
}


@dataclass(frozen=True, slots=True)
class Reward:
    """A reward function, ready to be called on rollouts.

    Attributes:
        name: short name, used in metrics and messages.
        function: what is called.
        dialect: how it is called.
        options: keywords bound to every call.
        gold: the column of the gold answer.
        correct_at: score from which an answer is correct; `None` if only verdicts say so.
    """

    name: str
    function: Callable[..., Any]
    dialect: Dialect
    options: Mapping[str, Any]
    gold: str
    correct_at: float | None = None

    @property
    def required_columns(self) -> frozenset[str]:
        """Columns the function cannot be called without."""
        required = {
            p.name
            for p in inspect.signature(self.function).parameters.values()
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        }
        columns = required - self.dialect.fills - self.options.keys()
        if self.dialect.gold is not None:
            columns.add(self.gold.split(".")[0])
        return frozenset(columns)

    def start(self, rollouts: Rollouts, log: Log) -> list[Any]:
        """Call the function; return one result (or awaitable, or exception) per call."""
        parameters = inspect.signature(self.function).parameters
        spread = self.dialect.spreads and _open_ended(parameters)
        return [
            self._call(
                {
                    name: value
                    for name, value in offered.items()
                    if name in parameters or (spread and name not in NAMED_ONLY)
                }
            )
            for offered in self.dialect.calls(rollouts, log, self.gold)
        ]

    def finish(self, results: list[Any], rollouts: Rollouts, log: Log) -> list[Verdict]:
        """Turn the results of `start`, awaited, into one verdict per completion."""
        num_rows, step = len(rollouts.completions), rollouts.step
        if self.dialect.per_row:
            scores = self._read_rows(results, log)
        else:
            if isinstance(results[0], Exception):
                raise self._raised(results[0], step) from results[0]
            scores = self.dialect.read(results, log)
        if not isinstance(scores, (list, tuple)) or len(scores) != num_rows:
            got = f"{len(scores)} scores" if isinstance(scores, (list, tuple)) else repr(scores)
            raise RewardError(
                f"reward {self.name!r} must return a list of one score per completion "
                f"({num_rows}), got {got} at step {step}."
            )
        return [
            to_verdict(score, name=self.name, step=step, row=row, correct_at=self.correct_at)
            for row, score in enumerate(scores)
        ]

    def _call(self, accepted: Call) -> Any:
        try:
            return self.function(**{**accepted, **self.options})
        except RewardError:
            raise
        except Exception as error:
            # Recovery: a row's exception becomes an `error` verdict, a batch's a RewardError.
            return error

    def _read_rows(self, results: list[Any], log: Log) -> list[Any]:
        """Read row results around the rows that raised, which stay exceptions."""
        raised = [isinstance(result, Exception) for result in results]
        scores = self.dialect.read(
            [None if r else x for x, r in zip(results, raised, strict=True)], log
        )
        return [x if r else s for x, s, r in zip(results, scores, raised, strict=True)]

    def _raised(self, error: Exception, step: int) -> RewardError:
        return RewardError(
            f"reward {self.name!r} must not raise, got {type(error).__name__}: {error} at step "
            f"{step}. Return None for a completion that cannot be scored."
        )


def load(name: str, options: Mapping[str, Any], correct_at: float | None = None) -> Reward:
    """Resolve `name` and bind `options` (`gold` names the column of the gold answer).

    Raises:
        RewardError: the name leads nowhere, the signature speaks no known dialect, or an option
            is not a parameter, or `correct_at` is given to a verifier that judges by itself.
    """
    if correct_at is not None and name in VERIFIERS:
        raise RewardError(
            f"reward {name!r} says itself what is correct, so correct_at must be absent, got "
            f"{correct_at:g}. Remove it; it is for rewards that give numbers."
        )
    return replace(_resolved(name, dict(options)), correct_at=correct_at)


def _resolved(name: str, options: dict[str, Any]) -> Reward:
    gold = options.pop("gold", None)
    if name in VERIFIERS and name not in NAMED:
        _check_options(name, import_path(VERIFIERS[name]), options)
        return _bind(name, verify_batch, {"kind": name} | options, gold or "answer")
    if name in NAMED:
        path, default_gold = NAMED[name]
        return _bind(name, import_path(path), options, gold or default_gold)
    return _bind(_short(name), _find(name), options, gold or "answer")


def _find(name: str) -> Callable[..., Any]:
    """Return the user's function behind an entry point or a dotted path."""
    if ":" not in name and "." not in name:
        for entry_point in entry_points(group=ENTRY_POINT_GROUP, name=name):
            return import_path(entry_point.value)
        known = ", ".join(sorted({*VERIFIERS, *NAMED}))
        raise RewardError(
            f"a reward must be a built-in ({known}), an entry point of group "
            f"{ENTRY_POINT_GROUP!r}, or 'package.module:function', got {name!r}."
        )
    return import_path(name)


def import_path(path: str) -> Callable[..., Any]:
    """Import `package.module:function` (or with a last dot); the working folder is searched too.

    Raises:
        RewardError: the module or the function is not there.
    """
    module_name, _, attribute = path.rpartition(":") if ":" in path else path.rpartition(".")
    # A recipe names functions in the folder it is run from; last, so that it shadows nothing.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:  # a module can raise anything when it is imported
        raise RewardError(
            f"reward {path!r} must name an importable function, got {type(error).__name__}: "
            f"{error}. Check the path, or start from the folder that holds the module."
        ) from error
    if not callable(found):
        raise RewardError(f"reward {path!r} must name a function, got {type(found).__name__}.")
    return found


def _bind(name: str, function: Callable[..., Any], options: Mapping[str, Any], gold: str) -> Reward:
    parameters = inspect.signature(function).parameters
    dialect = detect(parameters)
    if dialect is None:
        return _bind(name, _build(name, function, options), {}, gold)
    _check_options(name, function, options)
    return Reward(name, function, dialect, options, gold)


def _check_options(name: str, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    parameters = inspect.signature(function).parameters
    unknown = sorted(options.keys() - parameters.keys())
    if unknown and not _open_ended(parameters):
        raise RewardError(
            f"options of reward {name!r} must be parameters of the function "
            f"({', '.join(parameters)}), got {', '.join(unknown)}."
        )


def _open_ended(parameters: Mapping[str, inspect.Parameter]) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _build(
    name: str, factory: Callable[..., Any], options: Mapping[str, Any]
) -> Callable[..., Any]:
    """Call a factory such as TRL's `get_...` or a class; what it makes must speak a dialect."""
    parameters = inspect.signature(factory).parameters
    try:
        made = factory(**options)
        speaks = callable(made) and detect(inspect.signature(made).parameters) is not None
    except TypeError as error:
        raise RewardError(_no_dialect(name, parameters, str(error))) from error
    if not speaks:
        raise RewardError(_no_dialect(name, parameters, f"calling it gave {type(made).__name__}"))
    return made


def _no_dialect(name: str, parameters: Mapping[str, object], detail: str) -> str:
    return (
        f"reward {name!r} must take the parameters of a known dialect: (completion, gold) per "
        "row, TRL (prompts, completions, completion_ids, ...), verl (solution_str, ground_truth, "
        "...), OpenRLHF (queries, prompts, labels), AReaL (prompt, completions, ...), or be a "
        f"factory of such a function, got ({', '.join(parameters)}); {detail}."
    )


def _short(name: str) -> str:
    return name.replace(":", ".").rpartition(".")[2]
