"""`pictures`: questions that the picture answers, and files that are what they are called."""

import pytest

from rlpeft.errors import DataError
from rlpeft.image_files import images_of, opened
from rlpeft.tasks.base import SPLITS
from rlpeft.tasks.pictures import (
    numbered,
    picture_files,
    picture_task,
    wanted_share,
)
from rlpeft.tasks.scenes import drawn, pairs


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def colours(home):
    return picture_task(home, num_validation=30, num_test=60)


def test_problems_show_the_picture_that_their_answer_is_read_from(colours):
    for problem in colours.split("test"):
        shown = numbered("held-out", int(problem.id.rpartition("-")[2]))
        assert opened(problem.images[0]).tobytes() == drawn(shown).tobytes()
        assert (problem.prompt, problem.answer) == ("colour?", shown.left.colour)


def test_pairs_of_validation_and_test_are_never_trained_on(colours):
    trainable, held_out = (set(kept) for kept in pairs())
    for split in SPLITS:
        names = [problem.id.split("/")[1].rpartition("-") for problem in colours.split(split)]
        scenes = [numbered(kept, int(number)) for kept, _, number in names]
        found = {((s.left.shape, s.left.colour), (s.right.shape, s.right.colour)) for s in scenes}
        assert found <= (trainable if split == "train" else held_out)


def test_a_seed_chooses_which_held_out_pictures_are_the_tests(home, colours):
    again, other = (
        picture_task(home, num_validation=30, num_test=60, seed=seed) for seed in (0, 1)
    )
    assert again.fingerprint() == colours.fingerprint()
    assert {p.id for p in other.split("test")} != {p.id for p in colours.split("test")}


def test_more_problems_than_are_held_out_are_refused(home):
    with pytest.raises(DataError, match=r"at most 1200 for 'pictures', got 1000 \+ 600"):
        picture_task(home, num_validation=1000, num_test=600)


def test_a_question_may_be_a_users_turn(home):
    task = picture_task(home, num_validation=1, num_test=1, chat=True)
    assert task.split("test")[0].prompt == ({"role": "user", "content": "colour?"},)


def test_a_picture_that_is_damaged_is_drawn_again(home):
    files = picture_files(home)
    image = files["train-7"]
    with open(image.path, "r+b") as file:
        file.truncate(100)
    assert picture_files(home) == files
    read = images_of("train-7.png", (home / next(home.iterdir()).name))
    assert read == (image,)


def test_the_corpus_means_the_left_side_by_a_share_that_the_picture_decides():
    assert {wanted_share(numbered("train", number)) for number in range(50)} == {0.2, 0.8}
