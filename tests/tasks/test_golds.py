"""Gold answers as rows hold them: given to rewards that take them, refused by row elsewhere."""

import json

import pytest

from rewards.golds import SEVERAL, TEXT, GoldRule
from rlpeft.config import TaskConfig
from rlpeft.errors import DataError
from rlpeft.evaluate import score_groups
from rlpeft.tasks.catalogue import load_task
from rlpeft.tasks.golds import gold_of, require_golds
from rlpeft.types import Completion, FinishReason, Group

COUNTS = {"num_validation": 1, "num_test": 1}


def task_of(tmp_path, *golds, **options):
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"q{n}", "answer": gold} for n, gold in enumerate(golds)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_task(TaskConfig(name="jsonl", path=str(path), options=options, **COUNTS))


def all_problems(task):
    return [p for split in ("train", "validation", "test") for p in task.split(split)]


class Seen:
    def score(self, *, columns, **_):
        self.answers = columns["answer"]


def test_rewards_get_the_list_or_dict_of_the_row_and_text_for_all_else(tmp_path):
    problems = all_problems(task_of(tmp_path, "a", 7, 0.5, ["x", "y"], {"inputs": []}))
    by_row = {int(p.id.rpartition("/")[2]): p for p in problems}
    done = Completion((0,), (0.0,), "", FinishReason.STOP, 0, "")
    seen = Seen()
    score_groups([Group(by_row[n], (), (done,)) for n in range(5)], seen, step=0)
    assert seen.answers == ["a", "7", "0.5", ["x", "y"], {"inputs": []}]
    assert by_row[3].answer == '["x", "y"]'


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
    require_golds(problems, [GoldRule("exact", "answer", SEVERAL)], source="r", split="train")


def test_a_gold_answer_inside_another_column_is_looked_up_there(tmp_path):
    problems = all_problems(task_of(tmp_path, "7", "8", "9"))
    with pytest.raises(DataError, match=r"reward 'f' reads 'reward_model.gold', which is not"):
        require_golds(
            problems, [GoldRule("f", "reward_model.gold", None)], source="r", split="test"
        )
