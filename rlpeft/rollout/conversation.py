"""Completions of several turns: the policy writes one, its environment answers, and so on.

What the policy wrote stays the very tokens that it sampled, with their log-probs, and what the
environment says is put behind them as tokens of its own: nothing is decoded and tokenised again. A
round asks the engines for the next turn of all conversations that go on, then the environments for
their answers, so that what shares a batch depends on no one's speed.

P problem, G group member.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rewards.environments.process import Environments
from rewards.errors import RewardError
from rewards.reading import Judged
from rewards.verdict import Verdict
from rlpeft.errors import DataError, EngineError
from rlpeft.recipe.environment import EnvironmentConfig
from rlpeft.rollout.fleet import Fleet
from rlpeft.rollout.groups import rollout_seed
from rlpeft.scoring import plain_prompt
from rlpeft.tasks.golds import COLUMN, gold_of
from rlpeft.tokens.prompts import appended_ids, data_text
from rlpeft.tokens.requests import Prompter
from rlpeft.tokens.specials import controls
from rlpeft.types import (
    Completion,
    Conversation,
    FinishReason,
    Group,
    Problem,
    Prompt,
    Request,
    Sampling,
    Utterance,
)

OF_ALL = "rollout.max_tokens or the context"
"""The limit of a whole conversation."""

CONTEXT_END = 32
"""Tokens before an environment's words that decide how these are written."""


@dataclass(slots=True)
class Exchange:
    """A conversation that goes on, or went.

    Attributes:
        problem, request: the member's own, of one seed.
        limit: of all tokens behind the prompt.
        turns, ids, logprobs: what was said so far.
        earned: the environment's rewards, added up.
        last: the policy's last turn, as its engine gave it.
        failure: why the environment says nothing any more.
        is_done, is_cut, correct: how it ended.
        ended_by: the limit that did, if the environment did not.
    """

    problem: Problem
    request: Request
    limit: int
    turns: list[Utterance] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    earned: float = 0.0
    last: Completion | None = None
    failure: Verdict | None = None
    is_over: bool = False
    is_done: bool = False
    is_cut: bool = False
    correct: bool | None = None
    ended_by: str = ""

    @property
    def name(self) -> str:
        """Of the conversation, among all that go on."""
        return self.request.id

    @property
    def num_own(self) -> int:
        """Turns of the policy so far."""
        return sum(turn.is_own for turn in self.turns)

    def say(self, text: str, ids: Sequence[int], logprobs: Sequence[float], *, own: bool) -> None:
        """Put a turn behind the others."""
        self.turns.append(Utterance(text, len(ids), own))
        self.ids += ids
        self.logprobs += logprobs

    @property
    def outcome(self) -> float | Judged | Verdict:
        """What the environment made of it; see `Conversation`."""
        if self.failure is not None:
            return self.failure
        if not self.is_done:
            return Judged(self.earned, correct=False, limit=self.ended_by)
        return self.earned if self.correct is None else Judged(self.earned, self.correct)

    @property
    def completion(self) -> Completion:
        """All of it; the text is that of the last turn."""
        assert self.last is not None  # the policy has the first word
        return replace(
            self.last,
            token_ids=tuple(self.ids),
            logprobs=tuple(self.logprobs),
            finish_reason=FinishReason.LENGTH if self.is_cut else FinishReason.STOP,
            conversation=Conversation(tuple(self.turns), self.outcome, self.is_done),
        )


