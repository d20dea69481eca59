"""The model under examination: its parts are opened when a law first asks for them, and once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from rlpeft.errors import ModelError
from rlpeft.model_checks.remembered import remembered
from rlpeft.models.load import context_length, read_config
from rlpeft.models.tokenizer import read_tokenizer
from rlpeft.tokens.chat import ChatForm, Talk
from rlpeft.tokens.deadline import OvertimeError, deadline
from rlpeft.tokens.eos import eos_ids
from rlpeft.tokens.specials import controls
from rlpeft.types import Completion, Request, Sampling

PLAIN = "The capital of France is"
CODE = "def area(width, height):\n    "
ENGLISH = (
    "The sun had just gone down when the two friends came to the edge of the village. They had "
    "walked all day along the river, and now they wanted nothing more than a warm meal."
)
SEEDS, NUM_TOKENS, LONG_TOKENS = (0, 1), 8, 160
"""Samples of each prompt, tokens of each, and those of the prompt that is to be longest."""

TURN_S, MOST_WRITTEN = 5, 100_000
"""Seconds that a template may take for one turn, and letters that it may write."""

USER = {"role": "user", "content": "What is 17 + 25?"}


@dataclass(frozen=True, slots=True)
class SubjectRollouts:
    """Samples of the `hf` engine, and what the model's own forward pass says of them.

    Attributes:
        together, alone: completions of each request, in one batch and one request at a time.
        own: log-probs of the same completions, each sequence alone and without a cache.
        reading: mean log-prob of a token of English, by what stands before the text.
    """

    requests: tuple[Request, ...]
    together: list[list[Completion]]
    alone: list[list[Completion]]
    own: list[list[list[float]]]
    reading: dict[tuple[int, ...], float]


class Subject:
    """A model's folder.

    Args:
        weights: whether it holds any, and laws may look at them.
        dtype: name of a torch dtype, for the weights.

    Attributes:
        endless: whether its chat template never ends; it is left out then.

    Raises:
        ModelError: its tokenizer or config cannot be read; without one no law can look.
    """

    def __init__(self, folder: Path, *, weights: bool = True, dtype: str = "float32") -> None:
        self.folder, self.weights, self.dtype = folder, weights, dtype
        if (folder / "config.json").is_file():
            _ = self.config  # tokenizers read it, too, and blame themselves
        self.tokenizer: Any = read_tokenizer(folder)
        self.endless = not _ends(self.tokenizer)
        if self.endless:
            self.tokenizer.chat_template = None
        # Of one day, as runs have it: laws that render twice must not meet midnight.
        self.talk = Talk(self.tokenizer, ChatForm(today=date.today()))

    @remembered
    def config(self) -> Any:
        """The model's config."""
        return read_config(self.folder)

    @remembered
    def eos(self) -> frozenset[int]:
        """Every token that ends a completion."""
        return eos_ids(self.folder, self.tokenizer)

    @remembered
    def base(self) -> Any:
        """The model with its weights."""
        from rlpeft.models.load import load_base_model

        return load_base_model(self.folder, self.dtype)

    @remembered
    def policy(self) -> Any:
        """The model under a fresh adapter, which changes nothing."""
        from rlpeft.adapters.policy import attach_adapter
        from rlpeft.recipe.run import LoraFamilyAdapter

        return attach_adapter(self.base, LoraFamilyAdapter(type="lora", rank=1), seed=0)

    @remembered
    def requests(self) -> tuple[Request, ...]:
        """Prompts of several kinds and lengths."""
        from rlpeft.tokens.prompts import encode_prompt, encode_text

        prompts: list[Any] = [PLAIN, CODE]
        if self.tokenizer.chat_template:
            prompts.append((USER,))
        ids = [encode_prompt(self.tokenizer, prompt) for prompt in prompts]
        room = context_length(self.config) - NUM_TOKENS - 1
        if room < NUM_TOKENS:
            raise ModelError(
                f"the model must attend to more than {2 * NUM_TOKENS} tokens, its config says "
                f"{context_length(self.config)}. Correct its config.json."
            )
        count, english = min(self._long(), room), encode_text(self.tokenizer, ENGLISH)
        long = [*encode_prompt(self.tokenizer, ENGLISH), *english * (count // len(english))]
        ids.append(long[:count])
        fitting = [row for row in ids if len(row) <= room]
        return tuple(Request(f"{n}", tuple(row), SEEDS) for n, row in enumerate(fitting))

    def _long(self) -> int:
        """Tokens of the longest prompt: beyond the window, where that is affordable."""
        from rlpeft.models.mechanisms import read_mechanisms
        from rlpeft.training.forward import PROBE_WORK

        try:
            windows = read_mechanisms(self.config).windows
        except ModelError:
            return LONG_TOKENS  # the learner's law tells it
        window = max((w for w in windows if w is not None), default=0)
        size = sum(parameter.numel() for parameter in self.policy.parameters())
        return window + LONG_TOKENS if size * window <= PROBE_WORK else LONG_TOKENS

    @remembered
    def rollouts(self) -> SubjectRollouts:
        """All that is asked of the engine; before the learner changes how the model attends."""
        from rlpeft.adapters.policy import sequence_logprobs
        from rlpeft.rollout.hf.engine import HfEngine

        engine = HfEngine(self.policy, self.tokenizer, eos_ids=self.eos)
        sampling = Sampling(max_tokens=NUM_TOKENS)
        together = engine.rollout(self.requests, sampling)
        alone = [engine.rollout([request], sampling)[0] for request in self.requests]
        own = [
            [
                sequence_logprobs(self.policy, [(*request.prompt_ids, *c.token_ids)])[0][
                    -len(c.token_ids) :
                ]
                for c in group
            ]
            for request, group in zip(self.requests, together, strict=True)
        ]
        return SubjectRollouts(self.requests, together, alone, own, self._reading())

    def _reading(self) -> dict[tuple[int, ...], float]:
        from rlpeft.adapters.policy import sequence_logprobs
        from rlpeft.tokens.prompts import encode_text, prefix_ids

        text = encode_text(self.tokenizer, ENGLISH)[: context_length(self.config) - 8]
        starts: set[tuple[int, ...]] = {(), tuple(prefix_ids(self.tokenizer))}
        if (bos := self.tokenizer.bos_token_id) is not None:
            starts.add((bos,))
        # The first token has none before it where there is no start: it is left out everywhere.
        found = {s: sequence_logprobs(self.policy, [[*s, *text]])[0] for s in sorted(starts)}
        return {s: _mean(row[-(len(text) - 1) :]) for s, row in found.items() if len(text) > 1}

    @remembered
    def expected(self) -> tuple[float, float]:
        """Nats a token of English that a uniform guess costs, and that the model expects to pay."""
        import torch

        from rlpeft.tokens.prompts import encode_prompt

        ids = encode_prompt(self.tokenizer, ENGLISH)[: context_length(self.config)]
        with torch.no_grad():
            place = next(self.policy.parameters()).device
            logits_LV = self.policy(input_ids=torch.tensor([ids], device=place)).logits[0].float()
        log_pi_LV = torch.log_softmax(logits_LV, -1)
        entropy = -(log_pi_LV.exp() * log_pi_LV).nansum(-1).mean()
        return math.log(log_pi_LV.shape[-1]), float(entropy)

    @remembered
    def learner(self) -> Any:
        """The learner around the same model."""
        from rlpeft.recipe.run import LearnerConfig, LossConfig
        from rlpeft.training.learner import LocalLearner

        _ = self.rollouts
        return LocalLearner(
            self.policy, LearnerConfig(), LossConfig(), total_steps=1, temperature=1.0
        )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _ends(tokenizer: Any) -> bool:
    """Whether the chat template, which is a program, comes to an end, and soon."""
    if not tokenizer.chat_template:
        return True
    try:
        with deadline(TURN_S):
            text = tokenizer.apply_chat_template([USER], tokenize=False)
    except OvertimeError:
        return False
    except Exception:
        # Recovery: what else is wrong with it is told by its laws.
        return True
    return len(text) <= MOST_WRITTEN


def likely_names(subject: Subject) -> list[str]:
    """Names of control tokens, those first that stand in a prompt; some models reserve hundreds."""
    template = str(subject.tokenizer.chat_template or "")
    names = controls(subject.tokenizer).names
    return sorted(names, key=lambda name: (name not in template, "reserved" in name, name))
