"""What stands behind a value: multipliers, percent, units, and the noun it counts.

    quantity := value multiplier* ["%"] unit* [noun] [remark]
    parts    := quantity (smaller quantity)*        "2 hours 30 minutes", "6 ft 3 in", "30° 15'"

Nothing is skipped that is not known: a word left over makes the answer unreadable.
"""

from __future__ import annotations

from fractions import Fraction

from rewards.math.limits import UnknownNotation, Unreadable
from rewards.math.nodes import Apply, Group, Node, Number, Quantity, Symbol, walk
from rewards.math.read.cursor import Cursor
from rewards.math.read.denials import denial
from rewards.math.read.scaling import MAX_WORDS, multiplied, plain_number
from rewards.math.vocabulary.languages import WORDS as FOREIGN_UNITS
from rewards.math.vocabulary.languages import closes, is_counted, is_run, run_unit
from rewards.math.vocabulary.multipliers import changes_value
from rewards.math.vocabulary.nouns import (
    FILLERS,
    PREPOSITIONS,
    SENTENCE_WORDS,
    counts,
    is_countable_without_s,
    is_singular,
    singular,
)
from rewards.math.vocabulary.times import agrees, half_of_day
from rewards.math.vocabulary.units import ORDINAL, Unit, canonical_unit, combine, conversion
from rewards.math.vocabulary.words import NUMBER_WORDS, word_set

_MAX_PARTS = 4
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3, "cubed": 3, "squared": 2}
_PER = word_set("per a an each every")
_REMARK_WORDS = 3
_HALVES = {"am": "am", "pm": "pm", "picometer": "pm"}


def quantity(cursor: Cursor, value: Node, currency: str | None) -> Node:
    """Read on behind `value`.

    Raises:
        Unreadable: a word that is no unit, multiplier or noun that is counted follows.
    """
    if cursor.position >= len(cursor.tokens) and not currency and not _may_be_degrees(value):
        return value
    value = _greek_unit(cursor, value)
    if isinstance(value, Quantity) and value.unit != ORDINAL:
        return value
    if isinstance(value, Quantity):  # an ordinal: "5th place"
        _noun(cursor, plural=False)
        return value
    first = _single(cursor, value, currency)
    parts = [first]
    while len(parts) < _MAX_PARTS and (part := _smaller(cursor, parts[-1])):
        parts.append(part)
    _remark(cursor)
    return Group("+", tuple(parts)) if len(parts) > 1 else first


def _single(cursor: Cursor, value: Node, currency: str | None) -> Node:
    unit = list(_unit_of(currency)) if currency else []
    if cursor.at("op", "'") and cursor.ahead().kind == "number":  # 6'3''
        cursor.position += 1
        return Quantity(value, (("foot", 1),))
    value = multiplied(cursor, value, bool(currency))
    if temperature := _temperature(cursor, value):
        return temperature
    if cursor.take("op", "%"):
        value = Apply("percent", (value,))
    if sign := cursor.take("currency"):
        unit += _unit_of(sign.text)
    if not unit and (half := half_of_day(cursor.words(4))):
        cursor.position += half[1]
        return Quantity(value, ((half[0], 1),))
    unit += _units(cursor, value)
    if not unit:
        return value
    if isinstance(value, Group):
        raise Unreadable("a unit after a group")
    return Quantity(value, combine(unit))


def _unit_of(sign: str) -> Unit:
    unit = canonical_unit(sign)
    if unit is None:
        raise Unreadable(f"{sign!r} is no currency that is known here")
    return unit


def _may_be_degrees(value: Node) -> bool:
    return isinstance(value, Apply) and value.name == "mul"


def _greek_unit(cursor: Cursor, value: Node) -> Node:
    """The unit of "5 Ω" and "5 μm", set apart from its number, was read as a factor."""
    match value:
        case Apply("mul", (Number() as number, Symbol("Omega"))) if cursor.ahead(-1).gap:
            return Quantity(number, _unit_of("Ω"))
        case Apply("mul", (Number() as number, Symbol("mu"))) if cursor.at("word") and (
            unit := canonical_unit(f"μ{cursor.token.text}")
        ):
            cursor.position += 1
            return Quantity(number, unit)
    return value


def _temperature(cursor: Cursor, value: Node) -> Quantity | None:
    """The C of "20 °C", whose sign was read as degrees."""
    match value:
        case Apply("mul", (Apply("degree", (inner,)), Symbol("C" | "F" as letter))):
            return Quantity(inner, _unit_of(f"°{letter}"))
        case Apply("degree", (inner,)) if cursor.at("word", "C", "F"):
            return Quantity(inner, _unit_of(f"°{cursor.next().text}"))
    return None


