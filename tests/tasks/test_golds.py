"""Gold answers as rows hold them: given to rewards that take them, refused by row elsewhere."""

import json
from types import SimpleNamespace

import pytest

from rewards.golds import GoldRule, several_types
from rewards.registry import TEXT
from rewards.scorer import RewardSpec, ScoredBatch, Scorer
from rewards.verdict import Verdict, VerdictKind
from rlpeft.build import Data, build_prompter
from rlpeft.errors import DataError
from rlpeft.recipe.run import ChatConfig, RolloutConfig, TaskConfig
from rlpeft.scoring import score_groups
from rlpeft.tasks.base import SPLITS
from rlpeft.tasks.catalogue import load_task
from rlpeft.tasks.golds import gold_of, require_golds, require_judgeable
from rlpeft.types import Completion, FinishReason, Group, Problem

COUNTS = {"num_validation": 1, "num_test": 1}
RIGHT = Verdict(1.0, VerdictKind.CORRECT)


def task_of(tmp_path, *golds, **options):
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"q{n}", "answer": gold} for n, gold in enumerate(golds)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_task(TaskConfig(name="jsonl", path=str(path), options=options, **COUNTS))


def all_problems(task):
    return [p for split in ("train", "validation", "test") for p in task.split(split)]


class Seen:
    def score(self, rollouts):
        self.answers = rollouts.columns["answer"]
        return ScoredBatch([RIGHT] * len(self.answers), {}, {}, {})


def test_rewards_get_the_gold_answer_that_the_row_holds_in_its_own_type(tmp_path):
    golds = ["a", 7, 0.5, False, ["x", "y"], {"inputs": []}]
    problems = all_problems(task_of(tmp_path, *golds))
    by_row = {int(p.id.rpartition("/")[2]): p for p in problems}
    done = Completion((0,), (0.0,), "", FinishReason.STOP, 0, "")
    seen = Seen()
    score_groups([Group(by_row[n], (), (done,)) for n in range(6)], seen, step=0)
    assert [(type(answer), answer) for answer in seen.answers] == [(type(g), g) for g in golds]
    assert [by_row[n].answer for n in (1, 3, 4)] == ["7", "false", '["x", "y"]']


def test_a_run_judges_a_number_or_truth_value_as_reward_check_does(tmp_path, monkeypatch):
    # As for TRL's trainers, to which a dataset's integers come as integers; "False" is truthy.
    (tmp_path / "numeric_rewards.py").write_text(
        "def equals(completions, answer, **kwargs):\n"
        "    return [said == gold for said, gold in zip(map(int, completions), answer)]\n"
        "def says(completions, answer, **kwargs):\n"
        "    return [(text == 'yes') == bool(gold) for text, gold in zip(completions, answer)]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, golds, texts in (
        ("equals", (7, 8, 9), ("7", "8", "9")),
        ("says", (True, False, False), ("yes", "no", "no")),
    ):
        problems = all_problems(task_of(tmp_path, *golds))
        groups = [
            Group(p, (), (Completion((0,), (0.0,), texts[n], FinishReason.STOP, 0, ""),))
            for p in problems
            for n in [int(p.id.rpartition("/")[2])]
        ]
        scorer = Scorer([RewardSpec(f"numeric_rewards:{name}")])
        verdicts = score_groups(groups, scorer, step=0).verdicts
        assert [verdict.kind for verdict in verdicts] == ["correct"] * 3


@pytest.mark.parametrize("number", ["NaN", "Infinity"])
def test_a_gold_answer_that_is_no_number_is_refused_by_its_row(tmp_path, number):
    path = tmp_path / "rows.jsonl"
    rows = ['{"prompt": "p", "answer": 1}', '{"prompt": "q", "answer": ' + number + "}"]
    path.write_text("\n".join(rows))
    with pytest.raises(DataError, match=r"row 2: must have a gold answer that is text or a finite"):
        load_task(TaskConfig(name="jsonl", path=str(path), **COUNTS))


def test_a_gold_answer_of_another_type_is_named_with_file_and_row(tmp_path):
    task = task_of(tmp_path, "7", "8", ["0010"], "9")
    problems = all_problems(task)
    lists = [p for p in problems if isinstance(gold_of(p), list)]
    rule = GoldRule("math", "answer", TEXT)
    with pytest.raises(DataError, match=r"'rows.jsonl', row 3 .*got the list \['0010'\]"):
        require_golds(lists, [rule], source="rows.jsonl", split="train")
    require_golds(
        problems, [GoldRule("exact", "answer", several_types("exact"))], source="r", split="train"
    )


@pytest.mark.parametrize("gold", [None, "", " \n"])
def test_a_gold_answer_that_is_missing_among_others_is_refused_by_its_row(gold):
    rows = [Problem(f"t/train/{n}", "p", "", {"gold": g}) for n, g in enumerate(["7", gold])]
    with pytest.raises(DataError, match=r"'r', row 2 .*must be there for reward 'math', got"):
        require_golds(rows, [GoldRule("math", "gold", TEXT)], source="r", split="train")


@pytest.mark.parametrize("gold", ["", " \n"])
def test_a_blank_gold_answer_is_refused_whatever_its_reward_takes(gold):
    rows = [Problem(f"t/train/{n}", "p", "", {"gold": g}) for n, g in enumerate(["7", gold])]
    with pytest.raises(DataError, match=r"'r', row 2 .*must be there for reward 'theirs', got"):
        require_golds(rows, [GoldRule("theirs", "gold", None)], source="r", split="train")


