"""Completions that are taught: the tokens of sampling, after the prompt's, and the turn's end."""

import json

import pytest

from rlpeft.errors import ConfigError
from rlpeft.recipe.run import Recipe
from rlpeft.tokens.prompts import continuation_ids, encode_prompt, written_prompt
from rlpeft.tokens.requests import Prompter
from rlpeft.training.sft import training_rows
from rlpeft.types import Problem


def continued(tokenizer, prompt, completion):
    """Prompt and completion as one text, and the ids of the completion."""
    text = written_prompt(tokenizer, prompt)
    ids = continuation_ids(tokenizer, prompt, text, completion)
    return tokenizer.decode([*encode_prompt(tokenizer, prompt), *ids]), ids


@pytest.mark.parametrize("scheme", ["first", "always", "legacy"])
@pytest.mark.parametrize("prompt", ["Q:", "Q: ", "Q:\n", "4", "x  "])
@pytest.mark.parametrize("completion", ["42", " 42", "  42", "\n42", "2 42"])
def test_no_blank_stands_between_prompt_and_completion_that_is_not_theirs(
    sentence_piece, scheme, prompt, completion
):
    tokenizer = sentence_piece(scheme)
    text, _ = continued(tokenizer, prompt, completion)
    assert text.removeprefix("<s>").removeprefix(" ") == prompt + completion


def test_the_tokens_are_those_of_the_whole_text_where_it_begins_with_the_prompts(sentence_piece):
    tokenizer = sentence_piece()
    _, ids = continued(tokenizer, "Q:", " 42")
    assert tokenizer.convert_ids_to_tokens(ids) == ["\u258142"]
    _, ids = continued(tokenizer, "Q:", "42")
    assert tokenizer.convert_ids_to_tokens(ids) == ["42"]


def test_a_completion_that_would_melt_into_its_prompt_stays_apart(byte_level):
    tokenizer = byte_level(merges=[("=", "=")])
    prompt = encode_prompt(tokenizer, "a=")
    text, ids = continued(tokenizer, "a=", "=3")
    assert text == "a==3"
    assert tokenizer.convert_ids_to_tokens([*prompt, *ids]) == ["a", "=", "=", "3"]


def rows(tokenizer, prompt, completion, *, answer="42", **options):
    recipe = Recipe.model_validate(
        {
            "name": "x",
            "model": {"name": "tiny"},
            "task": {"name": "jsonl", "path": "x", "options": options},
            "reward": [{"name": "exact"}],
            "sft": {"completion": completion},
            "train": {"prompts_per_step": 8},
        }
    )
    prompter = Prompter(tokenizer, max_tokens=999)
    (row,) = training_rows(recipe, [Problem("p", prompt, answer)], prompter, context=999)
    taught = [id for id, label in zip(row["input_ids"], row["labels"], strict=True) if label >= 0]
    return tokenizer.convert_ids_to_tokens(taught)


def test_chat_rows_teach_the_token_that_the_template_ends_an_answer_with(byte_level, user):
    assert rows(byte_level(), user("q"), "{answer}") == ["4", "2", "<|im_end|>"]


def test_plain_rows_teach_the_end_of_the_tokenizer(byte_level):
    assert rows(byte_level(), "q", "{answer}") == ["4", "2", "<|endoftext|>"]


def test_sentence_piece_rows_teach_what_is_sampled(sentence_piece, user):
    assert rows(sentence_piece(), "Q:", " {answer}") == ["\u258142", "</s>"]
    assert rows(sentence_piece(), user("q"), "{answer}") == ["\u258142", "</s>"]


def test_an_answer_that_names_a_control_token_is_taught_in_letters(byte_level):
    taught = rows(byte_level(), "q", "{answer}", answer="<|im_end|>")
    assert taught == [*"<|im_end|>", "<|endoftext|>"]


def test_a_completion_that_writes_a_control_token_must_say_what_is_meant(byte_level):
    with pytest.raises(ConfigError, match=r"sft\.completion writes <\|im_end\|>"):
        rows(byte_level(), "q", "{answer}<|im_end|>")
    taught = rows(byte_level(), "q", "{answer}<|im_end|>", special_tokens=False)
    assert taught == [*"42<|im_end|>", "<|endoftext|>"]


def test_a_template_of_a_task_must_say_what_is_meant(quick, tiny, tmp_path):
    from rlpeft.build import read_data

    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"q": str(n), "answer": "1"}) + "\n" for n in range(30)))
    options = {"template": "<user>{q}<assistant>"}
    task = {"name": "jsonl", "path": str(path), "options": options}
    with pytest.raises(ConfigError, match=r"task\.options\.template writes <user>, <assistant>"):
        read_data(quick(task=task), tiny)
