"""One step's groups: replaced where they teach nothing, and never told apart from their scores."""

import pytest

from rewards.scorer import ScoredBatch
from rewards.verdict import Verdict, VerdictKind
from rlpeft.recipe.run import parse_recipe
from rlpeft.rollout.fake import FakeEngine
from rlpeft.rollout.fleet import LocalFleet
from rlpeft.tasks.base import ProblemSet
from rlpeft.tasks.decks import Deck
from rlpeft.tokens.requests import Prompter
from rlpeft.training.advantage import with_advantages
from rlpeft.training.collect import GroupSource, rollout_metrics, to_samples
from rlpeft.types import FinishReason, Problem

MEMBERS = 3


class Digits:
    """A tokenizer of one digit a token."""

    bos_token_id = None
    chat_template = None

    def __call__(self, text, add_special_tokens=False):
        return {"input_ids": [10 + int(c) for c in text]}

    def __len__(self):
        return 20


class Rows:
    """Scores by a table of texts; the columns it records differ from call to call."""

    def __init__(self, scores, *columns):
        self.scores, self.columns, self.calls = scores, columns, 0

    def score(self, rollouts):
        texts = list(rollouts.completions)
        verdicts = [Verdict(self.scores[text], VerdictKind.GRADED) for text in texts]
        recorded = dict.fromkeys(self.columns[self.calls % len(self.columns)], texts)
        self.calls += 1
        return ScoredBatch(verdicts, {"r": verdicts}, recorded, {f"call{self.calls}": 1.0})


def script(request, seed):
    """Problem n says n at first and then n + 1, n + 2; problems 1 and 2 always say n."""
    number = int(request.id.rpartition("/")[2])
    at = request.seeds.index(seed)
    text = str(number if number <= 2 else number + at)
    finish = FinishReason.LENGTH if at == 2 else FinishReason.STOP
    return (10 + number, at), (-0.5, -0.25), text, finish


def seen(rewards, *, pool=(1, 3, 2, 4, 5, 6), prompts=3, budget=0):
    tree = {
        "name": "t",
        "model": {"name": "tiny"},
        "task": {"name": "tiny/swap"},
        "train": {"prompts_per_step": prompts, "group_size": MEMBERS, "resample_budget": budget},
        "rollout": {"max_prompt_tokens": 4, "max_tokens": 4},
    }
    recipe = parse_recipe(tree, source="test")
    problems = tuple(Problem(f"p/{number}", str(number)) for number in pool)
    decks = [Deck(ProblemSet("p", {"train": problems}))]
    fleet, prompter = LocalFleet(FakeEngine(script)), Prompter(Digits(), max_tokens=4)
    sampling = recipe.rollout.sampling
    source = GroupSource(decks, fleet, rewards, recipe.train, sampling, prompter)
    return source.collect(cursor=0, step=1)


SCORES = {str(number): number / 10 for number in range(10)}


def numbers(found):
    return [int(scored.group.problem.id[2:]) for scored in found.scored.groups]


def test_every_completion_keeps_its_scores_through_replacement():
    found = seen(Rows(SCORES, ("said",)), prompts=6, budget=2)
    assert found.resampled == 2
    assert found.cursor == 8
    assert not {1, 2} & set(numbers(found)[:4])
    for scored in found.scored.groups:
        texts = [completion.text for completion in scored.group.completions]
        assert scored.rewards == [SCORES[text] for text in texts]
        assert list(scored.columns["said"]) == texts
        assert scored.by_reward["r"] == scored.verdicts


def test_replacement_ends_with_its_budget():
    found = seen(Rows(dict.fromkeys(SCORES, 1.0), ()), budget=4)
    assert (found.resampled, found.cursor, len(found.scored.groups)) == (4, 7, 3)
    assert rollout_metrics(found, 0)["frac_reward_zero_std"] == 1.0


def test_a_column_that_only_some_calls_record_is_left_out():
    found = seen(Rows(SCORES, ("z", "a", "first"), ("a", "z", "second")), prompts=6, budget=2)
    assert {tuple(scored.columns) for scored in found.scored.groups} == {("a", "z")}
    assert found.scored.metrics == {"call1": 1.0, "call2": 1.0}


def test_columns_keep_the_order_in_which_they_were_recorded():
    found = seen(Rows(SCORES, ("z", "a")))
    assert {tuple(scored.columns) for scored in found.scored.groups} == {("z", "a")}


def test_samples_carry_the_advantage_of_their_completion():
    squares = {text: float(int(text) ** 2) for text in SCORES}
    found = seen(Rows(squares, ()), prompts=6)
    samples = to_samples(with_advantages(found.scored.groups, "rloo", mask_truncated=False))
    assert len(samples) == 6 * MEMBERS
    for sample in samples:
        n, at = sample.completion_ids[0] - 10, sample.completion_ids[1]
        # Rewards n², (n + 1)², (n + 2)², each against the mean of the other two.
        expected = 0.0 if n <= 2 else (-3 * n - 2.5, -1.0, 3 * n + 3.5)[at]
        assert sample.advantage == pytest.approx(expected)
        assert sample.prompt_ids == (10 + n,)


def test_what_a_wrong_answer_costs_reaches_every_member():
    scored = seen(Rows(SCORES, ())).scored.groups
    for group in with_advantages(scored, "none", mask_truncated=False, wrong=-0.1):
        assert group.advantages == pytest.approx([1.1 * r - 0.1 for r in group.rewards])


def test_masked_completions_are_no_samples():
    scored = seen(Rows(SCORES, ())).scored.groups
    samples = to_samples(with_advantages(scored, "rloo", mask_truncated=True))
    assert {sample.completion_ids[1] for sample in samples} == {0, 1}


def test_rewards_are_summed_up_over_all_groups():
    metrics = rollout_metrics(seen(Rows(SCORES, ()), pool=(1, 3, 4)), 0)
    # 1 1 1, 3 4 5, 4 5 6 (in tenths); the deviation within a group is 0, sqrt(2/3), sqrt(2/3).
    assert metrics["reward"] == pytest.approx(metrics["rewards/r/mean"])
    assert metrics["reward"] == pytest.approx(0.3 + 0.1 / 3)
    assert metrics["reward_std"] == pytest.approx(2 / 3 * 0.1 * (2 / 3) ** 0.5)
    assert metrics["frac_reward_zero_std"] == pytest.approx(1 / 3)
    assert metrics["verdicts/graded"] == 9
