"""Tokenizers of GGUF files read text as the file says."""

import pytest

from rlpeft.errors import ModelError
from rlpeft.models.gguf_text import follow, pre_tokenizer


def pieces(name, text):
    found = pre_tokenizer(name).pre_tokenize_str(text)
    return [piece.replace("\u0120", " ") for piece, _ in found]


# Worked by hand from the rules that the models' publishers give: digits one by one (SmolLM2,
# Qwen2), by three (Llama 3), or whole with the blank before them (GPT-2).
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gpt-2", ["I", " have", " ", " 2024", " dogs"]),
        ("smollm", ["I", " have", "  ", "2", "0", "2", "4", " dogs"]),
        ("qwen2", ["I", " have", " ", " ", "2", "0", "2", "4", " dogs"]),
        ("llama-bpe", ["I", " have", " ", " ", "202", "4", " dogs"]),
    ],
)
def test_text_is_split_as_the_named_pre_tokenizer_does(name, expected):
    assert pieces(name, "I have  2024 dogs") == expected


@pytest.mark.parametrize("name", ["tekken", "default", None])
def test_a_pre_tokenizer_that_we_do_not_know_is_refused(byte_level_fast, name):
    with pytest.raises(ModelError, match=r"tokenizer\.ggml\.pre .* must be one of gpt-2, smollm"):
        follow(byte_level_fast, {"model": "gpt2", "pre": name})


def test_a_kind_of_tokenizer_that_we_do_not_know_is_refused(byte_level_fast):
    with pytest.raises(ModelError, match=r"tokenizer\.ggml\.model .* got 'bert'"):
        follow(byte_level_fast, {"model": "bert", "pre": "smollm"})


@pytest.mark.parametrize(
    ("fields", "opens"),
    [
        ({"model": "gpt2", "pre": "smollm"}, False),
        ({"model": "gpt2", "pre": "smollm", "add_bos_token": False}, False),
        ({"model": "gpt2", "pre": "smollm", "add_bos_token": True}, True),
        ({"model": "llama", "add_bos_token": True}, True),
        ({"model": "llama", "add_bos_token": False}, False),
        ({"model": "llama"}, True),
    ],
)
def test_text_opens_with_bos_where_the_file_asks_for_it(byte_level_fast, fields, opens):
    follow(byte_level_fast, fields)
    ids = byte_level_fast("ab")["input_ids"]
    assert (ids[0] == byte_level_fast.bos_token_id, len(ids)) == (opens, 2 + opens)


@pytest.fixture
def byte_level_fast():
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    fast = Tokenizer(BPE({name: id for id, name in enumerate(letters)}, []))
    fast.decoder = decoders.ByteLevel()
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=fast, bos_token="<s>")
