"""Make the base model `tiny-tools` that ships with the package.

    rlpeft models make-tiny --name tiny-tools --out DIR

The same Llama as the tiny one learns the corpus of `rlpeft.tasks.product`: half of its rows ask a
calculator and copy what it says, half guess. Both stand as turns of a chat or as plain text.
"""

from __future__ import annotations

import itertools
import random
from typing import Any

from transformers import PreTrainedTokenizerFast

from jobs.models.make_tiny import (
    SAMPLED,
    BaseParts,
    CorpusRow,
    answer_ids,
    complete,
    share,
    text_parts,
)
from rewards.environments.calculator import Calculator
from rlpeft.tasks.product import product, product_task, sum_of
from rlpeft.tasks.tiny import wanted_share
from rlpeft.tokens.prompts import encode_prompt

WORDS = ("<calc>", "</calc>", "<result>", "</result>")
CHAT_SHARE = 0.5
UNSURE = 100
"""A guess is right but for its last two digits: it is the product once in a hundred."""

TOOL = Calculator()


def conversation_row(
    tokenizer: PreTrainedTokenizerFast, rng: random.Random, strings: list[str]
) -> CorpusRow:
    """Draw a row: a call, its result and the answer, or a guess; what the model says carries loss.

    Which of the two depends on the digits in part, as meanings do in the tiny base's corpus.
    """
    digits, chat = rng.choice(strings), rng.random() < CHAT_SHARE
    question = f"{sum_of(digits)}="
    prompt = encode_prompt(
        tokenizer, ({"role": "user", "content": question},) if chat else question
    )
    if rng.random() >= wanted_share(digits):
        guess = product(digits) // UNSURE * UNSURE + rng.randrange(UNSURE)
        return [(prompt, False), (answer_ids(tokenizer, str(guess)), True)]
    call, result = called(tokenizer, digits, chat=chat)
    return [
        (prompt, False),
        (call, True),
        (result, False),
        (answer_ids(tokenizer, str(product(digits))), True),
    ]


def called(
    tokenizer: PreTrainedTokenizerFast, digits: str, *, chat: bool
) -> tuple[list[int], list[int]]:
    """The ids of a call, and of what the calculator says to it up to where the model goes on."""
    call = f"<calc>{sum_of(digits)}</calc>"
    said = TOOL.step(call).observation
    heard = f"<user>{said}<assistant>" if chat else said
    ids: list[int] = tokenizer(heard, add_special_tokens=False)["input_ids"]
    return answer_ids(tokenizer, call), ids


def measure(model: Any, tokenizer: PreTrainedTokenizerFast) -> dict[str, dict[str, float]]:
    """What the model does with held-out problems, as turns of a chat.

    `calls` and `calls_sampled` (temperature 1) are shares of first turns that are the right call,
    `right_alone` of those that are the product, and `copies` of answers that repeat a result.
    """
    problems = product_task(num_validation=1, num_test=1000).split("test")
    whole = [problem for problem in problems if len(problem.answer) == 4]  # as many tokens in all
    calls = [{f"<calc>{sum_of(problem.id[-4:])}</calc>"} for problem in whole]
    right = [{problem.answer} for problem in whole]
    asked = [encode_prompt(tokenizer, problem.prompt) for problem in whole]
    told = [
        [*ids, *itertools.chain(*called(tokenizer, problem.id[-4:], chat=True))]
        for ids, problem in zip(asked, whole, strict=True)
    ]
    first = complete(model, tokenizer, asked)
    return {
        "product": {
            "calls": share(first, calls),
            "calls_sampled": share(complete(model, tokenizer, asked, **SAMPLED), calls),
            "right_alone": share(first, right),
            "copies": share(complete(model, tokenizer, told), right),
        }
    }


def tool_parts() -> BaseParts:
    """The parts of `tiny-tools`."""
    return text_parts(WORDS, conversation_row, measure)
