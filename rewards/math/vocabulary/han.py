"""Numbers in words of Chinese, Japanese and Korean: 三十五, 二〇二四, 三分之二, 삼십오.

Each power of ten follows its digit, and 万 and 亿 close a group of four. 一百二 is 120 to one
reader and 102 to another: a digit right behind 百, 千 or 万 is read only after 零 or 十, and 百二,
which only Japanese writes without its 一, is 102.
"""

from __future__ import annotations

import re
from fractions import Fraction

_DIGITS = {digit: value for value, digit in enumerate("〇一二三四五六七八九")} | {
    "零": 0, "两": 2, "兩": 2
}  # fmt: skip
_TENS = {"十": 10, "百": 100, "千": 1000}
_GROUPS = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_SIGNS = "〇零一二三四五六七八九两兩十百千万萬亿億"
_NUMBER = re.compile(
    rf"(?P<sign>[负負])?(?P<whole>[{_SIGNS}]{{1,64}})"
    "(?:[点點](?P<decimals>[〇零一二三四五六七八九]{1,64}))?"
)
_PART = re.compile(rf"分[之の](?P<above>[{_SIGNS}]{{1,64}})")
_MIXED = re.compile(rf"[又と](?P<below>[{_SIGNS}]{{1,64}})分[之の](?P<above>[{_SIGNS}]{{1,64}})")
_TENTHS = re.compile(
    "割(?:(?P<percent>[一二三四五六七八九])分(?:(?P<mill>[一二三四五六七八九])厘)?)?"
)
_HALF = re.compile("一?半")
# 两年半 and 2時間半; 两月半 may be the middle of a month.
_UNIT_AND_HALF = re.compile(r"(?P<unit>年|天|周|[个個箇]?小[时時]|時間)半(?=\W|$)")
_MINUS = re.compile(
    rf"(?<![^\s=(,:\[{{$])-(?=[{_SIGNS}])|(?:\A|(?<=[=(,:\[{{$]))(?P<space>\s?)-\s(?=[{_SIGNS}])"
)
_NEGATIVE = re.compile(r"(?:\A|(?<=[=(,:\[{$]))(?P<space>\s?)[负負]\s?(?=[0-9])")
# 三个半圆 are three.
_AND_HALF = re.compile(r"[个個箇]半(?=\W|$|小[时時]|[钟鐘]头|鐘頭|星期|月|世[纪紀])")
_BY_DIGIT = re.compile("[〇零一二三四五六七八九]{3,32}|[一二三四五六七八九][〇零]")
_GROUPED = re.compile(f"([^{''.join(_GROUPS)}]*)([{''.join(_GROUPS)}]?)")


# As cheques have them, and as Korean reads them aloud.
_OTHER_SIGNS = str.maketrans(
    "壹壱贰弐叁参肆伍陆柒捌玖拾佰仟" + "일이삼사오육칠팔구영공십백천만억",
    "一一二二三三四五六七八九十百千" + "一二三四五六七八九零零十百千万亿",
)
_IN_DIGITS = re.compile(
    r"(?<![0-9.,^_/])(?P<whole>[0-9]{1,64})\s?"
    rf"(?:(?:分[之の]|분의)\s?(?P<above>[0-9]{{1,64}})(?![0-9.,])|{_AND_HALF.pattern})"
)
_OTHERS_IN_DIGITS = re.compile(
    r"(?<![0-9.,^_/])(?P<whole>[0-9]{1,64}|(?<![^\s$-])[0-9]{1,3}(?:,[0-9]{3}){1,20}(?=又))"
    r"(?:[又と](?P<below>[0-9]{1,64})分[之の](?P<above>[0-9]{1,64})(?![0-9.,])"
    rf"|割(?:(?P<percent>[0-9])分(?:(?P<mill>[0-9])厘)?)?(?=\W|$|で)|{_UNIT_AND_HALF.pattern})"
)
_KOREAN_PARTS = re.compile(
    r"(?P<below>[일이삼사오육칠팔구십백천]{1,64})분의\s?(?P<above>[일이삼사오육칠팔구십백천]{1,64})"
)
_KOREAN = re.compile("[일이삼사오육칠팔구]*[십백천]")  # the digits are words of other kinds, too


