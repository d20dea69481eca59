"""Programs and their tests, from the files in `cases/`: a name, the program, what tests it."""

from pathlib import Path

import pytest

from rewards.code.sandbox import Job, Sandbox

CASES = Path(__file__).parent / "cases"


def read(name):
    """Return the cases of a file as `{name: (program, tests)}`."""
    blocks = (CASES / f"{name}.txt").read_text().split("=== ")[1:]
    split = [
        (title, body.split("\n---\n")) for title, _, body in (b.partition("\n") for b in blocks)
    ]
    return {title: (program, tests) for title, (program, tests) in split}


FILES = ("objects", "forms", "wrong_forms", "no_checks", "refuted", "unjudged")
TABLES = {name: read(name) for name in FILES}


@pytest.fixture(scope="module")
def outcomes():
    """The outcome of every case, each run once."""
    sandbox = Sandbox(num_workers=2)
    cases = {(name, title): case for name in FILES for title, case in TABLES[name].items()}
    jobs = [Job(program, (tests,), wall_s=60.0) for program, tests in cases.values()]
    yield dict(zip(cases, sandbox.run_many(jobs), strict=True))
    sandbox.close()


@pytest.mark.parametrize("title", TABLES["objects"])
def test_a_right_program_with_objects_passes(outcomes, title):
    assert outcomes["objects", title].outcome == "passed", outcomes["objects", title].detail


@pytest.mark.parametrize("title", TABLES["forms"])
def test_every_form_of_tests_is_run(outcomes, title):
    assert outcomes["forms", title].outcome == "passed", outcomes["forms", title].detail


@pytest.mark.parametrize("title", TABLES["wrong_forms"])
def test_a_wrong_program_fails_in_every_form(outcomes, title):
    assert outcomes["wrong_forms", title].outcome == "failed"


@pytest.mark.parametrize("title", TABLES["no_checks"])
def test_tests_that_check_nothing_are_told_from_a_right_program(outcomes, title):
    assert outcomes["no_checks", title].outcome == "bad tests"


@pytest.mark.parametrize("title", TABLES["refuted"])
def test_a_program_that_passes_by_its_own_word_fails(outcomes, title):
    assert outcomes["refuted", title].outcome == "failed", outcomes["refuted", title].detail


@pytest.mark.parametrize("title", TABLES["unjudged"])
def test_what_only_the_program_could_decide_is_not_judged(outcomes, title):
    assert outcomes["unjudged", title].outcome == "unjudged", outcomes["unjudged", title].detail
