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
from asyncio import CancelledError
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Any

from rewards.blame import one_line
from rewards.dialects import NAMED_ONLY, Call, Dialect, Log, Rollouts
from rewards.errors import RewardError
from rewards.golds import (
    GoldRule,
    declared_types,
    gold_in,
    gold_text,
    several_types,
    text_types,
)
from rewards.reading import to_verdict
from rewards.registry import REWARDS, TEXT, imported, is_verifier
from rewards.several import verify_several
from rewards.signatures import Parameters, dialect_of, is_open, parameters_of
from rewards.verdict import Verdict
from rewards.verify import verify_batch

ENTRY_POINT_GROUP = "rlpeft.rewards"


@dataclass(frozen=True, slots=True)
class Reward:
    """A reward function, ready to be called on rollouts.

    Attributes:
        name: short name, used in metrics and messages.
        function: what is called.
        dialect: how it is called.
        options: keywords bound to every call.
        gold: the column of the gold answer.
        gold_types: names of the types a gold answer may have; `None` if any.
        correct_at: score from which an answer is correct; `None` if only verdicts say so.
    """

    name: str
    function: Callable[..., Any]
    dialect: Dialect
    options: Mapping[str, Any]
    gold: str
    gold_types: tuple[str, ...] | None = None
    correct_at: float | None = None

    @property
    def parameters(self) -> Parameters:
        """Those that say how to call the function."""
        return parameters_of(self.function)

    @property
    def is_open(self) -> bool:
        """Whether it takes every column there is."""
        return self.dialect.spreads and is_open(self.parameters)

    @property
    def gold_rule(self) -> GoldRule | None:
        """What its gold answers may be; `None` if it reads columns as they are."""
        if self.dialect.gold is None:
            return None
        return GoldRule(self.name, self.gold, self.gold_types)

    @property
    def required_columns(self) -> frozenset[str]:
        """Columns the function cannot be called without."""
        required = {
            p.name
            for p in self.parameters.values()
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        }
        names = required - self.dialect.fills - self.options.keys()
        columns = {self.dialect.plurals.get(name, name) for name in names}
        if self.dialect.gold is not None:
            columns.add(self.gold.split(".")[0])
        return frozenset(columns)

    def score(self, rollouts: Rollouts, log: Log) -> list[Verdict]:
        """Score a batch with a function that awaits nothing."""
        return self.finish(self.start(rollouts, log), rollouts, log)

    def start(self, rollouts: Rollouts, log: Log) -> list[Any]:
        """Call the function; return one result (or awaitable, or exception) per call."""
        parameters, spread = self.parameters, self.is_open
        return [
            self._call(
                {
                    name: value
                    for name, value in offered.items()
                    if name in parameters or (spread and name not in NAMED_ONLY)
                }
            )
            for offered in self.dialect.calls(rollouts, log, self._golds(rollouts))
        ]

    def _golds(self, rollouts: Rollouts) -> list[Any]:
        """The gold answers as the dialect hands them over: as text, or as they are."""
        if (rule := self.gold_rule) is None:
            return []
        columns = dict.fromkeys(rollouts.columns)
        rows = [
            {name: rollouts.columns[name][row] for name in columns}
            for row in range(len(rollouts.completions))
        ]
        return [self._gold(rule, row, n, rollouts.step) for n, row in enumerate(rows)]

    def _gold(self, rule: GoldRule, row: Mapping[str, Any], number: int, step: int) -> Any:
        try:
            value = gold_in(row, rule.column)
        except KeyError as error:
            name = rule.column.split(".")[0]
            raise RewardError(
                f"column {name!r} must hold {rule.column!r} in every row, row {number} at step "
                f"{step} has {row[name]!r:.80}. Mend the option `gold` or the row."
            ) from error
        if fault := rule.fault(value):
            raise RewardError(f"{fault} in row {number} at step {step}. {rule.mend()}")
        is_text = self.dialect.texts and not isinstance(value, (list, tuple, Mapping))
        return gold_text(value) if is_text else value

    def finish(self, results: list[Any], rollouts: Rollouts, log: Log) -> list[Verdict]:
        """Turn the results of `start`, awaited, into one verdict per completion."""
        num_rows, step = len(rollouts.completions), rollouts.step
        if self.dialect.per_row:
            scores = self._read_rows(results, log)
        else:
            if isinstance(results[0], BaseException):
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
        except (Exception, SystemExit, CancelledError) as error:
            # Recovery: a row's exception becomes an `error` verdict, a batch's a RewardError.
            return error

    def _read_rows(self, results: list[Any], log: Log) -> list[Any]:
        """Read row results around the rows that raised, which stay exceptions."""
        raised = [isinstance(result, BaseException) for result in results]
        scores = self.dialect.read(
            [None if r else x for x, r in zip(results, raised, strict=True)], log
        )
        return [x if r else s for x, s, r in zip(results, scores, raised, strict=True)]

    def _raised(self, error: BaseException, step: int) -> RewardError:
        return RewardError(
            f"reward {self.name!r} must not raise, got {one_line(error)} at step {step}. Return "
            "None for a completion that cannot be scored."
        )


