"""What begins at the cursor, where its token alone does not say it."""

from __future__ import annotations

from operator import or_

from rewards.math.read.cursor import Cursor
from rewards.math.read.tokens import Token
from rewards.math.vocabulary.commands import OF_SEVERAL
from rewards.math.vocabulary.words import word_set

_LETTERS = word_set("symbol const")
_ITEM_ENDS = word_set("sep row join close")
_FACTOR_KINDS = word_set("symbol const func frac sqrt binom accent begin figure")


def factor_follows(cursor: Cursor) -> bool:
    """Whether what stands here multiplies what stands before it."""
    token = cursor.token
    if token.kind in _FACTOR_KINDS:
        return not union_letter(cursor)
    if token.kind == "word":
        return token.text.casefold() in OF_SEVERAL and cursor.ahead().kind == "open"
    if token.kind == "open":
        return not _remark_follows(cursor)
    if token.kind == "number":
        before = cursor.tokens[cursor.position - 1]
        in_degrees = cursor.position > 1 and cursor.tokens[cursor.position - 2].kind == "degree"
        return (before.kind == "close" and not in_degrees) or before.text == "!"
    return token.text == "|" and token.kind == "op" and not cursor.bars


def _remark_follows(cursor: Cursor) -> bool:
    """The "(maximum)" of "12 (maximum)" and the "(mod 7)" of "3 (mod 7)" are no factors."""
    inside = cursor.ahead()
    is_remark = inside.kind == "word" and len(inside.text) > 1
    return cursor.at("open", "(") and (is_remark or inside.kind in ("mod", "join"))


def union_letter(cursor: Cursor) -> bool:
    """The U of "(1,2) U (3,4)"."""
    if cursor.token != Token("symbol", "U", cursor.token.gap) or not cursor.position:
        return False
    around = (cursor.position - 1, cursor.position + 1)
    kinds = [cursor.tokens[index].kind for index in around if index < len(cursor.tokens)]
    return kinds == ["close", "open"]


def per_unit(cursor: Cursor) -> bool:
    """The "/hour" of "18/hour"."""
    follower = cursor.ahead()
    return follower.kind == "word" and len(follower.text) > 1


def article(cursor: Cursor) -> bool:
    """A letter that is a word because a word follows: "a circle", "I agree"."""
    starts = cursor.token.kind == "word" or cursor.at("symbol", "a", "A", "I")
    return starts and cursor.ahead().kind == "word"


def letters(cursor: Cursor) -> int:
    """How many letters a whole item has that is a name or a word, not a product: HHT, dog; 0 else.

    Three capitals or more are a name or a sequence. Small letters are products as a rule (xyz,
    mgh, abc); they are a word where they are not in the order of the alphabet, hold a vowel, and
    no two consonants stand together, as in dog, god, tea and eat.
    """
    if not (cursor.at("symbol") or cursor.at("const")) or cursor.ahead(2).kind not in _LETTERS:
        return 0
    end = cursor.position
    while end < len(cursor.tokens) and cursor.tokens[end].kind in _LETTERS:
        end += 1
    if end < len(cursor.tokens) and cursor.tokens[end].kind not in _ITEM_ENDS:
        return 0
    names = [token.text for token in cursor.tokens[cursor.position : end]]
    run = "".join(names)
    plain = len(run) == len(names) >= 3 and run.isascii()
    return len(run) if plain and (run.isupper() or _is_word(run)) else 0


def _is_word(run: str) -> bool:
    vowels = [letter in "aeiou" for letter in run]
    spaced = all(map(or_, vowels, vowels[1:]))
    return run.islower() and spaced and any(vowels) and sorted(run) != list(run)


def named_point(cursor: Cursor) -> bool:
    """The P(2, 3) of a figure: a capital letter and its coordinates."""
    first = cursor.ahead()
    if not (cursor.at("symbol") and cursor.token.text.isupper() and first.text == "("):
        return False
    inside = [token.kind for token in cursor.tokens[cursor.position + 2 :]]
    end = inside.index("close") if "close" in inside else 0
    return not first.gap and "sep" in inside[:end]
