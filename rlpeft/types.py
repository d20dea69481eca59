"""The records that travel between tasks, engines, rewards and the learner.

All are frozen: a rollout is evidence of what a policy did, and evidence is not edited.

G group member.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    # The adapters work where a user's rewards.py hides ours.
    from rewards.reading import Judged
    from rewards.verdict import Verdict


Quantisation = Literal["int8", "nf4"]
"""How a base model's linear layers are quantised as they are loaded (`rlpeft.models.quantised`)."""

Message = Mapping[str, str]
"""One chat turn: `{"role": "user", "content": "What is 3 + 4?"}`."""

Prompt = str | tuple[Message, ...]
"""Plain text, or chat turns for the model's chat template."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A picture that a prompt shows: a file that every process of a run can read.

    Attributes:
        path: of a PNG, JPEG or WebP file.
        digest: SHA-256 (hex) of its bytes; a file that has changed since is not read.
        size: width and height, in pixels, as it is shown: turned as its EXIF says.
    """

    path: str
    digest: str
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to solve.

    >>> Problem(id="sums/7", prompt="3+4=", answer="7").answer
    '7'

    Attributes:
        id: stable and unique within its task; seeds and re-dispatch are keyed by it.
        prompt: text or chat turns.
        answer: gold answer as the reward expects it; empty if the reward needs none.
        columns: every other column of the row, for rewards that ask for it by name.
        special_tokens: names of control tokens in the prompt are those tokens, not letters.
        task: label of its task in a recipe of several, whose rewards judge it.
        max_tokens: new tokens of an answer at most, where its task has a limit of its own.
        images: what the prompt shows, before its text or that of its first turn by the user.
    """

    id: str
    prompt: Prompt
    answer: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)
    special_tokens: bool = False
    task: str = ""
    max_tokens: int | None = None
    images: tuple[ImageFile, ...] = ()

    @property
    def asked(self) -> object:
        """What tells whether two problems ask the same: the prompt, and what images hold."""
        digests = [image.digest for image in self.images]
        return (self.prompt, digests) if digests else self.prompt


MOST_STOPS = 32
"""Stop strings of a recipe, a card or a request."""

LONGEST_STOP = 1024
"""Characters of a stop string: engines keep, or read again, as many after every token."""


class FinishReason(StrEnum):
    """Why a completion ended: an end-of-sequence token or stop string, or a length limit."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. Every field is sent to the engine: no model default leaks in.

    Attributes:
        max_tokens: new tokens at most.
        temperature: 0 is greedy; log-probs are always those of the distribution sampled from.
        top_p, top_k, min_p: truncation, which servers are asked for; off by default (1, 0, 0),
            as in training: the probability mass they cut biases the importance ratio.
        stop: strings that end a completion.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    stop: tuple[str, ...] = ()

    @property
    def greedy(self) -> Sampling:
        """The same with the likeliest token each time: how validation and test answers are made."""
        return replace(self, temperature=0.0)


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt for an engine, to be completed once for each seed.

    Attributes:
        id: the group's id; a re-dispatched group keeps it.
        prompt_ids: token ids exactly as the model sees them, BOS included.
        seeds: one per completion; the same seed, prompt and policy give the same completion.
        expert: name of a loaded adapter for this request, `None` for the engine's current policy.
        max_tokens: new tokens at most, where they are fewer than those of the sampling.
        images: those whose tokens stand in the prompt, in their order.
    """

    id: str
    prompt_ids: tuple[int, ...]
    seeds: tuple[int, ...]
    expert: str | None = None
    max_tokens: int | None = None
    images: tuple[ImageFile, ...] = ()

    def limit(self, sampling: Sampling) -> int:
        """New tokens of each completion, at most."""
        return min(sampling.max_tokens, self.max_tokens or sampling.max_tokens)


@dataclass(frozen=True, slots=True)
class Utterance:
    """A stretch of a conversation.

    Attributes:
        text: what was said, without special tokens.
        num_tokens: of the completion's; those around an environment's text included.
        is_own: whether the policy wrote it, and not its environment.
    """

    text: str
    num_tokens: int
    is_own: bool


@dataclass(frozen=True, slots=True)
class Conversation:
    """How a completion came about in which an environment had its say.

    Attributes:
        turns: in their order; the last is the policy's.
        outcome: the environment's rewards, added up, `Judged` where it says whether all ended
            well; the `Verdict` of one that failed.
        is_done: whether the environment ended it, and no limit.
    """

    turns: tuple[Utterance, ...]
    outcome: float | Judged | Verdict
    is_done: bool


@dataclass(frozen=True, slots=True)
class Completion:
    """What one request produced under one seed.

    Of a conversation it has the tokens of all turns as the model read them, and the text of the
    last one, which is the answer.

    Attributes:
        token_ids: sampled ids, the end-of-sequence token included if it was sampled.
        logprobs: fp32 log-prob of each token under the distribution it was drawn from; 0 of tokens
            that were not drawn.
        text: what the ids add to the prompt's text, without special tokens.
        finish_reason: `LENGTH` for the token limit and for the context limit alike.
        version: version of the adapter state it was sampled with.
        digest: digest of that state.
        prompt_end: the end of what it continues, special tokens included: what the template or
            a prefill has opened.
        conversation: with an environment; `None`: the policy wrote all of it.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finish_reason: FinishReason
    version: int
    digest: str
    prompt_end: str = ""
    conversation: Conversation | None = None

    @property
    def truncated(self) -> bool:
        """Whether a limit, not the policy, ended it."""
        return self.finish_reason is FinishReason.LENGTH

    @property
    def own(self) -> tuple[bool, ...]:
        """Of each token whether the policy wrote it."""
        if self.conversation is None:
            return (True,) * len(self.token_ids)
        turns = self.conversation.turns
        return tuple(turn.is_own for turn in turns for _ in range(turn.num_tokens))

    @property
    def answer_ids(self) -> tuple[int, ...]:
        """The tokens of the last turn, whose text is `text`."""
        if self.conversation is None:
            return self.token_ids
        return self.token_ids[len(self.token_ids) - self.conversation.turns[-1].num_tokens :]


