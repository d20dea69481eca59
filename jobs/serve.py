"""An OpenAI-compatible server whose models are the base, its experts, and `auto`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.library import read_experts
from rlpeft.adapt.strategies import Question, make_question
from rlpeft.build import build_engine
from rlpeft.config import Recipe
from rlpeft.errors import ConfigError
from rlpeft.mixing import BASE, ExpertSet
from rlpeft.models import decode_prompt, encode_prompt, load_tokenizer, resolve_model

RESERVED = (BASE, "auto")
"""Models that every server has."""


@dataclass(frozen=True)
class FirstPass:
    """The question of the first pass, in token ids; see `rlpeft.adapt.strategies`."""

    question: Question
    tokenizer: Any

    @property
    def asked(self) -> str | None:
        """Expert that is asked; `None` for the base model."""
        return self.question.asked

    def ask(self, prompt_ids: Sequence[int]) -> list[int]:
        """Token ids of the question about a prompt."""
        prompt = decode_prompt(self.tokenizer, prompt_ids)
        return encode_prompt(self.tokenizer, self.question.ask(prompt))

    def read(self, answer: str) -> str | None:
        """The expert that an answer means; `None` for the base model."""
        chosen = self.question.read(answer).expert
        return None if chosen == BASE else chosen


def serve(
    root: Path,
    recipe: Recipe,
    *,
    host: str,
    port: int,
    api_key: str | None,
    auto: str | None,
) -> None:
    """Serve the experts at or below a folder until interrupted.

    Args:
        auto: first pass of the model `auto`: `prompt` or `classifier`; `None`: no such model.

    Raises:
        RlpeftError: no experts, or ones that do not go together or not with `auto`.
    """
    from rlpeft.rollout.vllm_plugin.server import Listen, Served, run

    path = resolve_model(recipe.model.name)
    experts = read_experts(root, recipe)
    _check_names(experts)
    question = None if auto is None else make_question(auto, experts)
    rollout = recipe.rollout
    served = Served(
        path,
        experts.state(BASE),
        experts.states(),
        None if question is None else FirstPass(question, load_tokenizer(path)),
        max_model_len=rollout.max_prompt_tokens + rollout.max_tokens,
        dtype=rollout.dtype or recipe.model.dtype,
    )
    run(served, Listen(host, port, api_key), _hf_engine(recipe, served))


def _hf_engine(recipe: Recipe, served: Any) -> Any:
    """The engine that answers in the place of vLLM's, if the recipe says so."""
    if recipe.rollout.engine == "vllm":
        return None
    engine = build_engine(recipe)
    engine.load_adapter(served.base)
    engine.load_experts(served.experts)
    return engine


def _check_names(experts: ExpertSet) -> None:
    for name in experts.names[1:]:
        if name in RESERVED:
            raise ConfigError(
                f"{name!r} is a model that every server has; give that expert another name."
            )
