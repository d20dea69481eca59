"""What digits write and no arithmetic is meant by: dates, times, numerals with letters in them.

2020-01-02 is no subtraction, 01/02/2020 no quotient and ABC_{16} no product. Either stands as a
whole item; inside a longer expression the signs are arithmetic.
"""

from __future__ import annotations

import re
from fractions import Fraction

from rewards.math.nodes import Based, Group, Number, Quantity

_ITEM_ENDS = r"(?=\s{0,4}(?:\.?\s{0,4}\Z|[,;)}\]=]|\\[)}\]]|and\b|or\b))"
_DATE = re.compile(
    r"(?:(?P<first>[12][0-9]{3})(?P<sign>[-/])(?P<month>[0-9]{1,2})(?P=sign)(?P<day>[0-9]{1,2})"
    rf"|(?P<left>[0-9]{{1,2}})/(?P<right>[0-9]{{1,2}})/(?P<last>[12][0-9]{{3}})){_ITEM_ENDS}"
)
_NUMERAL = re.compile(
    r"(?P<open>\(|\\(?:text|texttt|textbf|mathrm|mathtt|mathbf|mathit)\s?\{)?"
    r"(?P<digits>[0-9A-Z]{1,64}|[0-9a-z]{1,64})(?(open)[)}])\s?_\s?"
    rf"(?:\{{\s?(?P<braced>[0-9]{{1,2}})\s?\}}|(?P<base>[0-9]{{1,2}})){_ITEM_ENDS}"
)
_HALVES = dict.fromkeys(("上午", "早上", "凌晨", "午前"), "am") | {"下午": "pm", "午後": "pm"}
_TIME = re.compile(
    rf"(?P<half>{'|'.join(_HALVES)})?\s?(?P<hour>[0-9]{{1,2}})\s?[点點時]\s?"
    rf"(?:(?P<minute>[0-5]?[0-9])\s?分|半){_ITEM_ENDS}"
)
_COEFFICIENT = re.compile(r"[0-9]*[a-z]")  # 2a_{16} is twice a term of a sequence


def written_date(text: str, start: int) -> tuple[str, int] | None:
    """One spelling of the date that starts there, and its end.

    Whether 01/02/2020 means January or February its writer knows: it stays as it is, while in
    12/31/2020 only one number can be the month.

    >>> written_date("31/12/2020", 0)
    ('2020-12-31', 10)
    """
    match = _DATE.match(text, start)
    if not match:
        return None
    if match["first"]:
        parts = [int(match["first"]), int(match["month"]), int(match["day"])]
        return (_iso(*parts), match.end()) if _is_day(*parts[1:]) else None
    left, right, year = int(match["left"]), int(match["right"]), int(match["last"])
    readings = {_iso(year, *pair) for pair in ((left, right), (right, left)) if _is_day(*pair)}
    if not readings:
        return None
    lone = readings.pop()
    return f"{left:02}/{right:02}/{year}" if readings else lone, match.end()


def _is_day(month: int, day: int) -> bool:
    return 1 <= month <= 12 and 1 <= day <= 31


def _iso(year: int, month: int, day: int) -> str:
    return f"{year}-{month:02}-{day:02}"


def date(text: str) -> Group:
    """The numbers of a date in one of the spellings of `written_date`, in its order."""
    return Group("date", tuple(Number(Fraction(part)) for part in re.split("[-/]", text)))


def written_time(text: str, start: int) -> tuple[str, int] | None:
    """One spelling of the time of day that starts there, and its end.

    >>> written_time("下午3点30分", 0)
    ('3:30 pm', 7)
    """
    match = _TIME.match(text, start)
    if not match:
        return None
    hour, minute = int(match["hour"]), int(match["minute"] or 30)
    half = _HALVES.get(match["half"] or "", "")
    if hour > (12 if half else 24) and not (half == "pm" and hour < 24):
        return None
    half = half if hour <= 12 else ""  # 下午15点 has said it already
    return f"{hour}:{minute:02} {half}".rstrip(), match.end()


def time(text: str) -> Group:
    """A time of day in the spelling of `written_time`."""
    clock, _, half = text.partition(" ")
    hour, minute = (Number(Fraction(part)) for part in clock.split(":"))
    return Group("clock", (hour, Quantity(minute, ((half, 1),)) if half else minute))


def written_numeral(text: str, start: int) -> tuple[str, int] | None:
    """The digits and the base, "A1_16", of a numeral that holds letters or has brackets.

    Digits alone, 204_5, are read as a number with a subscript. Small letters are digits of base
    16 alone: ab_{12} is a product.
    """
    match = _NUMERAL.match(text, start)
    if not match:
        return None
    digits, base = match["digits"], int(match["braced"] or match["base"])
    if not match["open"] and (digits.isdigit() or len(digits) == 1):
        return None
    if digits.islower() and (base != 16 or (not match["open"] and _COEFFICIENT.fullmatch(digits))):
        return None
    if not 2 <= base <= 36 or any(int(digit, 36) >= base for digit in digits):
        return None
    return f"{digits.upper().lstrip('0') or '0'}_{base}", match.end()


def numeral(text: str) -> Based:
    """A numeral in the spelling of `written_numeral`."""
    digits, _, base = text.partition("_")
    return Based(digits, int(base))


WRITTEN = {"date": written_date, "time": written_time, "numeral": written_numeral}
"""The tokens that are a whole item, by their kind."""
