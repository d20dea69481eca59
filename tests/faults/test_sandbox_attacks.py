"""Attacks on the code sandbox, no two alike: programs that want a score they have not earned.

`sandbox/wrong.txt` and `sandbox/unpaid.txt` hold a name, a program and what tests it (squares,
where nothing is said); those in the second file may be left unscored. `sandbox/escapes.txt` holds
actions that every ordinary interpreter of a user can do, or of root. Every third runs in each
change, all of them under the marker `campaign`.
"""

from pathlib import Path

import pytest

from rewards.code.confine import missing_protections
from rewards.code.sandbox import Job, Sandbox

FOLDER = Path(__file__).parent / "sandbox"
SQUARES = "assert f(2) == 4\nassert f(3) == 9"
ATTEMPT = """
def attempt():
    try:
        {action}
    except BaseException as error:
        return "refused: " + type(error).__name__
    return "done"
"""


def read(name):
    """Return the attacks of a file as `{name: (program, tests)}`."""
    attacks = {}
    for block in (FOLDER / f"{name}.txt").read_text().split("=== ")[1:]:
        title, _, body = block.partition("\n")
        program, _, tests = body.partition("\n---\n")
        attacks[title] = (program, tests or SQUARES)
    return attacks


def third(names):
    """Leave all but every third name to the campaign."""
    return [
        name if place % 3 == 0 else pytest.param(name, marks=pytest.mark.campaign)
        for place, name in enumerate(names)
    ]


WRONG, UNPAID = read("wrong"), read("unpaid")
ESCAPES = dict(
    line.split(": ", 1) for line in (FOLDER / "escapes.txt").read_text().splitlines() if line
)


@pytest.fixture(scope="module")
def sandbox():
    sandbox = Sandbox(num_workers=2)
    yield sandbox
    sandbox.close()


def run(sandbox, program, tests):
    outcome = sandbox.run(Job(program, (tests,), cpu_s=1, wall_s=3.0))
    if outcome.outcome == "starved":  # a busy machine says nothing about an attack
        outcome = sandbox.run(Job(program, (tests,), cpu_s=1, wall_s=40.0))
    return outcome


@pytest.mark.parametrize("title", third(WRONG))
def test_an_attack_is_wrong(sandbox, title):
    outcome = run(sandbox, *WRONG[title])

    assert outcome.outcome in ("failed", "syntax"), outcome


@pytest.mark.parametrize("title", third(UNPAID))
def test_an_attack_is_not_paid(sandbox, title):
    outcome = run(sandbox, *UNPAID[title])

    assert outcome.outcome in ("failed", "unjudged", "bad tests"), outcome


@pytest.mark.skipif(bool(missing_protections()), reason="; ".join(missing_protections()))
@pytest.mark.parametrize("title", third(ESCAPES))
def test_an_escape_is_refused(sandbox, title):
    program = ATTEMPT.format(action=ESCAPES[title])

    outcome = run(sandbox, program, "assert attempt().startswith('refused')")

    assert outcome.outcome == "passed", outcome


def test_after_all_attacks_a_right_program_passes_and_nothing_is_left(sandbox):
    outcome = run(sandbox, "def f(x):\n    return x * x", SQUARES)

    assert outcome.outcome == "passed", outcome


def test_no_two_attacks_are_alike():
    programs = [*WRONG.values(), *UNPAID.values(), *ESCAPES.values()]

    assert len(set(programs)) == len(programs) >= 130
