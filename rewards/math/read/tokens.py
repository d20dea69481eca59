"""From text to tokens, for LaTeX and plain notation alike, in one linear pass.

Braces of text and font commands vanish here (`\\text{cm}` is the word "cm", `\\mathbf{7}` the
number 7), so the parser sees structure only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rewards.math.limits import (
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_TOKENS,
    OverLimit,
    UnknownNotation,
    Unreadable,
)
from rewards.math.read.normalise import DECIMAL_COMMA, THOUSANDS, normalise
from rewards.math.read.written import WRITTEN
from rewards.math.vocabulary.commands import (
    COMMANDS,
    DROPPED,
    FONT_COMMANDS,
    FUNCTIONS,
    GREEK_SIGNS,
    PLAIN_WORDS,
    SHORT_WORDS,
    SYMBOLS,
    TEXT_COMMANDS,
    WITH_ARGUMENT,
)
from rewards.math.vocabulary.languages import is_run
from rewards.math.vocabulary.nouns import COMMON, is_countable_without_s
from rewards.math.vocabulary.units import CURRENCY_SIGNS, UNIT_LETTERS, stands_alone
from rewards.math.vocabulary.words import NUMBER_WORDS, SCALES

_NUMBER = re.compile(
    rf"(?:[0-9]{{1,3}}(?:{THOUSANDS}[0-9]{{3}})+(?![0-9])|[0-9]+)?"
    r"(?:\.(?=[0-9\\(])[0-9]*)?"
)
_TIGHT_NUMBER = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?")
_REPEAT = re.compile(
    r"(?:\\(?:overline|bar|overbar)\{|\()([0-9]+)[})]|\\dot\{?([0-9])\}?(?:([0-9]*)\\dot\{?([0-9])\}?)?"
)
_EXPONENT = re.compile(
    r"(?:[eE]|\\(?:text|mathrm|textrm)\{\s?[eE]\s?\}\{?)([+-]?[0-9]{1,9})\}?(?![0-9A-Za-z.])"
)
_ROW_GAP = re.compile(r"\s?\[\s?-?[0-9.]+\s?(?:pt|ex|em|mm|cm)\s?\]")
_SPACE = re.compile(r"(?:\s|\\[,;:!>\s()\[\]]|~(?!=))+")  # with \( \) \[ \]
_COMMAND = re.compile(r"\\([A-Za-z]+)\*?")
_MARKS = "\u0300-\u036f\u0900-\u0dff\u0e00-\u0eff"  # vowels and tones of Indic scripts and Thai
_LETTERS = re.compile(rf"[^\W\d_](?:[^\W\d_]|[{_MARKS}])*")
_TEXT_WORD = re.compile(
    r"[ap]\.\s?m\.?(?![a-z])|o['’]clock"
    rf"|[^\W\d_](?:[^\W\d_]|[{_MARKS}])*(?:-[^\W\d_](?:[^\W\d_]|[{_MARKS}])*)*",
    re.IGNORECASE,
)
_ORDINAL = re.compile(
    r"(?:\s?\^\s?(?:\{\s?)?)?(?:\\(?:text|textrm|mathrm|rm|mbox|textsuperscript)\s?\{?\s?)?"
    r"(?P<suffix>st|nd|rd|th)(?![a-zA-Z])\s?(?P<closing>\}{0,2})"
)
_ARTICLE = re.compile(r"a\s+[a-z]{3}|A\s+(?i:half|third|quarter|fifth|tenth|hundred|dozen)")
_BEHIND_AN = re.compile(r"\s+(?:eigh|eleven)")
_DOLLARS = re.compile(r"(?:US|HK|NT|AU|CA|NZ|SG|A|C|S)\s?\\?\$(?=\s?[0-9.])")
_HYPHENATED = re.compile(rf"({'|'.join(NUMBER_WORDS)})-([^\W\d_]+)(?![-\w])", re.IGNORECASE)
_SYMBOL = re.compile(r"\.\.\.|\*\*|<=|>=|==|:=|~=|\\[{}&%|\\-]|[-+*/^_=<>()\[\]{},;!%|':.&]")
_BELOW_HUNDRED = re.compile(
    rf"(?:[\s-]{{1,4}}(?:{'|'.join(NUMBER_WORDS - SCALES.keys())})\b){{1,2}}"
    rf"(?![\s-]{{1,4}}(?:{'|'.join(SCALES)}))",
    re.IGNORECASE,
)
_ITEM_STARTS = ("sep", "row", "join", "rel", "open")
_BRACED = re.compile(r"\s*\{([^{}\\]{0,40})\}")


@dataclass(frozen=True, slots=True)
class Token:
    """`kind` says what the parser may do with it, `gap` whether a space stood before it."""

    kind: str
    text: str
    gap: bool = False


def tokenize(text: str) -> tuple[Token, ...]:
    """Split an answer into tokens.

    Raises:
        OverLimit, Unreadable: it is too large or holds what no answer holds.
    """
    return tuple(_Tokenizer(normalise(text)).run())


class _Tokenizer:
    def __init__(self, text: str) -> None:
        # An even number of bare dollars delimits mathematics, an odd one is money.
        bare_dollars = len(re.findall(r"(?<!\\)\$", text))
        self.text = text if bare_dollars % 2 else re.sub(r"(?<!\\)\$", " ", text)
        self.position = 0
        self.gap = False
        self.tokens: list[Token] = []
        self.braces: list[str] = []  # "group" (a token); "text", "font", "roman" vanish
        self.brackets = 0
        signs = max(self.text.count("-"), self.text.count("/"))
        self.may_be_written = signs > 1 or any(sign in self.text for sign in "_分半")
        # In "(1,000, 2,000)" only the commas without a space can belong to a number.
        self.spaced_commas = bool(re.search(r"[,;]\s", self.text))

    def run(self) -> list[Token]:
        while self.position < len(self.text):
            space = _SPACE.match(self.text, self.position)
            if space:
                self.position = space.end()
                self.gap = True
                continue
            self._next()
            self.gap = False
            if len(self.tokens) > MAX_TOKENS or len(self.braces) > MAX_DEPTH:
                raise OverLimit(f"more than {MAX_TOKENS} signs or {MAX_DEPTH} nested braces")
        return self.tokens

    def _next(self) -> None:
        char = self.text[self.position]
        if self.may_be_written and self._written():
            return
        if char in "0123456789" or (char == "." and self._digit_follows()):
            self._number()
        elif char == "\\" and (match := _COMMAND.match(self.text, self.position)):
            self.position = match.end()
            self._command(match.group(1))
        elif match := _DOLLARS.match(self.text, self.position):
            self.position = match.end()
            self._add("currency", "$")
        elif char in CURRENCY_SIGNS or self.text.startswith("\\$", self.position):
            self.position += 2 if char == "\\" else 1
            self._add("currency", "$" if char == "\\" else char)
        elif char.isalpha():
            self._letters()
        else:
            self._symbol()

    def _written(self) -> bool:
        """A date, a time or a numeral that is a whole item."""
        if self.tokens and self.tokens[-1].kind not in _ITEM_STARTS:
            return False
        for kind, found in WRITTEN.items():
            if match := found(self.text, self.position):
                self._add(kind, match[0])
                self.position = match[1]
                return True
        return False

    def _add(self, kind: str, text: str) -> None:
        self.tokens.append(Token(kind, text, self.gap))

    def _digit_follows(self) -> bool:
        return self.text[self.position + 1 : self.position + 2].isdigit()

    def _number(self) -> None:
        tight = self.brackets == 0 or self.spaced_commas or self._zero_group()
        match = _TIGHT_NUMBER.match(self.text, self.position) if tight else None
        match = match or _NUMBER.match(self.text, self.position)
        assert match is not None
        digits = match.group().replace(THOUSANDS, "").replace(",", "")
        self.position = match.end()
        if "." in digits:
            digits += self._repeating_part(digits)
        if digits.endswith("."):  # "5.\\," and the like: the point ended a sentence
            digits = digits[:-1]
        if len(digits) > MAX_DIGITS:
            raise OverLimit(f"a number of more than {MAX_DIGITS} digits")
        exponent = _EXPONENT.match(self.text, self.position)
        if exponent:
            self.position = exponent.end()
            digits += "e" + exponent.group(1)
        self._add("number", digits)
        self._ordinal(digits)

    def _ordinal(self, digits: str) -> None:
        """The "th" of "5th", of "5^{th}" and of "5^{\\text{th}}"; "5st" has none."""
        match = _ORDINAL.match(self.text, self.position) if digits.isdigit() else None
        if not match or match["suffix"] != _ordinal_suffix(digits):
            return
        if match.group().count("{") == len(match["closing"]):
            self.position = match.end()
            self._add("ordinal", match["suffix"])

    def _zero_group(self) -> bool:
        """Inside brackets "(1,000)" is a number: no list holds the item "000"."""
        match = _TIGHT_NUMBER.match(self.text, self.position)
        return match is not None and ",0" in match.group()

    def _repeating_part(self, digits: str) -> str:
        match = _REPEAT.match(self.text, self.position)
        if match:
            self.position = match.end()
            return f"({match.group(1) or ''.join(part or '' for part in match.groups()[1:])})"
        if self.text.startswith(("...", "\\ldots", "\\dots", "\\cdots"), self.position):
            period = _visible_period(digits.partition(".")[2])
            ending = re.compile(r"\.\.\.|\\[a-z]+").match(self.text, self.position)
            if period and ending:
                self.position = ending.end()
                return f"({period})"
        return ""

    def _command(self, name: str) -> None:
        if name in TEXT_COMMANDS or name in FONT_COMMANDS:
            font = "roman" if name == "mathrm" else "font"
            self._wrapper("text" if name in TEXT_COMMANDS or self._in_text() else font)
        elif name in ("color", "textcolor", "colorbox"):
            self._skip_braced()
            self._wrapper("font")
        elif name in WITH_ARGUMENT:
            self._skip_braced()
        elif name in ("mathbb", "Bbb"):
            self._number_set()
        elif name in ("operatorname", "mathop"):
            match = _BRACED.match(self.text, self.position)
            if not match or not match.group(1).strip():
                raise Unreadable(f"\\{name} without a name in braces")
            self.position = match.end()
            self._word(match.group(1).strip())
        elif name in ("begin", "end"):
            self._environment(name)
        elif name in DROPPED:
            if name in ("left", "right") and self.text.startswith(".", self.position):
                self.position += 1
        elif name in COMMANDS:
            self._add(*COMMANDS[name])
        else:
            raise UnknownNotation(f"command \\{name} is not one of those that make up answers")

    def _wrapper(self, mode: str) -> None:
        space = _SPACE.match(self.text, self.position)
        after = space.end() if space else self.position
        if self.text.startswith("{", after):
            self.position = after + 1
            self.braces.append(mode)

    def _skip_braced(self) -> None:
        match = _BRACED.match(self.text, self.position)
        self.position = match.end() if match else self.position

    def _number_set(self) -> None:
        match = re.compile(r"\s*\{?\s*([A-Z])\s*\}?").match(self.text, self.position)
        if not match:
            raise Unreadable("\\mathbb without a letter")
        self.position = match.end()
        self._add("const", match.group(1))

    def _environment(self, name: str) -> None:
        match = _BRACED.match(self.text, self.position)
        if not match:
            raise Unreadable(f"\\{name} without an environment")
        self.position = match.end()
        environment = match.group(1).strip("* ")
        if name == "begin" and environment in ("array", "alignat", "alignedat"):
            self._skip_braced()
        self._add(name, environment)

    def _in_text(self) -> bool:
        return bool(self.braces) and self.braces[-1] == "text"

    def _letters(self) -> None:
        if self._in_text():
            match = _TEXT_WORD.match(self.text, self.position)
        else:
            match = re.compile(r"[ap]\.\s?m\.?(?![a-zA-Z])|o'clock", re.IGNORECASE).match(
                self.text, self.position
            ) or _LETTERS.match(self.text, self.position)
        if not match:
            raise Unreadable(f"unknown sign {self.text[self.position]!r}")
        hyphenated = _HYPHENATED.match(self.text, self.position)
        if hyphenated:
            self.position = hyphenated.end()
            self._add("word", hyphenated.group(1))
            self._add("word", hyphenated.group(2))
            return
        is_article = self._is_article()
        self.position = match.end()
        word = match.group()
        if is_article or self._is_upright_unit(word):
            self._add("word", word)
        elif not self._in_text() and _is_variable(word):
            self._product(word)
        else:
            self._word(word)

    def _word(self, word: str) -> None:
        """A run of two or more letters, or anything in text: a name, a word, or a product."""
        folded = word.casefold()
        if folded == "and" and self._is_within_number():
            return
        if word in PLAIN_WORDS or folded in ("and", "or", "infinity", "percent", "degrees"):
            self._add(*PLAIN_WORDS.get(word, PLAIN_WORDS.get(folded, ("word", word))))
        elif self._in_text() or len(word) == 1 or self._reads_as_word(word, folded):
            self._add("word", word)
        elif word[:3] in FUNCTIONS and len(word) == 4:  # "sinx"
            self._add("func", word[:3])
            self._add("symbol", word[3])
        else:
            self._product(word)

    def _product(self, letters: str) -> None:
        for letter in letters:
            name = "pi" if letter == "π" else GREEK_SIGNS.get(letter, letter)
            self._add("const" if name in ("e", "i", "pi") else "symbol", name)

    def _is_within_number(self) -> bool:
        """The "and" of "one hundred and five"; that of "one hundred and two thousand" joins two."""
        after_scale = self.tokens[-1:] and self.tokens[-1].text.casefold() in SCALES
        return bool(after_scale) and _BELOW_HUNDRED.match(self.text, self.position) is not None

    def _is_upright_unit(self, word: str) -> bool:
        """The m and the s of "6\\,\\mathrm{m/s}": upright behind a number or another unit."""
        if word not in UNIT_LETTERS or self.braces[-1:] != ["roman"] or not self.tokens:
            return False
        last = self.tokens[-1]
        if last.text in ("/", "*") and len(self.tokens) > 1:
            last = self.tokens[-2]
        return last.kind in ("number", "word", "close")

    def _is_article(self) -> bool:
        """The "a" of "5 and a half" and of "60 miles a day"."""
        after_word = bool(self.tokens) and self.tokens[-1].kind in ("word", "join")
        return after_word and self.gap and bool(_ARTICLE.match(self.text, self.position))

    def _reads_as_word(self, word: str, folded: str) -> bool:
        known = folded in SHORT_WORDS or folded in NUMBER_WORDS
        if known or "." in word or stands_alone(word) or not word.isascii():
            return True
        if folded == "an" and _BEHIND_AN.match(self.text, self.position):
            return True
        after_number = bool(self.tokens) and self.tokens[-1].kind == "number" and not self.gap
        if after_number:  # "2abc" is a product, "2 apples" is not
            return False
        if self.gap and self.tokens and self.tokens[-1].kind == "word":
            return True
        if self.gap and (folded in COMMON or is_countable_without_s(folded)):
            return True
        return len(word) > 3 or (word[0].isupper() and word[1:].islower())

    def _symbol(self) -> None:
        text = self.text
        if text[self.position] == DECIMAL_COMMA:
            self.position += 1
            self._add("sep", DECIMAL_COMMA)
            return
        if text.startswith("!=", self.position) and self.gap:
            self.position += 2
            self._add("rel", "!=")
            return
        match = _SYMBOL.match(text, self.position)
        if not match:
            raise UnknownNotation(f"unknown sign {text[self.position]!r}")
        self.position = match.end()
        kind, sign = SYMBOLS[match.group()]
        if kind == "row" and (gap := _ROW_GAP.match(text, self.position)):
            self.position = gap.end()
        if sign in ("{", "}"):
            self._brace(kind, sign)
            return
        self.brackets += (kind == "open") - (kind == "close")
        self._add(kind, sign)

    def _brace(self, kind: str, sign: str) -> None:
        if sign == "{":
            self.braces.append("text" if self._in_text() else "group")
            if self._in_text():
                return
        elif not self.braces:
            raise Unreadable("a closing brace without its opening one")
        elif self.braces.pop() != "group":
            return
        self._add(kind, sign)


def _is_variable(word: str) -> bool:
    """A single letter, or letters among which there is a Greek one: "x", "2πr"; 个 counts."""
    return (len(word) == 1 and not is_run(word)) or not GREEK_SIGNS.keys().isdisjoint(word)


def _ordinal_suffix(digits: str) -> str:
    if digits[-2:-1] == "1":
        return "th"
    return {"1": "st", "2": "nd", "3": "rd"}.get(digits[-1], "th")


def _visible_period(decimals: str) -> str | None:
    """The period of "0.1666...": one digit three times over, or a longer block twice."""
    for length in range(1, min(len(decimals), 12) + 1):
        block = decimals[-length:]
        repeats = 3 if length == 1 else 2
        if decimals.endswith(block * repeats):
            return block
    return None