# -- units ------------------------------------------------------------------------------------


def _units(cursor: Cursor, value: Node) -> list[tuple[str, int]]:
    parts: list[tuple[str, int]] = []
    power, direction = 1, 1
    for _ in range(MAX_WORDS):
        step = _unit_step(cursor, started=bool(parts))
        if step == "/":
            direction = -1
        elif step in _POWERS and parts and step.endswith("d"):
            parts[-1] = (parts[-1][0], parts[-1][1] * _POWERS[step])
        elif step in _POWERS:
            power = _POWERS[step]
        elif step and (unit := _known(step)) and not (step == "in" and cursor.at("word")):
            power *= _exponent(cursor)
            parts += [(name, sign * power * direction) for name, sign in unit]
            power = 1
            _pass_half_said_again(cursor, parts[-1][0])
        elif step:
            cursor.position -= 1
            return parts + _counted(cursor, value, direction, bool(parts))
        elif step is None:
            if power != 1 or (direction == -1 and not parts):
                raise Unreadable("half a unit")
            return parts
    raise Unreadable("a unit of too many words")


def _pass_half_said_again(cursor: Cursor, unit: str) -> None:
    """Pass over the evening of "6:45 PM in the evening"; no time is PM and in the morning."""
    named = _HALVES.get(unit)
    half = half_of_day(cursor.words(4)) if named else None
    if named and half and not agrees(named, half[0]):
        raise Unreadable("a time in both halves of the day")
    cursor.position += half[1] if half else 0


def _known(word: str) -> Unit | None:
    name = FOREIGN_UNITS.get(word.casefold())
    return canonical_unit(word) or (((name, 1),) if name else None)


def _unit_step(cursor: Cursor, *, started: bool) -> str | None:
    """The next piece of a unit; "" for a sign between two of them."""
    token = cursor.token
    if token.kind == "word":
        word = token.text.casefold()
        is_ratio = word == "to" and cursor.ahead().kind == "number"  # "3 to 2"
        if is_ratio or denial(cursor) or (started and word in NUMBER_WORDS):
            return None
        cursor.position += 1
        cursor.take("op", ".")  # "sq. ft."
        if word in _PER and (started or word == "per"):
            return "/" if _noun_follows(cursor) else ""
        return word if word in _POWERS else token.text.replace(" ", "")
    if token.kind == "op" and token.text == "/" and _per_follows(cursor):
        cursor.position += 1
        return "/"
    if started and token.kind in ("symbol", "op") and token.text in tuple("*.hsmgl"):
        cursor.position += 1
        return "" if token.text in "*." else token.text
    return None


def _per_follows(cursor: Cursor) -> bool:
    """Whether a unit stands below the stroke: "/s", or all of "/(mol K)"."""
    following = cursor.ahead()
    if following.text != "(" or cursor.ahead(2).kind != "word":
        return following.kind in ("word", "symbol")
    inside = cursor.tokens[cursor.position + 2 :]
    end = next((i for i, token in enumerate(inside) if token.kind == "close"), 0)
    cursor.tokens = [*cursor.tokens[: cursor.position + 1], *inside[:end], *inside[end + 1 :]]
    return end > 0


def _noun_follows(cursor: Cursor) -> bool:
    word = cursor.token.text.casefold()
    return cursor.token.kind == "word" and word not in FILLERS and word not in PREPOSITIONS


def _exponent(cursor: Cursor) -> int:
    if not cursor.at("op", "^"):
        return 1
    cursor.position += 1
    braced = cursor.take("open", "{")
    sign = -1 if cursor.take("op", "-") else 1
    number = cursor.take("number")
    if braced:
        cursor.expect("close", "}")
    if not number or not number.text.isdigit() or len(number.text) > 1:
        raise Unreadable("the exponent of a unit must be one digit")
    return sign * int(number.text)


# -- what is counted --------------------------------------------------------------------------


def _counted(cursor: Cursor, value: Node, direction: int, has_unit: bool) -> list[tuple[str, int]]:
    """The noun at the cursor, as a unit of its own: five apples are not five oranges."""
    if not any(isinstance(part, Number) for part in walk(value)):
        raise UnknownNotation("words after letters are a sentence, not a quantity")
    if is_run(cursor.token.text):
        return _run_counted(cursor)
    noun = _noun(cursor, plural=direction > 0 and not has_unit and _is_many(value))
    if has_unit and direction > 0:  # "3 cups of flour" are three cups
        return []
    return [(name, power * direction) for name, power in noun]


