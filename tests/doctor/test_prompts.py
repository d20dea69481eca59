"""Tokens and prompts of the tiny base under good and bad tasks."""

import pytest

from rlpeft.doctor.prompts import (
    check_chat,
    check_prompts,
    check_specials,
    check_tags,
    check_tokens,
)
from rlpeft.doctor.row import spread
from rlpeft.models.folder import resolve_model
from rlpeft.models.tokenizer import load_tokenizer
from rlpeft.recipe.reward import RewardConfig
from rlpeft.recipe.run import Recipe
from rlpeft.rollout.text import completion_texts
from rlpeft.tasks.base import ProblemSet
from rlpeft.tokens.eos import eos_ids
from rlpeft.tokens.requests import Prompter
from rlpeft.types import Problem

TINY = resolve_model("tiny")
TURNS = ({"role": "user", "content": "1"},)


@pytest.fixture
def prompter():
    return Prompter(load_tokenizer(TINY), max_tokens=512)


def recipe(**rollout):
    return Recipe.model_validate(
        {"name": "x", "model": {"name": "tiny"}, "task": {"name": "tiny/swap"}, "rollout": rollout}
    )


def lengths(prompter, length, **rollout):
    """The row on prompts of `length` tokens, BOS included."""
    splits = ("train", "validation", "test")
    problems = {
        split: (Problem(split, str(n) * (length - 1), "1"),) for n, split in enumerate(splits)
    }
    (check,) = check_prompts(recipe(**rollout), 512, ProblemSet("given", problems), prompter)
    return check


def tokens(prompter, prompt, **options):
    eos = eos_ids(TINY, prompter.tokenizer)
    return {c.name: c for c in check_tokens(prompter, Problem("p", prompt, **options), eos)}


def test_prompts_open_with_one_bos(prompter):
    assert (
        tokens(prompter, "12")["beginning of sequence"].found == "prompts open with one BOS token"
    )


def test_bos_in_the_text_of_a_prompt_is_not_doubled(prompter):
    found = tokens(prompter, "<bos><bos>12", special_tokens=True)["beginning of sequence"]
    assert (found.status, found.found) == ("ok", "prompts open with one BOS token")


def test_every_end_of_sequence_is_named(prompter):
    assert tokens(prompter, "12")["end of sequence"].found == "ends at 2 '<eos>'"


def test_padding_that_is_an_end_of_sequence_is_said_to_be_harmless(prompter):
    prompter.tokenizer.pad_token = prompter.tokenizer.eos_token
    assert "masks come from lengths" in tokens(prompter, "12")["padding"].found


def test_prompts_within_the_limits_pass(prompter):
    check = lengths(prompter, 10, max_prompt_tokens=10, max_tokens=8)
    assert check.status == "ok"
    assert "longest 10 tokens; limit 10, context 512" in check.found


def test_prompts_above_the_limit_fail(prompter):
    check = lengths(prompter, 11, max_prompt_tokens=10)
    assert check.status == "fail"
    assert "100.0% too long" in check.found


def test_prompts_as_long_as_the_context_fail(prompter):
    assert lengths(prompter, 512, max_prompt_tokens=600).status == "fail"


def test_completions_that_do_not_fit_the_context_are_a_warning(prompter):
    check = lengths(prompter, 510, max_prompt_tokens=600, max_tokens=8)
    assert (check.status, check.advice) == ("warn", "Lower rollout.max_tokens to 2.")


def test_answers_longer_than_the_context_fail(prompter):
    check = lengths(prompter, 12, max_tokens=512)
    assert (check.status, check.advice) == ("fail", "Lower rollout.max_tokens to 500.")


def test_plain_prompts_leave_the_chat_template_unused(prompter):
    check = check_chat(prompter, Problem("p", "1"), eos_ids(TINY, prompter.tokenizer))
    assert (check.status, check.found) == (
        "ok",
        "prompts are plain text; the model has one, unused",
    )


def test_chat_turns_that_end_a_completion_pass(prompter):
    check = check_chat(prompter, Problem("p", TURNS), eos_ids(TINY, prompter.tokenizer))
    assert check.status == "ok"
    assert "ends a completion" in check.found


def test_chat_turns_that_end_no_completion_are_a_warning(prompter):
    check = check_chat(prompter, Problem("p", TURNS), frozenset({0}))
    assert check.status == "warn"
    assert "'<eos>'" in check.found


@pytest.mark.parametrize(
    ("prompt", "special", "status", "found"),
    [
        ("12", False, "ok", "no prompt's text names one"),
        ("1<eos>", False, "warn", "3 of 3 prompts name one, such as <eos>; in data they are"),
        (({"role": "user", "content": "1<eos>"},), False, "warn", "3 of 3 prompts name one"),
        ("1<eos>", True, "ok", "they are tokens (task.options.special_tokens)"),
    ],
)
def test_names_of_control_tokens_in_prompts_are_told(prompter, prompt, special, status, found):
    splits = ("train", "validation", "test")
    rows = {split: (Problem(split, prompt, "1", special_tokens=special),) for split in splits}
    check = check_specials(ProblemSet("given", rows), prompter)
    assert check.status == status
    assert found in check.found


@pytest.mark.parametrize(
    ("special", "options", "hidden"),
    [
        (["<think>", "</think>"], {}, "<think>, </think>: special tokens"),
        (["<sum>"], {"pattern": "<sum>.*"}, "<sum>: special tokens"),
        (["<sum>"], {}, ""),
        ([], {"pattern": "<think>"}, ""),
    ],
)
def test_tags_that_rewards_never_see_in_an_answer_are_told(special, options, hidden):
    tokenizer = load_tokenizer(TINY)
    tokenizer.add_tokens(special, special_tokens=True)
    tokenizer.add_tokens(["<answer>"])
    said = [tokenizer.convert_tokens_to_ids(name) for name in [*special, "<answer>"]]
    (text,) = completion_texts(tokenizer, [[5]], [said])
    assert text.strip() == "<answer>"
    given = recipe().model_copy(
        update={"reward": [RewardConfig(name="exact", options=options)]},
    )
    found = [check.found for check in check_tags(tokenizer, given)]
    assert bool(found) == bool(hidden)
    assert all(row.startswith(hidden) for row in found)


@pytest.mark.parametrize(
    ("values", "text"),
    [([4], "longest 4"), (range(1, 101), "median 50, 95 % within 96, longest 100")],
)
def test_lengths_are_summed_up(values, text):
    assert spread(list(values)) == text