class Conversations:
    """How problems are answered in several turns.

    Args:
        environments: they are closed with this.
        prompter: makes tokens of prompts; its template writes the turns of a chat.
        context: tokens that the base model reads at most.
    """

    def __init__(
        self,
        environments: Environments,
        prompter: Prompter,
        config: EnvironmentConfig,
        *,
        context: int,
    ) -> None:
        self.environments, self.prompter, self.config = environments, prompter, config
        self.context = context

    def hold(
        self,
        problems: Sequence[Problem],
        requests: Sequence[Request],
        fleet: Fleet,
        sampling: Sampling,
    ) -> list[Group]:
        """The completions of each problem, one for every seed of its request.

        Raises:
            EngineError: an engine refuses a request, or turns come from several policies.
            DataError: a template cannot go on with a conversation, or a prompt is too long with
                what the environment says at first.
            RewardError: environments begin the conversations of one problem in several ways.
        """
        talks_PG = self._begun(problems, requests, sampling)
        every = [talk for talks in talks_PG for talk in talks]
        while going_on := [talk for talk in every if not talk.is_over]:
            self._write(going_on, fleet, sampling)
            self._answer([talk for talk in going_on if not talk.is_over])
        self.environments.forget([talk.name for talk in every])
        return [
            Group(
                talks[0].problem if talks else problem,
                talks[0].request.prompt_ids if talks else request.prompt_ids,
                tuple(talk.completion for talk in talks),
            )
            for problem, request, talks in zip(problems, requests, talks_PG, strict=True)
        ]

    def close(self) -> None:
        """End the environments. May be called twice."""
        self.environments.close()

    def _begun(
        self, problems: Sequence[Problem], requests: Sequence[Request], sampling: Sampling
    ) -> list[list[Exchange]]:
        """Conversations of which the environment has said how they begin."""
        rows = {
            _name(request, member): (_row(problem), opening_seed(request))
            for problem, request in zip(problems, requests, strict=True)
            for member in range(len(request.seeds))
        }
        opened = self.environments.reset(rows)
        return [
            self._group(problem, request, sampling, opened)
            for problem, request in zip(problems, requests, strict=True)
        ]

    def _group(
        self, problem: Problem, request: Request, sampling: Sampling, opened: dict[str, Any]
    ) -> list[Exchange]:
        said = [opened[_name(request, member)] for member in range(len(request.seeds))]
        openings = {each for each in said if not isinstance(each, Verdict)}
        if len(openings) > 1:
            one, other = sorted(openings)[:2]
            raise RewardError(
                f"environment {self.config.name!r} must begin all conversations of a problem alike,"
                f" by its row and seed alone, that of {problem.id!r} begins by {one!r:.60} and by "
                f"{other!r:.60}."
            )
        if opening := "".join(openings):
            problem = replace(problem, prompt=with_opening(problem.prompt, opening))
            request = replace(request, prompt_ids=self._prompt_ids(problem))
        limit = min(request.limit(sampling), self.context - len(request.prompt_ids))
        return [
            Exchange(
                problem,
                replace(request, id=_name(request, member), seeds=(seed,)),
                limit,
                failure=each if isinstance(each, Verdict) else None,
            )
            for member, (seed, each) in enumerate(zip(request.seeds, said, strict=True))
        ]

    def _prompt_ids(self, problem: Problem) -> tuple[int, ...]:
        ids, most = tuple(self.prompter.encode(problem)), self.prompter.max_tokens
        if len(ids) > min(most, self.context - 1):
            raise DataError(
                f"prompt of problem {problem.id!r} must have at most rollout.max_prompt_tokens = "
                f"{most} tokens, and fit the model's context of {self.context}, with what the "
                f"environment says at first it has {len(ids)}. Raise the limit or say less."
            )
        return ids

    def _write(self, talks: Sequence[Exchange], fleet: Fleet, sampling: Sampling) -> None:
        """Have the policy write a turn of each."""
        asked = [self._request(talk) for talk in talks]
        for talk, (done,) in zip(talks, fleet.rollout(asked, sampling), strict=True):
            before = talk.last or done
            if (done.version, done.digest) != (before.version, before.digest):
                raise EngineError(
                    f"all turns of {talk.name!r} must come from one policy, got versions "
                    f"{before.version} and {done.version}."
                )
            talk.last = done
            talk.say(done.text, done.token_ids, done.logprobs, own=True)
            talk.is_cut = done.truncated
            if done.truncated:
                is_full = len(talk.ids) >= talk.limit
                talk.ended_by = OF_ALL if is_full else "environment.max_turn_tokens"
            talk.is_over = done.truncated or talk.failure is not None

    def _request(self, talk: Exchange) -> Request:
        turn, (seed,) = talk.num_own, talk.request.seeds
        left = talk.limit - len(talk.ids)
        return replace(
            talk.request,
            id=f"{talk.name}/{turn}",
            prompt_ids=(*talk.request.prompt_ids, *talk.ids),
            seeds=(rollout_seed(seed, "turn", turn) if turn else seed,),
            max_tokens=min(left, self.config.max_turn_tokens or left),
        )

    def _answer(self, talks: Sequence[Exchange]) -> None:
        """Have the environments answer each."""
        texts = {talk.name: talk.turns[-1].text for talk in talks}
        found = self.environments.step(texts)
        for talk in talks:
            step = found[talk.name]
            if isinstance(step, Verdict):
                talk.failure, talk.is_over = step, True
                continue
            talk.earned += step.reward
            talk.is_done, talk.correct = step.done, step.correct
            talk.is_over = step.done or talk.num_own == self.config.max_turns
            if not talk.is_over:
                self._append(talk, step.observation)
            elif not step.done:
                talk.ended_by = f"environment.max_turns = {self.config.max_turns}"

    def _append(self, talk: Exchange, text: str) -> None:
        """Put an environment's words behind the policy's, if they leave room for an answer."""
        ids = self._said_ids(talk, text)
        if len(talk.ids) + len(ids) < talk.limit:
            talk.say(text, ids, [0.0] * len(ids), own=False)
        else:
            talk.is_cut = talk.is_over = True
            talk.ended_by = OF_ALL

    def _said_ids(self, talk: Exchange, text: str) -> list[int]:
        tokenizer = self.prompter.tokenizer
        try:
            said = str(data_text(tokenizer, text, special_tokens=False))
            if isinstance(talk.problem.prompt, str):
                return appended_ids(tokenizer, talk.ids[-CONTEXT_END:], said)
            before, after = self.prompter.talk.around(self._turns(talk), self.config.role)
        except DataError as error:
            raise DataError(f"environment {self.config.name!r}: {error}") from error
        ids = appended_ids(tokenizer, talk.ids[-CONTEXT_END:], before + said + after)
        # The end that the policy sampled stands for the one that the template writes.
        control = controls(tokenizer).ids
        return ids[1:] if ids[0] in control and talk.ids[-1] in control else ids

    def _turns(self, talk: Exchange) -> list[dict[str, str]]:
        """The turns as the template reads them; the last is what the policy is asked by."""
        assert not isinstance(talk.problem.prompt, str)
        turns = [dict(turn) for turn in talk.problem.prompt]
        if turns[-1]["role"] == "assistant":  # a prefill, which the policy's first turn goes on
            turns.pop()
        for turn in talk.turns[:-1]:
            turns.append({"role": "assistant" if turn.is_own else self.config.role, "content": "x"})
        return turns


def opening_seed(request: Request) -> int:
    """What the environments of all members of a group begin by: they are compared."""
    return rollout_seed(request.seeds[0], "environment", 0) % 2**32 if request.seeds else 0


def with_opening(prompt: Prompt, opening: str) -> Prompt:
    """A prompt with what an environment says at first behind it, or behind its last user turn.

    Raises:
        DataError: no user has a turn.
    """
    if isinstance(prompt, str):
        return prompt + opening
    places = [place for place, turn in enumerate(prompt) if turn["role"] == "user"]
    if not places:
        raise DataError("an environment that begins needs a user's turn in the prompt, got none.")
    last = prompt[places[-1]]
    turn = {**last, "content": last["content"] + opening}
    return (*prompt[: places[-1]], turn, *prompt[places[-1] + 1 :])


def _name(request: Request, member: int) -> str:
    return f"{request.id}#{member}"


def _row(problem: Problem) -> dict[str, Any]:
    """What an environment is told of a problem."""
    prompt = plain_prompt(problem)
    return {"prompt": prompt, **problem.columns, COLUMN: gold_of(problem)}
