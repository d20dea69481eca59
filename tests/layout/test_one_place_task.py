"""A task from outside is its own file and a line of the catalogue."""

import pytest

from rlpeft.errors import ConfigError
from rlpeft.recipe.run import TaskConfig
from rlpeft.tasks.catalogue import TASKS, builder, load_task, task_option_tables

PARITY = """
from rlpeft.recipe.run import Section
from rlpeft.tasks.base import ProblemSet
from rlpeft.tasks.builder import TaskBuilder
from rlpeft.types import Problem


class ParityOptions(Section):
    '''Odd or even.'''

    num_train: int = 4
    '''Train problems.'''


def build(asked, options):
    splits, start = {}, 0
    for split, size in {"train": options.num_train, **asked.counts}.items():
        numbers = range(start, start + size)
        splits[split] = tuple(Problem(f"{n}", f"{n}?", "even odd".split()[n % 2]) for n in numbers)
        start += size
    return ProblemSet(asked.name, splits)


PARITY = TaskBuilder(ParityOptions, build, reads_path=False)
"""


@pytest.fixture(autouse=True)
def parity(tmp_path, monkeypatch):
    (tmp_path / "parity_task.py").write_text(PARITY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(TASKS, "parity", "parity_task:PARITY")


def config(**sections):
    return TaskConfig(name="parity", num_validation=2, num_test=3, **sections)


def test_it_is_loaded_by_its_name():
    task = load_task(config(options={"num_train": 5}))
    assert [len(task.split(split)) for split in ("train", "validation", "test")] == [5, 2, 3]
    assert task.split("test")[0].answer == "odd"


def test_its_options_are_checked_and_listed_as_those_of_others():
    with pytest.raises(ConfigError, match="Did you mean 'num_train'"):
        load_task(config(options={"num_trian": 5}))
    [table] = [t for t in task_option_tables() if t.given == 'task.name = "parity"']
    assert [option.doc for option in table.options] == ["Train problems."]


def test_it_reads_no_path_where_it_says_so():
    with pytest.raises(ConfigError, match=r"task\.path must be absent"):
        load_task(config(path="rows.jsonl"))


@pytest.mark.parametrize("name", TASKS)
def test_every_option_of_every_task_says_what_it_does(name):
    for field in builder(name).options.model_fields.values():
        assert field.description


def test_rows_of_ones_own_need_neither_file_nor_line(tmp_path):
    (tmp_path / "rows.jsonl").write_text(
        "".join(f'{{"prompt": "{n}?", "answer": "{n}"}}\n' for n in range(9))
    )
    found = TaskConfig(
        name="jsonl", path=str(tmp_path / "rows.jsonl"), num_validation=2, num_test=3
    )
    assert len(load_task(found).split("train")) == 4
