"""Scalar expressions.

    total    := [sign] product (("+"|"-"|"±") product)*
    product  := power ((("*"|"/") signed | power))*          juxtaposition multiplies
    power    := atom postfix* ["^" exponent]
    atom     := number | symbol | function | fraction | root | group | braces | absolute | matrix
    argument := braces | a single digit, sign or command

Depth is bounded by `MAX_DEPTH`; sums and products are flat, so the tree is no deeper than the
brackets of the text.
"""

from __future__ import annotations

from fractions import Fraction

from rewards.math.limits import OverLimit, UnknownNotation, Unreadable
from rewards.math.nodes import Apply, Constant, Group, Node, Number, Quantity, Symbol, negated
from rewards.math.read.arithmetic import add, multiply, negative, scalar
from rewards.math.read.brackets import absolute, braces, bracketed, matrix
from rewards.math.read.cursor import END, Cursor
from rewards.math.read.lookahead import factor_follows, per_unit
from rewards.math.read.names import figure, is_corners, is_operator
from rewards.math.read.numerals import based, literal
from rewards.math.read.tokens import Token
from rewards.math.vocabulary.commands import FUNCTIONS, OF_SEVERAL
from rewards.math.vocabulary.units import ORDINAL

_UNKNOWN_FUNCTIONS = frozenset("fghFGH")
_MINUS_ONE = Apply("neg", (Number(Fraction(1)),))


def total(cursor: Cursor) -> Node:
    """A sum; `sum` is Python's."""
    terms = [_signed_product(cursor)]
    while sign := cursor.take("op", "+", "-", "±", "∓"):
        term = _signed_product(cursor)
        if sign.text in "±∓":
            name = "pm" if sign.text == "±" else "mp"
            terms = [Apply(name, (add(terms), scalar(term)))]
        else:
            terms.append(negated(scalar(term)) if sign.text == "-" else scalar(term))
    return add(terms)


def _signed_product(cursor: Cursor) -> Node:
    signs = []
    while sign := cursor.take("op", "+", "-", "±", "∓"):
        signs.append(sign.text)
    node = _product(cursor)
    if "±" in signs or "∓" in signs:
        name = "pm" if "±" in signs else "mp"
        node = Apply(name, (scalar(node),))
    if signs.count("-") % 2:
        node = negative(node)
    return node


def _product(cursor: Cursor) -> Node:
    above, below = [power(cursor)], []
    while True:
        if cursor.take("op", "*"):
            above.append(_signed_power(cursor))
        elif not per_unit(cursor) and cursor.take("op", "/"):
            below.append(_signed_power(cursor))
        elif factor_follows(cursor):
            above.append(power(cursor))
        else:
            break
    if not below:
        return multiply(above)
    return Apply("div", (scalar(multiply(above)), scalar(multiply(below))))


def _signed_power(cursor: Cursor) -> Node:
    if cursor.take("op", "-"):
        return negative(power(cursor))
    cursor.take("op", "+")
    return power(cursor)


def power(cursor: Cursor) -> Node:
    """An atom with the signs behind it and its exponent."""
    return _raised(cursor, _postfix(cursor, _atom(cursor)))


def _raised(cursor: Cursor, base: Node) -> Node:
    if not cursor.at("op", "^"):
        return base
    cursor.position += 1
    if _takes_degree_sign(cursor):
        return _postfix(cursor, Apply("degree", (scalar(base),)))
    exponent = cursor.nested(_exponent)
    return _postfix(cursor, Apply("pow", (scalar(base), scalar(exponent))))


def _takes_degree_sign(cursor: Cursor) -> bool:
    braced = [token.kind for token in cursor.tokens[cursor.position : cursor.position + 3]]
    if braced == ["open", "degree", "close"]:
        cursor.position += 3
        return True
    return cursor.take("degree") is not None


def _exponent(cursor: Cursor) -> Node:
    sign = cursor.take("op", "-", "+", "±")
    inner = _raised(cursor, braces(cursor, total)) if cursor.at("open", "{") else power(cursor)
    if sign and sign.text == "±":
        return Apply("pm", (scalar(inner),))
    return negative(inner) if sign and sign.text == "-" else inner


def _postfix(cursor: Cursor, node: Node) -> Node:
    rounds = 0
    while True:
        if cursor.take("op", "!"):
            is_double = not cursor.token.gap and cursor.take("op", "!")
            node = Apply("double factorial" if is_double else "factorial", (scalar(node),))
        elif cursor.take("op", "%"):
            node = Apply("percent", (scalar(node),))
        elif cursor.take("degree"):
            node = Apply("degree", (scalar(node),))
        else:
            return node
        rounds += 1
        if rounds > 4:
            raise OverLimit("more than four postfix signs in a row")


# -- atoms ----------------------------------------------------------------------------------------


def _atom(cursor: Cursor) -> Node:
    if sign := cursor.take("currency"):
        cursor.currency = sign.text
    token = cursor.token
    cursor.position += 1
    match token.kind:
        case "number":
            return _number(cursor, token)
        case "symbol":
            return _symbol(cursor, token)
        case "const":
            return Constant(token.text)
        case "func":
            return _function(cursor, token.text)
        case "frac":
            return _fraction(cursor)
        case "binom":
            return Apply("binom", (scalar(_argument(cursor)), scalar(_argument(cursor))))
        case "sqrt":
            return _root(cursor, token)
        case "accent":
            return _accented(cursor, token.text)
        case "figure":
            return figure(cursor, token.text)
        case "begin":
            return matrix(cursor, token.text, total)
        case "open":
            cursor.position -= 1
            return _group(cursor)
        case "op" if token.text == "|" and not cursor.bars:
            return absolute(cursor, total)
        case "word" if token.text.casefold() in OF_SEVERAL and cursor.at("open"):
            return _of_several(cursor, OF_SEVERAL[token.text.casefold()])
        case "word" if len(token.text) == 1:
            constant = token.text in "ei"
            return Constant(token.text) if constant else _symbol(cursor, token)
        case _:
            cursor.position -= 1
            error = UnknownNotation if token.kind in ("rel", "word") else Unreadable
            raise error(f"expected a value, found {token.text or 'the end'!r}")


