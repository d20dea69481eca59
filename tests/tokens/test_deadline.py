"""A chat template is a program of a stranger's: it has a limit of time, within any other."""

import time
from functools import partial

import pytest

from rlpeft.errors import ModelError
from rlpeft.tokens import specials
from rlpeft.tokens.chat import Talk
from rlpeft.tokens.deadline import OvertimeError, deadline
from rlpeft.tokens.prompts import encode_prompt

SLOW = "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}"
LATER = "{% if messages[0].content == 'never' %}" + SLOW + "{% endif %}"


def wait(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.fixture
def be_impatient(monkeypatch):
    """Makes templates end soon; to be called where none is left that shall end by itself."""
    return partial(monkeypatch.setattr, specials, "TEMPLATE_S", 0.3)


def test_a_template_that_never_ends_is_one_line(byte_level, templates, be_impatient):
    be_impatient()
    with pytest.raises(ModelError, match=r"must end, it takes more than 0.3 s"):
        encode_prompt(byte_level(SLOW + templates["chatml"]), [{"role": "user", "content": "hi"}])


def test_so_is_one_that_ends_for_some_turns_alone(byte_level, templates, be_impatient):
    talk = Talk(byte_level(LATER + templates["chatml"]))
    assert talk.prompt([{"role": "user", "content": "soon"}])
    be_impatient()
    with pytest.raises(ModelError, match=r"must end"):
        talk.prompt([{"role": "user", "content": "never"}])


def test_the_nearer_of_two_limits_holds():
    with pytest.raises(OvertimeError, match=r"0\.2 s"), deadline(0.2), deadline(60):
        wait(60)


@pytest.mark.slow
def test_what_many_short_bodies_take_is_gone_for_the_limit_around_them():
    """None of them comes near its own limit, on however busy a machine."""

    def many():
        while True:
            with deadline(1.9):
                wait(0.1)

    with pytest.raises(OvertimeError, match=r"more than 2 s"), deadline(2):
        many()


@pytest.mark.slow
def test_a_body_that_ends_in_time_leaves_no_limit_behind():
    with deadline(1):
        pass
    wait(1.2)


def test_a_limit_of_another_s_is_not_told_as_the_template_s(byte_level, templates):
    with pytest.raises(OvertimeError, match=r"0\.3 s"), deadline(0.3):
        encode_prompt(byte_level(SLOW + templates["chatml"]), [{"role": "user", "content": "hi"}])
