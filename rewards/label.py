"""Classification: one label out of a closed set, compared after unicode and case folding."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from rewards.errors import RewardError
from rewards.math.boxes import find_boxes
from rewards.regions import answer_region
from rewards.verdict import Verdict, VerdictKind

_LEAD = re.compile(
    r"(?:\b(?:answer|label|class|category|sentiment)\b[*_]{0,2}\s{0,3}(?:is\b|:|=)|####)"
    r"[\s*_`\"':]{0,8}([^\n]{1,200})",
    re.IGNORECASE,
)


def verify_label(completion: str, gold: str, *, labels: Sequence[str] = ()) -> Verdict:
    r"""Compare the label a completion gives with the gold label.

    >>> verify_label("The review is warm. Label: Positive.", "positive").score
    1.0

    The label is looked for in the last box, else in the last line that names it ("Label: ..."),
    else in the whole answer. With `labels` exactly one of them must occur there, as whole words;
    without, the text there must be the gold label itself.

    Args:
        completion: the model's text.
        gold: the right label; one outside `labels` is unscorable.
        labels: the closed set.

    Raises:
        RewardError: two labels are equal after folding.
    """
    known = tuple(_fold(label) for label in labels)
    if len(set(known)) < len(known):
        raise RewardError(f"labels must differ after case folding, got {list(labels)!r}.")
    expected = _fold(gold)
    if not expected or (known and expected not in known):
        reason = f"gold must be one of {list(labels) or 'the labels'}, got {gold!r:.60}"
        return Verdict(None, VerdictKind.UNSCORABLE, reason)
    region = answer_region(completion)
    stated = None if region is None else _fold(_stated(region))
    if not stated:
        return Verdict(0.0, VerdictKind.UNPARSABLE, "the completion gives no label")
    return _compare(stated, expected, known)


def _compare(stated: str, expected: str, known: tuple[str, ...]) -> Verdict:
    found = set(_alternatives(known).findall(stated)) if known else {stated}
    if len(found) != 1:
        several = ", ".join(sorted(found)) or "no known label"
        return Verdict(0.0, VerdictKind.UNPARSABLE, f"one label is wanted, got {several}")
    (label,) = found
    correct = label == expected
    kind = VerdictKind.CORRECT if correct else VerdictKind.WRONG
    reason = f"label {label!r:.60}, gold {expected!r:.60}"
    return Verdict(float(correct), kind, reason, extracted=label[:200])


def _stated(region: str) -> str:
    found = find_boxes(region).spans
    if found:
        return re.sub(r"\\(?:text|textbf|mathrm)\s?\{([^{}]*)\}", r"\1", found[-1].text)
    lead = None
    for match in _LEAD.finditer(region):
        lead = match[1]
    return region if lead is None else lead


@lru_cache(maxsize=64)
def _alternatives(labels: tuple[str, ...]) -> re.Pattern[str]:
    # Longest first, so that "not positive" is not read as "positive".
    choices = "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{choices})(?!\w)")


def _fold(text: str) -> str:
    """Normalise unicode (NFKC), case and blanks, and drop quotes and punctuation around."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return folded.strip(" .,:;!*_`\"'“”‘’$")
