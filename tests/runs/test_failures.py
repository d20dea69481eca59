"""Why answers failed to be scored is told once, not row by row and not without end."""

from types import SimpleNamespace

from rewards.verdict import Verdict, VerdictKind
from rlpeft.runs.failures import tell_failures


def group(*reasons):
    failed = [Verdict(None, VerdictKind.ERROR, reason) for reason in reasons]
    return SimpleNamespace(verdicts=[*failed, Verdict(0.0, VerdictKind.WRONG, "5 is not 7")])


def test_each_cause_is_told_once_with_its_place(capsys):
    told = set()
    for step in range(2):
        tell_failures([group("ZeroDivisionError: division by zero (mine.py:32 in reset)")], told)
        said = " ".join(capsys.readouterr().err.split())
        assert ("(error) and teach nothing: ZeroDivisionError" in said) == (step == 0)
        assert ("(mine.py:32 in reset)." in said) == (step == 0)
    assert "5 is not 7" not in told


def test_of_reasons_that_name_each_row_a_few_are_told(capsys):
    tell_failures([group(*(f"KeyError: {row}" for row in range(50)))], set())
    said = capsys.readouterr().err
    assert said.count("note: ") == 3
    assert said.count("Further causes are not told.") == 1
