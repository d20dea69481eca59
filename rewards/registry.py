"""The built-in rewards, one record each: a new one is its own file and one line here.

Functions are named as `"module:function"` and imported on first use, so that `import rewards` stays
light. A reward of a user's own needs no line: a recipe names it by its dotted path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

TEXT = ("str", "int", "float", "bool")
"""Types of gold answers that read as text."""
NUMBERS = ("str", "int", "float")
"""The same for what reads answers as values, of which no truth value is one."""
LETTERS = ("str", "int", "bool")
"""The same for what compares letter by letter: a number such as 1e16 has several texts."""
PAIRS = (*TEXT, "list", "dict")
"""Test programs, or pairs of inputs and outputs."""


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """One built-in reward.

    Attributes:
        verify: `fn(completion, gold, **options) -> Verdict`, for a completion at a time; empty for
            what can only be a reward in a recipe.
        batch: the same for many, `fn(completions, golds, **options)`, where that is faster.
        reward: what a recipe calls, in any dialect; empty: `verify`, or `batch`.
        gold: the column of its gold answers, if a recipe names none.
        gold_types: what they may be.
        after_thinking: whether the answer is looked for behind a completion's thinking.
        form: how a completion states a right answer; `{}` stands for the gold answer.
        programs: whether completions are programs, which run in the sandbox.
        compares_answers: whether a gold answer may be any answer that it finds in a completion.
    """

    verify: str = ""
    batch: str = ""
    reward: str = ""
    gold: str = "answer"
    gold_types: tuple[str, ...] = NUMBERS
    after_thinking: bool = False
    form: str = "Thinking it through step by step, the answer is $\\boxed{{{}}}$."
    programs: bool = False
    compares_answers: bool = False


FROM_ENVIRONMENT = "environment"
"""The reward that an environment itself gives."""

REWARDS: dict[str, BuiltIn] = {
    "math": BuiltIn(
        "rewards.math.verifier:verify_math",
        batch="rewards.math.verifier:verify_math_batch",
        after_thinking=True,
        compares_answers=True,
    ),
    "gsm8k_legacy": BuiltIn("rewards.math.legacy:verify_gsm8k_legacy", form="#### {}"),
    "choice": BuiltIn(
        "rewards.text.choice:verify_choice",
        after_thinking=True,
        form="So the answer is ({}).",
        compares_answers=True,
    ),
    "label": BuiltIn(
        "rewards.text.label:verify_label",
        gold_types=LETTERS,
        after_thinking=True,
        form="Label: {}",
        compares_answers=True,
    ),
    "exact": BuiltIn(
        "rewards.text.formats:verify_exact", gold_types=LETTERS, form="{}", compares_answers=True
    ),
    "regex": BuiltIn(
        "rewards.text.formats:verify_regex", batch="rewards.text.formats:verify_regex_batch"
    ),
    "code": BuiltIn(
        "rewards.code.verifier:verify_code",
        batch="rewards.code.verifier:verify_code_batch",
        # In training the prompt may begin the program, which a verifier is not told.
        reward="rewards.code.verifier:code_reward",
        gold_types=PAIRS,
        after_thinking=True,
        programs=True,
    ),
    "mbpp": BuiltIn(reward="rewards.code.verifier:mbpp_reward", gold="test_list", programs=True),
    "humaneval": BuiltIn(
        reward="rewards.code.verifier:humaneval_reward", gold="test", programs=True
    ),
    # Under the names that TRL gives them.
    "accuracy_reward": BuiltIn(reward="rewards.text.formats:accuracy_reward", gold="solution"),
    "reasoning_accuracy_reward": BuiltIn(
        reward="rewards.text.formats:reasoning_accuracy_reward", gold="solution"
    ),
    "think_format_reward": BuiltIn(reward="rewards.text.formats:think_format_reward"),
    "get_soft_overlong_punishment": BuiltIn(reward="rewards.text.shaping:soft_overlong_punishment"),
    "get_cosine_scaled_reward": BuiltIn(
        reward="rewards.text.shaping:CosineScaledReward", gold="solution"
    ),
    "get_repetition_penalty_reward": BuiltIn(reward="rewards.text.shaping:repetition_penalty"),
    "length": BuiltIn(reward="rewards.text.shaping:length_reward"),
    "regex_format": BuiltIn(reward="rewards.text.formats:regex_format_reward"),
    FROM_ENVIRONMENT: BuiltIn(reward="rewards.environments.reward:environment_reward"),
}


def is_verifier(name: str) -> bool:
    """Whether a built-in compares one completion with one gold answer, and judges by itself."""
    return name in REWARDS and bool(REWARDS[name].verify)


def runs_programs(name: str) -> bool:
    """Whether completions for a reward are programs, which run in the sandbox."""
    return name in REWARDS and REWARDS[name].programs


@cache
def imported(path: str) -> Callable[..., Any]:
    """The function behind `"module:function"` of a record."""
    module, _, name = path.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function
