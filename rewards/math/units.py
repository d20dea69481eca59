"""Unit names: one canonical name for each spelling, and factors for those that convert."""

from __future__ import annotations

from fractions import Fraction

# canonical name -> (dimension, size in the dimension's first unit, other spellings)
_TABLE: dict[str, tuple[str, Fraction, str]] = {
    "meter": ("length", Fraction(1), "m meters metre metres"),
    "kilometer": ("length", Fraction(1000), "km kms kilometers kilometre kilometres"),
    "centimeter": ("length", Fraction(1, 100), "cm cms centimeters centimetre centimetres"),
    "millimeter": ("length", Fraction(1, 1000), "mm millimeters millimetre millimetres"),
    "inch": ("length", Fraction(254, 10_000), "in inches"),
    "foot": ("length", Fraction(3048, 10_000), "ft feet"),
    "yard": ("length", Fraction(9144, 10_000), "yd yds yards"),
    "mile": ("length", Fraction(1_609_344, 1000), "mi miles"),
    "gram": ("mass", Fraction(1), "g grams gm"),
    "kilogram": ("mass", Fraction(1000), "kg kgs kilograms kilo kilos"),
    "milligram": ("mass", Fraction(1, 1000), "mg milligrams"),
    "pound": ("mass", Fraction(45_359_237, 100_000), "lb lbs pounds"),
    "ounce": ("mass", Fraction(45_359_237, 1_600_000), "oz ounces"),
    "ton": ("mass", Fraction(1_000_000), "tons tonne tonnes"),
    "second": ("time", Fraction(1), "s sec secs seconds"),
    "minute": ("time", Fraction(60), "min mins minutes"),
    "hour": ("time", Fraction(3600), "h hr hrs hours"),
    "day": ("time", Fraction(86_400), "days"),
    "week": ("time", Fraction(604_800), "weeks"),
    "month": ("month", Fraction(1), "months"),
    "year": ("month", Fraction(12), "yr yrs years"),
    "cent": ("dollar", Fraction(1, 100), "cents ¢"),
    "dollar": ("dollar", Fraction(1), "dollars usd bucks $"),
    "euro": ("euro", Fraction(1), "euros eur €"),
    "sterling": ("sterling", Fraction(1), "gbp quid £"),
    "rupee": ("rupee", Fraction(1), "rupees rs inr ₹"),
    "yen": ("yen", Fraction(1), "jpy ¥"),
    "yuan": ("yuan", Fraction(1), "rmb cny"),
    "liter": ("volume", Fraction(1), "l liters litre litres"),
    "milliliter": ("volume", Fraction(1, 1000), "ml milliliters millilitre millilitres"),
    "radian": ("angle", Fraction(1), "rad rads radians"),
    "unit": ("unit", Fraction(1), "units"),
    "celsius": ("celsius", Fraction(1), "°c"),
    "fahrenheit": ("fahrenheit", Fraction(1), "°f"),
    "joule": ("energy", Fraction(1), "joules"),
    "newton": ("force", Fraction(1), "newtons"),
    "watt": ("power", Fraction(1), "watts"),
    "hertz": ("frequency", Fraction(1), "hz"),
    "am": ("am", Fraction(1), "a.m. a.m"),
    "pm": ("pm", Fraction(1), "p.m. p.m"),
}
_COMPOUND = {
    "mph": (("hour", -1), ("mile", 1)),
    "kph": (("hour", -1), ("kilometer", 1)),
    "kmh": (("hour", -1), ("kilometer", 1)),
    "kmph": (("hour", -1), ("kilometer", 1)),
}
_CANONICAL = {
    spelling: name
    for name, (_, _, spellings) in _TABLE.items()
    for spelling in (name, *spellings.split())
}
SCALES = {
    "hundred": 10**2,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
CURRENCY_SIGNS = "$€£₹¥¢"

Unit = tuple[tuple[str, int], ...]


def is_unit_name(word: str) -> bool:
    return word.casefold() in _CANONICAL or word.casefold() in _COMPOUND


def unit_of(word: str) -> Unit:
    """The unit a word names; a word outside the table is a unit of its own ("apples")."""
    folded = word.casefold()
    if folded in _COMPOUND:
        return _COMPOUND[folded]
    plain = folded[:-1] if len(folded) > 3 and folded.endswith("s") else folded
    return ((_CANONICAL.get(folded, plain), 1),)


def combine(parts: list[tuple[str, int]]) -> Unit:
    """Multiply units: exponents of the same name add, zero exponents vanish."""
    total: dict[str, int] = {}
    for name, exponent in parts:
        total[name] = total.get(name, 0) + exponent
    return tuple(sorted((name, exponent) for name, exponent in total.items() if exponent))


def conversion(unit: Unit) -> tuple[Unit, Fraction]:
    """A unit in terms of base dimensions, and its size in them."""
    factor = Fraction(1)
    parts = []
    for name, exponent in unit:
        dimension, size, _ = _TABLE.get(name, (name, Fraction(1), ""))
        factor *= size**exponent
        parts.append((dimension, exponent))
    return combine(parts), factor
