"""What the tokenizer and the task make of each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rlpeft.doctor.row import Check, fail, ok, spread, warn
from rlpeft.recipe.run import Recipe
from rlpeft.rollout.ends import special_tokens
from rlpeft.tasks.base import SPLITS, Task
from rlpeft.tokens.prompts import adds_bos, turn_end
from rlpeft.tokens.requests import Prompter
from rlpeft.tokens.specials import control_names
from rlpeft.types import Problem, Prompt

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
"""What the rewards that come with us read in an answer beside its text."""

NUM_PROMPTS = 512
"""Prompts of each split whose length is measured."""


def check_tokens(prompter: Prompter, problem: Problem, eos: frozenset[int]) -> Iterator[Check]:
    """BOS, EOS and padding, on a real prompt."""
    tokenizer = prompter.tokenizer
    yield _check_bos(tokenizer, prompter.encode(problem))
    names = [f"{id} {tokenizer.convert_ids_to_tokens(id)!r}" for id in sorted(eos)]
    yield ok("end of sequence", f"ends at {', '.join(names)}")
    pad = tokenizer.pad_token_id
    shared = " (also an end of sequence; masks come from lengths)" if pad in eos else ""
    yield ok("padding", f"{pad} {tokenizer.convert_ids_to_tokens(pad)!r}{shared}")


def _check_bos(tokenizer: Any, ids: Sequence[int]) -> Check:
    bos, leading = tokenizer.bos_token_id, 0
    while leading < len(ids) and ids[leading] == bos:
        leading += 1
    if leading > 1:
        return fail(
            "beginning of sequence",
            f"prompts open with {leading} BOS tokens",
            "Remove the BOS text from the task's prompts or from the chat template.",
        )
    if adds_bos(tokenizer) and leading == 0:
        return fail(
            "beginning of sequence",
            "the tokenizer adds BOS, prompts have none",
            "Use the tokenizer that belongs to the model.",
        )
    return ok("beginning of sequence", f"prompts open with {'one' if leading else 'no'} BOS token")


def check_chat(prompter: Prompter, problem: Problem, eos: frozenset[int]) -> Check:
    """Whether the task and the model agree on chat, and a turn can end."""
    tokenizer, name = prompter.tokenizer, "chat template"
    if isinstance(problem.prompt, str):
        has = "has one, unused" if tokenizer.chat_template else "has none"
        return ok(name, f"prompts are plain text; the model {has}")
    end = turn_end(tokenizer, problem.prompt, prompter.talk)
    if end is None:
        return ok(name, "prompts are chat turns; the template writes no token after a turn")
    if end not in eos:
        token = tokenizer.convert_ids_to_tokens(end)
        return warn(
            name,
            f"an assistant's turn ends with {token!r}, which does not end a completion",
            "Add it to eos_token_id in the model's generation_config.json, or to rollout.stop.",
        )
    return ok(name, "prompts are chat turns; an assistant's turn ends a completion")


def check_tags(tokenizer: Any, recipe: Recipe) -> Iterator[Check]:
    """Tags that a reward may read and never sees: special tokens are no part of an answer's text.

    As with TRL. Models that write such tags hold them as ordinary added tokens, so that they stay.
    """
    options = str([reward.options for reward in recipe.rewards])
    roles = {n for n in tokenizer.special_tokens_map.values() if isinstance(n, str)}
    special = special_tokens(tokenizer)
    if hidden := [n for n in special if n in TAGS or (n in options and n not in roles)]:
        yield warn(
            "answer's tags",
            f"{', '.join(hidden)}: special tokens, which rewards do not see in an answer",
            "If the model is to write them, set special to false in tokenizer.json's added_tokens "
            "and in tokenizer_config.json.",
        )


def check_embeddings(rows: int, task: Task, prompter: Prompter) -> Check:
    """Whether the model has an embedding for every token of the tokenizer, and of prompts."""
    name, size = "embeddings", len(prompter.tokenizer)
    problems = [p for split in SPLITS for p in task.split(split)[:NUM_PROMPTS]]
    lost = [p.id for p in problems if max(prompter.encode(p), default=0) >= rows]
    found = f"{rows} for a tokenizer of {size} tokens"
    advice = "Take the model's own tokenizer, or resize its embeddings and save it again."
    if lost:
        told = f"{len(lost)} of {len(problems)} prompts hold others, such as {lost[0]!r}"
        return fail(name, f"{found}; {told}", advice)
    if size > rows:
        return warn(name, f"{found}; no prompt holds the others", advice)
    return ok(name, found)


def check_specials(task: Task, prompter: Prompter) -> Check:
    """Names of control tokens in prompts: letters, or tokens where the task asks for them."""
    name = "control tokens"
    problems = [p for split in SPLITS for p in task.split(split)[:NUM_PROMPTS]]
    found = [names for p in problems if (names := _names(prompter.tokenizer, p.prompt))]
    if not found:
        return ok(name, "no prompt's text names one")
    says = f"{len(found)} of {len(problems)} prompts name one, such as {found[0][0]}"
    if problems[0].special_tokens:
        return ok(name, f"{says}; they are tokens (task.options.special_tokens)")
    return warn(
        name,
        f"{says}; in data they are letters",
        "Set task.options.special_tokens = true if rows bring their own chat template.",
    )


def _names(tokenizer: Any, prompt: Prompt) -> list[str]:
    texts = [prompt] if isinstance(prompt, str) else [str(turn.get("content")) for turn in prompt]
    return [name for text in texts for name in control_names(tokenizer, text)]


def check_prompts(recipe: Recipe, context: int, task: Task, prompter: Prompter) -> Iterator[Check]:
    """Prompt lengths against the recipe's limit and the model's context."""
    limit = recipe.rollout.max_prompt_tokens
    lengths = [
        len(prompter.encode(problem))
        for split in SPLITS
        for problem in task.split(split)[:NUM_PROMPTS]
    ]
    found = f"{spread(lengths)} tokens; limit {limit}, context {context}"
    longest = max(lengths)
    if longest > limit or longest >= context:
        share = sum(n > min(limit, context - 1) for n in lengths) / len(lengths)
        advice = "Raise rollout.max_prompt_tokens, drop those problems, or take a longer context."
        yield fail("prompt lengths", f"{found}; {share:.1%} too long", advice)
    elif recipe.rollout.max_tokens >= context:
        answers = f"answers may have {recipe.rollout.max_tokens}, more than it holds"
        advice = f"Lower rollout.max_tokens to {context - longest}."
        yield fail("prompt lengths", f"{found}; {answers}", advice)
    elif longest + recipe.rollout.max_tokens > context:
        advice = f"Lower rollout.max_tokens to {context - longest}."
        yield warn("prompt lengths", f"{found}; completions are cut at the context", advice)
    else:
        yield ok("prompt lengths", found)
