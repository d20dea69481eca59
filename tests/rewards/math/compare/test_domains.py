"""An answer has a value wherever gold was written to have one; by hand, from the real logarithm."""

import pytest

from rewards.math.verifier import verify_math


@pytest.mark.parametrize("policy", ["strict", "lenient"])
@pytest.mark.parametrize(
    ("gold", "answer", "is_right"),
    [
        (r"\ln(x^2)", r"2\ln x", False),
        (r"\ln(x^2)", r"2\ln|x|", True),
        (r"2\ln x", r"\ln(x^2)", True),
        (r"2\ln|x|", r"\ln(x^2)", True),
        (r"\ln|x|+C", r"\ln x+C", False),
        (r"\ln x+C", r"\ln|x|+C", True),
        (r"\ln(x^2)", r"2\ln(-x)", False),
        (r"\frac{1}{2}\log_3(x^4)", r"2\log_3 x", False),
        (r"\ln((x-1)^2)", r"2\ln(x-1)", False),
        (r"\ln(x^2y)", r"2\ln x+\ln y", False),
        (r"\ln(x^2y)", r"\ln(x^2)+\ln y", True),
        (r"\ln(x^2yz)", r"2\ln|x|+\ln y+\ln z", True),
        (r"\ln(x^3)", r"3\ln x", True),
        (r"\ln(xy)", r"\ln x+\ln y", True),
        (r"\ln\frac{x-1}{x+1}", r"\ln(x-1)-\ln(x+1)", True),
        (r"\ln(n^2)", r"2\ln n", True),
        (r"\ln(x^2+1)", r"\ln(1+x^2)", True),
        (r"(\ln x)^2", r"\ln x\cdot\ln x", True),
        (r"\ln 9", r"2\ln 3", True),
    ],
)
def test_a_logarithm_of_what_may_be_negative_has_a_value_there(gold, answer, is_right, policy):
    found = verify_math(rf"\boxed{{{answer}}}", gold, policy=policy)
    assert found.kind.value == ("correct" if is_right else "wrong")
