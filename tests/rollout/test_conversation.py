"""Conversations: what was sampled stays as it was, and what an environment says is none of it."""

from dataclasses import dataclass, field

import pytest

from rewards.environments.base import Step
from rewards.errors import RewardError
from rewards.reading import Judged
from rewards.verdict import Verdict, VerdictKind
from rlpeft.errors import DataError
from rlpeft.recipe.environment import EnvironmentConfig
from rlpeft.rollout.conversation import Conversations, with_opening
from rlpeft.rollout.fake import FakeEngine
from rlpeft.rollout.fleet import LocalFleet
from rlpeft.tokens.requests import Prompter
from rlpeft.types import FinishReason, Problem, Sampling

PROBLEM = Problem("a", "2+3=", "5", {"level": 1})
BROKEN = Verdict(None, VerdictKind.TIMEOUT, "environment 'x' must answer within 1 s")


@dataclass
class Scripted:
    """Environments that answer by what was said; one conversation has its opening by its seed."""

    answers: dict
    opening: object = ""
    rows: dict = field(default_factory=dict)
    forgotten: list = field(default_factory=list)

    def reset(self, rows):
        self.rows |= rows
        each = self.opening if isinstance(self.opening, list) else [self.opening] * len(rows)
        return dict(zip(rows, each, strict=True))

    def step(self, texts):
        return {name: self.answers[text] for name, text in texts.items()}

    def forget(self, names):
        self.forgotten += names

    def close(self):
        """Nothing is held."""


class Policy(FakeEngine):
    """Says one text after the other in each conversation, and ends each by `<|endoftext|>`."""

    def __init__(self, tokenizer, *texts, cut=False):
        super().__init__(self._say)
        self.tokenizer, self.texts, self.cut = tokenizer, texts, cut

    def _say(self, request, seed):
        text = self.texts[int(request.id.rpartition("/")[2])]
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if self.cut:
            return ids, [-0.5] * len(ids), text, FinishReason.LENGTH
        ids = [*ids, self.tokenizer.eos_token_id]
        return ids, [-0.5] * len(ids), text, FinishReason.STOP


@pytest.fixture
def held(byte_level):
    """The first group of a conversation, with the tokenizer and all that took part."""

    def hold(environments, *texts, problem=PROBLEM, seeds=(7,), tokens=200, cut=False, **section):
        tokenizer = byte_level(section.pop("template", None))
        prompter = Prompter(tokenizer, max_tokens=50)
        policy = Policy(tokenizer, *texts, cut=cut)
        config = EnvironmentConfig(name="calculator", **section)
        conversations = Conversations(environments, prompter, config, context=tokens + 100)
        request = prompter.request(problem, seeds)
        (group,) = conversations.hold([problem], [request], LocalFleet(policy), Sampling(tokens))
        return group, tokenizer, policy

    return hold


def told(*steps):
    """Environments that answer the first text of a policy by the first step, and so on."""
    return Scripted(dict(zip("abc", steps, strict=False)))


def test_what_was_sampled_is_kept_and_what_was_said_is_put_behind_it(held):
    group, tokenizer, policy = held(told(Step(" 6 "), Step(done=True)), "a", "b")
    (done,) = group.completions
    assert tokenizer.decode(done.token_ids) == "a<|endoftext|> 6 b<|endoftext|>"
    assert done.own == (True, True, False, False, False, True, True)
    assert done.logprobs == (-0.5, -0.5, 0.0, 0.0, 0.0, -0.5, -0.5)
    assert (done.text, tokenizer.decode(done.answer_ids)) == ("b", "b<|endoftext|>")
    second = policy.requests[1][0]
    assert second.prompt_ids == (*group.prompt_ids, *done.token_ids[:5])


def test_names_of_control_tokens_are_letters_where_an_environment_says_them(held):
    group, tokenizer, _ = held(told(Step("<|endoftext|>"), Step(done=True)), "a", "b")
    (done,) = group.completions
    assert done.token_ids.count(tokenizer.eos_token_id) == 2
    assert tokenizer.decode(done.token_ids) == "a<|endoftext|><|endoftext|>b<|endoftext|>"


def test_in_a_chat_the_template_writes_the_turns(held, templates):
    chat = Problem("a", ({"role": "user", "content": "q"},))
    environments = told(Step("6"), Step(done=True))
    group, tokenizer, _ = held(environments, "a", "b", problem=chat, template=templates["chatml"])
    (done,) = group.completions
    assert tokenizer.decode([*group.prompt_ids, *done.token_ids]) == (
        "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|endoftext|>"
        "\n<|im_start|>user\n6<|im_end|>\n<|im_start|>assistant\nb<|endoftext|>"
    )


