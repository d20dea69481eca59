"""Gold answers of a type that a reward does not declare are refused, never turned into text."""

import pytest

from rewards import RewardError
from rewards.scorer import RewardSpec


def kinds(batch):
    return [verdict.kind.value for verdict in batch.verdicts]


@pytest.mark.parametrize("gold", [["0010"], {"a": 1}, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["math", "exact", "accuracy_reward"])
def test_lists_dicts_and_nan_are_no_gold_answers_of_a_verifier(score, name, gold):
    column = "solution" if name == "accuracy_reward" else "answer"
    with pytest.raises(RewardError, match=r"a gold answer must be .* in row 1 at step 7"):
        score([name], ["7", "7"], columns={column: ["7", gold]})


def test_a_row_verifier_of_ones_own_declares_what_it_reads(module, score):
    name = module(
        "def r(completion, gold): return completion in gold\n"
        "def any_of(completion, gold): return completion in gold\n"
        "any_of.gold_types = (list, dict)\n"
    )
    with pytest.raises(RewardError, match=r"got the list \['7', '8'\].*gold_types"):
        score([f"{name}:r"], ["7"], columns={"answer": [["7", "8"]]})
    batch = score([f"{name}:any_of"], ["7", "9"], columns={"answer": [["7", "8"], {"9": 1}]})
    assert kinds(batch) == ["correct", "correct"]
    with pytest.raises(RewardError, match=r"must be a list or a dict for reward 'any_of'"):
        score([f"{name}:any_of"], ["7"], columns={"answer": ["7"]})


def test_a_trainers_convention_hands_over_what_the_column_holds(module, score):
    name = module(
        "def f(solution_str, ground_truth): return solution_str == ground_truth['target']\n"
    )
    assert kinds(score([f"{name}:f"], ["7"], columns={"answer": [{"target": "7"}]})) == ["correct"]


def test_several_right_answers_are_an_option_of_every_verifier(score):
    spec = RewardSpec("math", options={"several": True})
    golds = [["0.5", "7"], ["1", "2"], "7", [], ["???", "8"]]
    completions = ["\\boxed{1/2}", "\\boxed{3}", "\\boxed{7}", "\\boxed{7}", "\\boxed{9}"]
    batch = score([spec], completions, columns={"answer": golds})
    assert kinds(batch) == ["correct", "wrong", "correct", "unscorable", "unscorable"]


def test_several_right_answers_are_each_text_or_a_number(score):
    with pytest.raises(
        RewardError, match=r"several gold answers must each be text.*the list \['7'\]"
    ):
        score(
            [RewardSpec("exact", options={"several": True})], ["7"], columns={"answer": [[["7"]]]}
        )


@pytest.mark.parametrize("name", ["exact", "label"])
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("gold", [5.0, 1e16, 0.5])
def test_a_number_of_several_forms_is_no_gold_answer_where_letters_are_compared(
    score, name, several, gold
):
    spec = RewardSpec(name, options={"several": True} if several else {})
    golds = [[gold, "x"]] if several else [gold]
    with pytest.raises(RewardError, match=r"compares letters, got the number .* row 1|row 0"):
        score([spec], ["5"], columns={"answer": golds})


def test_truth_values_and_whole_numbers_are_compared_as_json_writes_them(score):
    batch = score(["exact"], ["true", "True", "7"], columns={"answer": [True, True, 7]})
    assert kinds(batch) == ["correct", "wrong", "correct"]


@pytest.mark.parametrize("name", ["math", "choice", "regex"])
def test_a_truth_value_is_no_gold_answer_where_values_are_compared(score, name):
    with pytest.raises(RewardError, match=r"must be text or a number .* got the bool True"):
        score([name], ["true"], columns={"answer": [True]})


def test_a_reward_that_compares_numbers_takes_any(score):
    batch = score(["math"], ["5", "10^16"], columns={"answer": [5.0, 1e16]})
    assert kinds(batch) == ["correct", "correct"]


def test_a_reward_of_ones_own_of_a_built_in_name_takes_what_it_did(module, score):
    name = module("def exact(completion, gold): return float(completion) == gold\n")
    assert kinds(score([f"{name}:exact"], ["5.0"], columns={"answer": [5.0]})) == ["correct"]
