"""Rows that show images: whose files they are, and what tells two of them apart."""

import json

import pytest

from rlpeft.errors import DataError
from rlpeft.recipe.run import TaskConfig
from rlpeft.tasks import load_task


@pytest.fixture
def rows(make_image, tmp_path):
    """A maker of a task of one question about pictures, given by the seeds of their noise."""

    def make(*seeds, num_validation=1, num_test=1, **options):
        for seed in set(seeds):
            make_image(seed, folder=tmp_path)
        lines = [{"prompt": "Which colour?", "answer": "red", "seen": f"{s}.png"} for s in seeds]
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        sizes = {"num_validation": num_validation, "num_test": num_test}
        options = {"image": "seen"} | options
        path = str(tmp_path / "rows.jsonl")
        return load_task(TaskConfig(name="jsonl", path=path, options=options, **sizes))

    return make


def every(task):
    return [problem for split in ("train", "validation", "test") for problem in task.split(split)]


def test_a_question_about_other_images_is_another_question(rows):
    found = every(rows(1, 2, 3))
    assert {problem.columns["seen"] for problem in found} == {"1.png", "2.png", "3.png"}
    assert len({problem.images[0].digest for problem in found}) == 3


def test_the_same_question_about_the_same_image_stands_in_one_split(rows):
    task = rows(1, 1, 1, 1, *range(2, 8), num_validation=3, num_test=3)
    digests = [{p.images[0].digest for p in task.split(s)} for s in ("train", "validation", "test")]
    assert not digests[0] & digests[1]
    assert not digests[1] & digests[2]
    assert not digests[0] & digests[2]


def test_the_fingerprint_of_data_changes_with_an_image_of_the_same_name(rows, make_image, tmp_path):
    before = rows(1, 2, 3).fingerprint()
    assert rows(1, 2, 3).fingerprint() == before
    make_image(4, folder=tmp_path, name="2.png")
    path = str(tmp_path / "rows.jsonl")
    sizes = {"num_validation": 1, "num_test": 1}
    again = load_task(TaskConfig(name="jsonl", path=path, options={"image": "seen"}, **sizes))
    assert again.fingerprint() != before


def test_a_row_whose_image_is_not_there_is_named(rows, tmp_path):
    rows(1, 2, 3)
    (tmp_path / "2.png").unlink()
    with pytest.raises(DataError, match=r"train row 2: must name images that are there, '2.png'"):
        load_task(
            TaskConfig(name="jsonl", path=str(tmp_path / "rows.jsonl"), options={"image": "seen"})
        )


def test_images_of_a_dataset_that_is_not_here_are_refused():
    with pytest.raises(DataError, match=r"task.options.image names files beside the rows of a loc"):
        load_task(TaskConfig(name="hub", path="owner/set", options={"image": "image"}))