def test_a_template_that_writes_earlier_turns_otherwise_is_refused(held):
    template = (
        "{% for m in messages %}<{{ m.role }}{{ loop.revindex }}>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant0>{% endif %}"
    )
    chat = Problem("a", ({"role": "user", "content": "q"},))
    with pytest.raises(DataError, match="must write turns as it wrote them before others followed"):
        held(told(Step("6")), "a", "b", problem=chat, template=template)


def test_rewards_are_added_up_and_the_last_word_says_whether_it_is_right(held):
    (done,) = held(told(Step("6", 0.25), Step("", 1.0, True, True)), "a", "b")[0].completions
    assert done.conversation.outcome == Judged(1.25, True)
    assert done.conversation.is_done
    (done,) = held(told(Step("6", 0.25), Step("", 1.0, True)), "a", "b")[0].completions
    assert done.conversation.outcome == 1.25


def test_a_conversation_that_never_ends_is_ended_by_its_turns(held):
    group, _, policy = held(told(Step("6"), Step("7")), "a", "b", max_turns=2)
    (done,) = group.completions
    assert len(policy.requests) == 2
    assert (done.text, done.conversation.is_done, done.truncated) == ("b", False, False)
    assert done.conversation.outcome == Judged(0.0, False, limit="environment.max_turns = 2")


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ({"max_turn_tokens": 1}, "environment.max_turn_tokens"),
        ({"tokens": 1}, "rollout.max_tokens or the context"),
    ],
)
def test_a_turn_that_is_cut_off_ends_it_and_its_limit_is_named(held, limits, named):
    (done,) = held(told(), "a", cut=True, **limits)[0].completions
    assert (done.truncated, len(done.conversation.turns)) == (True, 1)
    assert done.conversation.outcome == Judged(0.0, False, limit=named)


def test_words_that_leave_no_room_for_an_answer_are_not_said(held):
    group, tokenizer, _ = held(told(Step("6" * 198), Step(done=True)), "a", "b")
    (done,) = group.completions
    assert done.truncated
    assert done.conversation.outcome.limit == "rollout.max_tokens or the context"
    assert tokenizer.decode(done.token_ids) == "a<|endoftext|>"


def test_a_turn_has_the_tokens_that_are_left(held):
    _, _, policy = held(told(Step("6"), Step(done=True)), "a", "b", tokens=20, max_turn_tokens=18)
    assert [requests[0].max_tokens for requests in policy.requests] == [18, 17]


def test_a_failure_ends_it_and_is_its_outcome(held):
    (done,) = held(told(BROKEN), "a")[0].completions
    assert done.conversation.outcome == BROKEN
    (done,) = held(Scripted({}, opening=BROKEN), "a")[0].completions
    assert done.conversation.outcome == BROKEN


def test_what_an_environment_says_at_first_stands_in_the_prompt(held):
    environments = Scripted({"a": Step(done=True)}, opening=" (hint)")
    group, tokenizer, _ = held(environments, "a", seeds=(7, 8))
    assert tokenizer.decode(group.prompt_ids) == "2+3= (hint)"
    assert group.problem.prompt == "2+3= (hint)"
    (one, seed), (other, same) = environments.rows.values()
    assert one == other == {"prompt": "2+3=", "level": 1, "answer": "5"}
    assert seed == same
    assert environments.forgotten == [*environments.rows]


def test_members_of_a_group_that_begin_differently_are_refused(held):
    with pytest.raises(RewardError, match="must begin all conversations of a problem alike"):
        held(Scripted({}, opening=["x", "y"]), "a", seeds=(7, 8))


def test_a_prompt_that_gets_too_long_is_refused(held):
    with pytest.raises(DataError, match="with what the environment says at first it has 64"):
        held(Scripted({}, opening="x" * 60), "a")


def test_an_opening_follows_the_last_user_turn():
    system, user = {"role": "system", "content": "s"}, {"role": "user", "content": "q"}
    prefill = {"role": "assistant", "content": "p"}
    assert with_opening((system, user, prefill), "!") == (
        system,
        {"role": "user", "content": "q!"},
        prefill,
    )
    with pytest.raises(DataError, match="needs a user's turn"):
        with_opening((system,), "!")
