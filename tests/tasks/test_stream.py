"""Train rows that are read while training goes on: order, epochs, resume, and what is refused."""

import csv
import json
from functools import partial
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlpeft.errors import ConfigError, DataError
from rlpeft.recipe.run import TaskConfig
from rlpeft.tasks import load_task
from rlpeft.tasks.base import ProblemSet
from rlpeft.tasks.decks import Deck, draw, require_apart, resume_streams, stream_states
from rlpeft.tasks.row_sources import FileRows, HubRows
from rlpeft.tasks.sources import _stream_hub, stream_tables
from rlpeft.tasks.stream import Stream
from rlpeft.types import Problem

ROWS = [{"q": f"{n}@", "answer": f"{n}"} for n in range(60)]
HELD, TRAINED = 7, 53


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def written(folder, ending, rows=ROWS):
    path = folder / f"rows{ending}"
    if ending == ".csv":
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, ["q", "answer"])
            table.writeheader()
            table.writerows(rows)
    elif ending == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=25)
    else:
        path.write_text(lines(rows))
    return path


def config(path, **changes):
    sizes = {"num_validation": 3, "num_test": 4, "streaming": 8}
    options = {"template": "{q}="}
    return TaskConfig(name="jsonl", path=str(path), options=options, **sizes | changes)


def opened(path, **changes):
    return load_task(config(path, **changes))


def ids(task, turns):
    return [task.draw(turn, seed=0).id for turn in turns]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return written(tmp_path_factory.mktemp("rows"), ".jsonl")


def test_each_epoch_draws_every_train_row_once_and_in_another_order(path):
    drawn = ids(opened(path), range(3 * TRAINED))
    epochs = [drawn[at : at + TRAINED] for at in range(0, len(drawn), TRAINED)]
    assert [sorted(epoch) for epoch in epochs] == 3 * [
        sorted(f"jsonl/train/{n}" for n in range(HELD, len(ROWS)))
    ]
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_rows_are_shuffled_within_their_block(path):
    first = ids(opened(path), range(8))
    assert {*first} == {f"jsonl/train/{n}" for n in range(HELD, HELD + 8)}
    assert first != sorted(first, key=lambda id: int(id.rpartition("/")[2]))


def test_validation_and_test_are_the_first_rows(path):
    task = opened(path)
    assert [p.prompt for p in task.split("validation")] == ["0@=", "1@=", "2@="]
    assert [p.prompt for p in task.split("test")] == ["3@=", "4@=", "5@=", "6@="]


def test_a_folder_gives_the_first_rows_of_their_own_files(tmp_path):
    for part in range(2):
        rows = lines(ROWS[30 * part :][:30])
        (tmp_path / f"train-0000{part}-of-00002.jsonl").write_text(rows)
    others = [{"q": f"{n}!", "answer": ""} for n in range(9)]
    (tmp_path / "validation.jsonl").write_text(lines(others[:4]))
    (tmp_path / "test.jsonl").write_text(lines(others[4:]))
    task = opened(tmp_path, num_validation="all")
    assert [len(task.split(split)) for split in ("validation", "test")] == [4, 4]
    assert len({*ids(task, range(60))}) == 60


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
@settings(max_examples=25)
@given(cut=st.integers(0, 3 * TRAINED), count=st.integers(1, 9))
def test_a_task_that_goes_on_draws_what_it_would_have_drawn(tmp_path_factory, ending, cut, count):
    folder = tmp_path_factory.getbasetemp() / "resumed"
    folder.mkdir(exist_ok=True)
    path = folder / f"rows{ending}"
    if not path.exists():
        written(folder, ending)
    whole, cut_off, again = opened(path), opened(path), opened(path)
    ids(cut_off, range(cut + count))  # one step more than was kept
    again.split("train")  # as a run looks at it before it goes on
    again.resume(json.loads(json.dumps(cut_off.state(cut))))
    assert ids(again, range(cut, cut + 20)) == ids(whole, range(cut, cut + 20))
    assert again.epoch(cut + 20) == whole.epoch(cut + 20)
    assert again.state(cut + 20) == whole.state(cut + 20)


