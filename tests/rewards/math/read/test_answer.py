from fractions import Fraction

import pytest

from rewards.math.limits import OverLimit, Unreadable
from rewards.math.nodes import (
    Apply,
    Based,
    Constant,
    Group,
    Matrix,
    Number,
    Quantity,
    Relation,
    Symbol,
    Text,
)
from rewards.math.read.answer import read


def number(value, places=0):
    return Number(Fraction(value), places)


x = Symbol("x")


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("1,234.50", number("1234.5", 2)),
        ("0.1(6)", number("1/6")),
        ("3.2e5", number(320000)),
        (r"\frac12", Apply("div", (number(1), number(2)))),
        ("3 1/2", Apply("mixed", (number(3), Apply("div", (number(1), number(2)))))),
        ("2x", Apply("mul", (number(2), x))),
        ("x^-2", Apply("pow", (x, Apply("neg", (number(2),))))),
        (r"\sqrt[3]{x}", Apply("root", (number(3), x))),
        (r"\sin^2 x", Apply("pow", (Apply("sin", (x,)), number(2)))),
        (r"\sin^{-1}x", Apply("arcsin", (x,))),
        ("f(x)", Apply("call:f", (x,))),
        ("a_{12}", Symbol("a_12")),
        ("f'", Symbol("f'")),
        ("204_5", Based("204", 5)),
        (r"\text{Evelyn}", Text("evelyn")),
        ("5 km/h", Quantity(number(5), (("hour", -1), ("kilometer", 1)))),
        (r"\$5", Quantity(number(5), (("dollar", 1),))),
        ("(1,2]", Group("(]", (number(1), number(2)))),
        (r"\{1,2\}", Group("{}", (number(1), number(2)))),
        ("1 or 2", Group("or", (number(1), number(2)))),
        ("3:2", Group(":", (number(3), number(2)))),
        (r"1<x\le2", Relation((number(1), x, number(2)), ("<", "<="))),
        (r"\pm x", Apply("pm", (x,))),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", Matrix(((number(1),), (number(2),)))),
        ("2π", Apply("mul", (number(2), Constant("pi")))),
        ("|x|", Apply("abs", (x,))),
        (r"x\in\mathbb{R}", Relation((x, Constant("R")), ("in",))),
    ],
)
def test_text_becomes_the_tree_it_shows(text, node):
    assert read(text).node == node


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "}", "(1", r"\frac{1}", r"\frac{}{}", "1+", "2 3", "(1,2)(3,4)", r"\int_0^1 x dx",
        "().__class__", "len('1234567')", "(lambda: 3+4)()", "__import__('os')", "[9,len('7')][1]",
        "print(3+4)", "eval('3+4')", "\u202e7\u202c1", "\x00\x01", r"\le 42", "7?", r"\\",
        r"\begin{pmatrix}1&2\\3\end{pmatrix}", "\ue0007", "1\ue000000",
        "x apples", "(1,2) cm",
    ],
)  # fmt: skip
def test_what_is_no_answer_is_unreadable(text):
    with pytest.raises(Unreadable):
        read(text)


@pytest.mark.parametrize(
    "text",
    ["(" * 2000 + ")" * 2000, "(" * 60 + "7" + ")" * 60, "1+" * 2000 + "1", "9" * 4000,
     "x^{" * 99 + "2" + "}" * 99,
     "1e999999999", "2^" * 999 + "2", "7" * 5000, "1" + "!" * 9, r"\text{" * 99 + "}" * 99],
)  # fmt: skip
def test_what_is_too_large_says_so(text):
    with pytest.raises(OverLimit):
        read(text)


def test_two_layouts_of_one_text_share_a_key():
    assert read(r"\text{odd}").key == read("odd").key
    assert read(r" \left( 3, 4 \right) ").key == read("(3,4)").key
    assert read("3 3/4").key != read("33/4").key


@pytest.mark.parametrize(
    ("text", "letter"),
    [("B", "B"), ("(B)", "B"), (r"\textbf{(C)}", "C"), ("E: all of them", "E"), ("x", None),
     ("AB", None), ("BC=5", None), ("A circle", None)],
)  # fmt: skip
def test_an_option_is_a_capital_that_stands_alone(text, letter):
    assert read(text).letter == letter
