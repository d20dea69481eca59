"""Times of day in words: "half past seven", "ten minutes to four", "in the morning"."""

from __future__ import annotations

from collections.abc import Sequence

from rewards.math.vocabulary.words import leading_number

_PARTS = {"half": 30, "quarter": 15}
_HALVES = {
    ("in", "the", "morning"): "am",
    ("in", "the", "afternoon"): "pm",
    ("in", "the", "evening"): "pm",
    ("at", "night"): "night",
    ("noon",): "noon",
    ("midday",): "noon",
    ("midnight",): "midnight",
}
_ONE_HALF = ({"pm", "night"}, {"am", "night"}, {"pm", "noon"}, {"am", "midnight"})


def half_of_day(words: Sequence[str]) -> tuple[str, int] | None:
    """The half of the day that words behind a time name, and how many of them do.

    >>> half_of_day(["o'clock", "in", "the", "evening"])
    ('pm', 4)
    """
    start = int(words[:1] == ["o'clock"])
    for said, name in _HALVES.items():
        end = start + len(said)
        if tuple(words[start:end]) == said:
            return name, end
    return None


def agrees(half: str, other: str) -> bool:
    """Whether two names of the half of the day can be said of one time: 10 PM at night.

    >>> agrees("pm", "am")
    False
    """
    return half == other or any({half, other} <= one for one in _ONE_HALF)


def time_in_words(words: Sequence[str]) -> tuple[int, int, int] | None:
    """Hour and minute of "half past three" and "a quarter to 5", and how many words they take.

    "ten to five" is a ratio to one reader and a time to another: it is read as neither, but "ten
    minutes to five" and "ten past five" are no ratios.
    """
    minutes = _minutes(words)
    if minutes is None:
        return None
    part, end, is_time = minutes
    sign = {"past": 1, "to": -1}.get(words[end], 0) if len(words) > end + 1 else 0
    hour = _hour(words[end + 1]) if sign else 0
    if not hour or (sign < 0 and (part == 30 or not is_time)):
        return None
    return (hour, part, end + 2) if sign > 0 else ((hour + 10) % 12 + 1, 60 - part, end + 2)


def _minutes(words: Sequence[str]) -> tuple[int, int, bool] | None:
    """How many minutes the first words are, how many words, and whether only a clock has them."""
    start = int(words[:1] == ["a"])
    if words[start : start + 1] and words[start] in _PARTS:
        return _PARTS[words[start]], start + 1, True
    number = leading_number(words)
    if number is None or number[0].denominator != 1 or not 1 <= number[0] <= 29:
        return None
    is_named = words[number[1] : number[1] + 1] in (["minute"], ["minutes"])
    return int(number[0]), number[1] + is_named, is_named


def _hour(word: str) -> int:
    """The hour of a clock face a word or a numeral names; 0 if none."""
    number = int(word) if word.isascii() and word.isdigit() and len(word) < 3 else 0
    named = leading_number([word])
    hour = int(named[0]) if named and named[0].denominator == 1 else number
    return hour if 1 <= hour <= 12 else 0
