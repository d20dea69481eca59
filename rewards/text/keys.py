r"""How the key of an option looks in a text: letters, numbers, and names such as `answer2`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from rewards.text import phrases

_CLOSE = r"[)\]}>」』】》_\"'’”]{0,4}"
_JOINED = (
    r"\s{0,3}\(?(?:[,/&|+、]|\bor\b|\band\b|\bnor\b|或|和|または|と){1,2}\s{0,3}"
    r"(?:(?:or|and|maybe|possibly|perhaps|probably|even|also|else|alternatively|option|choice)\s){0,3}"
)
_FOLLOWING = (
    "because|since|as|which|and|or|with|due|for|is|was|are|were|but|not|rather|instead|given|over|"
    "based|if|while|where|so|therefore|thus|from|in|by|on|at|here|according|when|that|after|it|"
    "unless|though|although|again|however|too|then|would|must|should|has|seems|looks|appears|"
    "can|could|cannot|will|does|isn|doesn|works|fits|whereas|ist|est|es|denn|car|porque|là|adalah"
)


@dataclass(frozen=True, slots=True)
class Keys:
    """The regular expressions for one form of key; every repetition is bounded or disjoint.

    Attributes:
        mention: a key anywhere.
        ends: what may follow a key that is meant as one, matched at its end.
        boxed: the content of a box: "B", "(B)", "option B: its text"; no formula.
        alone: a line that is nothing but a key and its text.
        pure: a line that is nothing but a key.
        follower: a further key of the same run, "or C", matched at the end of the key before it.
        is_name: whether a key is a word of its own, such as "answer2".
    """

    mention: re.Pattern[str]
    ends: re.Pattern[str]
    boxed: re.Pattern[str]
    alone: re.Pattern[str]
    pure: re.Pattern[str]
    follower: re.Pattern[str]
    is_name: bool


@lru_cache(maxsize=64)
def keys_like(key: str, letters: str) -> Keys:
    """The patterns of all keys of the form of `key`: a letter, a number, or a name with a number.

    Args:
        letters: capitals, in order.
    """
    if key.isalpha():
        # A small letter is a key in brackets or at the end of its line; "I" may be a person.
        small = letters.lower()
        anywhere = (
            rf"(?!I(?:['’]|\s+(?!is\b|was\b|because\b|since\b)[a-z]))[{letters}]"
            rf"|(?<=[(\[\"'<])[{small}](?=[)\]\"'>])|[{small}](?=\W*$)"
        )
        return _keys(anywhere, rf"{anywhere}|[{small}](?=[.)]\s)", is_name=False)
    if key.isdigit():
        return _keys(r"(?<![−–-])\d{1,2}", r"\d{1,2}", is_name=False)
    name = rf"(?i:{key.rstrip('0123456789')})\s?\d{{1,2}}"
    return _keys(name, name, is_name=True)


def _keys(anywhere: str, listed: str, *, is_name: bool) -> Keys:
    one, noun = rf"(?P<key>{anywhere})", rf"(?:{phrases.NOUN})?"
    text = (
        r"(?:\)|\]|\s?[.:;!。、](?![.\d])|\s[–—-]\s|\s?(?:→|->|=>)|,?\s(?=[\d(])|项|項|选项|選項|番|번"
        r"|[,\s]+(?:and\s|but\s)?(?:because|since|as|not|rather|instead|over|without)\b|\s*$)"
    )
    if is_name:  # Options read "Answer2: text": no text may follow the key of a name.
        text = r"\s*$"
    # Not {0,12}+: before 3.11.5 Python loses matches of possessive groups (gh-106052).
    others = rf"(?:[ .,;)\]]{{0,4}}+[(\[]?+(?:{listed})){{0,12}}[ .)\]]{{0,4}}+$"
    beside = rf"[.:;)]?\s{{0,3}}(?=[(\[]?(?:{listed})[)\]]?{others})"  # "A. B.", one a line
    return Keys(
        mention=re.compile(
            rf"(?<![A-Za-z0-9]){one}{_CLOSE}(?:(?<=['’])d[iıuü]r\b)?(?![A-Za-z0-9])", re.M
        ),
        # An article is followed by a word, a choice is not; nor by the rest of a formula.
        ends=re.compile(
            rf"(?![ ]?[\^=+<>\\]|['’]s\b|-\w|[.,:]\d)(?!\s+(?!(?:{_FOLLOWING})\b)[a-z])", re.M
        ),
        boxed=re.compile(
            rf"{noun}[\s:(]{{0,4}}{one}{_CLOSE}(?=\s{{0,9}}$|\s?[).:,;/&–-]|\s(?:or|and)\b)", re.M
        ),
        alone=re.compile(rf"{noun}[(\[<{{「【]{{0,2}}(?P<key>{listed}){_CLOSE}{text}", re.M),
        pure=re.compile(rf"[\s(\[]*(?:{listed})[\s)\].]*"),
        follower=re.compile(
            rf"{_CLOSE}(?:{_JOINED}|{beside})[(\[\"']{{0,2}}{one}{_CLOSE}(?![A-Za-z0-9])", re.M
        ),
        is_name=is_name,
    )