def _is_many(value: Node) -> bool:
    """Whether English puts what is counted in the plural: not for "1" and "1/2 mug"."""
    if isinstance(value, Number):
        return abs(value.value) > 1
    return not (isinstance(value, Apply) and value.name in ("div", "percent", "mixed"))


def _noun(cursor: Cursor, *, plural: bool) -> list[tuple[str, int]]:
    """Take the words of "red apples in total" and name what is counted."""
    words = cursor.words(MAX_WORDS)
    written = [token.text for token in cursor.tokens[cursor.position :][: len(words)]]
    cursor.position += len(words)
    if any(word in SENTENCE_WORDS or changes_value(word) for word in words):
        raise Unreadable("a sentence, or a word that changes the value, after the value")
    end = next((i for i, word in enumerate(words) if word in PREPOSITIONS), len(words))
    phrase = [word for word in written[:end] if word.casefold() not in FILLERS]
    if not phrase:
        return []
    counting = (word for word in reversed(phrase) if counts(word.casefold()) or _known(word))
    head = next(counting, phrase[-1])
    if known := _known(head):
        return list(known)
    head = head.casefold()
    if counts(head) or (not plural and is_singular(head)):
        return [(head if is_countable_without_s(head) else singular(head), 1)]
    raise UnknownNotation(f"{head!r} after a number is no unit that is known here")


def _run_counted(cursor: Cursor) -> list[tuple[str, int]]:
    """The words of a script without spaces: 平方厘米, 个苹果, です."""
    word = cursor.token.text
    found = run_unit(word)
    if found is None and closes(word):
        found = ((), "")
    if found is None or not is_counted(found[1]):
        raise UnknownNotation(f"{word!r} after a number is no unit that is known here")
    cursor.position += 1
    if found[0] and cursor.at("op", "/") and (below := run_unit(cursor.ahead().text)):
        cursor.position += 2
        return [*found[0], *((name, -power) for name, power in below[0])]
    return list(found[0])


def _remark(cursor: Cursor) -> None:
    """Skip "(maximum)": one to three words in brackets that are no sentence."""
    if not cursor.at("open", "("):
        return
    start = cursor.position
    cursor.position += 1
    words = cursor.words(_REMARK_WORDS)
    cursor.position += len(words)
    plain = words and not any(word in SENTENCE_WORDS or changes_value(word) for word in words)
    if not (plain and cursor.take("close", ")")):
        cursor.position = start


# -- several units ----------------------------------------------------------------------------


def _smaller(cursor: Cursor, before: Node) -> Node | None:
    """The next part of "2 hours 30 minutes": its unit has to be a smaller one of the same kind."""
    if sexagesimal := _arc_or_foot(cursor, before):
        return sexagesimal
    if not isinstance(before, Quantity):
        return None
    start = cursor.position
    cursor.take("sep", ",")
    cursor.take("join", "and")
    value = plain_number(cursor)
    unit = _known(cursor.token.text) if value and cursor.token.kind == "word" else None
    if value and unit and is_smaller(unit, before.unit):
        cursor.position += 1
        return Quantity(value, unit)
    if cursor.position != start:
        cursor.position = start
    return None


def is_smaller(unit: Unit, other: Unit) -> bool:
    (kind, size), (other_kind, other_size) = conversion(unit), conversion(other)
    return kind == other_kind and size < other_size


def _arc_or_foot(cursor: Cursor, before: Node) -> Node | None:
    """The minutes of 30° 15' 20'', or the inches of 6'3''."""
    start = cursor.position
    number = cursor.take("number")
    primes = 0
    while number and primes < 2 and cursor.take("op", "'"):
        primes += 1
    match before, primes:
        case Apply("degree", _), 1:
            name = "arcminute"
        case (Apply("degree", _), 2) | (Quantity(_, (("arcminute", 1),)), 2):
            name = "arcsecond"
        case Quantity(_, (("foot", 1),)), 2:
            name = "inch"
        case _:
            cursor.position = start
            return None
    assert number is not None
    if not number.text.isdigit():
        raise Unreadable("minutes of arc and inches are whole numbers")
    return Quantity(Number(Fraction(int(number.text))), ((name, 1),))
