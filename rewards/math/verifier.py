"""The math verifier: extract, read, compare; nothing else.

correct     every final claim of the completion equals the gold answer
wrong       it was read and does not
unparsable  there is no final answer, or none that can be read within the limits
unscorable  the gold answer itself cannot be read, and the text is not the same
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from rewards.math.compare.equivalence import equivalent
from rewards.math.compare.layout import layout_key
from rewards.math.compare.statements import settle
from rewards.math.evaluate.symbolic import NoVerdict, SymbolicReader
from rewards.math.find.extract import Extraction, extract
from rewards.math.limits import MAX_CHARS, UnknownNotation, Unreadable, renew_budget
from rewards.math.nodes import Node, Text
from rewards.math.policy import STRICT, MathPolicy, Policy, as_policy
from rewards.math.read.answer import Answer, read
from rewards.verdict import Verdict, VerdictKind

_MAX_GOLD_WORDS = 8
_SHOWN = 80
_DECIMAL_COMMA = re.compile(
    r"^([^0-9]{0,8}[0-9]{1,64})(?:,|\{,\})([0-9]{1,2}|[0-9]{4,64})(?![0-9,{])"
)
_POINT_GROUPS = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:[.\s][0-9]{3})+(?:,[0-9]{1,9})?(?![0-9.,])")

Reader = Callable[[str], Answer]


def verify_math(completion: str, gold: str, *, policy: Policy = STRICT) -> Verdict:
    """Compare the final answer of `completion` with `gold`.

    >>> verify_math("The answer is 50%.", "1/2").kind.value
    'correct'

    Args:
        completion: the model's text.
        gold: a bare answer, LaTeX or plain, or a worked solution that ends in "#### answer".
        policy: "strict", "lenient", a `MathPolicy`, or a mapping of its switches.
    """
    return verify_math_batch([completion], [gold], policy=policy)[0]


def verify_math_batch(
    completions: Sequence[str], golds: Sequence[str], *, policy: Policy = STRICT
) -> list[Verdict]:
    """`verify_math` for each pair, in order; what needs a worker runs there in parallel."""
    chosen = as_policy(policy)
    found = [extract(text, max_distinct_boxes=chosen.max_distinct_boxes) for text in completions]
    bare_golds = [gold.rpartition("####")[2] for gold in golds]
    reader: Reader = read
    if chosen.symbolic:
        reader = SymbolicReader([*bare_golds, *(claim for one in found for claim in one.claims)])
    return [
        _guarded(one, gold, chosen, reader) for one, gold in zip(found, bare_golds, strict=True)
    ]


def _guarded(found: Extraction, gold: str, policy: MathPolicy, reader: Reader) -> Verdict:
    """A defect of ours, met on one row, is an error of that row and not of the whole batch."""
    try:
        return _verdict(found, gold, policy, reader)
    except (Exception, RecursionError) as error:
        return Verdict(None, VerdictKind.ERROR, f"{type(error).__name__}: {error!s:.{_SHOWN}}")


def _verdict(found: Extraction, gold: str, policy: MathPolicy, reader: Reader) -> Verdict:
    try:
        expected = _read_gold(gold, reader)
    except UnknownNotation as error:
        return _as_text(found, gold, error)
    except (Unreadable, NoVerdict) as error:
        reason = f"the gold answer {gold!r:.{_SHOWN}} cannot be read: {error}"
        return Verdict(None, VerdictKind.UNSCORABLE, reason)
    claims = _relevant(found, expected, reader)
    if not claims:
        return Verdict(0.0, VerdictKind.UNPARSABLE, found.missing)
    comma = found.comma_decimal or policy.decimal_comma
    readings = [_readings(claim, comma, found.comma_decimal) for claim in claims]
    verdicts = [_compare(each, expected, policy, reader) for each in readings]
    return next((one for one in verdicts if one.kind is not VerdictKind.CORRECT), verdicts[0])


def _as_text(found: Extraction, gold: str, error: Unreadable) -> Verdict:
    """Where gold is in a notation of its own, the same text is right, and no other is known."""
    key = layout_key(gold)
    same = bool(key and found.claims) and all(layout_key(claim) == key for claim in found.claims)
    if same:
        return Verdict(
            1.0, VerdictKind.CORRECT, f"the same text as {gold!r:.{_SHOWN}}", found.claims[0]
        )
    reason = f"the gold answer {gold!r:.{_SHOWN}} can only be compared as text: {error}"
    return Verdict(None, VerdictKind.UNSCORABLE, reason)


def _read_gold(gold: str, reader: Reader) -> Answer:
    """Read a reference answer.

    Raises:
        Unreadable: it is empty, over the limits, or a text that merely contains an answer, as
            it is when gold and completion were swapped.
    """
    answer = reader(gold)
    node = answer.node
    renew_budget()
    settle(node)
    if isinstance(node, Text):
        words = node.words.split()
        if len(words) > _MAX_GOLD_WORDS or "answer" in words:
            raise Unreadable("it reads like a completion; pass the completion first, then gold")
    return answer


def _relevant(found: Extraction, expected: Answer, reader: Reader) -> tuple[str, ...]:
    """Where gold is an option's letter, claims that are letters outrank boxed formulae."""
    if expected.letter is None or len(found.claims) < 2:
        return found.claims
    letters = tuple(claim for claim in found.claims if _letter(claim, reader))
    return letters or found.claims


