import pytest

from rewards import VerdictKind, verify


@pytest.mark.parametrize(
    ("completion", "gold", "score"),
    [
        ("so 24 + 48 = 72", "#### 72", 1.0),
        ("#### 72.0", "72", 1.0),
        ("#### -5", "5", 1.0),  # the reference reads no sign
        ("#### 70000", "#### 70,000", 0.0),  # and no thousands separator: 70,000 reads 000
        ("it is .5", "0.5", 1.0),
        ("1.2.3", ".3", 1.0),
        ("72 and then 73", "72", 0.0),
    ],
)
def test_the_last_number_is_compared_as_the_reference_does(completion, gold, score):
    assert verify(completion, gold, kind="gsm8k_legacy").score == score


def test_texts_without_numbers_have_their_own_kinds():
    assert verify("none", "7", kind="gsm8k_legacy").kind is VerdictKind.UNPARSABLE
    assert verify("7", "none", kind="gsm8k_legacy").kind is VerdictKind.UNSCORABLE


def test_numbers_beyond_a_float_are_no_numbers():
    assert verify("9" * 500, "8" * 500, kind="gsm8k_legacy").kind is VerdictKind.UNSCORABLE
    assert verify("9" * 500, "7", kind="gsm8k_legacy").kind is VerdictKind.UNPARSABLE


def test_a_million_digits_end_and_match_nothing(ends):
    with ends():
        assert verify("9" * 10**6, "7", kind="gsm8k_legacy").score == 0.0
        assert verify("1." * 10**5, "7", kind="gsm8k_legacy").score == 0.0