def _fraction(cursor: Cursor) -> Node:
    node = Apply("div", (scalar(_argument(cursor)), scalar(_argument(cursor))))
    if is_operator(node) and not cursor.has_relations:
        raise UnknownNotation("a derivative that is not carried out")
    return node


def _of_several(cursor: Cursor, name: str) -> Node:
    """The gcd of "gcd(12, 18)", or the greatest of a list."""
    items = _group(cursor)
    if not isinstance(items, Group) or items.brackets not in ("()", "[]", "{}"):
        raise UnknownNotation(f"{name} of one value")
    return Apply(name, tuple(map(scalar, items.items)))


def _group(cursor: Cursor) -> Node:
    return braces(cursor, total) if cursor.at("open", "{") else bracketed(cursor)


def _argument(cursor: Cursor) -> Node:
    """The argument of a LaTeX command: braces, or the next single sign."""
    token = cursor.token
    if token.kind == "open" and token.text == "{":
        return braces(cursor, total)
    if token.kind == "number" and token.text.isdigit() and len(token.text) > 1:
        cursor.replace(Token("number", token.text[1:]))
        return literal(token.text[0])
    if token.kind == "number":
        cursor.position += 1
        return literal(token.text)
    return cursor.nested(_atom)


def _number(cursor: Cursor, token: Token) -> Node:
    if token.text.isdigit():
        if cursor.at("op", "_"):
            return based(cursor, token.text)
        if cursor.take("ordinal"):
            return Quantity(literal(token.text), ORDINAL)
        if fraction := _fraction_after(cursor):
            return Apply("mixed", (literal(token.text), fraction))
    return literal(token.text)


def _fraction_after(cursor: Cursor) -> Node | None:
    """The proper fraction of a mixed number: "3 1/2", "3\\frac{1}{2}"."""
    start = cursor.position
    fraction = None
    if cursor.take("frac"):
        try:
            fraction = (_argument(cursor), _argument(cursor))
        except Unreadable:
            # Recovery: what follows is read again as a factor, which says what is wrong with it.
            fraction = None
    elif cursor.at("number") and cursor.token.gap and cursor.token.text.isdigit():
        above = literal(cursor.next().text)
        if cursor.take("op", "/") and (below := cursor.take("number")):
            fraction = (above, literal(below.text))
    match fraction:
        case (Number(above_value, 0), Number(below_value, 0)) if (
            0 < above_value < below_value and not cursor.at("op", "^")
        ):
            return Apply("div", fraction)
    cursor.position = start
    return None


def _symbol(cursor: Cursor, token: Token) -> Node:
    name = token.text
    if cursor.take("op", "_"):
        name += "_" + _subscript(cursor)
    while cursor.take("op", "'"):
        name += "'"
    if token.text in _UNKNOWN_FUNCTIONS and cursor.at("open", "(") and not cursor.token.gap:
        argument = bracketed(cursor)
        items = argument.items if isinstance(argument, Group) else (argument,)
        return Apply(f"call:{name}", items)
    return Symbol(name)


def _subscript(cursor: Cursor) -> str:
    if not cursor.take("open", "{"):
        token = cursor.token
        cursor.position += 1
        if token.kind not in ("number", "symbol", "const", "word"):
            raise Unreadable("a subscript must be a letter or a number")
        return token.text
    parts: list[str] = []
    while not cursor.take("close", "}"):
        if cursor.token is END or len(parts) > 8 or cursor.at("open"):
            raise Unreadable("a subscript must be short and closed")
        parts.append(cursor.token.text)
        cursor.position += 1
    return "".join(parts)


def _accented(cursor: Cursor, accent: str) -> Node:
    inner = scalar(_argument(cursor))
    if accent == "overline" and is_corners(inner):
        return inner  # the segment AB, drawn
    return Apply(f"call:{accent}", (inner,))


def _function(cursor: Cursor, name: str) -> Node:
    base = None
    if name == "log" and cursor.take("op", "_"):
        base = scalar(_argument(cursor))
    exponent = None
    if cursor.take("op", "^"):
        exponent = scalar(cursor.nested(_exponent))
    argument = scalar(cursor.nested(_function_argument))
    if exponent == _MINUS_ONE and f"arc{name}" in FUNCTIONS:
        return Apply(f"arc{name}", (argument,))
    if name in ("log", "lg"):
        base = base or (Number(Fraction(10)) if name == "lg" else None)
        node = Apply("log", (argument, base)) if base else Apply("ln", (argument,))
    else:
        node = Apply(name, (argument,))
    return Apply("pow", (node, exponent)) if exponent else node


def _function_argument(cursor: Cursor) -> Node:
    """What stands in the function's brackets, or the product up to the next function."""
    if cursor.at("open", "(", "[", "{"):
        return _group(cursor)
    factors = [_signed_power(cursor)]
    while factor_follows(cursor) and not cursor.at("func"):
        factors.append(power(cursor))
    return multiply(factors)


def _root(cursor: Cursor, token: Token) -> Node:
    index: Node = Number(Fraction(2))
    if token.text == "sqrt" and cursor.take("open", "["):
        index = cursor.nested(total)
        cursor.expect("close", "]")
    plain = token.text == "surd" and not cursor.at("open", "{")
    radicand = cursor.nested(_atom if plain else _argument)
    return Apply("root", (scalar(index), scalar(radicand)))
