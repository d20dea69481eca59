"""The reward signatures the field writes, each called the way its own trainer calls it.

A dialect is recognised by parameter names alone. It says which keywords it offers, once for the
whole batch or once a row; a function is passed the offered keywords it accepts and no others.
Sources: TRL 1.16 `RewardFunc`, verl `compute_score`, OpenRLHF `reward_func`, AReaL `reward_fn`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rewards.reading import Judged, number_of

Call = dict[str, Any]
"""Keywords of one call of a reward function."""

Golds = Sequence[Any]
"""The gold answers, one a completion; none for a dialect without any."""

NAMED_ONLY = frozenset({"truncated", "prompt_ends", "outcomes"})
"""Offered by us and by no other trainer, so a `**kwargs` never receives it."""


@dataclass(frozen=True, slots=True)
class Rollouts:
    """A batch of N completions and everything a reward may ask about them.

    Attributes:
        prompts: N texts, or N lists of chat messages.
        completions: N decoded texts.
        completion_ids: N lists of sampled token ids.
        truncated: whether a limit, not the policy, ended each completion.
        columns: further dataset columns, N values each.
        step: the trainer's step, for error messages.
        trainer_state: passed on to functions that take `trainer_state`.
        prompt_ends: the end of each prompt as the model read it, special tokens included; none if
            unknown.
        task: whose problems all of them answer, in a recipe of several.
        outcomes: what an environment made of each: its reward, `rewards.reading.Judged` where it
            says what is correct, or the `Verdict` of its failure; none without an environment.
            Rewards of this process are given it.
    """

    prompts: Sequence[Any]
    completions: Sequence[str]
    completion_ids: Sequence[Sequence[int]]
    truncated: Sequence[bool]
    columns: Mapping[str, Sequence[Any]]
    step: int
    trainer_state: object = None
    prompt_ends: Sequence[str] = ()
    task: str = ""
    outcomes: Sequence[Any] = ()

    @property
    def conversational(self) -> bool:
        """Whether prompts are chat messages rather than text."""
        return len(self.prompts) > 0 and not isinstance(self.prompts[0], str)


@dataclass(slots=True)
class Log:
    """What reward functions record beside their scores; the callbacks carry TRL's names."""

    num_rows: int
    columns: dict[str, list[Any]] = field(default_factory=dict)
    _metrics: dict[str, list[float]] = field(default_factory=dict)

    def log_extra(self, column: str, values: Sequence[Any]) -> None:
        """Record one value per completion."""
        if len(values) != self.num_rows:
            raise ValueError(
                f"log_extra({column!r}, ...) needs one value per completion ({self.num_rows}), "
                f"got {len(values)}."
            )
        self.columns[column] = list(values)

    def log_metric(self, name: str, value: float) -> None:
        """Record a number; several of one name in a step are averaged, as TRL does."""
        self._metrics.setdefault(name, []).append(float(value))

    @property
    def metrics(self) -> dict[str, float]:
        return {name: sum(values) / len(values) for name, values in self._metrics.items()}


# --- what each dialect offers: one dict of keywords per call -------------------------------------


def _rows(rollouts: Rollouts) -> list[Call]:
    return [
        {name: values[row] for name, values in rollouts.columns.items()}
        for row in range(len(rollouts.completions))
    ]


def _text(prompt: Any) -> str:
    if isinstance(prompt, str):
        return prompt
    return "\n".join(message["content"] for message in prompt)


def _trl(rollouts: Rollouts, log: Log, golds: Golds) -> list[Call]:
    completions: Sequence[Any] = rollouts.completions
    prompts: Sequence[Any] = rollouts.prompts
    if rollouts.conversational:
        completions = [[{"role": "assistant", "content": text}] for text in completions]
        prompts = [[dict(message) for message in prompt] for prompt in prompts]
    reserved = {"prompt", "completion", "completion_ids"}
    columns = {
        name: list(values) for name, values in rollouts.columns.items() if name not in reserved
    }
    standard = {
        "prompts": list(prompts),
        "completions": list(completions),
        "completion_ids": [list(ids) for ids in rollouts.completion_ids],
        "truncated": list(rollouts.truncated),
        "prompt_ends": list(rollouts.prompt_ends) or [""] * len(completions),
        "trainer_state": rollouts.trainer_state,
        "outcomes": list(rollouts.outcomes),
        "log_extra": log.log_extra,
        "log_metric": log.log_metric,
    }
    return [columns | standard]


