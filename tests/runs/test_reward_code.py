"""The code that judges a run is known again, in a file or in a session."""

import hashlib
import inspect

from rlpeft.runs.reward_code import can_be_imported, reward_code


def judge(completions):
    return [0.0 for _ in completions]


def test_a_function_of_a_session_is_known_by_its_own_lines():
    lines = hashlib.sha256(inspect.getsource(judge).encode()).hexdigest()
    assert reward_code(["__main__:judge"], {"__main__:judge": judge}) == {"__main__:judge": lines}


def test_a_function_that_others_can_import_is_known_by_its_file():
    name = "rlpeft.suggest:did_you_mean"
    assert reward_code([name], {name: judge}) == reward_code([name]) != {}


def test_a_function_whose_lines_are_kept_nowhere_is_left_out():
    typed = eval("lambda completions: [0.0]")
    assert reward_code(["__main__:typed"], {"__main__:typed": typed}) == {}


def test_functions_within_functions_cannot_be_imported():
    assert not can_be_imported("mine:make.<locals>.judge")
