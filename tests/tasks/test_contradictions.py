"""Prompts that stand twice with different gold answers are told, and nothing else is."""

import pytest

from rewards.golds import GoldRule
from rewards.registry import TEXT
from rlpeft.build import Data, build_prompter
from rlpeft.doctor.rewards import check_golds
from rlpeft.recipe.run import ChatConfig, RolloutConfig
from rlpeft.scoring import Needed
from rlpeft.tasks.base import SPLITS, ProblemSet
from rlpeft.tasks.contradictions import contradictions, said_of_contradictions
from rlpeft.types import Problem

EXACT = GoldRule("exact", "answer", TEXT)


def asked(*golds):
    """Problems of one prompt, whose answers stand in a column `rev` too."""
    return [
        Problem(f"rows/train/{n}", "3651@=", str(gold), columns={"answer": gold, "rev": gold})
        for n, gold in enumerate(golds)
    ]


@pytest.mark.parametrize(
    ("rules", "columns"), [([EXACT], {"answer"}), ([], {"rev"}), ([], {"answer"})]
)
def test_a_prompt_with_two_gold_answers_is_found_however_a_reward_reads_them(rules, columns):
    problems = asked("5136", "6315", "5136")
    found = contradictions(problems, rules, columns)
    assert found == [((problems[0], "5136"), (problems[1], "6315"))]


@pytest.mark.parametrize(
    ("golds", "rules", "columns"),
    [
        (("5136", "5136"), [EXACT], {"answer"}),
        ((["a", "b"], ["c"]), [EXACT], {"answer"}),
        (("", "5136"), [EXACT], {"answer"}),
        (("5136", "6315"), [], {"other"}),
        (("assert f(1)", "assert f(2)"), [GoldRule("code", "answer", TEXT)], {"answer"}),
        (("1/2", "0.5", "50%"), [GoldRule("math", "answer", TEXT)], {"answer"}),
        (("Spam", "spam"), [GoldRule("label", "answer", TEXT)], {"answer"}),
    ],
    ids=["equal", "lists", "blank", "a reward without golds", "tests", "values", "labels"],
)
def test_what_rules_no_answer_out_contradicts_nothing(golds, rules, columns):
    assert contradictions(asked(*golds), rules, columns) == []


def test_two_forms_of_a_value_are_two_answers_where_one_of_the_rewards_compares_letters():
    rules = [GoldRule("math", "answer", TEXT), EXACT]
    assert len(contradictions(asked("1/2", "0.5"), rules, {"answer"})) == 1


def test_the_count_of_each_split_and_the_first_rows_are_said():
    task = ProblemSet("rows", {"train": tuple(asked("5136", "6315", "7"))})
    assert said_of_contradictions(task, ["train"], [EXACT], {"answer"}) == (
        "2 train problems ask what another asks and want another answer: row 1 and row 2 ask "
        "'3651@=' and want '5136' and '6315'"
    )


def test_runs_and_the_doctor_say_so(tiny, capsys):
    one = {split: (Problem(f"rows/{split}/0", f"{split}=", "1"),) for split in SPLITS}
    task = ProblemSet("rows", one | {"train": tuple(asked("5136", "6315"))})
    rewards = Needed(frozenset({"rev"}), [])
    prompter = build_prompter(tiny, ChatConfig(), RolloutConfig())
    data = Data(tiny, task, prompter, ["train"], "rows.csv", "rows.csv")
    data.check(rewards)
    assert capsys.readouterr().err == "", "something may refuse the run yet"
    said = "1 train problems ask what another asks and want another answer: row 1 and row 2"
    [told] = data.notes(rewards)
    assert told.startswith(f"of 'rows.csv' {said}")
    (row,) = check_golds(task, Needed(frozenset(), [EXACT]), "rows.csv")
    assert row.status == "warn"
    assert row.found.startswith(said)
