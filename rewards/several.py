"""Gold answers of which each is right: `options.several = true` of a built-in verifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rewards.errors import RewardError
from rewards.golds import GoldRule, gold_text, text_types
from rewards.verdict import UNSCORED_KINDS, Verdict, VerdictKind
from rewards.verify import verify_batch


def verify_several(
    completions: Sequence[str],
    golds: Sequence[Any],
    truncated: Sequence[bool],
    prompts: Sequence[Any] | None = None,
    prompt_ends: Sequence[str] | None = None,
    *,
    kind: str,
    **options: Any,
) -> list[Verdict]:
    """Compare each completion with every one of its gold answers.

    A completion is correct if one of them says so. Otherwise one that could not be compared leaves
    it unscored, for that one might have been met.

    Args:
        golds: for each completion a list of right answers, or one.
        kind: which verifier; `options` are its own.
    """
    lists = [_texts(gold, kind) for gold in golds]
    rows = [row for row, texts in enumerate(lists) for _ in texts]
    verdicts = verify_batch(
        [completions[row] for row in rows],
        [text for texts in lists for text in texts],
        kind=kind,
        truncated=[truncated[row] for row in rows],
        prompts=[prompts[row] for row in rows] if prompts is not None else None,
        prompt_ends=[prompt_ends[row] for row in rows] if prompt_ends else None,
        **options,
    )
    by_row: list[list[Verdict]] = [[] for _ in completions]
    for row, verdict in zip(rows, verdicts, strict=True):
        by_row[row].append(verdict)
    return [_best(found) for found in by_row]


def _texts(gold: Any, kind: str) -> list[str]:
    rule = GoldRule(kind, "", text_types(kind))
    items = list(gold) if isinstance(gold, (list, tuple)) else [gold]
    for item in items:
        if fault := rule.fault(item):
            raise RewardError(f"several gold answers must each be text or a number: {fault}.")
    return [gold_text(item) for item in items]


def _best(verdicts: list[Verdict]) -> Verdict:
    if not verdicts:
        return Verdict(None, VerdictKind.UNSCORABLE, "the list of gold answers is empty")
    correct = [verdict for verdict in verdicts if verdict.kind is VerdictKind.CORRECT]
    unscored = [verdict for verdict in verdicts if verdict.kind in UNSCORED_KINDS]
    return [*correct, *unscored, *verdicts][0]
