"""The math verifier: extract, read, compare; nothing else.

correct     every final claim of the completion equals the gold answer
wrong       it was read and does not
unparsable  there is no final answer, or none that can be read within the limits
unscorable  the gold answer itself cannot be read
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rewards.math.answer import Answer, read
from rewards.math.compare import equivalent
from rewards.math.extract import Extraction, extract
from rewards.math.limits import Unreadable
from rewards.math.nodes import Text
from rewards.math.policy import STRICT, MathPolicy, as_policy
from rewards.verdict import Verdict, VerdictKind

_MAX_GOLD_WORDS = 8
_SHOWN = 80

Policy = str | MathPolicy | Mapping[str, object]


def verify_math(completion: str, gold: str, *, policy: Policy = STRICT) -> Verdict:
    """Compare the final answer of `completion` with `gold`.

    Args:
        completion: the model's text.
        gold: a bare answer, LaTeX or plain, or a worked solution that ends in "#### answer".
        policy: "strict", "lenient", a `MathPolicy`, or a mapping of its switches.
    """
    return _verify(completion, gold, as_policy(policy))


def verify_math_batch(
    completions: Sequence[str], golds: Sequence[str], *, policy: Policy = STRICT
) -> list[Verdict]:
    """`verify_math` for each pair, in order."""
    chosen = as_policy(policy)
    return [_verify(text, gold, chosen) for text, gold in zip(completions, golds, strict=True)]


def _verify(completion: str, gold: str, policy: MathPolicy) -> Verdict:
    try:
        expected = read_gold(gold)
    except Unreadable as error:
        reason = f"the gold answer {gold!r:.{_SHOWN}} cannot be read: {error}"
        return Verdict(None, VerdictKind.UNSCORABLE, reason)
    found = extract(completion, max_distinct_boxes=policy.max_distinct_boxes)
    claims = _relevant(found, expected)
    if not claims:
        return Verdict(0.0, VerdictKind.UNPARSABLE, found.missing)
    for claim in claims:
        verdict = _compare(claim, expected, policy)
        if verdict.kind is not VerdictKind.CORRECT:
            return verdict
    return verdict


def read_gold(gold: str) -> Answer:
    """Read a reference answer.

    Raises:
        Unreadable: it is empty, over the limits, or a text that merely contains an answer, as
            it is when gold and completion were swapped.
    """
    answer = read(gold.rpartition("####")[2])
    node = answer.node
    if isinstance(node, Text):
        words = node.words.split()
        if len(words) > _MAX_GOLD_WORDS or "answer" in words:
            raise Unreadable("it reads like a completion; pass the completion first, then gold")
    return answer


def _relevant(found: Extraction, expected: Answer) -> tuple[str, ...]:
    """Where gold is an option's letter, claims that are letters outrank boxed formulae."""
    if expected.letter is None or len(found.claims) < 2:
        return found.claims
    letters = tuple(claim for claim in found.claims if _letter(claim))
    return letters or found.claims


def _letter(claim: str) -> str | None:
    try:
        return read(claim).letter
    except Unreadable:
        return None


def _compare(claim: str, expected: Answer, policy: MathPolicy) -> Verdict:
    try:
        answer = read(claim)
        matches = _matches(expected, answer, policy)
    except Unreadable as error:
        return Verdict(0.0, VerdictKind.UNPARSABLE, f"{claim!r:.{_SHOWN}}: {error}", claim)
    kind = VerdictKind.CORRECT if matches else VerdictKind.WRONG
    relation = "matches" if matches else "does not match"
    return Verdict(
        float(matches), kind, f"{claim!r:.{_SHOWN}} {relation} {expected.key!r:.{_SHOWN}}", claim
    )


def _matches(expected: Answer, answer: Answer, policy: MathPolicy) -> bool:
    if expected.key == answer.key:
        return True
    if expected.letter is not None and answer.letter is not None:
        return expected.letter == answer.letter
    return equivalent(expected.node, answer.node, policy)
