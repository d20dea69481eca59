"""Completions as text: what they add to the prompt, whatever the tokenizer joins or drops."""

import pytest

from rlpeft.rollout.text import completion_texts

WHOLE = "def f(x):\n    if x: return 'é€ ok'\n  # [ 1 , 2 ] isn't 🙂 ."


def ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def test_prompt_and_completion_are_the_whole_wherever_it_is_divided(any_tokenizer):
    whole = WHOLE if "é" in any_tokenizer.decode(ids(any_tokenizer, "é")) else WHOLE[:17]
    row = ids(any_tokenizer, whole)
    cuts = [k for k in range(1, len(row)) if "\ufffd" not in any_tokenizer.decode(row[:k])]
    texts = completion_texts(any_tokenizer, [row[:k] for k in cuts], [row[k:] for k in cuts])
    for cut, text in zip(cuts, texts, strict=True):
        said = any_tokenizer.decode(row[:cut], clean_up_tokenization_spaces=False)
        assert said + text == whole


@pytest.mark.parametrize("kind", ["sentencepiece", "metaspace"])
def test_the_first_space_of_a_completion_is_kept(make_tokenizer, kind):
    tokenizer = make_tokenizer(kind)
    prompt, indented = ids(tokenizer, "def f(x):"), tokenizer.convert_tokens_to_ids(["▁▁", "▁x"])
    assert completion_texts(tokenizer, [prompt], [indented]) == ["   x"]


@pytest.mark.parametrize("kind", ["sentencepiece", "metaspace"])
@pytest.mark.parametrize("specials", [1, 30])
def test_special_tokens_at_the_prompts_end_do_not_make_a_completion_the_first_text(
    make_tokenizer, kind, specials
):
    tokenizer = make_tokenizer(kind)
    prompt = [1, *ids(tokenizer, "x"), *[tokenizer.convert_tokens_to_ids("[/INST]")] * specials]
    answer = tokenizer.convert_tokens_to_ids(["▁x", "</s>"])
    assert completion_texts(tokenizer, [prompt], [answer]) == [" x"]


@pytest.mark.parametrize("kind", ["sentencepiece", "byte level"])
def test_a_character_that_the_prompt_begins_belongs_to_the_completion(make_tokenizer, kind):
    tokenizer = make_tokenizer(kind)
    row, euro = ids(tokenizer, "x: "), ids(tokenizer, "€")[-3:]
    assert completion_texts(tokenizer, [[*row, *euro[:2]]], [euro[2:]]) == ["€"]


def test_spaces_before_punctuation_stay_whatever_the_model_asks_for(make_tokenizer):
    tokenizer = make_tokenizer(
        "letters",
        clean_up_tokenization_spaces=True,
        clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output=True,
    )
    prompt, code = ids(tokenizer, "a ="), " [ 1 , 2 ] !"
    assert completion_texts(tokenizer, [prompt], [ids(tokenizer, code)]) == [code]


def test_an_empty_completion_is_no_text(any_tokenizer):
    assert completion_texts(any_tokenizer, [ids(any_tokenizer, "x x")], [[]]) == [""]


def test_each_completion_continues_its_own_prompt(make_tokenizer):
    tokenizer = make_tokenizer("sentencepiece")
    prompts = [ids(tokenizer, "x"), ids(tokenizer, "xx"), ids(tokenizer, "x")]
    answers = [tokenizer.convert_tokens_to_ids(list(text)) for text in ("a", "▁b", "c")]
    assert completion_texts(tokenizer, prompts, answers) == ["a", " b", "c"]