def load(
    name: str,
    options: Mapping[str, Any],
    correct_at: float | None = None,
    function: Callable[..., Any] | None = None,
) -> Reward:
    """Resolve `name` and bind `options` (`gold` names the column of the gold answer).

    Args:
        function: what the name stands for, where it is not to be looked up.

    Raises:
        RewardError: the name leads nowhere, the signature speaks no known dialect, or an option
            is not a parameter, or `correct_at` is given to a verifier that judges by itself.
    """
    if function is not None:
        options = dict(options)
        gold = options.pop("gold", None) or "answer"
        if inspect.iscoroutinefunction(function):
            raise RewardError(
                f"reward {name!r} must not be async where it runs in this process. Write it into a "
                "file, and name it 'module:function'."
            )
        return replace(_bind(_short(name), function, options, gold), correct_at=correct_at)
    if correct_at is not None and is_verifier(name):
        raise RewardError(
            f"reward {name!r} says itself what is correct, so correct_at must be absent, got "
            f"{correct_at:g}. Remove it; it is for rewards that give numbers."
        )
    return replace(_resolved(name, dict(options)), correct_at=correct_at)


def _resolved(name: str, options: dict[str, Any]) -> Reward:
    gold = options.pop("gold", None)
    if name not in REWARDS:
        return _bind(_short(name), _find(name), options, gold or "answer")
    record = REWARDS[name]
    gold = gold or record.gold
    if record.reward:
        return _bind(name, imported(record.reward), options, gold, record.gold_types)
    several = options.pop("several", False)
    _check_options(name, imported(record.verify), options)
    verify: Callable[..., Any] = verify_several if several else verify_batch
    gold_types = several_types(name) if several else text_types(name)
    return _bind(name, verify, {"kind": name} | options, gold, gold_types)


def is_built_in(name: str) -> bool:
    """Whether a reward is ours: it then runs in this process, and keeps its own limits."""
    return name in REWARDS


def _find(name: str) -> Callable[..., Any]:
    """Return the user's function behind an entry point or a dotted path."""
    if ":" not in name and "." not in name:
        for entry_point in entry_points(group=ENTRY_POINT_GROUP, name=name):
            return import_path(entry_point.value)
        known = ", ".join(sorted(REWARDS))
        near = get_close_matches(name, REWARDS, n=1)
        raise RewardError(
            f"a reward must be a built-in ({known}), an entry point of group "
            f"{ENTRY_POINT_GROUP!r}, or 'package.module:function', got {name!r}."
            + (f" Did you mean {near[0]!r}?" if near else "")
        )
    return import_path(name)