def _letter(claim: str, reader: Reader) -> str | None:
    try:
        return reader(claim).letter
    except (Unreadable, NoVerdict):
        return None


def _readings(claim: str, comma: bool, groups: bool) -> tuple[str, ...]:
    """The claim as written, then with its comma as a point and its points as thousands."""
    with_point = _DECIMAL_COMMA.sub(r"\1.\2", claim) if comma else claim
    with_groups = _POINT_GROUPS.sub(_without_points, claim) if groups else claim
    return tuple(dict.fromkeys((claim, with_point, with_groups)))


def _without_points(match: re.Match[str]) -> str:
    return re.sub(r"[.\s]", "", match.group()).replace(",", ".")


def _compare(
    readings: tuple[str, ...], expected: Answer, policy: MathPolicy, reader: Reader
) -> Verdict:
    """The verdict on the first reading that matches, else on the first that can be read."""
    verdicts = []
    for reading in readings:
        verdicts.append(_compared(reading, expected, policy, reader))
        if verdicts[-1].kind is VerdictKind.CORRECT:
            return verdicts[-1]
    read_ones = [one for one in verdicts if one.kind is not VerdictKind.UNPARSABLE]
    return (read_ones or verdicts)[0]


def _compared(claim: str, expected: Answer, policy: MathPolicy, reader: Reader) -> Verdict:
    shown = f"{claim!r:.{_SHOWN}}"
    try:
        matches = _matches(expected, reader(claim), policy)
    except Unreadable as error:
        return Verdict(0.0, VerdictKind.UNPARSABLE, f"{shown}: {error}", claim[:MAX_CHARS])
    except NoVerdict as error:
        kind = VerdictKind.TIMEOUT if error.timed_out else VerdictKind.ERROR
        return Verdict(None, kind, f"{shown}: {error}", claim[:MAX_CHARS])
    kind = VerdictKind.CORRECT if matches else VerdictKind.WRONG
    relation = "matches" if matches else "does not match"
    return Verdict(float(matches), kind, f"{shown} {relation} {expected.key!r:.{_SHOWN}}", claim)


def _matches(expected: Answer, answer: Answer, policy: MathPolicy) -> bool:
    if expected.key == answer.key or (expected.formula and expected.formula == answer.formula):
        return True
    if expected.letter is not None and answer.letter is not None:
        return expected.letter == answer.letter
    if expected.option_value is not None:  # gold "(B) 12": its letter or its value
        return equivalent(expected.option_value, answer.node, policy)
    if answer.option_value is not None and equivalent(expected.node, answer.option_value, policy):
        return True
    return equivalent(_value(expected, policy), _value(answer, policy), policy)


def _value(answer: Answer, policy: MathPolicy) -> Node:
    """What an answer says; "5/2 (2.5)" says 5/2 twice, while 2 (3) is a product."""
    if answer.again is not None and equivalent(*answer.again, policy):
        return answer.again[0]
    return answer.node