def _verl(rollouts: Rollouts, log: Log, golds: Golds) -> list[Call]:
    known = [
        {"extra_info": {}} | {k: row[k] for k in ("data_source", "extra_info") if k in row}
        for row in _rows(rollouts)
    ]
    return [
        row | {"solution_str": text, "ground_truth": answer}
        for row, text, answer in zip(known, rollouts.completions, golds, strict=True)
    ]


def _verl_batch(rollouts: Rollouts, log: Log, golds: Golds) -> list[Call]:
    num_rows, columns = len(rollouts.completions), rollouts.columns
    offered: Call = {
        "solution_strs": list(rollouts.completions),
        "ground_truths": list(golds),
        "extra_infos": list(columns.get("extra_info") or [{} for _ in range(num_rows)]),
    }
    if "data_source" in columns:
        offered["data_sources"] = list(columns["data_source"])
    return [offered]


def _openrlhf(rollouts: Rollouts, log: Log, golds: Golds) -> list[Call]:
    prompts = [_text(prompt) for prompt in rollouts.prompts]
    queries = [p + text for p, text in zip(prompts, rollouts.completions, strict=True)]
    return [{"queries": queries, "prompts": prompts, "labels": list(golds)}]


def _areal(rollouts: Rollouts, log: Log, golds: Golds) -> list[Call]:
    rows = zip(
        _rows(rollouts),
        rollouts.prompts,
        rollouts.completions,
        rollouts.completion_ids,
        strict=True,
    )
    # Prompt ids are the trainer's to give, as a column; None makes a use without them loud.
    return [
        {"prompt_ids": None}
        | row
        | {"prompt": _text(prompt), "completions": text, "completion_ids": list(ids)}
        for row, prompt, text, ids in rows
    ]


def _row_verifier(rollouts: Rollouts, log: Log, golds: Golds) -> list[Call]:
    rows = zip(
        _rows(rollouts),
        rollouts.prompts,
        rollouts.completions,
        golds,
        rollouts.truncated,
        strict=True,
    )
    return [
        row | {"prompt": prompt, "completion": text, "gold": answer, "truncated": truncated}
        for row, prompt, text, answer, truncated in rows
    ]


def _batch_verifier(rollouts: Rollouts, log: Log, golds: Golds) -> list[Call]:
    return [
        {
            "completions": list(rollouts.completions),
            "golds": list(golds),
            "truncated": list(rollouts.truncated),
            "completion_ids": list(rollouts.completion_ids),
            "prompts": list(rollouts.prompts),
            "prompt_ends": list(rollouts.prompt_ends) or [""] * len(rollouts.completions),
        }
    ]


# --- what each dialect returns -------------------------------------------------------------------


def _listed(result: Any) -> Any:
    return result.tolist() if hasattr(result, "tolist") else result


def _read_openrlhf(results: list[Any], log: Log) -> Any:
    result = results[0]
    if not isinstance(result, Mapping):
        return _listed(result)
    for name, values in result.get("extra_logs", {}).items():
        values = _listed(values)
        if isinstance(values, Sequence):
            log.log_extra(name, values)
        else:
            log.log_metric(name, values)
    return _listed(result.get("rewards"))


def _read_verl(results: list[Any], log: Log) -> Any:
    keys = {key for result in results if isinstance(result, Mapping) for key in result}
    for key in sorted(keys - {"score"}):
        values = [r.get(key) if isinstance(r, Mapping) else None for r in results]
        log.log_extra(key, values)
    return [_verl_score(r) if isinstance(r, Mapping) else r for r in results]


