"""Problems as an engine is asked about them: each prompt encoded once, none ever cut."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from rlpeft.errors import DataError
from rlpeft.tokens.chat import ChatForm, Talk
from rlpeft.tokens.prompts import encode_prompt, prefix_ids, written_prompt
from rlpeft.types import Problem, Request


class Prompter:
    """Turns problems into requests, each prompt encoded once.

    Raises (from `request`):
        DataError: a prompt is longer than allowed; prompts are never cut.
    """

    def __init__(self, tokenizer: Any, *, max_tokens: int, form: ChatForm | None = None) -> None:
        self.tokenizer, self.max_tokens = tokenizer, max_tokens
        self.talk = Talk(tokenizer, form)
        self._ids: dict[str, tuple[int, ...]] = {}

    def afresh(self, *, max_tokens: int | None = None) -> Prompter:
        """One that remembers no problem: ids may stand for other problems."""
        limit = self.max_tokens if max_tokens is None else max_tokens
        return Prompter(self.tokenizer, max_tokens=limit, form=self.talk.form)

    @cached_property
    def _prefix(self) -> list[int]:
        return prefix_ids(self.tokenizer)

    def encode(self, problem: Problem) -> list[int]:
        """Token ids of the problem's prompt, however long."""
        return encode_prompt(
            self.tokenizer,
            problem.prompt,
            special_tokens=problem.special_tokens,
            talk=self.talk,
            prefix=self._prefix,
        )

    def written(self, problem: Problem) -> str:
        """Text of the problem's prompt, as `rlpeft.tokens.prompts` takes it."""
        special = problem.special_tokens
        return written_prompt(
            self.tokenizer, problem.prompt, special_tokens=special, talk=self.talk
        )

    def ids(self, problem: Problem) -> tuple[int, ...]:
        """Token ids of the problem's prompt."""
        if problem.id not in self._ids:
            try:
                ids = tuple(self.encode(problem))
            except DataError as error:
                raise DataError(f"problem {problem.id!r}: {error}") from error
            if len(ids) > self.max_tokens:
                raise DataError(
                    f"prompt of problem {problem.id!r} must have at most rollout.max_prompt_tokens"
                    f" = {self.max_tokens} tokens, it has {len(ids)}. Raise the limit or drop the "
                    "problem; prompts are never cut."
                )
            self._ids[problem.id] = ids
        return self._ids[problem.id]

    def request(
        self, problem: Problem, seeds: Sequence[int], *, expert: str | None = None
    ) -> Request:
        """One request for this problem."""
        return Request(problem.id, self.ids(problem), tuple(seeds), expert, problem.max_tokens)
