"""Laws of the verifier, on expressions built at random and on hostile token soup."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rewards import VerdictKind, verify
from rewards.math.policy import LENIENT, MathPolicy

SETTINGS = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
WRITTEN_ANYHOW = MathPolicy(unreduced_fractions=True, unevaluated_arithmetic=True)

integers = st.integers(-999, 9999).map(str)
decimals = st.builds(
    "{}.{}".format, st.integers(0, 99), st.from_regex(r"[0-9]{1,3}", fullmatch=True)
)
fractions = st.builds(r"\frac{{{}}}{{{}}}".format, st.integers(-99, 99), st.integers(1, 99))
variables = st.sampled_from(["x", "y", "n", r"\alpha", "a_1", r"\pi"])
atoms = st.one_of(integers, decimals, fractions, variables)
scalars = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds("({}) + ({})".format, inner, inner),
        st.builds("({}) - ({})".format, inner, inner),
        st.builds(r"({}) \cdot ({})".format, inner, inner),
        st.builds(r"\sqrt{{{}}}".format, inner),
        st.builds("({})^{{2}}".format, inner),
        st.builds(r"\sin({})".format, inner),
        st.builds("|{}|".format, atoms),
    ),
    max_leaves=5,
)
structures = st.one_of(
    scalars,
    st.builds(r"\{{{}, {}\}}".format, atoms, atoms),
    st.builds("({}, {})".format, scalars, scalars),
    st.builds("{}, {}".format, integers, fractions),
    st.builds("x = {}".format, fractions),
    st.builds(r"x \le {}".format, integers),
    st.builds(r"\pm {}".format, st.integers(1, 99)),
    st.builds(r"{}\%".format, integers),
    st.builds(r"{}\text{{ cm}}".format, integers),
    st.builds(r"\begin{{pmatrix}} {} & {} \\ {} & {} \end{{pmatrix}}".format, *[atoms] * 4),
    st.sampled_from([r"\text{Evelyn}", r"\mathbb{R}", r"\emptyset", r"\infty", "12:30", "204_5"]),
)
layouts = st.sampled_from(
    [
        lambda text: text.replace(r"\frac", r"\dfrac"),
        lambda text: text.replace("(", r"\left(").replace(")", r"\right)"),
        lambda text: text.replace(", ", r",\ ").replace(" + ", "+"),
        lambda text: f"${text}$",
        lambda text: rf"\({text}\)",
        lambda text: rf"\displaystyle {text} ",
        lambda text: rf"\mathbf{{{text}}}",
        lambda text: text + ".",
        lambda text: text.replace("-", "−").replace(r"\pi", "π").replace(r"\cdot", "·"),
        lambda text: f"\n  {text}\n",
    ]
)
SIGNS = r"""
\boxed{ \frac \sqrt { } ( ) [ ] \{ \} ^ _ ! % $ $$ | , ; : = < > \le \pm \cup + - * / . \text{ & \\
\begin{pmatrix} \end{pmatrix} 0 1 7 99 12345678901234567890 1e9 0.5 x n e i \pi \infty \sin \log_
\binom \sum \int ° ½ ² ٣ \left \right and or cm \$ #### Answer: <think> </think> <answer> ... is
__class__ len( eval( lambda 9**9**9 \overline{ \dot
"""
soup = st.lists(st.sampled_from(SIGNS.split()), max_size=40).map(" ".join)
packed_soup = soup.map(lambda text: text.replace(" ", ""))
texts = st.one_of(soup, packed_soup, st.text(max_size=200), st.binary(max_size=100).map(repr))


def boxed(text):
    return f"So the value is \\boxed{{{text}}}"


@SETTINGS
@given(structures)
def test_every_answer_equals_itself(answer):
    verdict = verify(boxed(answer), answer)
    assert verdict.kind is VerdictKind.CORRECT


@SETTINGS
@given(structures, layouts)
def test_layout_changes_nothing(answer, layout):
    assert verify(boxed(layout(answer)), answer).kind is VerdictKind.CORRECT
    assert verify(boxed(answer), layout(answer)).kind is VerdictKind.CORRECT


@SETTINGS
@given(structures, structures)
def test_equality_is_symmetric(left, right):
    one_way = verify(boxed(left), right, policy=WRITTEN_ANYHOW)
    other_way = verify(boxed(right), left, policy=WRITTEN_ANYHOW)
    assert one_way.score == other_way.score


@pytest.mark.slow
@SETTINGS
@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9))
def test_integers_are_equal_exactly_when_they_are_the_same(left, right):
    assert verify(boxed(f"{left:,}"), str(right)).score == float(left == right)
    assert verify(boxed(f"{left}.0"), str(left)).score == 1.0
    assert verify(boxed(str(left + 1)), str(left)).score == 0.0


@SETTINGS
@given(st.fractions(min_value=-99, max_value=99, max_denominator=999))
def test_fractions_match_each_way_of_writing_them_and_no_neighbour(value):
    gold = f"{value.numerator}/{value.denominator}"
    for answer in (
        rf"\frac{{{value.numerator}}}{{{value.denominator}}}",
        rf"-\frac{{{-value.numerator}}}{{{value.denominator}}}",
        rf"\frac{{{-value.numerator}}}{{{-value.denominator}}}",
    ):
        assert verify(boxed(answer), gold, policy=WRITTEN_ANYHOW).score == 1.0
    neighbour = f"{value.numerator * 1000 + 1}/{value.denominator * 1000}"
    assert verify(boxed(neighbour), gold, policy=WRITTEN_ANYHOW).score == 0.0


@SETTINGS
@given(scalars, st.integers(1, 9))
def test_adding_to_a_value_changes_it(expression, added):
    answer = f"{expression} + {added}"
    assert verify(boxed(answer), expression, policy=WRITTEN_ANYHOW).score == 0.0


@SETTINGS
@given(st.lists(st.integers(-99, 99), min_size=2, max_size=6, unique=True), st.randoms())
def test_sets_ignore_order_and_miss_nothing(values, random):
    gold = ", ".join(map(str, values))
    shuffled = random.sample(values, len(values))
    assert verify(boxed(r"\{" + ", ".join(map(str, shuffled)) + r"\}"), gold).score == 1.0
    assert verify(boxed(", ".join(map(str, shuffled[1:]))), gold).score == 0.0
    for value in values:
        assert verify(boxed(gold), str(value)).score == 0.0


@pytest.mark.slow
@settings(SETTINGS, max_examples=600)
@given(texts, st.sampled_from(["7", "x+1", r"\frac{\pi}{4}", r"\{1,2\}", "x<3", r"\text{Evelyn}"]))
def test_no_completion_raises_explodes_or_earns_by_chance(ends, completion, gold):
    with ends():
        verdict = verify(completion, gold)
    assert verdict.score in (0.0, 1.0)
    assert verify(boxed(completion), gold).score is not None


@pytest.mark.slow
@settings(SETTINGS, max_examples=5_000, derandomize=False)
@given(texts, texts)
def test_a_long_fuzz_finds_no_defect(completion, gold):
    assert verify(completion, gold).kind is not VerdictKind.ERROR
    assert verify(boxed(completion), gold, policy=WRITTEN_ANYHOW).kind is not VerdictKind.ERROR


@settings(SETTINGS, max_examples=300)
@given(texts, texts)
def test_no_gold_raises(completion, gold):
    verdict = verify(completion, gold)
    assert (verdict.score is None) == (verdict.kind is VerdictKind.UNSCORABLE)


read_by_people = st.sampled_from(
    ["a half", "half", "one and a half", "三十五", "3:45 PM", "15:45", "3:45", "6:4", "3:2",
     "3 to 2", "5!!", "15", r"\gcd(12, 18)", "6", "7 (not 8)", "7", "2x",
     r"\frac{d}{dx} x^2 = 2x", "noon"]
)  # fmt: skip
packed = st.one_of(
    structures,
    read_by_people,
    st.builds("{}{},{}{}".format, st.sampled_from("(["), integers, integers, st.sampled_from(")]")),
    st.builds("{},{}".format, integers, integers),
    st.builds("x={},y={}".format, integers, decimals),
    st.builds(r"{},{}\text{{ cm}}".format, st.integers(0, 9), st.integers(0, 99)),
    st.builds(r"\{{{},{}\}}".format, integers, integers),
    st.builds(r"{} \le x < {}".format, st.integers(-9, 0), st.integers(1, 9)),
    st.builds(r"{}\text{{ h }}{}\text{{ min}}".format, st.integers(1, 9), st.integers(1, 59)),
)


@SETTINGS
@given(packed, layouts, st.booleans())
def test_lenient_accepts_all_that_strict_accepts(gold, layout, is_boxed):
    completion = boxed(layout(gold)) if is_boxed else f"The answer is {layout(gold)}"
    if verify(completion, gold).score == 1.0:
        assert verify(completion, gold, policy=LENIENT).score == 1.0


@SETTINGS
@given(read_by_people, read_by_people)
def test_forms_that_people_read_are_equal_either_way(left, right):
    one_way = verify(boxed(left), right, policy=WRITTEN_ANYHOW)
    assert one_way.score == verify(boxed(right), left, policy=WRITTEN_ANYHOW).score


@SETTINGS
@given(packed, packed)
def test_lenient_accepts_each_pair_that_strict_accepts(gold, answer):
    if verify(boxed(answer), gold).score == 1.0:
        assert verify(boxed(answer), gold, policy=LENIENT).score == 1.0


@SETTINGS
@given(st.integers(-9, 9), st.integers(10, 99), st.sampled_from(["(]", "[)", "()", "[]"]))
def test_both_policies_accept_an_interval_without_spaces(low, high, ends):
    interval = f"{ends[0]}{low},{high}{ends[1]}"
    assert verify(boxed(interval), interval).score == 1.0
    assert verify(boxed(interval), interval, policy=LENIENT).score == 1.0
