"""What the hf engine says and where it ends, on models whose every next token is known."""

import string
from itertools import pairwise

import pytest

from rlpeft.rollout.ends import Stops, read_stops
from rlpeft.types import FinishReason, Request, Sampling

GREEDY = Sampling(max_tokens=8, temperature=0.0)


def tokens(tokenizer, text):
    return tokenizer.convert_tokens_to_ids(text.split(" "))


def chain(ids):
    return dict(pairwise(ids))


def test_a_completion_keeps_its_first_space(make_tokenizer, chain_engine):
    tokenizer = make_tokenizer("sentencepiece")
    row = tokenizer.convert_tokens_to_ids(["f", ":", "▁▁", "▁x", "</s>"])
    engine = chain_engine(tokenizer, chain(row))
    ((found,),) = engine.rollout([Request("r", tuple(row[:2]), (0,))], GREEDY)
    assert (found.token_ids, found.text) == (tuple(row[2:]), "   x")
    assert found.finish_reason is FinishReason.STOP


@pytest.mark.parametrize(
    ("row", "stop", "text"),
    [
        ("a b c <|end|> d", "<|end|>", "bc"),
        ("a b c [/INST] d", "[/INST]", "bc"),
        ("a b c <|end|> d e", "<|end|>d", "bcd"),
        ("a b <|end|> [/INST] c", "<|end|>[/INST]", "b"),
        ("a b c d e", "cd", "bcd"),
        ("a b c <|end|> d e", "cd", "bcd"),  # as vLLM has it: the text shows no special token
    ],
)
def test_a_stop_string_ends_a_completion_though_special_tokens_are_in_it(
    make_tokenizer, chain_engine, row, stop, text
):
    tokenizer = make_tokenizer("letters")
    row = tokens(tokenizer, row)
    engine = chain_engine(tokenizer, chain(row))
    sampling = Sampling(max_tokens=8, temperature=0.0, stop=(stop,))
    ((found,),) = engine.rollout([Request("r", tuple(row[:1]), (0,))], sampling)
    assert (found.token_ids, found.text) == (tuple(row[1 : len(found.token_ids) + 1]), text)
    assert found.finish_reason is FinishReason.STOP


def test_a_plain_stop_string_is_not_found_in_the_name_of_a_special_token(
    make_tokenizer, chain_engine
):
    tokenizer = make_tokenizer("letters")
    row = tokens(tokenizer, "a b <|end|> c [/INST] d")
    engine = chain_engine(tokenizer, chain(row))
    sampling = Sampling(max_tokens=5, temperature=0.0, stop=("end", "INST"))
    ((found,),) = engine.rollout([Request("r", tuple(row[:1]), (0,))], sampling)
    assert (found.token_ids, found.finish_reason) == (tuple(row[1:]), FinishReason.LENGTH)


@pytest.mark.parametrize("kind", ["sentencepiece", "metaspace", "byte level", "letters"])
def test_a_stop_string_is_found_wherever_it_stands_in_a_long_text(
    kind, make_tokenizer, chain_engine
):
    """The chain counts through the alphabet; `\u00e9` takes two tokens of the byte kinds."""
    tokenizer = make_tokenizer(kind)
    text = string.ascii_letters + ("\u00e9" if kind != "letters" else "") + "0123"
    row = tokenizer("a" + text[1:], add_special_tokens=False)["input_ids"]
    engine = chain_engine(tokenizer, chain(row))
    for stop in ("yzA", "3", "Z\u00e90" if kind != "letters" else "Z0"):
        sampling = Sampling(max_tokens=63, temperature=0.0, stop=(stop,))
        ((found,),) = engine.rollout([Request("r", (row[0],), (0,))], sampling)
        assert found.finish_reason is FinishReason.STOP
        assert found.text.endswith(stop)


def test_special_tokens_among_stop_strings_become_ids_whether_or_not_they_have_a_role(
    make_tokenizer,
):
    tokenizer = make_tokenizer("letters")
    stops = read_stops(tokenizer, ["</s>", "\n", "<|end|>", "</s>x"])
    assert stops == Stops((2, 3), ("\n", "</s>x"), hold_special=True)


def test_a_long_prompt_leaves_its_neighbours_all_they_may_say(make_tokenizer, chain_engine):
    """The context is 64: one token is left beside the long prompt, and 20 beside the short one."""
    tokenizer = make_tokenizer("letters")
    (a, b) = tokens(tokenizer, "a b")
    engine = chain_engine(tokenizer, {a: b, b: a})
    requests = [Request("long", (a,) * 63, (0,)), Request("short", (a,), (0,))]
    (long,), (short,) = engine.rollout(requests, Sampling(max_tokens=20, temperature=0.0))
    assert (long.text, short.text) == ("b", "ba" * 10)
    assert long.truncated
    assert short.truncated


def test_a_completion_knows_how_its_prompt_ends(make_tokenizer, chain_engine):
    tokenizer = make_tokenizer("letters")
    prompt = tokens(tokenizer, "a <|end|> < t h i n k > \n")
    ((found,),) = chain_engine(tokenizer, {}).rollout([Request("r", tuple(prompt), (0,))], GREEDY)
    assert found.prompt_end == "a<|end|><think>\n"
