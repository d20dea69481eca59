"""Small evaluations of two experts of the tiny base."""

from contextlib import ExitStack

import pytest


@pytest.fixture
def asked(quick, tiny_experts):
    """Opens a survey of both experts on two tasks; closed at the end of the test."""
    from jobs.evaluation.asked import open_survey
    from jobs.exams import Samples

    with ExitStack() as stack:

        def opened(samples=None, *, recipes=None, folders=None, **options):
            exams = [quick(name=t, task={"name": f"tiny/{t}"}) for t in ("swap", "sort")]
            places = [tiny_experts / name for name in folders or ("up", "down")]
            drawn = samples or Samples(2, 1.0)
            return stack.enter_context(open_survey(places, recipes or exams, drawn, **options))

        yield opened