def import_path(path: str, what: str = "reward", kind: str = "function") -> Callable[..., Any]:
    """Import `package.module:function` (or with a last dot); the working folder is searched too.

    Args:
        what, kind: what is looked for, for errors.

    Raises:
        RewardError: the module or the function is not there.
    """
    module_name, _, attribute = path.rpartition(":") if ":" in path else path.rpartition(".")
    if module_name == "__main__":
        raise RewardError(
            f"{what} {path!r} was a {kind} of a Python session or script, which is over. Write "
            f"it into a file, and name it 'module:{kind}'."
        )
    # A recipe names functions in the folder it is run from; last, so that it shadows nothing.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        module = importlib.import_module(module_name)
        found = getattr(module, attribute)
    except (Exception, SystemExit) as error:  # a module can raise anything when it is imported
        raise RewardError(
            f"{what} {path!r} must name an importable {kind}, got "
            f"{_why_not(error, module_name, attribute)}"
        ) from error
    if not callable(found):
        raise RewardError(f"{what} {path!r} must name a {kind}, got {type(found).__name__}.")
    return found


def _why_not(error: BaseException, module_name: str, attribute: str) -> str:
    """Why a path cannot be imported, and what to do about it."""
    if isinstance(error, ModuleNotFoundError) and error.name == module_name.partition(".")[0]:
        return (
            f"no module {error.name!r}, neither installed nor in {os.getcwd()!r}. Check the path, "
            "or start from the folder that holds the module."
        )
    module = sys.modules.get(module_name)
    if isinstance(error, AttributeError) and module is not None and not hasattr(module, attribute):
        near = get_close_matches(attribute, vars(module), n=1)
        place = getattr(module, "__file__", None) or module_name
        return f"no {attribute!r} in {place!r}." + (f" Did you mean {near[0]!r}?" if near else "")
    return f"{one_line(error)}. Check the path, or start from the folder that holds the module."


def _bind(
    name: str,
    function: Callable[..., Any],
    options: Mapping[str, Any],
    gold: str,
    gold_types: tuple[str, ...] = TEXT,
) -> Reward:
    """Bind options to a function that speaks a dialect, or to what a factory makes of them.

    Args:
        gold_types: what gold answers may be, unless the function says so itself or its trainer
            hands over anything.
    """
    dialect = dialect_of(function, parameters_of(function))
    if dialect is None:
        return _bind(name, _build(name, function, options), {}, gold, gold_types)
    _check_options(name, function, options)
    declared = declared_types(function)
    types = declared if declared or dialect.any_gold else gold_types
    return Reward(name, function, dialect, options, gold, types)


def _check_options(name: str, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    parameters = parameters_of(function)
    unknown = sorted(options.keys() - parameters.keys())
    if unknown and not is_open(parameters):
        raise RewardError(
            f"options of reward {name!r} must be parameters of the function "
            f"({', '.join(parameters)}), got {', '.join(unknown)}."
        )


def _build(
    name: str, factory: Callable[..., Any], options: Mapping[str, Any]
) -> Callable[..., Any]:
    """Call a factory such as TRL's `get_...` or a class; what it makes must speak a dialect."""
    parameters = inspect.signature(factory).parameters
    try:
        made = factory(**options)
    except TypeError as error:
        raise RewardError(_no_dialect(name, parameters, one_line(error))) from error
    except RewardError:
        raise
    except (Exception, SystemExit) as error:
        raise RewardError(
            f"reward {name!r} must be made without error: {one_line(error)}."
        ) from error
    speaks = callable(made) and dialect_of(made, parameters_of(made)) is not None
    if not speaks:
        raise RewardError(_no_dialect(name, parameters, f"calling it gave {type(made).__name__}"))
    return made


def _no_dialect(name: str, parameters: Mapping[str, object], detail: str) -> str:
    return (
        f"reward {name!r} must take the parameters of a known dialect: (completion, gold) per "
        "row, TRL (prompts, completions, completion_ids, ...), verl (solution_str, ground_truth, "
        "..., or batches), OpenRLHF (queries, prompts, labels), AReaL (prompt, completions, ...), "
        f"or be a factory of such a function, got ({', '.join(parameters)}); {detail}."
    )


def _short(name: str) -> str:
    return name.replace(":", ".").rpartition(".")[2]
