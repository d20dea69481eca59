"""The Python tool, in the real sandbox."""

import asyncio

from rewards.environments.python import Python


def said(program, **options):
    turn = f"Let me see.\n```python\n{program}\n```"
    return asyncio.run(Python(**options).step(turn)).observation


def test_it_says_what_a_program_prints():
    assert said("print(6 * 7)") == "```output\n42\n```"


def test_it_says_what_a_program_raises():
    assert "ZeroDivisionError" in said("1 / 0")


def test_what_it_prints_is_cut_and_plain():
    shown = said("print('\\x1b' + 'a' * 50)", most_characters=10)
    assert shown == "```output\n\N{REPLACEMENT CHARACTER}aaaaaaaaa… (51 characters in all)\n```"


def test_a_turn_without_a_program_is_the_last():
    assert asyncio.run(Python().step("It is 42.")).done
