"""Prompts of problems: encoded whole or refused."""

import pytest

from rlpeft.errors import DataError
from rlpeft.tokens.requests import Prompter
from rlpeft.types import Problem


def test_a_long_prompt_is_an_error_and_never_cut(characters):
    prompter = Prompter(characters, max_tokens=3)
    assert prompter.ids(Problem("ok", "abc")) == (97, 98, 99)
    with pytest.raises(DataError, match=r"'long' must have at most .* 3 tokens, it has 4"):
        prompter.ids(Problem("long", "abcd"))
