import pytest

from rewards import VerdictKind, verify, verify_batch


@pytest.fixture(scope="module", autouse=True)
def _warm():
    verify(r"\boxed{\int_0^1 x dx}", "1", policy="lenient")


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (r"\frac13", r"\int_0^1 x^2\,dx"),
        (r"\frac{n(n+1)}2", r"\sum_{k=1}^{n} k"),
        ("1", r"\lim_{x \to 0}\frac{\sin x}{x}"),
        ("120", r"\prod_{k=1}^{5} k"),
        (r"\sum_{k=1}^{4} k", "10"),
        ("-2", r"\begin{vmatrix}1&2\\3&4\end{vmatrix}"),
    ],
)
def test_what_needs_evaluation_is_evaluated_when_lenient(gold, answer):
    right, wrong = f"\\boxed{{{answer}}}", "\\boxed{17}"
    verdicts = verify_batch([right, wrong], [gold, gold], policy="lenient")
    assert [verdict.score for verdict in verdicts] == [1.0, 0.0]


def test_strict_counts_an_unevaluated_answer_as_unparsable_and_such_a_gold_as_unscorable():
    assert verify(r"\boxed{\int_0^1 x dx}", r"\frac12").kind is VerdictKind.UNPARSABLE
    assert verify(r"\boxed{\frac12}", r"\int_0^1 x dx").kind is VerdictKind.UNSCORABLE


@pytest.mark.slow
def test_a_hanging_evaluation_is_a_timeout_and_not_a_zero():
    verdict = verify(r"\boxed{\int_0^1 x^{x^{x^x}} dx}", "7", policy="lenient")
    assert verdict.kind is VerdictKind.TIMEOUT
    assert verdict.score is None


@pytest.mark.slow
def test_hanging_rows_do_not_change_their_neighbours():
    hang = r"\boxed{\sum_{k=1}^{10^9}\frac{(-1)^k}{k!}}"
    completions = [r"\boxed{7}", hang, r"\boxed{\int_0^1 14x dx}", hang, r"\boxed{8}"]
    kinds = [v.kind.value for v in verify_batch(completions, ["7"] * 5, policy="lenient")]
    assert kinds == ["correct", "timeout", "correct", "timeout", "wrong"]


def test_text_sympy_cannot_parse_is_the_answers_fault():
    assert verify(r"\boxed{\int \int \sum}", "7", policy="lenient").kind is VerdictKind.UNPARSABLE
