"""Words behind a number that change its value: thousands, 万, millones, dozens, tenths, percent.

They are the languages of the benchmarks we read. A word that is in none of these tables, is no
unit and counts nothing is refused: skipping it would call "5 lakh" five.
"""

from __future__ import annotations

import re
from fractions import Fraction

from rewards.math.vocabulary.words import NUMBER_WORDS, PARTS, word_list, word_set

_WORDS: dict[int | Fraction, str] = {
    10: "tens",
    12: "dozen dozens docena docenas douzaine douzaines dutzend дюжина дюжин дюжины ダース",
    100: (
        "hundred hundreds cientos centena centenas hundert сотня сотни сотен শত শো "
        "వందల వంద వందలు ร้อย mia 百 佰 백"
    ),
    144: "gross",
    1000: (
        "thousand thousands grand k K mil mille milliers tausend тысяча тысячи тысяч тыс "
        "হাজার వేల వేలు వెయ్యి พัน elfu हज़ार हजार 千 仟 천"
    ),
    10_000: "myriad myriads หมื่น 万 萬 만",
    10**5: "lakh lakhs lac lacs লক্ষ লাখ లక్ష లక్షలు లక్షల แสน laki लाख",
    10**6: (
        "million millions mn mln mio M millón millones millon milhão milhões millionen миллион "
        "миллиона миллионов млн মিলিয়ন మిలియన్ మిలియన్లు ล้าน milioni"
    ),
    10**7: "crore crores কোটি కోటి కోట్లు కోట్ల करोड़",
    10**8: "亿 億 억",
    10**9: (
        "billion billions bn bln B milliard milliards milliarde milliarden миллиард миллиарда "
        "миллиардов млрд bilioni"
    ),
    10**12: "trillion trillions tn trn T billón billones 兆 조 trilioni",
    10**15: "quadrillion quadrillions",
    10**18: "quintillion quintillions",
}
_HALF_WORDS = "mitad moitié hälfte половина половины"
_PERCENT = word_set(
    "percent percents pct percentage percentages prozent procent процент процента процентов "
    "শতাংশ శాతం เปอร์เซ็นต์ パーセント 퍼센트 프로 asilimia"
)
_PERCENT_PHRASES = (("per", "cent"), ("per", "cents"), ("por", "ciento"), ("pour", "cent"))
_UNDECIDED = word_set(
    "score couple half fold twice thrice double triple once googol googols basis ppm"
)
_CASED = frozenset("KMBT")
# In a run of Han, Kana or Hangul a multiplier is only a prefix of the word: "5万人".
_RUN = re.compile(r"[十百佰千仟万萬亿億兆십백천만억조]")
_RUN_VALUES = {"十": 10, "십": 10}
_NO_KNOWN_SIZE = re.compile(r"\w*illi(?:on|ard)s?\Z|\w*(?:teen|tie|hundred|sand|llion)ths?\Z")


def _table() -> dict[str, Fraction]:
    table = {part: Fraction(1, value) for part, value in PARTS.items() if part[-1] == "s"}
    table |= dict.fromkeys(word_list(_HALF_WORDS), Fraction(1, 2))
    for value, words in _WORDS.items():
        table |= {word: Fraction(value) for word in words.split()}
    return table


_TABLE = _table()


def multiplier(word: str, *, tight: bool) -> Fraction | None:
    """What a word multiplies the number before it by.

    >>> multiplier("thousands", tight=False)
    Fraction(1000, 1)

    Args:
        tight: no space stands between: "300K" are thousands, "300 K" are kelvins.
    """
    if len(word) == 1 and word in _CASED:
        return _TABLE[word] if tight or word == "M" else None
    return _TABLE.get(word) or _TABLE.get(word.casefold())


def leading_multiplier(word: str) -> tuple[Fraction, str] | None:
    """The multiplier a word of Han, Kana or Hangul begins with, and the rest of the word."""
    if not _RUN.match(word):
        return None
    value = _RUN_VALUES.get(word[0])
    return (Fraction(value) if value else _TABLE[word[0]]), word[1:]


def percent_words(words: list[str]) -> int:
    """How many of the first words mean percent."""
    if words[:1] and words[0] in _PERCENT:
        return 1
    return 2 if tuple(words[:2]) in _PERCENT_PHRASES else 0


def changes_value(word: str) -> bool:
    """Whether a casefolded word is a number, a part or a power: it never is what is counted."""
    known = (
        word in _TABLE
        or word in _UNDECIDED
        or word in PARTS
        or word in NUMBER_WORDS
        or word in _PERCENT
    )
    return known or bool(_NO_KNOWN_SIZE.match(word))
