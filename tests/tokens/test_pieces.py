"""Tokens as a person reads them: nothing hidden, and no text that passes for a control token."""

import pytest

from rlpeft.tokens.pieces import pieces, shown


def texts(tokenizer, ids):
    return [piece.text for piece in pieces(tokenizer, ids)]


def encode(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def test_blanks_and_line_ends_are_seen(byte_level):
    tokenizer = byte_level(merges=[("Ġ", "Ġ")])
    assert texts(tokenizer, encode(tokenizer, "a   b\n"))[:2] == ["a", "␣␣"]
    assert texts(tokenizer, encode(tokenizer, "b\n c")) == ["b", "⏎\n", "␣", "c"]


def test_the_blank_of_a_first_piece_is_seen(sentence_piece):
    tokenizer = sentence_piece()
    ids = encode(tokenizer, "42 42x")
    assert texts(tokenizer, ids) == ["␣42", "␣42", "x"]
    assert texts(tokenizer, ids[1:]) == ["␣42", "x"]


@pytest.mark.parametrize("kind", ["byte_level", "sentence_piece"])
def test_a_character_of_several_tokens_shows_at_the_last_and_its_bytes_before(kind, request):
    tokenizer = request.getfixturevalue(kind)()
    ids = encode(tokenizer, "x😀y")
    # U+1F600 in UTF-8 is F0 9F 98 80.
    assert texts(tokenizer, ids)[-5:] == ["⟨F0⟩", "⟨9F⟩", "⟨98⟩", "😀", "y"]


def test_bytes_that_never_make_a_character_do_not_spoil_what_follows(byte_level):
    tokenizer = byte_level()
    ids = [*encode(tokenizer, "😀")[:2], tokenizer.convert_tokens_to_ids("<|im_end|>")]
    ids += encode(tokenizer, "é")
    assert texts(tokenizer, ids) == ["⟨F0⟩", "⟨9F⟩", "⟦<|im_end|>⟧", "⟨C3⟩", "é"]


@pytest.mark.parametrize("special", [True, False])
def test_a_control_token_is_told_from_the_letters_of_its_name(byte_level, special):
    # Some models hold the marks of turns as ordinary added tokens.
    tokenizer = byte_level(special=special)
    (token,) = pieces(tokenizer, [tokenizer.convert_tokens_to_ids("<|im_end|>")])
    letters = pieces(tokenizer, [tokenizer.convert_tokens_to_ids(c) for c in "<|im_end|>"])
    assert (token.text, token.is_control) == ("⟦<|im_end|>⟧", True)
    assert "".join(piece.text for piece in letters) == "<|im_end|>"
    assert not any(piece.is_control for piece in letters)


def test_text_cannot_write_our_marks(byte_level):
    tokenizer = byte_level()
    read = pieces(tokenizer, encode(tokenizer, "⟦<s>⟧"))
    assert not any(piece.is_control for piece in read)
    assert shown("⟦<s>⟧│␣⏎⟨") == "⟨U+27E6⟩<s>⟨U+27E7⟩⟨U+2502⟩⟨U+2423⟩⟨U+23CE⟩⟨U+27E8⟩"


def test_characters_that_do_not_show_are_spelled_out():
    assert shown("a\u202eb\u00a0c\td\u2028") == "a⟨U+202E⟩b⟨U+00A0⟩c⟨U+0009⟩d⟨U+2028⟩"


def test_an_id_without_a_token_is_named(byte_level):
    assert texts(byte_level(), [100_000]) == ["⟦no token 100000⟧"]


def test_what_tokens_say_together_is_what_was_written(byte_level, sentence_piece):
    text = "def f(x):\n    return x  # π\n"
    for tokenizer in (byte_level(), sentence_piece()):
        read = [said for said in texts(tokenizer, encode(tokenizer, text)) if said[0] != "⟨"]
        joined = "".join(read).removeprefix("␣")
        assert joined.replace("⏎", "").replace("␣", " ") == text
