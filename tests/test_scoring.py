"""Groups before rewards: flat for them, groups for everybody else."""

from dataclasses import replace

import pytest
import torch

from rewards.errors import RewardError
from rewards.scorer import RewardSpec, ScoredBatch, Scorer
from rewards.verdict import Verdict, VerdictKind
from rlpeft.recipe.scorer import Scorers
from rlpeft.scoring import by_task, joined, require_a_score, require_scorable, score_groups
from rlpeft.types import Completion, FinishReason, Group, Problem

LOST = Verdict(None, VerdictKind.UNSCORABLE, "no gold answer")


def group(name, answer, *texts, **columns):
    done = [Completion((0,), (0.0,), text, FinishReason.STOP, 0, "") for text in texts]
    return Group(Problem(name, f"{name}?", answer, columns), (1,), tuple(done))


def of_task(label, group):
    return replace(group, problem=replace(group.problem, task=label))


class Lengths:
    """Scores a completion by its length, and records what it saw, row by row and in all."""

    def score(self, rollouts):
        texts = rollouts.completions
        self.seen = texts
        verdicts = [Verdict(float(len(text)), VerdictKind.GRADED) for text in texts]
        columns = {"prompt_seen": list(rollouts.prompts)}
        return ScoredBatch(verdicts, {"length": verdicts}, columns, {"rows": float(len(texts))})


def test_rewards_see_one_flat_batch_and_groups_come_back():
    groups = [group("a", "7", "x", "xx"), group("b", "8"), group("c", "9", "xxx")]
    rewards = Lengths()
    found = score_groups(groups, rewards, step=3)
    assert rewards.seen == ["x", "xx", "xxx"]
    assert [scored.group for scored in found.groups] == groups
    assert [scored.rewards for scored in found.groups] == [[1.0, 2.0], [], [3.0]]
    assert [scored.columns["prompt_seen"] for scored in found.groups] == [
        ("a?", "a?"),
        (),
        ("c?",),
    ]
    assert [len(scored.by_reward["length"]) for scored in found.groups] == [2, 0, 1]
    assert found.metrics == {"rows": 3.0}


def test_a_group_scored_alone_gets_what_it_gets_among_others():
    groups = [group("a", "7", "7", "8"), group("b", "0.5", "1/2", "no"), group("c", "", "7")]
    scorer = Scorer([RewardSpec("math", 2.0), RewardSpec("exact")])
    together = score_groups(groups, scorer, step=1)
    alone = [score_groups([each], scorer, step=1).groups[0] for each in groups]
    assert list(together.groups) == alone
    assert together.verdicts[:2] == [*alone[0].verdicts]


def test_each_task_is_scored_by_its_own_rewards_and_keeps_its_place():
    exact, length = Scorer([RewardSpec("exact")]), Lengths()
    groups = [
        of_task("sums", group("a", "7", "7", "8")),
        of_task("tales", group("b", "", "xxx")),
        of_task("sums", group("c", "9", "9")),
    ]
    found = score_groups(groups, Scorers({"sums": exact, "tales": length}), step=1)
    assert [scored.group for scored in found.groups] == groups
    assert [scored.rewards for scored in found.groups] == [[1.0, 0.0], [3.0], [1.0]]
    assert [list(scored.by_reward) for scored in found.groups] == [["exact"], ["length"], ["exact"]]
    assert {label: len(own) for label, own in by_task(found.groups).items()} == {
        "sums": 2,
        "tales": 1,
    }


def test_what_several_tasks_log_by_one_name_is_averaged():
    groups = [of_task("a", group("a", "7", "x")), of_task("b", group("b", "7", "x", "y", "z"))]
    found = score_groups(groups, Scorers({"a": Lengths(), "b": Lengths()}), step=1)
    assert found.metrics == {"rows": 2.0}


def test_too_little_that_can_be_scored_names_the_first_problem():
    class Nothing:
        def score(self, rollouts):
            return ScoredBatch([LOST] * len(rollouts.completions), {}, {}, {})

    scored = score_groups([group("a", "???", "x", "y")], Nothing(), step=5).groups
    first = r"at step 5.*problem 'a', gold '\?\?\?': no gold answer"
    with pytest.raises(RewardError, match=f"at most 50% of these .*2 of 2 {first}"):
        require_scorable(scored, limit=0.5, step=5, what="these")
    with pytest.raises(RewardError, match=rf"some of 2 .*none is \(2 unscorable\) {first}"):
        require_a_score(scored, step=5)
    require_scorable(scored, limit=1.0, step=5, what="these")


def test_a_column_of_some_parts_is_empty_in_the_rows_of_the_others():
    one = Verdict(1.0, VerdictKind.CORRECT, "", None)
    first = ScoredBatch([one, one], {"r": [one, one]}, {"length": [3, 4]}, {"m": 1.0})
    second = ScoredBatch([one], {"r": [one]}, {}, {"m": 3.0})
    both = joined([first, second])
    assert both.columns == {"length": [3, 4, None]}
    assert both.metrics == {"m": 2.0}
    assert both.by_reward == {"r": [one, one, one]}


def no_grad_left(completions, **columns):
    torch.set_grad_enabled(False)
    return [1.0 for _ in completions]


def inference_left(completions, **columns):
    inference_left.mode = torch.inference_mode()  # kept, for its end would switch it back
    inference_left.mode.__enter__()
    return [1.0 for _ in completions]


@pytest.mark.parametrize("function", [no_grad_left, inference_left])
def test_what_a_function_of_this_process_leaves_switched_ends_with_it(function):
    scorer = Scorer([RewardSpec("mine", function=function)])
    try:
        score_groups([group("a", "7", "x")], scorer, step=0)
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
    finally:
        torch.set_grad_enabled(True)