def test_what_is_kept_does_not_depend_on_how_far_was_read(path):
    near, far = opened(path), opened(path)
    ids(near, range(20)), ids(far, range(100))
    assert near.state(20) == far.state(20)
    assert near.epoch(20) == far.epoch(20) == 0
    assert [far.epoch(turn) for turn in (TRAINED, TRAINED + 1)] == [0, 1]


@settings(max_examples=25)
@given(cut=st.integers(0, 150))
def test_beside_another_task_it_keeps_to_its_weight_and_goes_on(tmp_path_factory, cut):
    path = tmp_path_factory.getbasetemp() / "mixed.jsonl"
    path.write_text(lines(ROWS))
    other = ProblemSet("sums", {"train": tuple(Problem(f"s/{n}", f"{n}") for n in range(5))})

    def decks():
        return [Deck(opened(path), "rows", weight=3), Deck(other, "sums")]

    whole, before, after = decks(), decks(), decks()
    draw(before, 0, cut, seed=1)
    resume_streams(after, json.loads(json.dumps(stream_states(before, cut, seed=1))))
    assert draw(after, cut, 12, seed=1) == draw(whole, cut, 12, seed=1)
    assert sum(p.task == "rows" for p in draw(whole, 0, 100, seed=1)) == 75


def test_rows_with_a_prompt_of_a_measured_problem_are_left_out(tmp_path):
    again = [ROWS[0], ROWS[5], {"q": "9@", "answer": "7"}]
    path = written(tmp_path, ".jsonl", [*ROWS[:20], *again, *ROWS[20:]])
    task = opened(path)
    own = {"train": "t", "validation": "v", "test": "9@="}
    other = ProblemSet("other", {split: (Problem(split, p),) for split, p in own.items()})
    require_apart([Deck(task, "rows"), Deck(other, "other")])
    drawn = {task.draw(turn, seed=0).prompt for turn in range(len(ROWS) + 3)}
    assert drawn == {f"{n}@=" for n in range(HELD, len(ROWS)) if n != 9}


def test_no_more_is_read_than_is_drawn_from(tmp_path):
    read = []

    class Counted(FileRows):
        def blocks(self, place, size):
            for rows, end in super().blocks(place, size):
                read.extend(rows)
                yield rows, end

    rows = Counted((written(tmp_path, ".jsonl"),))
    task = Stream(ProblemSet("c", {}), rows, (None, 0), 8, lambda n, row: Problem(f"{n}", row["q"]))
    ids(task, range(10))
    assert len(read) == 16


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ('{"q": "4@", "answer"\n', r"line 41 must be one JSON object.*Mend the line, or remove it"),
        ('{"question": "4@"}\n', r"train row 41: .*names the column 'q', the row has question"),
    ],
)
def test_a_wrong_row_is_told_with_its_place_and_the_mended_file_goes_on(tmp_path, wrong, said):
    path = written(tmp_path, ".jsonl")
    whole, good = opened(path), path.read_text().splitlines(keepends=True)
    path.write_text("".join([*good[:40], wrong, *good[41:]]))
    task = opened(path)
    with pytest.raises(DataError, match=said):
        ids(task, range(40))
    kept = task.state(30)
    path.write_text("".join(good))
    again = opened(path)
    again.resume(kept)
    assert ids(again, range(30, 60)) == ids(whole, range(30, 60))


def test_rows_that_were_drawn_may_not_change(tmp_path):
    path = written(tmp_path, ".jsonl")
    kept = opened(path)
    ids(kept, range(20))
    path.write_text(path.read_text().replace('"19@"', '"19!"'))
    task = opened(path)
    task.resume(kept.state(20))
    with pytest.raises(DataError, match=r"of rows 16 to 23 some have changed. Restore them"):
        ids(task, range(10, 12))


def test_each_block_is_told_once_before_it_is_drawn_from(path):
    told, task = [], opened(path)
    task.split("train")
    task.watch(lambda at, problems: told.append((at, len(problems))))
    ids(task, range(2 * TRAINED))
    assert told == [(at, 8) for at in range(1, 6)] + [(6, 5)]


