"""A named expression against the bare one, either way: what is a name, and what an equation."""

import pytest

from rewards import verify
from rewards.math.policy import LENIENT, STRICT


def score(gold: str, answer: str, policy=STRICT) -> float | None:
    return verify(f"\\boxed{{{answer}}}", gold, policy=policy).score


NAMED = [
    (
        "p(x)=x^3-3x+2",
        "x^3-3x+2"), ("f(x)=x^2-1",
        "x^2-1"), ("f'(x)=2x", "2x"), ("a_n=2n-1", "2n-1",
    ),
    ("A=\\pi r^2", "\\pi r^2"), ("V(t)=3t+1", "1+3t"), ("\\frac{dy}{dx}=2x", "2x"), ("y'=2x", "2x"),
    (
        "E=mc^2",
        "mc^2"), ("S_n=n^2",
        "n^2"), ("\\overline{AB}=5", "5"), ("AB=5", "5"), ("|AB|=5", "5",
    ),
    (
        "\\angle ABC=30^\\circ",
        "30^\\circ"), ("m\\angle A=30^\\circ",
        "30"), ("P(A)=\\frac12", "1/2",
    ),
    ("f(2)=3", "3"), ("P(X=2)=\\frac14", "0.25"), ("E[X]=3", "3"), ("[ABC]=12", "12"),
    ("\\text{Area}=12", "12"), ("\\text{area of }\\triangle ABC=12", "12"), ("\\gcd(12,8)=4", "4"),
    ("S_{\\triangle ABC}=6", "6"), ("V=a^3=8", "8"), ("AB=BC=5", "5"), ("f^{-1}(x)=x-1", "x-1"),
    ("|z|=5", "5"), ("\\|v\\|=5", "5"), ("\\sin A=\\frac12", "1/2"),
    ("\\mathbf{v}=(1,2)", "(1,2)"), ("P(2,3)", "(2,3)"), ("x\\equiv 3\\pmod 7", "3 \\pmod 7"),
]  # fmt: skip


@pytest.mark.parametrize("policy", [STRICT, LENIENT], ids=["strict", "lenient"])
@pytest.mark.parametrize(("named", "bare"), NAMED)
def test_a_name_in_front_changes_nothing(named, bare, policy):
    assert score(bare, named, policy) == 1.0
    assert score(named, bare, policy) == 1.0


@pytest.mark.parametrize(("named", "bare"), NAMED)
def test_a_name_does_not_make_a_wrong_value_right(named, bare):
    assert score(f"{bare}+1" if "=" in named and "," not in bare else "(2,4)", named) == 0.0


@pytest.mark.parametrize("policy", [STRICT, LENIENT], ids=["strict", "lenient"])
@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("6", "2x=6"), ("9", "x^2=9"), ("10", "3x+1=10"), ("y", "x=y"), ("x+1", "x=x+1"),
        ("6", "6x=6"), ("5", "|x|=5"), ("1", "\\sin x=1"), ("7", "x=y=z=8"), ("1", "x^2-x=1"),
        ("4", "x(x+3)=4"), ("x=3", "2x=6"), ("5", "AB=6"), ("x=5", "y=5"),
        ("f(x)=x^2", "g(x)=x^2"), ("\\angle A=30^\\circ", "\\angle B=30^\\circ"),
    ],
)  # fmt: skip
def test_an_equation_is_no_name(gold, answer, policy):
    assert score(gold, answer, policy) == 0.0


def test_the_equation_of_a_curve_is_more_than_its_right_side():
    assert score("y=2x+1", "2x+1") == 0.0
    assert score("y=2x+1", "2x+1", LENIENT) == 1.0
    assert score("2x+1", "y=2x+1") == 1.0


def test_an_asked_sum_is_a_name_but_unknowns_only_leniently():
    assert score("17", "m+n=17") == score("12", "a+b+c=12") == score("17", "m+n=3+14=17") == 1.0
    assert score("1", "x+z=1") == 0.0
    assert score("1", "x+z=1", LENIENT) == 1.0
    assert score("x+z=1", "1") == score("x+z=1", "1", LENIENT) == 0.0


def test_segments_and_angles_have_two_names():
    assert score("\\overline{AB}", "\\overline{BA}") == score("\\angle ABC", "\\angle CBA") == 1.0
    assert score("\\angle ABC", "\\angle BAC") == score("\\overline{AB}", "\\overline{AC}") == 0.0
