r"""Multiple choice: letters, numeric keys, and `answer2` forms.

A completion may *state* its choice in a box, in a sentence such as "The answer is (B)", or by
being nothing but the key. Statements run together ("A, B, C, D", one box per option) are one
statement of several choices, and a statement of several choices is no answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from rewards.errors import RewardError
from rewards.math.boxes import find_boxes
from rewards.regions import answer_region
from rewards.verdict import Verdict, VerdictKind

LETTERS = "ABCDE"

_NAMED_KEY = re.compile(r"([a-z]{3,12})\s?(\d{1,2})", re.IGNORECASE)
_LATEX_TEXT = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox)\s?\{([^{}]*)\}")
_JOIN = re.compile(r"(?:[\s,;/&|$.*]|\\[,; ]|and\b|or\b)*", re.IGNORECASE)
# What may follow "The answer is A": an article is followed by a word, a choice is not.
_AFTER_KEY = (
    r"(?![A-Za-z0-9_'’^=+<>\\-]|[.,]\d)"
    r"(?!\s+(?!because\b|since\b|as\b|which\b|and\b|or\b|with\b|due\b|for\b|is\b|was\b|-)[a-z])"
)
_MARKS = r"[\s*_`\"'$({\[]{0,8}"
_LEADS = (
    r"(?:answer|option|choice)[*_]{0,2}\s{0,3}"
    r"(?:(?:is|was|must\sbe|should\sbe|would\sbe)\b\s{0,3}:?|:|=)",
    r"\b(?:i|we)\s(?:choose|chose|pick|select|go[ ]with)\b",
    r"####",
)
_NOUN = r"(?:(?:option|choice|answer)\b\s{0,3})?"


@dataclass(frozen=True, slots=True)
class _Statement:
    keys: frozenset[str]
    start: int
    end: int


def verify_choice(completion: str, gold: str, *, letters: str = LETTERS) -> Verdict:
    r"""Compare the one choice a completion states with the key of the right option.

    >>> verify_choice("Only one survives.\n\nAnswer: (B)", "B").score
    1.0

    Args:
        completion: the model's text.
        gold: a letter of `letters`, a numeric key ("3"), or a named one ("answer2"); the form
            of the gold answer decides which form is looked for.
        letters: the options' letters, in order.

    Raises:
        RewardError: `letters` is not a string of different capital letters.
    """
    if not (letters.isascii() and letters.isupper() and len(set(letters)) == len(letters) > 1):
        raise RewardError(f"letters must be different capitals such as 'ABCDE', got {letters!r}.")
    key = _gold_key(gold, letters)
    if key is None:
        reason = f"gold must be one of {letters}, a number or a form like answer2, got {gold!r:.60}"
        return Verdict(None, VerdictKind.UNSCORABLE, reason)
    chosen = _choices(completion, _key_pattern(key, letters))
    if not chosen:
        return Verdict(0.0, VerdictKind.UNPARSABLE, "the completion states no choice")
    if len(chosen) > 1:
        reason = f"the completion states several choices: {', '.join(sorted(chosen))}"
        return Verdict(0.0, VerdictKind.UNPARSABLE, reason)
    (found,) = chosen
    kind = VerdictKind.CORRECT if found == key else VerdictKind.WRONG
    score = float(found == key)
    return Verdict(score, kind, f"chose {found}, the key is {key}", extracted=found)


def _gold_key(gold: str, letters: str) -> str | None:
    bare = gold.strip().strip("().").strip()
    if bare.upper() in list(letters):
        return bare.upper()
    if bare.isascii() and bare.isdigit() and len(bare) <= 2:
        return bare
    named = _NAMED_KEY.fullmatch(bare)
    return named[1].lower() + named[2] if named else None


def _key_pattern(key: str, letters: str) -> str:
    """Return the pattern of all keys of the same form as `key`."""
    if key.isalpha():
        small = letters.lower()  # a small letter is a key in brackets or at the end of its line
        return rf"[{letters}]|(?<=\()[{small}](?=\))|[{small}](?=\W*$)"
    if key.isdigit():
        return r"\d{1,2}"
    return rf"(?i:{key.rstrip('0123456789')})\s?\d{{1,2}}"


def _choices(completion: str, key: str) -> frozenset[str]:
    region = answer_region(completion)
    if region is None:
        return frozenset()
    region = _LATEX_TEXT.sub(r"\1", region)
    statements = _boxed(region, key)
    stated = _stated(region, key)
    if statements and stated and stated[-1].start > statements[-1].end:
        # A sentence after the box restates it or takes it back; two answers are none.
        return _last(region, statements) | _last(region, stated)
    return _last(region, statements or stated) or _bare(region, key)


def _last(region: str, statements: list[_Statement]) -> frozenset[str]:
    """Return the keys of the last statement and of those run together with it."""
    keys: frozenset[str] = frozenset()
    following: _Statement | None = None
    for statement in reversed(statements):
        if following and not _JOIN.fullmatch(region, statement.end, following.start):
            break
        keys |= statement.keys
        following = statement
    return keys


def _boxed(region: str, key: str) -> list[_Statement]:
    found = []
    for box in find_boxes(region).spans:
        keys = _listed(box.text[:500].strip(" $*"), key)
        if keys:
            found.append(_Statement(keys, box.start, box.end))
    return found


def _listed(content: str, key: str) -> frozenset[str]:
    """Return the keys of "B", "(B)", "option B: its text" or "A, B"; none of a formula."""
    match = _patterns(key).boxed.match(content)
    if match is None:
        return frozenset()
    return _with_followers(content, match, key)


def _stated(region: str, key: str) -> list[_Statement]:
    found = [
        _Statement(_with_followers(region, match, key), match.start(), match.end())
        for pattern in (_patterns(key).sentence, _patterns(key).inverted)
        for match in pattern.finditer(region)
    ]
    return sorted(found, key=lambda statement: statement.start)


def _with_followers(text: str, match: re.Match[str], key: str) -> frozenset[str]:
    keys = {_normal(match["key"])}
    position = match.end()
    while (follower := _patterns(key).follower.match(text, position)) is not None:
        keys.add(_normal(follower["key"]))
        position = follower.end()
    return frozenset(keys)


def _bare(region: str, key: str) -> frozenset[str]:
    """Return the key if the region, or its last line, is nothing but the key (and its text)."""
    for line in region.strip().splitlines()[-1:]:
        content = line[:500].strip(" $*_`\"'")
        match = _patterns(key).alone.match(content)
        if match is not None:
            return _with_followers(content, match, key)
    if not key.startswith("(?i:"):
        return frozenset()
    # A named key ("answer2") is no ordinary word, so a mention is a statement.
    return frozenset(_normal(m) for m in _patterns(key).mention.findall(region))


def _normal(key: str) -> str:
    return re.sub(r"\s", "", key).lower() if len(key) > 2 else key.upper()


@dataclass(frozen=True, slots=True)
class _Patterns:
    """The regular expressions for one form of key; every repetition is bounded or disjoint."""

    sentence: re.Pattern[str]
    inverted: re.Pattern[str]
    boxed: re.Pattern[str]
    alone: re.Pattern[str]
    follower: re.Pattern[str]
    mention: re.Pattern[str]


@lru_cache(maxsize=64)
def _patterns(key: str) -> _Patterns:
    one = rf"(?P<key>{key})"
    close = r"[)\]}*_`\"'$]{0,4}"
    # A named key is itself "answer2" and its options read "Answer2: text": no text may follow.
    text = r"\s*$" if key.startswith("(?i:") else r"(?:[)\].:]|\s*$)"
    join = r"\s{0,3}(?:[,/&|]|\bor\b|\band\b){1,2}\s{0,3}(?:or\s|and\s)?"
    return _Patterns(
        sentence=re.compile(
            rf"(?i:{'|'.join(_LEADS)}){_MARKS}(?i:{_NOUN}){_MARKS}{one}{close}{_AFTER_KEY}", re.M
        ),
        inverted=re.compile(
            rf"(?:^|[\s(*\"]){one}{close}\s{{1,3}}(?:is|was)\s(?:the\s)?(?:correct|right|best)\b",
            re.M,
        ),
        boxed=re.compile(
            rf"(?i:{_NOUN})[\s:(]{{0,4}}{one}{close}(?:\s{{0,9}}$|\s?[).:,;–-]|\s(?=or\b|and\b))",
            re.M,
        ),
        alone=re.compile(rf"[(\[]?{one}{text}(?![.\d])"),
        follower=re.compile(rf"{join}[(\[*]{{0,2}}{one}{close}(?![A-Za-z0-9])"),
        mention=re.compile(rf"\b({key})\b"),
    )
