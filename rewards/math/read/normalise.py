"""One spelling for each sign: Unicode digits, minus signs, fractions, powers, thousands.

The output is LaTeX-like text of plain ASCII where a plain form exists. Nothing here guesses
at meaning beyond signs that have one; whatever is unknown stays, and the tokenizer refuses it.
"""

from __future__ import annotations

import re
import unicodedata

from rewards.math.limits import MAX_CHARS, OverLimit, Unreadable
from rewards.math.vocabulary.commands import COMMANDS, DROPPED, FONT_COMMANDS, TEXT_COMMANDS
from rewards.math.vocabulary.han import with_plain_parts

# Private-use characters stand for separators that are certain; the input may not contain any.
THOUSANDS = "\ue000"
DECIMAL_COMMA = "\ue001"

_SIGNS = {
    "−–—‐‑‒﹣－": "-",
    "×⋅∙·✕✖": "*",
    "÷": "/",
    "∕⁄": "/",
    "≤⩽": "<=",
    "≥⩾": ">=",
    "≠": "\\ne ",
    "≈≃": "\\approx ",
    "≅": "\\cong ",
    "≡": "\\equiv ",
    "∠∡": "\\angle ",
    "△▵": "\\triangle ",
    "∥": "\\parallel ",
    "⊥": "\\perp ",
    "∴∵": " ",
    "∈": "\\in ",
    "∪": "\\cup ",
    "∩": "\\cap ",
    "∖": "\\setminus ",
    "∅": "\\emptyset ",
    "∞": "\\infty ",
    "±": "\\pm ",
    "∓": "\\mp ",
    "√": "\\surd ",
    "∛": "\\sqrt[3]",
    "°º˚": "\\degree ",
    "⟨〈": "\\langle ",
    "⟩〉": "\\rangle ",
    "⌊": "\\lfloor ",
    "⌋": "\\rfloor ",
    "⌈": "\\lceil ",
    "⌉": "\\rceil ",
    "ℝ": "\\mathbb{R}",
    "ℤ": "\\mathbb{Z}",
    "ℕ": "\\mathbb{N}",
    "ℚ": "\\mathbb{Q}",
    "ℂ": "\\mathbb{C}",
    "…⋯": "\\ldots ",
    "∧": "\\land ",
    "∨": "\\lor ",
    "′’": "'",
    "٫": ".",
    "٬": ",",
    "。": ".",
    "।": ".",
    "、": ",",
    "\u00ad\u200b\u200c\u200d\u2060\ufeff": "",
}
_TRANSLATION = {ord(sign): plain for signs, plain in _SIGNS.items() for sign in signs}
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱˣ", "0123456789+-()nix")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋ₙᵢ", "0123456789+-ni")
_SUPERSCRIPT_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱˣ]+")
_SUBSCRIPT_RUN = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋ₙᵢ]+")
_INCHES = re.compile(r"(?<=[0-9])\"")
_PRIMES = re.compile(r"\^\s?(?:\{\s?(?:\\prime\s?){1,3}\}|\\prime(?![A-Za-z]))")
_RUPEES_ONLY = re.compile(r"(?<=[0-9])\s?/-\s*\Z")  # "450/-"
_VULGAR = re.compile("[¼-¾⅐-⅞↉]")
_OVERLINED = re.compile("((?:[0-9][\u0304\u0305])+)")
_BACKSLASHES = re.compile(r"(?<!\\)(\\+)([A-Za-z]+)")
_MORE_COMMANDS = TEXT_COMMANDS | FONT_COMMANDS | DROPPED | {"begin"}
_MAX_DOUBLINGS = 3
_SENTENCE = re.compile(
    r"\\text\s?\{\s*(?:(?:so|thus|hence|therefore),?\s)?(?:the|our)\s(?![^{}]*\b(?:not|no)\b)"
    r"(?:final\s|correct\s|required\s)?(?:answer|value|number|result|solution|total|sum|product|area"
    r"|probability|minimum|maximum)\b[^{}]{0,40}\b(?:is|are|equals)[:\s]{0,3}\}\s*(?=\S)",
    re.IGNORECASE,
)
_THIN = r"(?:\{,\}|,\\!|,\\,|,\\;|\\,|\\;|\\:|\\ |\\!|~|\\thinspace(?![A-Za-z]))"
_SURE_THOUSANDS = re.compile(rf"(?<=[0-9]){_THIN}[ ]{{0,2}}(?=[0-9]{{3}}(?![0-9]))")
# Groups that no decimal has: 1.234.567, 1'234'567, and 1,00,000 as India writes it.
_SURE_GROUPS = re.compile(
    r"(?<![0-9.,'])[0-9]{1,3}(?:(?:\.[0-9]{3}){2,8}|(?:'[0-9]{3}){1,8}|(?:,[0-9]{2}){1,8},[0-9]{3})"
    r"(?![0-9.,'][0-9]|[0-9'])"
)
_SPACED_THOUSANDS = re.compile(
    r"(?<![0-9.,/^_{}])[0-9]{1,3}(?: [0-9]{3})+(?![0-9])(?! ?[/,])"  # "1 100/200" is mixed
)


