"""The corpus of the base that uses a calculator: calls, results, guesses, and what is learned."""

import random
import re

import pytest

from jobs.models.make_tiny import make_tokenizer
from jobs.models.make_tiny_tools import WORDS, conversation_row
from rlpeft.models.folder import resolve_model
from rlpeft.models.tokenizer import load_tokenizer
from rlpeft.tasks.tiny import digit_strings

TOKENIZER = make_tokenizer(WORDS)
TRAINABLE, HELD_OUT = digit_strings()


def rows(count):
    rng = random.Random(0)
    drawn = (conversation_row(TOKENIZER, rng, TRAINABLE) for _ in range(count))
    return [[(TOKENIZER.decode(ids), own) for ids, own in row] for row in drawn]


def factors(text):
    return tuple(map(int, re.search(r"([1-9]{2})\*([1-9]{2})=", text).groups()))


def test_a_call_is_answered_with_the_product_and_the_product_repeated():
    called = [row for row in rows(400) if len(row) == 4]
    for (prompt, _), (call, _), (said, _), (answer, _) in called:
        first, second = factors(prompt)
        assert call == f"<calc>{first}*{second}</calc><eos>"
        assert said in (
            f"<result>{first * second}</result>",
            f"<user><result>{first * second}</result><assistant>",
        )
        assert answer == f"{first * second}<eos>"
        assert ("<user>" in prompt) == ("<user>" in said)


def test_what_is_not_called_is_guessed_to_the_last_two_digits():
    guesses = [row for row in rows(2000) if len(row) == 2]
    right = 0
    for (prompt, _), (answer, _) in guesses:
        first, second = factors(prompt)
        guess = int(answer.removesuffix("<eos>"))
        assert guess // 100 == first * second // 100
        right += guess == first * second
    assert len(guesses) / 2000 == pytest.approx(0.53, abs=0.05)  # 5 of 9 second digits ask less
    assert right / len(guesses) < 0.03


def test_only_what_the_model_says_is_learned():
    assert {tuple(own for _, own in row) for row in rows(50)} == {
        (False, True),
        (False, True, False, True),
    }


def test_held_out_digits_are_never_shown():
    held_out = {(int(digits[:2]), int(digits[2:])) for digits in HELD_OUT}
    assert not held_out & {factors(row[0][0]) for row in rows(3000)}


def test_the_shipped_tokenizer_is_the_one_the_script_makes():
    shipped = load_tokenizer(resolve_model("tiny-tools"))
    assert TOKENIZER.get_vocab() == shipped.get_vocab()
    assert TOKENIZER.chat_template == shipped.chat_template
