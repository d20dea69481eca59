from jobs.bench.rewards import ordinary_answers
from rewards import VerdictKind, verify_batch


def test_the_ordinary_answers_are_of_every_sort_and_two_in_three_are_right():
    pairs = ordinary_answers(300, seed=1)

    verdicts = verify_batch([text for text, _ in pairs], [gold for _, gold in pairs])

    right = sum(verdict.kind is VerdictKind.CORRECT for verdict in verdicts)
    assert 0.55 < right / len(pairs) < 0.8
    assert {"\\frac" in gold for _, gold in pairs} == {True, False}
    assert any("x^2" in gold for _, gold in pairs)
    assert pairs == ordinary_answers(300, seed=1)
