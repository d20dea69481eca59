"""Problems as an engine is asked about them: each prompt encoded once, none ever cut."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from rlpeft.errors import DataError
from rlpeft.tokens.chat import ChatForm, Talk
from rlpeft.tokens.images import Sight, with_images
from rlpeft.tokens.prompts import prefix_ids, prompt_ids, written_prompt
from rlpeft.types import Problem, Request


class Prompter:
    """Turns problems into requests, each prompt encoded once.

    Raises (from `request`):
        DataError: a prompt is longer than allowed; prompts are never cut.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        max_tokens: int,
        form: ChatForm | None = None,
        sight: Sight | None = None,
    ) -> None:
        self.tokenizer, self.max_tokens, self.sight = tokenizer, max_tokens, sight
        self.talk = Talk(tokenizer, form, image_token=sight.token if sight else "")
        self._ids: dict[str, tuple[int, ...]] = {}

    def afresh(self, *, max_tokens: int | None = None) -> Prompter:
        """One that remembers no problem: ids may stand for other problems."""
        limit = self.max_tokens if max_tokens is None else max_tokens
        return Prompter(self.tokenizer, max_tokens=limit, form=self.talk.form, sight=self.sight)

    @cached_property
    def _prefix(self) -> list[int]:
        return prefix_ids(self.tokenizer)

    def encode(self, problem: Problem) -> list[int]:
        """Token ids of the problem's prompt, however long."""
        return prompt_ids(
            self.tokenizer,
            problem.prompt,
            self.written(problem),
            special_tokens=problem.special_tokens,
            prefix=self._prefix,
        )

    def written(self, problem: Problem) -> str:
        """Text of the problem's prompt, as `rlpeft.tokens.prompts` takes it."""
        special, talk = problem.special_tokens, self.talk
        if not problem.images:
            return written_prompt(self.tokenizer, problem.prompt, special_tokens=special, talk=talk)
        if self.sight is None:
            raise DataError(
                "it shows an image, which base model or engine cannot see. Take an Idefics3 or "
                "SmolVLM whose folder holds its processor, or problems of text."
            )
        marked = self.sight.token * len(problem.images)
        written = written_prompt(
            self.tokenizer, problem.prompt, special_tokens=special, talk=talk, opening=marked
        )
        return with_images(written, self.sight, problem.images)

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
        ids, images = self.ids(problem), problem.images
        return Request(problem.id, ids, tuple(seeds), expert, problem.max_tokens, images)