@dataclass(frozen=True, slots=True)
class Group:
    """All completions of one problem."""

    problem: Problem
    prompt_ids: tuple[int, ...]
    completions: tuple[Completion, ...]


@dataclass(frozen=True, slots=True)
class ScoredGroup:
    """A group with what rewards said of it, member by member.

    Of three answers, one right, one wrong and one that could not be scored, `rewards` is
    `[1.0, 0.0, None]`.

    Attributes:
        verdicts: the weighted sums, [G].
        by_reward: each reward's own verdicts, unweighted, [G] each, in the order of the recipe.
        columns: what rewards recorded with `log_extra`, [G] each.
    """

    group: Group
    verdicts: tuple[Verdict, ...]
    by_reward: Mapping[str, tuple[Verdict, ...]]
    columns: Mapping[str, tuple[object, ...]] = field(default_factory=dict)

    @property
    def rewards(self) -> list[float | None]:
        """Scores [G]; `None` where a completion could not be scored."""
        return [verdict.score for verdict in self.verdicts]


@dataclass(frozen=True, slots=True)
class AdvantagedGroup(ScoredGroup):
    """A scored group as the learner is taught it.

    Attributes:
        advantages: of each completion in the objective, [G].
        trained: whether each is in the loss at all, [G].
    """

    advantages: tuple[float, ...] = field(kw_only=True)
    trained: tuple[bool, ...] = field(kw_only=True)


@dataclass(frozen=True, slots=True)
class ScoredGroups:
    """Groups that were scored together.

    Attributes:
        metrics: what rewards recorded of all of them with `log_metric`.
    """

    groups: tuple[ScoredGroup, ...]
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def verdicts(self) -> list[Verdict]:
        """Those of all completions, in order of groups and members."""
        return [verdict for scored in self.groups for verdict in scored.verdicts]
