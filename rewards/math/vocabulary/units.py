"""Unit names: one canonical name for each spelling, and factors for those that convert.

A word is a unit only if it is in these tables. Symbols are told apart by case, because "m" is a
metre and "M" a million; whole words are not.
"""

from __future__ import annotations

from fractions import Fraction

from rewards.math.vocabulary.words import word_set

# canonical name -> (dimension, size in the dimension's first unit, other words, symbols)
_TABLE: dict[str, tuple[str, Fraction, str, str]] = {
    "meter": ("length", Fraction(1), "metre", "m"),
    "gram": ("mass", Fraction(1), "gramme", "g gm gms"),
    "second": ("time", Fraction(1), "sec", "s"),
    "liter": ("volume", Fraction(1), "litre", "l L"),
    "newton": ("force", Fraction(1), "", "N"),
    "joule": ("energy", Fraction(1), "", "J"),
    "kilowatt-hour": ("energy", Fraction(3_600_000), "", "kWh"),
    "watt": ("power", Fraction(1), "", "W"),
    "volt": ("voltage", Fraction(1), "", "V"),
    "ampere": ("current", Fraction(1), "amp", "A"),
    "hertz": ("frequency", Fraction(1), "", "Hz"),
    "pascal": ("pressure", Fraction(1), "", "Pa"),
    "mole": ("amount", Fraction(1), "", "mol mols"),
    "electronvolt": ("electronvolt", Fraction(1), "", "eV"),
    "ohm": ("resistance", Fraction(1), "", "Ω"),
    "coulomb": ("charge", Fraction(1), "", "C"),
    "farad": ("capacitance", Fraction(1), "", "F"),
    "tesla": ("field", Fraction(1), "", "T"),
    "henry": ("inductance", Fraction(1), "henries", "H"),
    "weber": ("flux", Fraction(1), "", "Wb"),
    "kelvin": ("kelvin", Fraction(1), "", "K"),
    "calorie": ("calorie", Fraction(1), "", "cal"),
    "byte": ("byte", Fraction(1), "", "B"),
    "inch": ("length", Fraction(254, 10_000), "inches", "in"),
    "foot": ("length", Fraction(3048, 10_000), "feet", "ft"),
    "yard": ("length", Fraction(9144, 10_000), "", "yd yds"),
    "mile": ("length", Fraction(1_609_344, 1000), "", "mi"),
    "angstrom": ("length", Fraction(1, 10**10), "", "Å"),
    "pound": ("mass", Fraction(45_359_237, 100_000), "", "lb lbs"),
    "ounce": ("mass", Fraction(45_359_237, 1_600_000), "", "oz"),
    "ton": ("mass", Fraction(1_000_000), "tonne", ""),
    "minute": ("time", Fraction(60), "min", "min mins"),
    "hour": ("time", Fraction(3600), "hr", "h hr hrs"),
    "day": ("time", Fraction(86_400), "", ""),
    "week": ("time", Fraction(604_800), "wk", ""),
    "month": ("month", Fraction(1), "", ""),
    "year": ("month", Fraction(12), "yr", "yrs"),
    "decade": ("month", Fraction(120), "", ""),
    "century": ("month", Fraction(1200), "centuries", ""),
    "cent": ("dollar", Fraction(1, 100), "penny pennies", "¢"),
    "dollar": ("dollar", Fraction(1), "usd aud cad hkd sgd nzd buck dola dólar dólares", "$"),
    "euro": ("euro", Fraction(1), "eur", "€"),
    "sterling": ("sterling", Fraction(1), "gbp quid", "£"),
    "pence": ("sterling", Fraction(1, 100), "", ""),
    "rupee": ("rupee", Fraction(1), "rs re inr", "₹"),
    "paisa": ("rupee", Fraction(1, 100), "paise", ""),
    "yen": ("yen", Fraction(1), "jpy", "¥"),
    "yuan": ("yuan", Fraction(1), "rmb cny renminbi", ""),
    "won": ("won", Fraction(1), "krw", "₩"),
    "ruble": ("ruble", Fraction(1), "rouble rub", "₽"),
    "baht": ("baht", Fraction(1), "thb", "฿"),
    "taka": ("taka", Fraction(1), "bdt", "৳"),
    "shilling": ("shilling", Fraction(1), "tsh ksh", ""),
    "franc": ("franc", Fraction(1), "chf", ""),
    "peso": ("peso", Fraction(1), "php mxn", "₱"),
    "lira": ("lira", Fraction(1), "", "₺"),
    "dong": ("dong", Fraction(1), "vnd", "₫"),
    "shekel": ("shekel", Fraction(1), "nis", "₪"),
    "gallon": ("gallon", Fraction(1), "gal", ""),
    "quart": ("gallon", Fraction(1, 4), "qt", ""),
    "pint": ("gallon", Fraction(1, 8), "pt", ""),
    "cup": ("gallon", Fraction(1, 16), "", ""),
    "tablespoon": ("gallon", Fraction(1, 256), "tbsp", ""),
    "teaspoon": ("gallon", Fraction(1, 768), "tsp", ""),
    "acre": ("acre", Fraction(1), "", ""),
    "hectare": ("hectare", Fraction(1), "", "ha"),
    "radian": ("angle", Fraction(1), "rad", "rad rads"),
    "arcminute": ("arc", Fraction(60), "", ""),
    "arcsecond": ("arc", Fraction(1), "", ""),
    "unit": ("unit", Fraction(1), "", ""),
    "bit": ("bit", Fraction(1), "", ""),
    "knot": ("knot", Fraction(1), "", ""),
    "atmosphere": ("atmosphere", Fraction(1), "", "atm"),
    "bar": ("bar", Fraction(1), "", ""),
    "decibel": ("decibel", Fraction(1), "", "dB"),
    "molar": ("molar", Fraction(1), "", ""),
    "celsius": ("celsius", Fraction(1), "°c", ""),
    "fahrenheit": ("fahrenheit", Fraction(1), "°f", ""),
    "am": ("am", Fraction(1), "a.m. a.m", ""),
    "pm": ("pm", Fraction(1), "p.m. p.m", ""),
    "o'clock": ("o'clock", Fraction(1), "", ""),
    "ordinal": ("ordinal", Fraction(1), "", ""),
}
_PREFIXED = word_set(
    "meter gram second liter newton joule watt volt ampere hertz pascal mole electronvolt "
    "ohm coulomb farad tesla calorie byte"
)
_PREFIXES = {
    "pico": ("p", Fraction(1, 10**12)),
    "nano": ("n", Fraction(1, 10**9)),
    "micro": ("μ", Fraction(1, 10**6)),
    "milli": ("m", Fraction(1, 1000)),
    "centi": ("c", Fraction(1, 100)),
    "deci": ("d", Fraction(1, 10)),
    "hecto": ("h", Fraction(100)),
    "kilo": ("k", Fraction(1000)),
    "mega": ("M", Fraction(10**6)),
    "giga": ("G", Fraction(10**9)),
    "tera": ("T", Fraction(10**12)),
}
_COMPOUND = {
    "mph": (("hour", -1), ("mile", 1)),
    "kph": (("hour", -1), ("kilometer", 1)),
    "kmh": (("hour", -1), ("kilometer", 1)),
    "kmph": (("hour", -1), ("kilometer", 1)),
    "mpg": (("gallon", -1), ("mile", 1)),
    "cc": (("centimeter", 3),),
    "sqft": (("foot", 2),),
}
# Symbols that people also write in capitals; any other symbol means something else in capitals.
_ANY_CASE = word_set("km kg cm mm ml mg ft in lb lbs oz hr hrs min mins sec yd mi kms kgs")
CURRENCY_SIGNS = "$€£₹¥¢₩₽฿₺₫₪₱৳"
UNIT_LETTERS = frozenset("mgshlLNJWVAKT")
# Where letters side by side are a product ("mA", "kV"), only these two or three are still a unit.
_PLAIN_SYMBOLS = _ANY_CASE | word_set(
    "cms gm gms hz Hz kHz MHz GHz kPa kW kWh kJ mol yr yrs rs am pm AM PM mph kph kmh cc"
)

