"""Numbers written in English words: "forty-two", "two thirds", "minus three"."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction


def word_list(text: str) -> list[str]:
    """The words of a table written as one string."""
    return text.split()


def word_set(text: str) -> frozenset[str]:
    return frozenset(word_list(text))


_SMALL = {
    word: value
    for value, word in enumerate(
        word_list(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen "
            "fourteen fifteen sixteen seventeen eighteen nineteen"
        )
    )
}
_TENS = {
    word: 10 * value
    for value, word in enumerate(
        word_list("twenty thirty forty fifty sixty seventy eighty ninety"), start=2
    )
}
_MAX_DECIMALS = 8
SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
PARTS = {
    word: value
    for value, words in enumerate(
        word_list(
            "half,halves third,thirds quarter,quarters fifth,fifths sixth,sixths "
            "seventh,sevenths eighth,eighths ninth,ninths tenth,tenths eleventh,elevenths "
            "twelfth,twelfths"
        ),
        start=2,
    )
    for word in words.split(",")
} | {
    f"{part}{plural}": value
    for part, value in (
        ("fourth", 4), ("sixteenth", 16), ("twentieth", 20), ("fiftieth", 50),
        ("hundredth", 100), ("thousandth", 1000), ("millionth", 10**6), ("billionth", 10**9),
    )
    for plural in ("", "s")
}  # fmt: skip
_ORDINALS = (
    {
        word: value
        for value, word in enumerate(
            word_list(
                "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth "
                "thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth"
            ),
            start=1,
        )
    }
    | {f"{ten[:-1]}ieth": value for ten, value in _TENS.items()}
    | {"hundredth": 100}
)
NUMBER_WORDS = frozenset(_SMALL) | frozenset(_TENS) | frozenset(SCALES)


def leading_number(words: Sequence[str]) -> tuple[Fraction, int] | None:
    """The number at the start of `words` (casefolded) and how many words it takes.

    >>> leading_number(["three", "quarters", "full"])
    (Fraction(3, 4), 2)
    """
    start = 1 if words and words[0] in ("minus", "negative") else 0
    sign = -1 if start else 1
    if words[start : start + 1] in (["half"], ["quarter"]):
        return Fraction(sign, PARTS[words[start]]), start + 1
    if words[start : start + 1] in (["a"], ["an"]) and words[start + 1 : start + 2]:
        if part := PARTS.get(words[start + 1]):
            return Fraction(sign, part), start + 2
        if words[start + 1] not in SCALES:
            return None
        words = [*words[:start], "one", *words[start + 1 :]]  # a hundred and five
    total, end = _whole(words, start)
    if end == start:
        return None
    if end < len(words) and words[end] in PARTS:
        return Fraction(sign * total, PARTS[words[end]]), end + 1
    decimals, end = _decimals(words, end)
    return sign * (total + decimals), end


def _decimals(words: Sequence[str], end: int) -> tuple[Fraction, int]:
    """The one fourth of "three point two five", digit by digit, and where it ends."""
    digits = ""
    if words[end : end + 1] == ["point"]:
        for word in words[end + 1 : end + 1 + _MAX_DECIMALS]:
            if _SMALL.get(word, 10) > 9:
                break
            digits += str(_SMALL[word])
    if not digits:
        return Fraction(0), end
    return Fraction(int(digits), 10 ** len(digits)), end + 1 + len(digits)


def ordinal(words: Sequence[str]) -> int | None:
    """The place that "third" or "twenty first" names, `None` if the words say anything else."""
    if len(words) == 1:
        return _ORDINALS.get(words[0])
    unit = _ORDINALS.get(words[1], 10) if len(words) == 2 else 10
    return _TENS[words[0]] + unit if unit < 10 and words[0] in _TENS else None


def _whole(words: Sequence[str], start: int) -> tuple[int, int]:
    """Value and end of a whole number: hundreds build up inside each thousand."""
    total = current = 0
    end = start
    for end, word in enumerate(words[start:], start):
        if word in _SMALL or word in _TENS:
            current += _SMALL.get(word, _TENS.get(word, 0))
        elif word == "hundred" and current:
            current *= 100
        elif word in SCALES and current:
            total, current = total + current * SCALES[word], 0
        else:
            return total + current, end
    return total + current, len(words)
