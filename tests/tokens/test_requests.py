"""Prompts of problems: encoded whole or refused."""

import pytest

from rlpeft.errors import DataError
from rlpeft.tokens.requests import Prompter
from rlpeft.types import Problem


class Characters:
    """A tokenizer of one character a token."""

    bos_token_id = None
    chat_template = None

    def __call__(self, text, add_special_tokens=False):
        return {"input_ids": [ord(c) for c in text]}

    def __len__(self):
        return 0x110000


def test_a_long_prompt_is_an_error_and_never_cut():
    prompter = Prompter(Characters(), max_tokens=3)
    assert prompter.ids(Problem("ok", "abc")) == (97, 98, 99)
    with pytest.raises(DataError, match=r"'long' must have at most .* 3 tokens, it has 4"):
        prompter.ids(Problem("long", "abcd"))
