"""A recursive-descent parser for scalar expressions.

    sum     := [sign] product (("+"|"-"|"±") product)*
    product := power ((("*"|"/") signed | power))*          juxtaposition multiplies
    power   := atom postfix* ["^" exponent]
    atom    := number | symbol | function | fraction | root | bracketed | |sum| | matrix

`groups.py` holds the brackets below it and `answer.py` the lists, relations, units and text above.
Depth is bounded by `MAX_DEPTH`; sums and products are flat, so the tree is no deeper than the
brackets of the text.
"""

from __future__ import annotations

from fractions import Fraction

from rewards.math.cursor import END
from rewards.math.groups import GroupParser, multiply, scalar
from rewards.math.limits import MAX_EXPONENT, OverLimit, UnknownNotation, Unreadable
from rewards.math.names import figure, is_corners
from rewards.math.nodes import (
    Apply,
    Based,
    Constant,
    Group,
    Node,
    Number,
    Quantity,
    Symbol,
    negated,
)
from rewards.math.tokens import Token
from rewards.math.units import ORDINAL
from rewards.math.vocabulary import FUNCTIONS
from rewards.math.words import leading_number, word_set

_FACTOR_KINDS = word_set("symbol const func frac sqrt binom accent begin figure")
_UNKNOWN_FUNCTIONS = frozenset("fghFGH")
_MINUS_ONE = Apply("neg", (Number(Fraction(1)),))


def literal(text: str) -> Number:
    """The exact value of a number token: "12.50", "0.1(6)", "3.2e5".

    >>> literal("0.1(6)").value
    Fraction(1, 6)
    """
    digits, _, exponent = text.partition("e")
    if exponent and abs(int(exponent)) > MAX_EXPONENT:
        raise OverLimit(f"exponent beyond {MAX_EXPONENT}")
    plain, _, period = digits.partition("(")
    whole, _, decimals = plain.partition(".")
    value = Fraction(int(whole or "0")) + Fraction(int(decimals or "0"), 10 ** len(decimals))
    if period:
        period = period[:-1]
        value += Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(decimals))
    scale = int(exponent or "0")
    value = value * 10**scale if scale >= 0 else value / 10**-scale
    return Number(value, 0 if period or exponent else len(decimals))