def _verl_score(result: Mapping[str, Any]) -> Any:
    """The score, with verl's own verdict beside it where it is one: `acc` is true or false."""
    score, said = result.get("score", result), number_of(result.get("acc"))
    # 0 and 1 are equal to False and True; text and floats in between are no verdict.
    is_verdict = isinstance(said, (bool, int, float)) and said in (0, 1)
    return Judged(score, bool(said)) if is_verdict else score


def _read_verl_batch(results: list[Any], log: Log) -> Any:
    listed = _listed(results[0])
    return _read_verl(list(listed), log) if isinstance(listed, (list, tuple)) else listed


def _read_batch(results: list[Any], log: Log) -> Any:
    return _listed(results[0])


def _read_rows(results: list[Any], log: Log) -> Any:
    return results


@dataclass(frozen=True, slots=True)
class Dialect:
    """One calling convention.

    Attributes:
        name: whose convention it is.
        signs: parameter names that give it away, all of which must be there.
        fills: keywords it always offers; any other required parameter must be a column.
        gold: the keyword, if any, that carries the gold answer.
        calls: the keywords of each call.
        read: the list of scores from the calls' results.
        per_row: one call per row rather than one for the batch.
        spreads: whether `**kwargs` receives all that is offered, or options only.
        texts: whether gold answers are handed over as text.
        any_gold: whether its trainer hands over gold answers of any type.
        plurals: parameters of a batch whose column is named by the singular.
    """

    name: str
    signs: frozenset[str]
    fills: frozenset[str]
    gold: str | None
    calls: Callable[[Rollouts, Log, Golds], list[Call]]
    read: Callable[[list[Any], Log], Any]
    per_row: bool
    spreads: bool = True
    texts: bool = False
    any_gold: bool = False
    plurals: Mapping[str, str] = field(default_factory=dict)


def _dialect(name: str, signs: str, fills: str, gold: str | None, **rest: Any) -> Dialect:
    return Dialect(name, frozenset(signs.split()), frozenset(fills.split()), gold, **rest)


# Order matters: the first dialect whose signs are all there is spoken.
DIALECTS = (
    _dialect(
        "verl",
        "solution_str",
        "solution_str ground_truth extra_info",
        "ground_truth",
        calls=_verl,
        read=_read_verl,
        per_row=True,
        any_gold=True,
    ),
    _dialect(
        "verl, in batches",
        "solution_strs",
        "solution_strs ground_truths extra_infos",
        "ground_truths",
        calls=_verl_batch,
        read=_read_verl_batch,
        per_row=False,
        any_gold=True,
        plurals={"data_sources": "data_source"},
    ),
    _dialect(
        "OpenRLHF",
        "queries",
        "queries prompts labels",
        "labels",
        calls=_openrlhf,
        read=_read_openrlhf,
        per_row=False,
        any_gold=True,
    ),
    _dialect(
        "AReaL",
        "prompt completions",
        "prompt completions prompt_ids completion_ids",
        None,
        calls=_areal,
        read=_read_rows,
        per_row=True,
    ),
    _dialect(
        "batch verifier",
        "completions golds",
        "completions golds truncated completion_ids prompts prompt_ends",
        "golds",
        calls=_batch_verifier,
        read=_read_batch,
        per_row=False,
        spreads=False,
        texts=True,
    ),
    _dialect(
        "verifier",
        "completion gold",
        "prompt completion gold truncated",
        "gold",
        calls=_row_verifier,
        read=_read_rows,
        per_row=True,
    ),
    *(
        _dialect(
            "TRL",
            sign,
            "prompts completions completion_ids truncated prompt_ends trainer_state "
            "outcomes log_extra log_metric",
            None,
            calls=_trl,
            read=_read_batch,
            per_row=False,
        )
        for sign in ("completions", "completion_ids", "prompts")
    ),
)


EVERYTHING = DIALECTS[-1]
"""TRL's, for a function of `**kwargs` alone."""


def detect(parameters: Mapping[str, inspect.Parameter]) -> Dialect | None:
    """Return the dialect these parameters speak, `None` if there is none."""
    return next((d for d in DIALECTS if d.signs <= parameters.keys()), None)
