import subprocess
import sys

import pytest

from rewards import RewardError, UnknownKindError, VerdictKind, verify, verify_batch


def test_importing_rewards_is_light():
    heavy = "('torch', 'ray', 'vllm', 'sympy', 'mpmath')"
    program = f"import sys, rewards; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_batch_gives_what_single_calls_give():
    completions, golds = (
        ["\\boxed{7}", "\\boxed{8}", "I do not know what", "\\boxed{7}"],
        ["7", "7", "7", ""],
    )
    one_by_one = [verify(text, gold) for text, gold in zip(completions, golds, strict=True)]
    assert verify_batch(completions, golds) == one_by_one
    assert [v.kind.value for v in one_by_one] == ["correct", "wrong", "unparsable", "unscorable"]


def test_a_batch_marks_truncated_rows_only():
    verdicts = verify_batch(
        ["I do not know what", "I do not know what"], ["7", "7"], truncated=[True, False]
    )
    assert [v.kind for v in verdicts] == [VerdictKind.TRUNCATED, VerdictKind.UNPARSABLE]


def test_truncation_never_hides_an_unusable_gold_answer():
    assert verify("I do not know what", "", truncated=True).kind is VerdictKind.UNSCORABLE


def test_an_empty_batch_is_an_empty_list():
    assert verify_batch([], []) == []


def test_unequal_lengths_are_refused_with_their_sizes():
    with pytest.raises(RewardError, match="2, 1 and 2"):
        verify_batch(["a", "b"], ["7"])
    with pytest.raises(RewardError, match="1, 1 and 2"):
        verify_batch(["a"], ["7"], truncated=[True, False])


def test_one_text_instead_of_a_list_is_refused():
    with pytest.raises(RewardError, match="lists of str"):
        verify_batch("77", ["7", "7"])


@pytest.mark.parametrize(("completion", "gold"), [(7, "7"), ("7", 7), (None, "7"), ("7", None)])
def test_values_that_are_not_texts_are_refused(completion, gold):
    with pytest.raises(RewardError, match="must be a str"):
        verify(completion, gold)
    with pytest.raises(RewardError, match="must be a str"):
        verify_batch([completion], [gold])


def test_an_unknown_kind_lists_the_known_ones():
    with pytest.raises(UnknownKindError, match=r"gsm8k_legacy.*'maths'"):
        verify("7", "7", kind="maths")