Unit = tuple[tuple[str, int], ...]
ORDINAL: Unit = (("ordinal", 1),)


def _with_prefixes() -> dict[str, tuple[str, Fraction, str, str]]:
    table = dict(_TABLE)
    for base in _PREFIXED:
        dimension, size, words, symbols = _TABLE[base]
        for prefix, (letter, factor) in _PREFIXES.items():
            table[prefix + base] = (
                dimension,
                size * factor,
                " ".join(prefix + word for word in words.split()),
                " ".join(letter + symbol for symbol in symbols.split()),
            )
    dimension, size, words, symbols = table["kilogram"]
    table["kilogram"] = (dimension, size, f"{words} kilo", f"{symbols} kgs")
    dimension, size, words, symbols = table["kilometer"]
    table["kilometer"] = (dimension, size, words, f"{symbols} kms")
    dimension, size, words, symbols = table["centimeter"]
    table["centimeter"] = (dimension, size, words, f"{symbols} cms")
    return table


_ALL = _with_prefixes()
_WORDS = {
    spelling: name
    for name, (_, _, words, _) in _ALL.items()
    for word in (name, *words.split())
    for spelling in (word, f"{word}s")
}
_SYMBOLS = {symbol: name for name, (_, _, _, symbols) in _ALL.items() for symbol in symbols.split()}


def canonical_unit(word: str) -> Unit | None:
    """The unit a word or symbol names, `None` if it is none that is known here.

    >>> canonical_unit("km"), canonical_unit("M")
    ((('kilometer', 1),), None)
    """
    folded = word.casefold()
    name = _SYMBOLS.get(word) or (_SYMBOLS.get(folded) if folded in _ANY_CASE else None)
    if name is None and len(word) > 1:
        if folded in _COMPOUND:
            return _COMPOUND[folded]
        name = _WORDS.get(folded)
    return ((name, 1),) if name else None


def stands_alone(word: str) -> bool:
    """Whether letters outside text are a unit rather than a product of variables."""
    known = word in _PLAIN_SYMBOLS or word.casefold() in _ANY_CASE or len(word) > 2
    return known and canonical_unit(word) is not None


def is_currency(unit: Unit) -> bool:
    """Whether the unit is one of money alone."""
    if len(unit) != 1 or unit[0][1] != 1:
        return False
    return _dimension(unit[0][0]) in _MONEY


_MONEY = word_set(
    "dollar euro sterling rupee yen yuan won ruble baht taka shilling franc peso lira dong shekel"
)


def _dimension(name: str) -> str:
    return _ALL[name][0] if name in _ALL else name


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
        dimension, size, _, _ = _ALL.get(name, (name, Fraction(1), "", ""))
        factor *= size**exponent
        parts.append((dimension, exponent))
    return combine(parts), factor
