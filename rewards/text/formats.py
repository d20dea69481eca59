"""Exact text, patterns, the thinking format, and TRL's accuracy rewards by their names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

from rewards.completion.boxes import find_boxes
from rewards.completion.regions import CLOSED, OPENED, is_thinking
from rewards.math.policy import STRICT, Policy
from rewards.verdict import Verdict, VerdictKind
from rewards.verify import verify_batch
from rewards.workers.pool import Reply, WorkerPool


def verify_exact(completion: str, gold: str, *, casefold: bool = False) -> Verdict:
    """Compare the whole completion with `gold`: equal after NFKC and blanks, nothing more.

    >>> verify_exact("  42\\n", "42").score
    1.0

    Args:
        completion: the model's text.
        gold: the right text.
        casefold: whether capital and small letters are the same.
    """
    expected, found = _plain(gold, casefold), _plain(completion, casefold)
    if not expected:
        return Verdict(None, VerdictKind.UNSCORABLE, "gold is empty")
    correct = found == expected
    kind = VerdictKind.CORRECT if correct else VerdictKind.WRONG
    sign = "equals" if correct else "differs from"
    return Verdict(float(correct), kind, f"{found!r:.60} {sign} {expected!r:.60}", found[:200])


def _plain(text: str, casefold: bool) -> str:
    plain = " ".join(unicodedata.normalize("NFKC", text).split())
    return plain.casefold() if casefold else plain


def verify_regex(completion: str, gold: str) -> Verdict:
    """Match the whole completion against the pattern `gold` (Python `re`, dot matches newline).

    Patterns can take exponential time, so they run in a worker that is killed at its deadline:
    kind `timeout`. A pattern that cannot be compiled is unscorable.
    """
    return verify_regex_batch([completion], [gold])[0]


def verify_regex_batch(completions: Sequence[str], golds: Sequence[str]) -> list[Verdict]:
    """Match many completions, each against its own pattern."""
    pairs = list(zip(completions, golds, strict=True))
    replies = _pattern_pool().map([{"text": text, "pattern": gold} for text, gold in pairs])
    return [_matched(reply) for reply in replies]


def regex_format_reward(
    completions: Sequence[Any], truncated: Sequence[bool], *, pattern: str
) -> list[Verdict]:
    """Return 1 where the whole completion matches `pattern`, the same for all rows.

    Args:
        completions: texts, or chat turns.
        truncated: whether each hit a length limit.
        pattern: Python's `re`; its dot matches newlines.
    """
    texts = [_text(completion) for completion in completions]
    return verify_batch(texts, [pattern] * len(texts), kind="regex", truncated=truncated)


def match_pattern(request: dict[str, str]) -> bool | None:
    """Answer one request of the pattern pool; `None` for a pattern that is none."""
    try:
        pattern = re.compile(request["pattern"], re.DOTALL)
    except (re.error, OverflowError, RecursionError):
        return None
    return pattern.fullmatch(request["text"]) is not None


def _matched(reply: Reply) -> Verdict:
    if reply.kind != "value":
        return Verdict(None, VerdictKind(reply.kind), f"pattern worker: {reply.value}")
    if reply.value is None:
        return Verdict(None, VerdictKind.UNSCORABLE, "the pattern cannot be compiled")
    kind = VerdictKind.CORRECT if reply.value else VerdictKind.WRONG
    return Verdict(float(reply.value), kind, "matches" if reply.value else "does not match")


@cache
def _pattern_pool() -> WorkerPool:
    return WorkerPool("rewards.text.formats:match_pattern", num_workers=1, deadline_s=0.5)


def _text(completion: Any) -> str:
    return completion if isinstance(completion, str) else str(completion[0]["content"])


def think_format_reward(
    completions: Sequence[Any],
    prompts: Sequence[Any] | None = None,
    prompt_ends: Sequence[str] | None = None,
) -> list[bool]:
    """Whether the answer opens with `<think>`, once, and the completion closes it.

    The prompt may have opened it: chat templates write the tag, and so do prefills.
    """
    held = prompts if prompts is not None else [""] * len(completions)
    ends = prompt_ends if prompt_ends is not None else [""] * len(completions)
    return [
        # Behind a prompt, SentencePiece writes a space first, which TRL's decoding drops.
        _thinks(_text(completion).removeprefix(" " if end else ""), is_thinking(end, prompt))
        for completion, prompt, end in zip(completions, held, ends, strict=True)
    ]


def _thinks(text: str, is_open: bool) -> bool:
    opens = is_open or text.startswith(OPENED)
    return opens and text.count(OPENED) == (not is_open) and CLOSED in text


def accuracy_reward(
    completions: Sequence[str],
    golds: Sequence[str],
    truncated: Sequence[bool],
    prompts: Sequence[Any] | None = None,
    prompt_ends: Sequence[str] | None = None,
    *,
    policy: Policy = STRICT,
) -> list[Verdict]:
    r"""Verify mathematics as TRL's reward of this name.

    A gold answer may be a whole solution that ends in a box or, as in GSM8K, in `#### 18`.

    Args:
        completions: the model's texts.
        golds: solutions.
        truncated: whether each completion hit a length limit.
        prompts: texts or chat turns, and `prompt_ends` what each ends with, as in `verify_batch`.
        policy: that of reward `math`.
    """
    answers = [final_answer(gold) for gold in golds]
    return verify_batch(
        completions,
        answers,
        kind="math",
        truncated=truncated,
        prompts=prompts,
        prompt_ends=prompt_ends,
        policy=policy,
    )


def reasoning_accuracy_reward(
    completions: Sequence[str],
    golds: Sequence[str],
    truncated: Sequence[bool],
    *,
    reasoning_delimiters: Sequence[str] = ("</think>",),
    policy: Policy = STRICT,
) -> list[Verdict]:
    """Verify what follows the reasoning; a completion whose reasoning never ends scores 0.

    Args:
        completions: the model's texts.
        golds: as in `accuracy_reward`.
        truncated: whether each completion hit a length limit.
        reasoning_delimiters: what ends the reasoning; the first of them that is there counts.
        policy: that of reward `math`.
    """
    answers = [_after(text, reasoning_delimiters) for text in completions]
    verdicts = accuracy_reward(
        ["" if answer is None else answer for answer in answers], golds, truncated, policy=policy
    )
    unfinished = Verdict(0.0, VerdictKind.UNPARSABLE, "the reasoning never ends")
    return [
        unfinished if answer is None and verdict.score is not None else verdict
        for answer, verdict in zip(answers, verdicts, strict=True)
    ]


def _after(text: str, delimiters: Sequence[str]) -> str | None:
    for delimiter in delimiters:
        _, found, answer = text.rpartition(delimiter)
        if found:
            return answer
    return None


def final_answer(solution: str) -> str:
    """Return the answer of a reference solution: its last box, what follows `####`, or all."""
    found = find_boxes(solution).spans
    return found[-1].text if found else solution.rpartition("####")[2].strip()
