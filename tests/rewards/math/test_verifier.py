import asyncio
import json
import threading

import pytest

from rewards import RewardError, VerdictKind, verify, verify_batch
from rewards.math.policy import LENIENT, MathPolicy

HOSTILE = [
    "9**9**9", "2^{9999999999}", "((20!)!)!", r"\binom{10^{10}}{10^9}", "factorial(10**9)",
    r"\prod_{k=1}^{10^9} k", "(" * 3000, r"\boxed{" * 3000, r"\frac" * 3000, r"\sqrt[0]{7}",
    "x_{" * 300 + "}" * 300, "0." + "7" * 20_000, "1e999999999", "1+" * 3000 + "1", "\u202e7",
    "().__class__.__base__", "{" * 1_000_000, r"\sin(10^{10^9})", "٣" * 5000, r"\log_1 7",
    "x^{9^{9^9}}", "^" * 5000, "+".join(["2000!"] * 100),
    ",".join(rf"\sqrt{{{k}}}" for k in range(2, 300)),
]  # fmt: skip


@pytest.fixture(scope="module")
def cases(shared_path):
    lines = (shared_path / "verifier_cases.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_every_published_case_is_decided_right(cases, ends):
    wrong = []
    for case in cases:
        with ends():
            score = verify(case["prediction"], case["gold"]).score
        wrong += [case["id"]] if score != float(case["expect"] is True) else []
    assert wrong == []


@pytest.mark.parametrize("answer", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("gold", ["7", "x+1", r"\frac{\pi}{4}"])
def test_hostile_answers_score_nothing_and_do_not_explode(answer, gold, ends):
    for completion in (answer, f"Hence \\boxed{{{answer}}}.", f"The answer is {answer}"):
        with ends():
            assert verify(completion, gold).score == 0.0


@pytest.mark.parametrize("gold", ["", "  ", "}", "(1", r"\frac{1}", "3=7", "x" * 5000, "9**9**9)"])
def test_a_gold_answer_that_cannot_be_read_is_unscorable(gold):
    for completion in ("\\boxed{7}", gold, f"\\boxed{{{gold}}}"):
        assert verify(completion, gold).kind is VerdictKind.UNSCORABLE


def test_swapped_arguments_are_unscorable_and_never_rewarded():
    assert verify("7", "The answer is \\boxed{7}").kind is VerdictKind.UNSCORABLE
    assert verify("7", "Adding both gives the final answer 7").kind is VerdictKind.UNSCORABLE


def test_gold_may_be_a_worked_solution_ending_in_the_gsm8k_marker():
    assert verify("\\boxed{72}", "48 + 24 = <<48+24=72>>72\n#### 72").kind is VerdictKind.CORRECT


@pytest.mark.parametrize(
    ("completion", "kind"),
    [
        ("\\boxed{7}", VerdictKind.CORRECT),
        ("\\boxed{8}", VerdictKind.WRONG),
        ("\\boxed{len('1234567')}", VerdictKind.UNPARSABLE),
        ("\\boxed{}", VerdictKind.UNPARSABLE),
        ("I do not know what to say here.", VerdictKind.UNPARSABLE),
    ],
)
def test_verdict_kinds_are_kept_apart(completion, kind):
    assert verify(completion, "7").kind is kind


def test_the_verdict_shows_what_was_found():
    verdict = verify("so \\boxed{0.5}", "1/2")
    assert verdict.extracted == "0.5"
    assert "0.5" in verdict.reason


def test_a_huge_answer_is_not_carried_along_in_its_verdict():
    verdict = verify("\\boxed{" + "1" * 100_000 + "} is it.", "7")
    assert verdict.kind is VerdictKind.UNPARSABLE
    assert len(verdict.extracted) + len(verdict.reason) < 5_000


@pytest.mark.parametrize(
    ("completion", "kind"),
    [
        ("We begin by adding", VerdictKind.TRUNCATED),
        ("\\boxed{7", VerdictKind.TRUNCATED),
        ("#### 7", VerdictKind.TRUNCATED),  # perhaps the start of 72
        ("so \\boxed{7} because", VerdictKind.CORRECT),
        ("so \\boxed{8} because", VerdictKind.WRONG),
    ],
)
def test_a_cut_completion_scores_only_an_answer_finished_before_the_cut(completion, kind):
    assert verify(completion, "7", truncated=True).kind is kind


@pytest.mark.parametrize(
    "completion",
    [
        "\\boxed{1} \\boxed{2} \\boxed{7}",
        "It is either \\boxed{6} or \\boxed{7}.",
        "\\boxed{7}, or maybe it is \\boxed{8}",
        "The answer is 7 or maybe 8.",
        "The answer is 7. The answer is 8.",
        "\\boxed{7}\nFinal answer: 8",
        "\\boxed{8}\nFinal answer: 7",
        "#### 7\n#### 8",
        " ".join(str(k) for k in range(20)),
        "What is 3 + 4?",
        "The value might be 7. \\boxed{}",
        "7 is not the answer.",
        "\\boxed{7 is not the answer}",
    ],
)
def test_hedging_pays_nothing(completion):
    assert verify(completion, "7").score == 0.0


def test_a_later_letter_outranks_a_boxed_formula_for_an_option():
    completion = "Here \\boxed{\\langle H\\rangle \\ll \\Delta E}, which fits one.\n\n**Answer: D**"
    assert verify(completion, "D").score == 1.0
    assert verify(completion, "E").score == 0.0


def test_verdicts_are_the_same_in_threads_and_asyncio(cases):
    rows = cases[::3]
    completions, golds = [row["prediction"] for row in rows], [row["gold"] for row in rows]
    expected = verify_batch(completions, golds)
    in_threads = [[] for _ in range(3)]

    def run(place):
        in_threads[place] += verify_batch(completions, golds)

    threads = [threading.Thread(target=run, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def both():
        return verify_batch(completions, golds), await asyncio.to_thread(
            verify_batch, completions, golds
        )

    assert [*in_threads, *asyncio.run(both())] == [expected] * 5


def test_answer_text_never_reaches_an_evaluating_parser(cases, monkeypatch):
    import builtins

    import sympy
    import sympy.parsing.sympy_parser as sympy_parser

    def forbidden(*arguments, **options):
        raise AssertionError(f"evaluated {arguments!r}")

    for owner, name in (
        (builtins, "eval"), (builtins, "exec"), (sympy, "sympify"), (sympy_parser, "parse_expr"),
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, forbidden)
    injections = [case for case in cases if case["tag"] == "injection"]
    assert injections
    for case in injections:
        assert verify(case["prediction"], case["gold"]).score == 0.0


@pytest.mark.parametrize(
    "policy", ["strictest", {"no_such_switch": True}, {"tolerance": 2.0}, {"max_distinct_boxes": 0}]
)
def test_an_unknown_policy_is_an_error_that_names_it(policy):
    with pytest.raises(RewardError, match=r"policy|tolerance|max_distinct_boxes"):
        verify("\\boxed{7}", "7", policy=policy)


def test_lenient_is_strict_with_every_switch_thrown():
    switches = [name for name in MathPolicy.__slots__ if name not in ("tolerance",)]
    assert all(getattr(LENIENT, name) != getattr(MathPolicy(), name) for name in switches)
