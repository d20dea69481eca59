"""One door to every verifier: `verify` for one completion, `verify_batch` for many.

A verifier is a plain function `fn(completion, gold, **options) -> Verdict`; the built-in ones stand
in `rewards.registry`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rewards.completion.regions import behind_prompts
from rewards.errors import RewardError, UnknownKindError
from rewards.registry import REWARDS, BuiltIn, imported, is_verifier
from rewards.verdict import Verdict, VerdictKind

_CUT_OFF = Verdict(0.0, VerdictKind.TRUNCATED, "the completion was cut off before a final answer")


def verify(
    completion: str, gold: str, *, kind: str = "math", truncated: bool = False, **options: Any
) -> Verdict:
    """Compare the final answer of `completion` with `gold`.

    >>> verify("so it is \\\\boxed{0.5}", "1/2").kind.value
    'correct'

    Args:
        completion: the model's text, first, as everywhere in this package.
        gold: the reference answer alone, not a text that contains it. One that cannot be read
            gives `UNSCORABLE`, so a swapped call is counted, not rewarded.
        kind: a verifier of `rewards.registry.REWARDS`.
        truncated: the completion hit a length limit. It then scores only if its final answer
            was complete before the cut.
        options: passed to the verifier; "math" takes `policy` ("strict", "lenient" or a
            `MathPolicy`).

    Raises:
        RewardError: the call is wrong (types, unknown kind, unknown option).
    """
    _require_texts(completion, gold)
    verdict: Verdict = imported(_verifier(kind).verify)(completion, gold, **options)
    return _after_cut(verdict, completion) if truncated else verdict


def verify_batch(
    completions: Sequence[str],
    golds: Sequence[str],
    *,
    kind: str = "math",
    truncated: Sequence[bool] | None = None,
    prompts: Sequence[Any] | None = None,
    prompt_ends: Sequence[str] | None = None,
    **options: Any,
) -> list[Verdict]:
    """Verify many completions; same order, same verdicts as `verify` gives one by one.

    Args:
        prompts: texts or chat turns, and `prompt_ends` what each ends with as the model read it:
            one may have opened the thinking that the completion has to close.

    Raises:
        RewardError: the lengths differ, or one call of `verify` would raise.
    """
    cuts = [False] * len(completions) if truncated is None else list(truncated)
    if isinstance(completions, str) or isinstance(golds, str):
        raise RewardError("completions and golds must be lists of str. Use verify() for one row.")
    if not len(completions) == len(golds) == len(cuts):
        raise RewardError(
            "completions, golds and truncated must have the same length, got "
            f"{len(completions)}, {len(golds)} and {len(cuts)}. Pass one gold per completion."
        )
    for completion, gold in zip(completions, golds, strict=True):
        _require_texts(completion, gold)
    verifier = _verifier(kind)
    if verifier.after_thinking:
        completions = behind_prompts(completions, prompts, prompt_ends)
    verdicts = _batch(verifier, completions, golds, options)
    return [
        _after_cut(verdict, completion) if cut else verdict
        for verdict, completion, cut in zip(verdicts, completions, cuts, strict=True)
    ]


def _batch(
    verifier: BuiltIn, completions: Sequence[str], golds: Sequence[str], options: dict[str, Any]
) -> list[Verdict]:
    if verifier.batch:
        verdicts: list[Verdict] = imported(verifier.batch)(completions, golds, **options)
        return verdicts
    verify_one = imported(verifier.verify)
    rows = zip(completions, golds, strict=True)
    return [verify_one(text, gold, **options) for text, gold in rows]


def _after_cut(verdict: Verdict, completion: str) -> Verdict:
    """An answer that touches the cut may be the first half of a longer one."""
    if verdict.score is None:
        return verdict
    answer = verdict.extracted
    if answer is None or completion.rstrip().endswith(answer):
        return _CUT_OFF
    return verdict


def _verifier(kind: str) -> BuiltIn:
    if not is_verifier(kind):
        known = ", ".join(sorted(filter(is_verifier, REWARDS)))
        raise UnknownKindError(
            f"kind must be one of {known}, got {kind!r}. "
            "A verifier of your own goes through rewards.scorer (dotted path or entry point)."
        )
    return REWARDS[kind]


def _require_texts(completion: object, gold: object) -> None:
    for name, value in (("completion", completion), ("gold", gold)):
        if not isinstance(value, str):
            raise RewardError(
                f"{name} must be a str, got {value!r:.80}. Convert it first, e.g. str(value)."
            )
