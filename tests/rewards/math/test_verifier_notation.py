"""Notation of gold answers that once made a row unscorable."""

import pytest

from rewards import VerdictKind, verify
from rewards.math.policy import LENIENT, STRICT


def score(gold: str, answer: str, policy=STRICT) -> float | None:
    return verify(f"\\boxed{{{answer}}}", gold, policy=policy).score


@pytest.mark.parametrize(
    ("gold", "same", "other"),
    [
        ("x \\equiv 3 \\pmod{7}", "x\\equiv 3 \\pmod 7", "x\\equiv 4 \\pmod 7"),
        ("x \\equiv 3 \\pmod{7}", "x \\equiv 10 (mod 7)", "x \\equiv 3 (mod 8)"),
        ("x \\equiv 3 \\pmod{7}", "x ≡ -4 mod 7", "x ≡ 4 mod 7"),
        (
            "x \\equiv 1, 5 \\pmod{8}",
            "x\\equiv 5 \\pmod 8, x\\equiv 1\\pmod 8",
            "x\\equiv 1 \\pmod 8",
        ),
        ("2", "2 \\pmod 5", "3 \\pmod 5"),
        ("\\triangle ABC", "△ABC", "\\triangle ABQ"),
        (
            "\\triangle ABC \\cong \\triangle DEF",
            "△ABC ≅ △DEF",
            "\\triangle ABC \\cong \\triangle EDF",
        ),
        ("AB \\parallel CD", "AB∥CD", "AB \\perp CD"),
        ("\\overline{z}", "\\bar z", "z"),
        ("\\text{Fe}^{3+}", "Fe^{3+}", "Fe^{2+}"),
        ("\\mathrm{SO}_4^{2-}", "\\text{SO}_4^{2-}", "\\text{SO}_3^{2-}"),
        ("P_1V_1", "V_1P_1", "P_1V_2"),
        ("Na^+", "\\text{Na}^+", "\\text{Na}^-"),
        ("H_2O", "\\text{H}_2\\text{O}", "H_2O_2"),
        ("C_6H_{12}O_6", "\\ce{C6H12O6}", "C_6H_6"),
        (
            "x=1, y=2",
            "\\begin{aligned}x&=1\\\\y&=2\\end{aligned}",
            "\\begin{aligned}x&=2\\\\y&=1\\end{aligned}",
        ),
        (
            "x=1, y=2",
            "\\begin{cases}x=1\\\\y=2\\end{cases}",
            "\\begin{cases}x=1\\\\y=3\\end{cases}",
        ),
        (
            "(1,2)",
            "\\left\\{\\begin{array}{l}x=1,\\\\[2pt] y=2.\\end{array}\\right.",
            "\\left\\{\\begin{array}{l}x=1\\\\y=1\\end{array}\\right.",
        ),
        (
            "f(x)=\\begin{cases}x^2 & \\text{if } x>0\\\\ -x & \\text{if }x\\le 0\\end{cases}",
            "\\begin{cases}-x, & x\\leq 0\\\\ x^2, & 0<x\\end{cases}",
            "\\begin{cases}x^2 & x<0\\\\ -x & x\\geq 0\\end{cases}",
        ),
        (
            "7",
            "\\begin{aligned}x&=3+4\\\\&=7\\end{aligned}",
            "\\begin{aligned}x&=3+4\\\\&=8\\end{aligned}",
        ),
        ("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "[[1,2],[3,4]]", "[[1,3],[2,4]]"),
        ("1500", "1.5\\text{E}3", "1.5\\text{E}4"),
        (
            "x=1, y=2",
            "\\begin{array}{rl}x&=1\\\\y&=2\\end{array}",
            "\\begin{array}{rl}x&=2\\\\y&=2\\end{array}",
        ),
        ("\\textbf{(B) }12", "12", "13"),
        ("12", "(B) 12", "(B) 13"),
        ("\\text{ellipse}", "\\text{an ellipse}", "\\text{a circle}"),
        ("5", "`5`", "`6`"),
        ("5", "**5**", "**6**"),
        ("1, 2", "1或2", "1或3"),
        ("1, 2, 3", "1、2、3", "1、2、4"),
    ],
)  # fmt: skip
def test_both_spellings_are_one_answer_and_the_third_another(gold, same, other):
    assert score(gold, same) == score(gold, same, LENIENT) == score(gold, gold) == 1.0
    assert score(gold, other) == score(gold, other, LENIENT) == 0.0


@pytest.mark.parametrize(
    "gold",
    [
        "A \\Rightarrow B", "2H_2+O_2 \\to 2H_2O", "\\forall x\\,\\exists y", "p \\oplus q",
        "\\odot O", "\\nabla f", "\\ge 3", "3\\text{ R }2",
        "II only", "a \\mapsto a^2", "\\mathfrak{S}_3 \\rtimes \\mathbb{Z}_2",
    ],
)  # fmt: skip
def test_gold_in_a_notation_of_its_own_is_compared_as_text(gold):
    assert score(gold, gold) == score(gold, f"\\displaystyle {gold}") == 1.0
    assert verify("\\boxed{7}", gold).kind is VerdictKind.UNSCORABLE


def test_doubled_backslashes_are_read_as_single_ones():
    assert verify("so \\\\boxed{7}", "7").score == 1.0
    assert verify("\\\\boxed{\\\\frac{1}{2}}", "\\frac12").score == 1.0
    assert verify("\\\\boxed{8}", "7").score == 0.0
    assert verify("\\\\\\\\boxed{7}", "7").score == 1.0
    assert verify("\\boxed{\\frac12}", "\\\\frac{1}{2}").score == 1.0
    assert verify("\\boxed{\\\\frac{1}{2}}", "0.5").score == 1.0
    matrix = "\\begin{pmatrix}1\\\\x\\end{pmatrix}"
    assert verify(f"\\boxed{{{matrix}}}", matrix).score == 1.0