class ExpressionParser(GroupParser):
    """Reads expressions off a token list."""

    def sum(self) -> Node:
        total = self._signed_product()
        terms = [total]
        while sign := self.take("op", "+", "-", "±", "∓"):
            term = self._signed_product()
            if sign.text in "±∓":
                name = "pm" if sign.text == "±" else "mp"
                terms = [Apply(name, (_add(terms), scalar(term)))]
            else:
                terms.append(negated(scalar(term)) if sign.text == "-" else scalar(term))
        return _add(terms)

    def _signed_product(self) -> Node:
        signs = []
        while sign := self.take("op", "+", "-", "±", "∓"):
            signs.append(sign.text)
        node = self.product()
        if "±" in signs or "∓" in signs:
            name = "pm" if "±" in signs else "mp"
            node = Apply(name, (scalar(node),))
        if signs.count("-") % 2:
            node = _negative(node)
        return node

    def product(self) -> Node:
        above, below = [self.power()], []
        while True:
            if self.take("op", "*"):
                above.append(self._signed_power())
            elif not self._per_unit() and self.take("op", "/"):
                below.append(self._signed_power())
            elif self._factor_follows():
                above.append(self.power())
            else:
                break
        if not below:
            return multiply(above)
        return Apply("div", (scalar(multiply(above)), scalar(multiply(below))))

    def _signed_power(self) -> Node:
        if self.take("op", "-"):
            return _negative(self.power())
        self.take("op", "+")
        return self.power()

    def _per_unit(self) -> bool:
        """The "/hour" of "18/hour"."""
        follower = self.tokens[self.position + 1 : self.position + 2]
        return bool(follower) and follower[0].kind == "word" and len(follower[0].text) > 1

    def _factor_follows(self) -> bool:
        token = self.token
        if token.kind in _FACTOR_KINDS:
            return not self._union_letter()
        if token.kind == "open":
            return not self._remark_follows()
        if token.kind == "number":
            before = self.tokens[self.position - 1]
            in_degrees = self.position > 1 and self.tokens[self.position - 2].kind == "degree"
            return (before.kind == "close" and not in_degrees) or before.text == "!"
        return token.text == "|" and token.kind == "op" and not self.bars

    def _remark_follows(self) -> bool:
        """The "(maximum)" of "12 (maximum)" and the "(mod 7)" of "3 (mod 7)" are no factors."""
        inside = self.ahead()
        is_remark = inside.kind == "word" and len(inside.text) > 1
        return self.at("open", "(") and (is_remark or inside.kind == "mod")

    def _union_letter(self) -> bool:
        """The U of "(1,2) U (3,4)"."""
        if self.token != Token("symbol", "U", self.token.gap) or not self.position:
            return False
        around = (self.position - 1, self.position + 1)
        kinds = [self.tokens[index].kind for index in around if index < len(self.tokens)]
        return kinds == ["close", "open"]

    def power(self) -> Node:
        return self._raised(self._postfix(self.atom()))

    def _raised(self, base: Node) -> Node:
        if not self.at("op", "^"):
            return base
        self.position += 1
        if self._takes_degree_sign():
            return self._postfix(Apply("degree", (scalar(base),)))
        exponent = self.nested(self._exponent)
        return self._postfix(Apply("pow", (scalar(base), scalar(exponent))))

    def _takes_degree_sign(self) -> bool:
        braced = [token.kind for token in self.tokens[self.position : self.position + 3]]
        if braced == ["open", "degree", "close"]:
            self.position += 3
            return True
        return self.take("degree") is not None

    def _exponent(self) -> Node:
        sign = self.take("op", "-", "+", "±")
        if self.at("open", "{"):
            inner = self._raised(self.brace_group())
        else:
            inner = self._raised(self._postfix(self.atom()))
        if sign and sign.text == "±":
            return Apply("pm", (scalar(inner),))
        return _negative(inner) if sign and sign.text == "-" else inner

    def _postfix(self, node: Node) -> Node:
        rounds = 0
        while True:
            if self.take("op", "!"):
                node = Apply("factorial", (scalar(node),))
            elif self.take("op", "%"):
                node = Apply("percent", (scalar(node),))
            elif self.take("degree"):
                node = Apply("degree", (scalar(node),))
            else:
                return node
            rounds += 1
            if rounds > 4:
                raise OverLimit("more than four postfix signs in a row")

    # -- atoms --------------------------------------------------------------------------------

    def atom(self) -> Node:
        token = self.token
        self.position += 1
        match token.kind:
            case "number":
                return self._number(token)
            case "symbol":
                return self._symbol(token)
            case "const":
                return Constant(token.text)
            case "func":
                return self._function(token.text)
            case "frac":
                return Apply("div", (scalar(self.argument()), scalar(self.argument())))
            case "binom":
                return Apply("binom", (scalar(self.argument()), scalar(self.argument())))
            case "sqrt":
                return self._root(token)
            case "accent":
                return self._accented(token.text)
            case "figure":
                return figure(self, token.text)
            case "begin":
                return self.matrix(token.text)
            case "open":
                self.position -= 1
                return self.brace_group() if token.text == "{" else self.bracketed()
            case "op" if token.text == "|" and not self.bars:
                return self.absolute()
            case "word" if len(token.text) == 1:
                constant = token.text in "ei"
                return Constant(token.text) if constant else self._symbol(token)
            case _:
                self.position -= 1
                error = UnknownNotation if token.kind in ("rel", "word") else Unreadable
                raise error(f"expected a value, found {token.text or 'the end'!r}")

    def _accented(self, accent: str) -> Node:
        inner = scalar(self.argument())
        if accent == "overline" and is_corners(inner):
            return inner  # the segment AB, drawn
        return Apply(f"call:{accent}", (inner,))

    def _number(self, token: Token) -> Node:
        if token.text.isdigit():
            if self.at("op", "_"):
                return self._based(token.text)
            if self.take("ordinal"):
                return Quantity(literal(token.text), ORDINAL)
            fraction = self._fraction_after(int(token.text))
            if fraction:
                return Apply("mixed", (literal(token.text), fraction))
        return literal(token.text)

    def _based(self, digits: str) -> Node:
        self.position += 1
        braced = self.take("open", "{")
        token = self.token
        self.position += 1
        if braced:
            self.expect("close", "}")
        named = leading_number([token.text.casefold()]) if token.kind == "word" else None
        short = token.kind == "number" and token.text.isdigit() and len(token.text) <= 2
        base = int(token.text) if short else int(named[0]) if named else 0
        if not 2 <= base <= 36:
            raise Unreadable("a base must be a number from 2 to 36")
        return Based(digits.lstrip("0") or "0", base)

    def _fraction_after(self, whole: int) -> Node | None:
        """The proper fraction of a mixed number: "3 1/2", "3\\frac{1}{2}"."""
        start = self.position
        fraction = None
        if self.at("frac"):
            self.position += 1
            try:
                fraction = (self.argument(), self.argument())
            except Unreadable:
                fraction = None
        elif self.at("number") and self.token.gap and self.token.text.isdigit():
            above = literal(self.tokens[self.position].text)
            self.position += 1
            if self.take("op", "/") and (below := self.take("number")):
                fraction = (above, literal(below.text))
        match fraction:
            case (Number(above_value, 0), Number(below_value, 0)) if (
                0 < above_value < below_value and not self.at("op", "^")
            ):
                return Apply("div", fraction)
        self.position = start
        return None

    def _symbol(self, token: Token) -> Node:
        name = token.text
        if self.at("op", "_"):
            self.position += 1
            name += "_" + self._subscript()
        while self.take("op", "'"):
            name += "'"
        if token.text in _UNKNOWN_FUNCTIONS and self.at("open", "(") and not self.token.gap:
            argument = self.bracketed()
            items = argument.items if isinstance(argument, Group) else (argument,)
            return Apply(f"call:{name}", items)
        return Symbol(name)

    def _subscript(self) -> str:
        if not self.take("open", "{"):
            token = self.token
            self.position += 1
            if token.kind not in ("number", "symbol", "const", "word"):
                raise Unreadable("a subscript must be a letter or a number")
            return token.text
        parts: list[str] = []
        while not self.take("close", "}"):
            if self.token is END or len(parts) > 8 or self.at("open"):
                raise Unreadable("a subscript must be short and closed")
            parts.append(self.token.text)
            self.position += 1
        return "".join(parts)

    def _function(self, name: str) -> Node:
        base = None
        if name == "log" and self.take("op", "_"):
            base = scalar(self.argument())
        exponent = None
        if self.take("op", "^"):
            exponent = scalar(self.nested(self._exponent))
        argument = scalar(self.nested(self._function_argument))
        if exponent == _MINUS_ONE and f"arc{name}" in FUNCTIONS:
            return Apply(f"arc{name}", (argument,))
        if name in ("log", "lg"):
            base = base or (Number(Fraction(10)) if name == "lg" else None)
            node = Apply("log", (argument, base)) if base else Apply("ln", (argument,))
        else:
            node = Apply(name, (argument,))
        return Apply("pow", (node, exponent)) if exponent else node

    def _function_argument(self) -> Node:
        """What stands in the function's brackets, or the product up to the next function."""
        if self.at("open", "(", "[", "{"):
            return self.brace_group() if self.at("open", "{") else self.bracketed()
        factors = [self._signed_power()]
        while self._factor_follows() and not self.at("func"):
            factors.append(self.power())
        return multiply(factors)

    def _root(self, token: Token) -> Node:
        index: Node = Number(Fraction(2))
        if token.text == "sqrt" and self.take("open", "["):
            index = self.nested(self.sum)
            self.expect("close", "]")
        plain = token.text == "surd" and not self.at("open", "{")
        radicand = self.nested(self.atom if plain else self.argument)
        return Apply("root", (scalar(index), scalar(radicand)))

    def argument(self) -> Node:
        """The argument of a LaTeX command: a brace group, or the next single sign."""
        token = self.token
        if token.kind == "open" and token.text == "{":
            return self.brace_group()
        if token.kind == "number" and token.text.isdigit() and len(token.text) > 1:
            rest = Token("number", token.text[1:])
            self.replace(rest)
            return literal(token.text[0])
        if token.kind == "number":
            self.position += 1
            return literal(token.text)
        return self.nested(self.atom)


def _negative(node: Node) -> Node:
    return negated(scalar(node))


def _add(terms: list[Node]) -> Node:
    return terms[0] if len(terms) == 1 else Apply("add", tuple(map(scalar, terms)))