def test_a_served_dataset_streams_and_goes_on_from_its_own_state(tmp_path, monkeypatch):
    from datasets import load_dataset

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "train.jsonl").write_text(lines(ROWS))
    served = partial(load_dataset, str(tmp_path / "served"), split="train", streaming=True)
    [*blocks] = HubRows(served, "me/rows").blocks(None, 25)
    assert [len(rows) for rows, _ in blocks] == [25, 25, 10]
    assert [row for rows, _ in blocks for row in rows] == ROWS
    place = json.loads(json.dumps(blocks[0][1]))
    assert [rows for rows, _ in HubRows(served, "me/rows").blocks(place, 25)] == [
        rows for rows, _ in blocks[1:]
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_test": 58}, r"must leave train rows.*there are 60 in all"),
        ({"num_test": 57}, r"must have train rows behind those"),
        ({"num_test": "all"}, r"num_test must be a number where the source has no test rows"),
    ],
)
def test_too_few_rows_are_refused(path, changes, said):
    with pytest.raises(DataError, match=said):
        opened(path, **changes).split("train")


def test_a_source_without_train_rows_is_refused(tmp_path):
    (tmp_path / "test.jsonl").write_text(lines(ROWS))
    with pytest.raises(DataError, match="must have train rows, which stream, it has test alone"):
        opened(tmp_path)


def test_one_split_that_is_asked_for_needs_no_train_rows(tmp_path, path):
    (tmp_path / "test.jsonl").write_text(lines(ROWS))
    task = load_task(config(tmp_path), only="test")
    assert [p.prompt for p in task.split("test")] == ["0@=", "1@=", "2@=", "3@="]
    assert len(load_task(config(path), only="test").split("test")) == 4


@pytest.mark.parametrize("size", [True, 1, "many"])
def test_only_a_number_of_rows_streams(path, size):
    with pytest.raises(ValueError, match="streaming"):
        config(path, streaming=size)


def test_tasks_that_are_no_rows_of_ones_own_do_not_stream():
    with pytest.raises(ConfigError, match=r"task.streaming is of rows of your own.*'tiny/swap'"):
        load_task(TaskConfig(name="tiny/swap", streaming=8))


def test_a_section_that_does_not_stream_is_written_as_before_there_was_a_choice(path):
    assert "streaming" not in config(path, streaming=None).model_dump()
    assert config(path).model_dump()["streaming"] == 8


def test_splits_are_found_as_where_all_rows_are_read(path, tmp_path):
    assert {*stream_tables(str(path), lone="test")} == {"test"}
    with pytest.raises(DataError, match="must be an existing file, folder or Hub id"):
        stream_tables(str(tmp_path / "gone.jsonl"))


def test_slices_of_a_served_split_are_refused():
    with pytest.raises(DataError, match=r"must name whole splits where rows stream.*train\[:9\]"):
        stream_tables("me/rows", splits={"train": "train[:9]"})


def test_a_split_that_is_not_served_is_told_as_where_all_rows_are_read(tmp_path):
    (tmp_path / "train.jsonl").write_text(lines(ROWS))
    [(_, rows)] = _stream_hub(str(tmp_path), None, {"train": "nope"}).items()
    with pytest.raises(DataError, match=r"does not give it with split 'nope'"):
        next(rows.blocks(None, 5))


def test_blocks_of_several_files_are_whole(tmp_path):
    paths = [tmp_path / f"{n}.jsonl" for n in range(3)]
    for path, part in zip(paths, (ROWS[:5], [], ROWS[5:12]), strict=True):
        path.write_text(lines(part))
    rows = FileRows(paths)
    [*blocks] = rows.blocks(None, 4)
    assert [row for found, _ in blocks for row in found] == ROWS[:12]
    for at, (_, place) in enumerate(blocks, 1):
        assert [*islice(rows.blocks(place, 4), 9)] == blocks[at:]