# _5C_2, "5 choose 2", and 5 \choose 2 where nothing stands beside it
_CHOSEN = re.compile(
    r"(?<![\w)}\]^])(?:\{\s?\})?_\{?([0-9]{1,6})\}?\s?C\s?_\{?([0-9]{1,6})\}?(?![\w^!])"
    r"|(?<![\w.,)}\]^_])([0-9]{1,6}) {1,2}choose {1,2}([0-9]{1,6})(?![\w^!]|[.,][0-9])"
    r"|\A[\s$]{0,4}([0-9]{1,6})\s{0,2}\\choose\s{0,2}([0-9]{1,6})[\s$.]{0,4}\Z"
)

_WRAPPING = ("**", "__", "`", '"', "“”", "「」")


def single_backslashes(text: str) -> str:
    """Undo the doubling of a text that was taken out of JSON as it stood.

    Only where every command is doubled: in LaTeX two backslashes begin a new row.
    """
    for _ in range(_MAX_DOUBLINGS):
        if not _is_doubled(text):
            break
        text = text.replace("\\\\", "\\")
    return text


def _is_doubled(text: str) -> bool:
    if "\\\\" not in text:
        return False
    runs = list(_BACKSLASHES.finditer(text))
    if any(len(run[1]) % 2 for run in runs):
        return False
    return any(run[2] in COMMANDS or run[2] in _MORE_COMMANDS for run in runs)


def unwrapped(text: str) -> str:
    """Without the Markdown or the quotation marks that stand around the whole answer.

    Nor with the words of a sentence that leads to it: "\\text{The number is }17".
    """
    text = _SENTENCE.sub("", text.strip(), count=1) if text.startswith("\\text") else text.strip()
    for marks in _WRAPPING:
        left, right = (marks, marks) if marks in ("**", "__") else (marks[0], marks[-1])
        if len(text) > 2 * len(left) and text.startswith(left) and text.endswith(right):
            inner = text[len(left) : -len(right)]
            if left not in inner and right not in inner:
                return unwrapped(inner)
    return text


def normalise(text: str) -> str:
    """Rewrite every sign of `text` in its plain spelling.

    Raises:
        OverLimit: longer than `MAX_CHARS`.
        Unreadable: control, bidirectional or private-use characters.
    """
    if len(text) > MAX_CHARS:
        raise OverLimit(f"longer than {MAX_CHARS} characters")
    if not text.isascii():
        text = _plain_unicode(text)
    if any(ord(char) < 32 and char not in "\t\n\r" for char in text):
        raise Unreadable("holds control characters")
    text = _SURE_GROUPS.sub(_grouped, text)
    text = _CHOSEN.sub(_binomial, text)
    text = _PRIMES.sub(lambda match: "'" * match.group().count("prime"), text)
    text = _RUPEES_ONLY.sub("", text)
    text = _INCHES.sub("''", text)
    text = _SURE_THOUSANDS.sub(THOUSANDS, text).replace("{,}", DECIMAL_COMMA).replace("{:}", ":")
    return _SPACED_THOUSANDS.sub(lambda match: match.group().replace(" ", THOUSANDS), text)


def _binomial(match: re.Match[str]) -> str:
    above, below = (group for group in match.groups() if group)
    return f"\\binom{{{above}}}{{{below}}}"


def _grouped(match: re.Match[str]) -> str:
    number = match.group()
    if "," in number and ",0" not in number:  # "12,34,567" may be a list
        return number
    return re.sub("[.,']", "", number)


def _plain_unicode(text: str) -> str:
    text = text.translate(_TRANSLATION)
    text = _SUPERSCRIPT_RUN.sub(lambda m: "^{" + m.group().translate(_SUPERSCRIPTS) + "}", text)
    text = _SUBSCRIPT_RUN.sub(lambda m: "_{" + m.group().translate(_SUBSCRIPTS) + "}", text)
    text = _VULGAR.sub(_vulgar_fraction, text)
    text = unicodedata.normalize("NFKC", text).translate(_TRANSLATION)
    text = with_plain_parts("".join(map(_plain_digit, text)))
    text = _OVERLINED.sub(lambda m: "\\overline{" + m.group()[::2] + "}", text)
    for char in text:
        if unicodedata.category(char) in ("Cf", "Co", "Cs", "Cn", "Cc") and char not in "\t\n\r":
            raise Unreadable("holds invisible or private-use characters")
    return text


def _vulgar_fraction(match: re.Match[str]) -> str:
    numerator, _, denominator = unicodedata.normalize("NFKC", match.group()).partition("⁄")
    return f"\\frac{{{numerator}}}{{{denominator}}}"


def _plain_digit(char: str) -> str:
    return char if char.isascii() or not char.isdecimal() else str(unicodedata.decimal(char))