def test_another_trainers_reward_may_be_handed_null_where_it_does_not_judge_the_row():
    rows = [Problem(f"t/train/{n}", "p", "", {"gold": g}) for n, g in enumerate(["7", None])]
    require_golds(rows, [GoldRule("theirs", "gold", None)], source="r", split="train")


@pytest.mark.parametrize("column", ["target", "answer"])
def test_a_blank_gold_answer_is_refused_where_a_reward_reads_its_column(column):
    rows = [
        Problem(f"t/train/{n}", "p", g, {"target": g, "id": n}) for n, g in enumerate(["7", " "])
    ]
    with pytest.raises(DataError, match=rf"'r', row 2 .*reads column '{column}', got ' '"):
        require_golds(rows, [], ["id", column], source="r", split="train")
    require_golds(rows, [], ["id"], source="r", split="train")  # a reward that needs no gold


def test_rows_without_a_gold_answer_are_named_and_counted():
    golds = ["7", "", "8", " ", "", ""]
    rows = [Problem(f"t/train/{n}", "p", g) for n, g in enumerate(golds)]
    for rules, columns in ([GoldRule("math", "answer", TEXT)], []), ([], ["answer"]):
        with pytest.raises(DataError, match=r"'r', rows 2, 4, 5 and 1 more \(train\): .*got ''"):
            require_golds(rows, rules, columns, source="r", split="train")


def test_a_task_without_gold_answers_may_have_a_reward_that_needs_none():
    rows = [Problem("t/train/0", "p", "")]
    require_golds(rows, [GoldRule("f", "answer", TEXT)], source="r", split="train")


@pytest.mark.parametrize("gold", [["7", None], ["7", ""], [], ["7", float("nan")], ["7", ["8"]]])
def test_each_of_several_right_answers_must_be_one(gold):
    rows = [Problem("t/train/0", "p", "7", {"answer": gold})]
    with pytest.raises(DataError, match=r"'r', row 1 .*a gold answer must be"):
        require_golds(
            rows, [GoldRule("math", "answer", several_types("math"))], source="r", split="train"
        )


@pytest.mark.parametrize("gold", [{"a": [1.0, float("inf")]}, [[float("nan")]]])
def test_a_number_that_is_none_is_found_however_deep(gold):
    rows = [Problem("t/train/0", "p", "7", {"answer": gold})]
    with pytest.raises(DataError, match=r"must be a finite number, got (nan|inf)"):
        require_golds(rows, [GoldRule("f", "answer", ("list", "dict"))], source="r", split="train")


def test_a_gold_answer_inside_another_column_is_looked_up_there(tmp_path):
    problems = all_problems(task_of(tmp_path, "7", "8", "9"))
    with pytest.raises(DataError, match=r"reward 'f' reads 'reward_model.gold', which is not"):
        require_golds(
            problems, [GoldRule("f", "reward_model.gold", None)], source="r", split="test"
        )


@pytest.mark.parametrize("template", [None, "{prompt}"])
@pytest.mark.parametrize("prompt", ["", "  "])
def test_an_empty_question_is_refused_by_file_and_row(tmp_path, template, prompt):
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": text, "answer": "1"} for text in ("p", "q", prompt)]
    path.write_text("\n".join(map(json.dumps, rows)))
    config = TaskConfig(name="jsonl", path=str(path), options={"template": template}, **COUNTS)
    with pytest.raises(DataError, match=r"task '.*rows.jsonl', train row 3: .*(empty|text)"):
        load_task(config)


def test_blank_gold_answers_of_a_file_are_named_together_whatever_split_they_are_drawn_for(
    tmp_path, tiny
):
    task = task_of(tmp_path, *("x" if n % 3 else "" for n in range(9)))
    data = Data(tiny, task, build_prompter(tiny, ChatConfig(), RolloutConfig()), SPLITS, "r", None)
    with pytest.raises(DataError, match=r"rows.jsonl', rows 1, 4, 7 \(train\): "):
        data.check(SimpleNamespace(gold_rules=[], required_columns=frozenset({"answer"})))


def test_faults_in_several_files_are_named_by_their_splits():
    rows = [
        Problem(f"t/{s}/{n}", "p", g) for s in ("train", "test") for n, g in enumerate(("", "x"))
    ]
    with pytest.raises(DataError, match=r"row 1 \(train\) and row 1 \(test\): "):
        require_golds(rows, [GoldRule("exact", "answer", TEXT)], source="r")


def test_all_that_is_wrong_with_rows_is_told_at_once(tmp_path):
    """Five rows alike, of which tests leave none to train on, and which have no answer each."""
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": "q", "answer": gold} for gold in ("1", "", "1", "1", "")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = load_task(TaskConfig(name="jsonl", path=str(path), num_validation=1, num_test=3))
    with pytest.raises(DataError) as wrong:
        require_judgeable(task, SPLITS, [GoldRule("exact", "answer", TEXT)], frozenset({"level"}))
    assert "every prompt of the 1 train problems stands in a later split too" in str(wrong.value)
    assert "every prompt of the 1 validation problems" in str(wrong.value)
    assert "must have the columns ['level']" in str(wrong.value)
    assert "a gold answer must be there for reward 'exact'" in str(wrong.value)