def han_number(word: str) -> tuple[Fraction, str] | None:
    """The number a word begins with and what is left of it, `None` if it begins with none.

    >>> han_number("三十五个")
    (Fraction(35, 1), '个')
    """
    if half := _HALF.match(word):
        return Fraction(1, 2), word[half.end() :]
    written = word
    if word[:1] < "\uac00" or _KOREAN.match(word):
        word = word.translate(_OTHER_SIGNS)
    match = _NUMBER.match(word)
    whole = _whole(match["whole"]) if match else None
    if match is None or whole is None:
        return None
    rest = word[match.end() :]
    value, unit = Fraction(whole), ""
    if match["decimals"]:
        digits = "".join(str(_DIGITS[digit]) for digit in match["decimals"])
        value += Fraction(int(digits), 10 ** len(digits))
    elif half := _UNIT_AND_HALF.match(rest):
        value, unit, rest = value + Fraction(1, 2), half["unit"], rest[half.end() :]
    elif tenths := _TENTHS.match(rest):
        percent = _DIGITS[tenths["percent"]] if tenths["percent"] else 0
        mill = _DIGITS[tenths["mill"]] if tenths["mill"] else 0
        value = value / 10 + Fraction(10 * percent + mill, 1000)
        rest = rest[tenths.end() :]
    elif mixed := _MIXED.match(rest):
        beside = _proper(_whole(mixed["above"]), _whole(mixed["below"]))
        if beside is None:
            return None
        value, rest = value + beside, rest[mixed.end() :]
    elif half := _AND_HALF.match(rest):
        value, rest = value + Fraction(1, 2), rest[half.end() :]
    elif part := _PART.match(rest):
        above = _whole(part["above"])
        if above is None or not value:
            return None
        value, rest = above / value, rest[part.end() :]
    return (-value if match["sign"] else value), unit + written[len(word) - len(rest) :]


def with_plain_parts(text: str) -> str:
    """A text in which 3분의 2 and 10分の3 are fractions, 2个半 is 2.5 and 삼분의 이 is 三分之二.

    So are 2又3分之1 and 3割; 2年半 is 2.5年, -三 is 负三, and 负3 is -3.

    >>> with_plain_parts("3분의 2"), with_plain_parts("2个半")
    ('\\\\frac{2}{3}', '2.5')
    """
    text = _NEGATIVE.sub(r"\g<space>-", _MINUS.sub(r"\g<space>负", text))
    text = _OTHERS_IN_DIGITS.sub(_plain_other, text)
    text = _KOREAN_PARTS.sub(
        lambda found: f"{found['below']}分之{found['above']}".translate(_OTHER_SIGNS), text
    )
    return _IN_DIGITS.sub(_plain_part, text)


def _plain_other(found: re.Match[str]) -> str:
    whole = int(found["whole"].replace(",", ""))
    if found["unit"]:
        return f"{whole}.5{found['unit']}"
    if found["below"]:
        part = _proper(int(found["above"]), int(found["below"]))
        if part is None:
            return found.group()
        value = whole + part
    else:
        parts = 10 * int(found["percent"] or 0) + int(found["mill"] or 0)
        value = Fraction(100 * whole + parts, 1000)
    if value.denominator == 1:
        return str(value)
    return f"\\frac{{{value.numerator}}}{{{value.denominator}}}"


def _proper(above: int | None, below: int | None) -> Fraction | None:
    """A fraction below 1, as one beside a whole number is."""
    return Fraction(above, below) if above and below and above < below else None


def _plain_part(found: re.Match[str]) -> str:
    whole, above = found["whole"], found["above"]
    if above and not int(whole):  # a fraction that has no value is paid to nobody
        return found.group()
    return f"\\frac{{{above}}}{{{whole}}}" if above else f"{whole}.5"


def _whole(signs: str) -> int | None:
    """A whole number, `None` if the signs make none."""
    if _BY_DIGIT.fullmatch(signs):  # 二〇二四
        return int("".join(str(_DIGITS[digit]) for digit in signs))
    total, before = 0, 10**12
    for section, group in _GROUPED.findall(signs):
        if not section + group:
            break
        size = _GROUPS.get(group, 1)
        value = _below_ten_thousand(section, begins=not total)
        if value is None or size >= before:
            return None
        total, before = total + value * size, size
    return total


def _below_ten_thousand(signs: str, *, begins: bool) -> int | None:
    """What stands before 万, before 亿 or at the end; `None` if a digit's power is not plain."""
    total, last_power = 0, 10**4
    digit, has_zero = 0, False
    for sign in signs:
        power = _TENS.get(sign)
        if power is None:
            if digit:
                return None
            digit, has_zero = _DIGITS[sign], has_zero or not _DIGITS[sign]
        elif power >= last_power:
            return None
        else:
            total, last_power = total + (digit or 1) * power, power
            digit, has_zero = 0, False
    is_plain = has_zero or last_power == 10 or signs[:1] in ("百", "千")
    if digit and not is_plain and not (begins and last_power == 10**4):
        return None
    return total + digit if signs else None
